import Recurrences
import TileIR

extension GradientTerms {
  /// A summand of an input's adjoint: the adjoint of a map, at a tile, times the map's derivative.
  struct Term {
    var adjoint: Tile
    var map: Expression
    var axes: Axes
    /// What the map's sums and monomials are, under the names that stand for them.
    var sums: [Tile] = []
    /// Inputs of the map that are tiles, by name.
    var tiles: [String: Tile] = [:]
    /// The derivative of a logarithm may overflow where the decay, and with it the adjoint, is 0.
    var isLogDecay = false
  }

  func headTerms(_ b: inout ProgramBuilder) -> [Term] {
    var terms = [Term(adjoint: queryAdjoint(&b), map: form.query, axes: .key)]
    if let present = form.present {
      terms.append(Term(adjoint: presentAdjoint(&b), map: present, axes: .key))
    }
    if let skip = form.skip {
      terms.append(Term(adjoint: walk.skipAdjoint(&b), map: skip, axes: .value))
    }
    return expanded(terms, "h", &b)
  }

  func sharedTerms(_ b: inout ProgramBuilder) -> [Term] {
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

  /// The adjoint of the output before the epilogue, to `target`; and the terms of what else it reads.
  ///
  /// - Parameters:
  ///   - given: the output's adjoint.
  ///   - output: the output before the epilogue.
  func epilogue(
    _ given: Tile, _ output: Tile, to target: Tile, _ b: inout ProgramBuilder
  ) -> [Term] {
    guard let epilogue = form.epilogue else { return [] }
    b.note("adjoint of the output before \(epilogue)")
    let term = Term(
      adjoint: given, map: epilogue, axes: .value, tiles: [Symbol.output: output])
    let terms = expanded([term], "e", &b)
    write(terms, of: Symbol.output, .value, to: target, accumulates: false, &b)
    return terms
  }

  /// The terms with no sum left in a map. What a sum adds up gets the sum's adjoint everywhere:
  /// with s = sum_k h(x_k) in f(x, s) the adjoint of s is sum_k df_k (d f / d s)_k, a term of its own.
  /// With monomials m = phi(h(x)) in f(x, m) that of m is df (d f / d m), entry by entry, and that of
  /// h(x), along the features, a term of its own.
  private func expanded(_ terms: [Term], _ mark: String, _ b: inout ProgramBuilder) -> [Term] {
    var (open, done, count) = (terms, [Term](), 0)
    while !open.isEmpty {
      var term = open.removeFirst()
      var sums: [(name: String, axis: Axes, inner: Expression)] = []
      var monomials: [(name: String, inner: Expression)] = []
      func hold(_ node: Expression) -> Expression {
        if case .monomials(let inner) = node {
          let name = "monomials_\(mark)\(count)"
          count += 1
          monomials.append((name, inner))
          return .input(name, .key)
        }
        guard case .sum(let axis, let inner) = node else { return node.mapChildren(hold) }
        let name = "sum_\(mark)\(count)"
        count += 1
        sums.append((name, axis, inner))
        return .input(name, .scalar)
      }
      term.map = hold(
        term.map.sized(key: specification.key, value: specification.value))
      for (name, axis, inner) in sums {
        let sum = rows(name, .scalar, "\(inner), summed", &b)
        b.map(
          sum.all, .sum(axis, inner), tokens: start, fill: 0, tiles: term.tiles.mapValues(\.all))
        term.sums.append(sum)
      }
      for (name, inner) in monomials where isRead(name, by: term) {
        let keys = rows(name, .key, "monomials of features", &b)
        b.map(
          keys.all, .monomials(inner), tokens: start, fill: 0, tiles: term.tiles.mapValues(\.all))
        term.sums.append(keys)
      }
      for (name, inner) in monomials {
        guard let (share, operands) = derivative(term, of: name) else { continue }
        open.append(features(of: name, inner, share, operands, term, &b))
      }
      for (name, axis, inner) in sums {
        guard let (share, operands) = derivative(term, of: name) else { continue }
        let adjoint = rows("d\(name)", .scalar, "adjoint of \(name)", &b)
        summed(adjoint, share, operands, over: term.axes, &b)
        open.append(Term(adjoint: adjoint, map: inner, axes: axis, tiles: term.tiles))
      }
      done.append(term)
    }
    return done
  }

  /// Whether a held part of a term's map stands in one of the derivatives that are asked for.
  private func isRead(_ name: String, by term: Term) -> Bool {
    term.map.inputNames.contains {
      $0 != Symbol.scale && term.map.derivative(of: $0).inputNames.contains(name)
    }
  }

  /// The term of the features whose monomials are called `name`, from what reaches these.
  private func features(
    of name: String, _ inner: Expression, _ share: Expression,
    _ operands: [String: Map.Operand], _ term: Term, _ b: inout ProgramBuilder
  ) -> Term {
    let given = rows("d\(name)", .key, "adjoint of the monomials", &b)
    let source = rows("features_of_\(name)", .feature, "features of the tokens", &b)
    let adjoint = rows("dfeatures_of_\(name)", .feature, "adjoint of the features", &b)
    map(given, share, operands, &b)
    b.map(source.all, inner, tokens: start, fill: 0, tiles: term.tiles.mapValues(\.all))
    b.add(.monomialAdjoint(MonomialAdjoint(adjoint.all, given: given.all, at: source.all)))
    return Term(adjoint: adjoint, map: inner, axes: .feature, tiles: term.tiles)
  }

  /// Whether one query head's maps read an input.
  func isReadByHeads(_ input: Recurrence.Input) -> Bool {
    [form.query, form.present, form.skip, form.epilogue].compactMap { $0 }.contains {
      $0.inputNames.contains(input.name)
    }
  }

  /// The tile that is an input's adjoint as it stands, where one map is that input and no other
  /// reads it.
  func alone(_ terms: [Term], _ input: Recurrence.Input) -> Tile? {
    let own = terms.filter { $0.map.inputNames.contains(input.name) }
    guard own.count == 1, own[0].map == .input(input.name, input.axes),
      own[0].axes == input.axes, input.role != .parameter, !isReadByHeads(input)
    else { return nil }
    return own[0].adjoint
  }

  /// Sums the terms of an input, those with more axes than it over the rest.
  func write(
    _ terms: [Term], of input: String, _ axes: Axes, to target: Tile, accumulates: Bool,
    _ b: inout ProgramBuilder
  ) {
    var isFirst = !accumulates
    for term in terms where term.map.inputNames.contains(input) {
      guard let (expression, operands) = derivative(term, of: input) else { continue }
      var (result, tiles) = (expression, operands)
      var summed = target
      if term.axes != axes {
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
    let wide = rows("\(axis)_terms", axis, "terms of a sum over the axis", &b)
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
    for (name, tile) in term.tiles { operands[name] = .tile(tile.all, .none) }
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
}
