import Recurrences
import TileIR

/// From the adjoints of a normal form's maps to those of the recurrence's inputs, by the chain rule.
struct GradientTerms {
  let walk: GradientWalk

  /// A summand of an input's adjoint: the adjoint of a map, at a tile, times the map's derivative.
  private struct Term {
    var adjoint: [Tile]
    var map: Expression
    var axes: Axes
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
  /// Where goes what passes no decay, the present token's part: a gate's adjoint is formed without it.
  func presentKeyAdjoint(_ b: inout ProgramBuilder) -> Tile {
    walk.key.hasGate
      ? rows("dk_own", .key, "adjoint of the keys, of what the token itself read", &b)
      : keyAdjoint(&b)
  }
  func presentValueAdjoint(_ b: inout ProgramBuilder) -> Tile {
    walk.value.hasGate
      ? rows("dv_own", .value, "adjoint of the values, of what the token itself read", &b)
      : valueAdjoint(&b)
  }
  func logAdjoint(_ side: GradientSide, _ b: inout ProgramBuilder) -> Tile {
    let axes: Axes = side.hasScalarGate ? .scalar : side.isKey ? .key : .value
    return rows(side.isKey ? "da" : "dc", axes, "adjoint of the log decay", &b)
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
    for side in [walk.key, walk.value] where side.hasGate {
      walk.walk.fill(walk.read(side, &b).all, 0, &b)
    }
    if walk.key.hasGate {
      walk.walk.fill(presentKeyAdjoint(&b).all, 0, &b)
    }
    if walk.value.hasGate { walk.walk.fill(presentValueAdjoint(&b).all, 0, &b) }
    for input in inputs where input.role != .query && isReadByHeads(input) {
      walk.walk.fill(adjoint(of: input, &b).all, 0, &b)
    }
  }

  private var hasPresent: Bool { !form.readsPrevious || form.present != nil }

  /// The present token's own value: its weight w and the adjoint x = dO.v of that.
  func addPresent(_ b: inout ProgramBuilder) {
    guard hasPresent else { return }
    b.note("the present token's own part")
    let (q, k) = (walk.key.reader(&b), walk.key.writer(&b))
    let (dO, v) = (walk.value.reader(&b), walk.value.writer(&b))
    let x = presentAdjoint(&b)
    let w = rows("w_own", .scalar, "the token's weight on its own value", &b)
    let keys = rows("key_terms", .key, "terms of a sum over the keys", &b)
    let values = rows("value_terms", .value, "terms of a sum over the values", &b)
    walk.walk.scale(values.all, dO.all, by: v.all, &b)
    b.add(.reduce(Reduce(sumOf: values.all, to: x.all)))
    if let present = form.present {
      b.map(keys.all, present, tokens: start, fill: 0)
    } else {
      walk.walk.scale(keys.all, q.all, by: k.all, &b)
    }
    b.add(.reduce(Reduce(sumOf: keys.all, to: w.all)))
    addScaled(presentValueAdjoint(&b), dO, by: w, &b)
    guard !form.readsPrevious else { return }
    addScaled(queryAdjoint(&b), k, by: x, &b)
    addScaled(presentKeyAdjoint(&b), q, by: x, &b)
  }

