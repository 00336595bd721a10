import Recurrences
import TileIR

/// From the adjoints of a normal form's maps to those of the recurrence's inputs, by the chain rule.
struct GradientTerms {
  let walk: GradientWalk

  /// A summand of an input's adjoint: the adjoint of a map, at a tile, times the map's derivative.
  private struct Term {
    var adjoint: Tile
    var map: Expression
    var axes: Axes
    /// What the map's sums are, under the names that stand for them.
    var sums: [Tile] = []
    /// The derivative of a logarithm may overflow where the decay, and with it the adjoint, is 0.
    var isLogDecay = false
  }

  private var form: DiagonalForm { walk.form }
  private var specification: KernelSpecification { walk.specification }
  private var inputs: [Recurrence.Input] { specification.recurrence.inputs }
  private var chunk: Int { walk.chunk }
  private var start: Index { walk.walk.start }

  // MARK: Tiles

  private func rows(_ name: String, _ axes: Axes, _ meaning: String, _ b: inout ProgramBuilder)
    -> Tile
  {
    switch axes {
    case .key: b.tile(name, chunk, specification.key, meaning)
    case .value: b.tile(name, chunk, specification.value, meaning)
    default: b.tile(name, chunk, 1, layout: .column, meaning)
    }
  }
  func queryAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dq", .key, "adjoint of the queries", &b)
  }
  func keyAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dk", .key, "adjoint of the keys, of what later tokens read", &b)
  }
  func valueAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dv", .value, "adjoint of the values, of what later tokens read", &b)
  }
  private func presentAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dw", .scalar, "adjoint of the token's weight on its own value", &b)
  }
  private func adjoint(of input: Recurrence.Input, _ b: inout ProgramBuilder) -> Tile {
    rows("grad_\(input.name)", input.axes, "adjoint of \(input.name)", &b)
  }
  private func total(of input: Recurrence.Input, _ b: inout ProgramBuilder) -> Tile {
    let row = adjoint(of: input, &b)
    return row.columns == 1
      ? b.tile("total_\(input.name)", 1, 1, layout: .column, "the same over the sequence")
      : b.tile("total_\(input.name)", 1, row.columns, "the same over the sequence")
  }
  private var parameters: [Recurrence.Input] { inputs.filter { $0.role == .parameter } }

  // MARK: The walk

  func begin(_ b: inout ProgramBuilder) {
    for input in parameters { walk.walk.fill(total(of: input, &b).all, 0, &b) }
  }

  func beginChunk(_ b: inout ProgramBuilder) {
    for input in inputs where input.role != .query && isReadByHeads(input) {
      walk.walk.fill(adjoint(of: input, &b).all, 0, &b)
    }
  }

  /// The weight of each token's own value in its output; nil where it has none.
  func presentWeight(_ b: inout ProgramBuilder) -> Tile? {
    guard !form.readsPrevious || form.present != nil else { return nil }
    let w = rows("w_own", .scalar, "the token's weight on its own value", &b)
    let keys = rows("key_terms", .key, "terms of a sum over the axis", &b)
    if let present = form.present {
      b.map(keys.all, present, tokens: start, fill: 0)
    } else {
      walk.walk.scale(keys.all, walk.key.reader(&b).all, by: walk.key.writer(&b).all, &b)
    }
    b.add(.reduce(Reduce(sumOf: keys.all, to: w.all)))
    return w
  }

  /// The present token's own value: its weight w and the adjoint x = dO.v of that.
  func addPresent(_ w: Tile, _ b: inout ProgramBuilder) {
    b.note("the present token's own part")
    let (dO, v) = (walk.value.reader(&b), walk.value.writer(&b))
    let x = presentAdjoint(&b)
    let values = rows("value_terms", .value, "terms of a sum over the axis", &b)
    walk.walk.scale(values.all, dO.all, by: v.all, &b)
    b.add(.reduce(Reduce(sumOf: values.all, to: x.all)))
    if let sums = walk.normalizer?.sumAdjoint(&b) { walk.walk.add(x.all, x.all, sums.all, &b) }
    addScaled(valueAdjoint(&b), dO, by: w, &b)
    guard !form.readsPrevious else { return }
    addScaled(queryAdjoint(&b), walk.key.writer(&b), by: x, &b)
    addScaled(keyAdjoint(&b), walk.key.reader(&b), by: x, &b)
  }

  /// Adjoints of what one query head's maps read: of query inputs they are whole and stored.
  func addHead(_ b: inout ProgramBuilder) {
    let terms = headTerms(&b)
    for input in inputs {
      if input.role == .query {
        write(terms, of: input, accumulates: false, &b)
        storeRows(of: input, &b)
      } else if isReadByHeads(input) {
        write(terms, of: input, accumulates: true, &b)
      }
    }
  }

  /// Adjoints of all other inputs.
  func store(_ b: inout ProgramBuilder) {
    b.note("adjoints of the inputs")
    let terms = sharedTerms(&b)
    for input in inputs where input.role != .query {
      write(terms, of: input, accumulates: isReadByHeads(input), &b)
      guard input.role == .parameter else {
        storeRows(of: input, &b)
        continue
      }
      let (own, total) = (adjoint(of: input, &b), total(of: input, &b))
      let added = b.tile(
        "added_\(input.name)", 1, own.columns, layout: own.columns == 1 ? .column : .rows,
        "the same over the chunk")
      b.add(.reduce(Reduce(sumOf: own.all, to: added.all)))
      walk.walk.add(total.all, total.all, added.all, &b)
    }
  }

  func end(_ b: inout ProgramBuilder) {
    for input in parameters {
      let total = total(of: input, &b)
      b.add(
        .storeState(
          StoreState(
            StateSlice(TensorName.partial(of: input.name), columns: total.columns), total.all)))
    }
  }

  private func storeRows(of input: Recurrence.Input, _ b: inout ProgramBuilder) {
    let own = adjoint(of: input, &b)
    b.add(
      .storeTokens(
        StoreTokens(
          TokenSlice(
            TensorName.adjoint(of: input.name), start: start, rows: chunk, columns: own.columns),
          own.all, streams: false)))
  }

  // MARK: The chain rule

  private func headTerms(_ b: inout ProgramBuilder) -> [Term] {
    var terms = [Term(adjoint: queryAdjoint(&b), map: form.query, axes: .key)]
    if let present = form.present {
      terms.append(Term(adjoint: presentAdjoint(&b), map: present, axes: .key))
    }
    if let skip = form.skip {
      terms.append(Term(adjoint: walk.given(&b), map: skip, axes: .value))
    }
    return expanded(terms, "h", &b)
  }

  private func sharedTerms(_ b: inout ProgramBuilder) -> [Term] {
    var terms = [
      Term(adjoint: keyAdjoint(&b), map: form.key, axes: .key),
      Term(adjoint: valueAdjoint(&b), map: form.value, axes: .value),
    ]
    for (side, gate) in [(walk.key, form.keyGate), (walk.value, form.valueGate)] {
      guard let gate else { continue }
      let (past, axes) = (side.passing(&b), gate.axes)
      guard let log = gate.logDecay else {
        terms.append(Term(adjoint: past, map: gate.decay, axes: axes))
        continue
      }
      let adjoint = rows(side.isKey ? "da" : "dc", axes, "adjoint of the log decay", &b)
      walk.walk.scale(adjoint.all, past.all, by: side.decay(&b).all, &b)
      terms.append(Term(adjoint: adjoint, map: log, axes: axes, isLogDecay: true))
    }
    return expanded(terms, "s", &b)
  }

  /// The terms with no sum left in a map. What a sum adds up gets the sum's adjoint everywhere:
  /// with s = sum_k h(x_k) in f(x, s) the adjoint of s is sum_k df_k (d f / d s)_k, a term of its own.
  private func expanded(_ terms: [Term], _ mark: String, _ b: inout ProgramBuilder) -> [Term] {
    var (open, done, count) = (terms, [Term](), 0)
    while !open.isEmpty {
      var term = open.removeFirst()
      var sums: [(name: String, axis: Axes, inner: Expression)] = []
      func hold(_ node: Expression) -> Expression {
        guard case .sum(let axis, let inner) = node else { return node.mapChildren(hold) }
        let name = "sum_\(mark)\(count)"
        count += 1
        sums.append((name, axis, inner))
        return .input(name, .scalar)
      }
      term.map = hold(term.map)
      for (name, axis, inner) in sums {
        let sum = rows(name, .scalar, "\(inner), summed", &b)
        b.map(sum.all, .sum(axis, inner), tokens: start, fill: 0)
        term.sums.append(sum)
      }
      for (name, axis, inner) in sums {
        guard let (share, operands) = derivative(term, of: name) else { continue }
        let adjoint = rows("d\(name)", .scalar, "adjoint of \(name)", &b)
        summed(adjoint, share, operands, over: term.axes, &b)
        open.append(Term(adjoint: adjoint, map: inner, axes: axis))
      }
      done.append(term)
    }
    return done
  }

  /// Whether one query head's maps read an input.
  private func isReadByHeads(_ input: Recurrence.Input) -> Bool {
    [form.query, form.present, form.skip].compactMap { $0 }.contains {
      $0.inputNames.contains(input.name)
    }
  }

  /// Sums the terms of an input, those with more axes than it over the rest.
  private func write(
    _ terms: [Term], of input: Recurrence.Input, accumulates: Bool, _ b: inout ProgramBuilder
  ) {
    let target = adjoint(of: input, &b)
    var isFirst = !accumulates
    for term in terms where term.map.inputNames.contains(input.name) {
      guard let (expression, operands) = derivative(term, of: input.name) else { continue }
      var (result, tiles) = (expression, operands)
      var summed = target
      if term.axes != input.axes {
        summed = rows("summed", .scalar, "one sum a row", &b)
        self.summed(summed, expression, operands, over: term.axes, &b)
        (result, tiles) = (.input(summed.name, .scalar), [summed.name: .tile(summed.all, .none)])
        if isFirst {
          map(target, result, tiles, &b)
          isFirst = false
          continue
        }
      }
      if !isFirst {
        result = .input(target.name, .scalar) + result
        tiles[target.name] = .tile(target.all, .none)
      }
      map(target, result, tiles, &b)
      isFirst = false
    }
    if isFirst { walk.walk.fill(target.all, 0, &b) }
  }

  /// The sum of an expression over an axis, one number a row.
  private func summed(
    _ target: Tile, _ expression: Expression, _ operands: [String: Map.Operand],
    over axis: Axes, _ b: inout ProgramBuilder
  ) {
    guard axis != .scalar else { return map(target, expression, operands, &b) }
    let wide = rows(
      axis == .key ? "key_terms" : "value_terms", axis, "terms of a sum over the axis", &b)
    map(wide, expression, operands, &b)
    b.add(.reduce(Reduce(sumOf: wide.all, to: target.all)))
  }

  /// A term's share of the adjoint of an input or a sum; nil where it has none.
  private func derivative(
    _ term: Term, of input: String
  ) -> (Expression, [String: Map.Operand])? {
    var factor = term.map.derivative(of: input)
    if factor == .constant(0) { return nil }
    if term.isLogDecay, !factor.inputNames.isEmpty {
      let bound = 0x1p126
      factor = .binary(
        .maximum, .binary(.minimum, factor, .constant(bound)), .constant(-bound))
    }
    var operands: [String: Map.Operand] = [:]
    for tile in [term.adjoint] + term.sums {
      let repeats = tile.columns == 1 && term.axes != .scalar
      operands[tile.name] = .tile(tile.all, repeats ? .overColumns : .none)
    }
    let adjoint = Expression.input(term.adjoint.name, .scalar)
    return (factor == .constant(1) ? adjoint : adjoint * factor, operands)
  }

  private func map(
    _ target: Tile, _ expression: Expression, _ tiles: [String: Map.Operand],
    _ b: inout ProgramBuilder
  ) {
    var operands = tiles
    for name in expression.inputNames where operands[name] == nil {
      operands[name] = b.operand(name, tokens: start, rows: target.rows)
    }
    b.add(
      .map(Map(target.all, expression, operands, tail: Map.Tail(start: start, fill: 0))))
  }

  // MARK: Elementwise helpers

  /// `target += rows * column`.
  private func addScaled(
    _ target: Tile, _ rows: Tile, by column: Tile, _ b: inout ProgramBuilder
  ) {
    b.add(
      .map(
        Map(
          target.all,
          .input(target.name, .scalar) + .input(rows.name, .scalar) * .input(column.name, .scalar),
          [
            target.name: .tile(target.all, .none), rows.name: .tile(rows.all, .none),
            column.name: .tile(column.all, .overColumns),
          ])))
  }
}