  /// Adjoints of what one query head's maps read: of query inputs they are whole and stored.
  func addHead(_ b: inout ProgramBuilder) {
    for input in inputs {
      let terms = headTerms(&b)
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
    for input in inputs where input.role != .query {
      write(sharedTerms(&b), of: input, accumulates: isReadByHeads(input), &b)
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
    var terms = [Term(adjoint: [queryAdjoint(&b)], map: form.query, axes: .key)]
    if let present = form.present {
      terms.append(Term(adjoint: [presentAdjoint(&b)], map: present, axes: .key))
    }
    if let skip = form.skip {
      terms.append(Term(adjoint: [walk.value.reader(&b)], map: skip, axes: .value))
    }
    return terms
  }

  private func sharedTerms(_ b: inout ProgramBuilder) -> [Term] {
    var key = Term(adjoint: [keyAdjoint(&b)], map: form.key, axes: .key)
    var value = Term(adjoint: [valueAdjoint(&b)], map: form.value, axes: .value)
    if walk.key.hasGate { key.adjoint.append(presentKeyAdjoint(&b)) }
    if walk.value.hasGate { value.adjoint.append(presentValueAdjoint(&b)) }
    var terms = [key, value]
    for (side, gate) in [(walk.key, form.keyGate), (walk.value, form.valueGate)] {
      guard let log = gate?.logDecay else { continue }
      terms.append(
        Term(adjoint: [logAdjoint(side, &b)], map: log, axes: log.axes, isLogDecay: true))
    }
    return terms
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
      guard let (expression, operands) = derivative(term, of: input) else { continue }
      var (result, tiles) = (expression, operands)
      var summed = target
      if term.axes != input.axes {
        let wide = rows(
          term.axes == .key ? "key_terms" : "value_terms", term.axes, "terms of a sum", &b)
        summed = rows("summed", .scalar, "one sum a row", &b)
        map(wide, expression, operands, &b)
        b.add(.reduce(Reduce(sumOf: wide.all, to: summed.all)))
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

  /// A term's share of an input's adjoint; nil where it has none.
  private func derivative(
    _ term: Term, of input: Recurrence.Input
  ) -> (Expression, [String: Map.Operand])? {
    var factor = term.map.derivative(of: input.name)
    if factor == .constant(0) { return nil }
    if term.isLogDecay, !factor.inputNames.isEmpty {
      let bound = 0x1p126
      factor = .binary(
        .maximum, .binary(.minimum, factor, .constant(bound)), .constant(-bound))
    }
    var operands: [String: Map.Operand] = [:]
    for tile in term.adjoint {
      let repeats = tile.columns == 1 && term.axes != .scalar
      operands[tile.name] = .tile(tile.all, repeats ? .overColumns : .none)
    }
    let adjoint = Expression.total(term.adjoint.map { .input($0.name, .scalar) })
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

  /// `target += left * right`, entry by entry.
  func addProduct(to target: Tile, _ left: Tile, _ right: Tile, _ b: inout ProgramBuilder) {
    combine(target, left, right, .none, &b)
  }

  /// `target += rows * column`.
  private func addScaled(
    _ target: Tile, _ rows: Tile, by column: Tile, _ b: inout ProgramBuilder
  ) {
    combine(target, rows, column, .overColumns, &b)
  }

  private func combine(
    _ target: Tile, _ left: Tile, _ right: Tile, _ how: Map.Operand.Repeat,
    _ b: inout ProgramBuilder
  ) {
    b.add(
      .map(
        Map(
          target.all,
          .input(target.name, .scalar) + .input(left.name, .scalar) * .input(right.name, .scalar),
          [
            target.name: .tile(target.all, .none), left.name: .tile(left.all, .none),
            right.name: .tile(right.all, how),
          ])))
  }

  func subtract(_ target: Tile, _ left: Tile, _ right: Tile, _ b: inout ProgramBuilder) {
    b.add(
      .map(
        Map(
          target.all, .input(left.name, .scalar) - .input(right.name, .scalar),
          [left.name: .tile(left.all, .none), right.name: .tile(right.all, .none)])))
  }

  func negate(_ tile: Tile, _ b: inout ProgramBuilder) {
    b.add(.map(Map(tile.all, -.input(tile.name, .scalar), [tile.name: .tile(tile.all, .none)])))
  }

  /// Zero where the decay is zero: nothing passes a reset, and roundings must not either.
  func forget(_ log: Tile, where decay: Tile, _ b: inout ProgramBuilder) {
    let isLive = Expression.binary(
      .minimum,
      .binary(.maximum, .input(decay.name, .scalar) * .constant(0x1p126), .constant(0)),
      .constant(1))
    b.add(
      .map(
        Map(
          log.all, .input(log.name, .scalar) * isLive,
          [log.name: .tile(log.all, .none), decay.name: .tile(decay.all, .none)])))
  }
}
