import Recurrences
import TileIR

/// One token of a diagonal recurrence: `S = diag(d) S diag(c) + k v^T;  o = S^T q`.
struct TokenStep {
  let walk: ChunkWalk
  let form: DiagonalForm
  /// The token.
  let start: Index

  init(walk: ChunkWalk, form: DiagonalForm, start: Index = Index("c")) {
    self.walk = walk
    self.form = form
    self.start = start
  }

  var pseudoCode: [String] {
    let update = "S = diag(d) S\(walk.hasValueGate ? " diag(c)" : "") + k v^T"
    return form.readsPrevious
      ? ["for each token:", "  o = S^T q + bonus v", "  \(update)"]
      : ["for each token:", "  \(update)", "  o = S^T q"]
  }

  func write(_ b: inout ProgramBuilder) {
    let state = walk.declareState(&b)
    walk.load(state, from: TensorName.initialState, &b)
    if let ones = state.ones { walk.fill(ones.all, 1, &b) }
    b.loop(.chunks("c")) { b in
      let specification = walk.specification
      let key = b.tile("k", 1, specification.key, "key of the token")
      let value = b.tile("v", 1, walk.plan.valueTile, "value of the token")
      b.map(key.all, form.key, tokens: start, fill: 0)
      b.map(value.all, form.value, tokens: start, fill: 0)
      if !form.readsPrevious { update(state, key, value, &b) }
      read(state, value, &b)
      if form.readsPrevious { update(state, key, value, &b) }
      walk.snapshot(state, &b)
    }
    walk.store(state, to: TensorName.finalState, &b)
  }

  private func update(
    _ state: ChunkWalk.State, _ key: Tile, _ value: Tile, _ b: inout ProgramBuilder
  ) {
    b.note("S = diag(d) S + k v^T")
    let rowScale = form.keyGate.map { factor("d", $0.decay, walk.specification.key, "key", &b) }
    let columnScale = form.valueGate.map {
      factor("dv", $0.decay, walk.plan.valueTile, "value", &b)
    }
    b.add(
      .multiply(
        Multiply(
          state.matrix, key.all, value.all, leftIsTransposed: true, accumulates: true,
          rowScale: rowScale, columnScale: columnScale)))
    if let z = state.normalizer, let ones = state.ones {
      b.add(
        .multiply(
          Multiply(
            z, key.all, ones.all, leftIsTransposed: true, accumulates: true,
            rowScale: rowScale)))
    }
  }

  /// The token's decay of every key or value.
  func factor(
    _ name: String, _ gate: Expression, _ columns: Int, _ axis: String, _ b: inout ProgramBuilder
  ) -> Factor {
    let decay = b.tile(name, 1, columns, "decay of every \(axis)")
    let taken = b.tile("\(name)_taken", 1, columns, "what it takes away, 1 - \(name)")
    let factor = Factor(
      b.tile("\(name)_slope", 1, columns, "\(name), or \(name) - 1 where base is 1").all,
      base: b.tile("\(name)_base", 1, columns, "1 where \(name) is 1/2 or more, else 0").all)
    b.map(decay.all, gate, complement: taken.all, tokens: start, fill: 1)
    b.add(.decayFactor(DecayFactor(factor, decay: decay.all, taken: taken.all)))
    return factor
  }

  private func read(_ state: ChunkWalk.State, _ value: Tile, _ b: inout ProgramBuilder) {
    b.loop(.queryHeads("g")) { b in
      let query = self.query(&b)
      let output = b.tile("O", 1, walk.plan.valueTile, "output of the token")
      b.note("o = S^T q")
      b.add(.multiply(Multiply(output.all, query.all, state.matrix, accumulates: false)))
      var sum: Tile?
      if let z = state.normalizer {
        let scores = b.tile("n", 1, 1, layout: .column, "sum of the scores")
        b.add(.multiply(Multiply(scores.all, query.all, z, accumulates: false)))
        sum = scores
      }
      finish(output, value, sum: sum, &b)
    }
  }

  func query(_ b: inout ProgramBuilder) -> Tile {
    let query = b.tile("q", 1, walk.specification.key, "query of the token, scaled")
    b.map(query.all, form.query, tokens: start, fill: 0)
    return query
  }

  /// What follows `o = S^T q`: bonus, normalizer, what goes past the state, the epilogue, the store.
  ///
  /// - Parameter sum: `q z`, with a normalizer.
  func finish(
    _ output: Tile, _ value: Tile, sum: Tile?, streams: Bool = true, _ b: inout ProgramBuilder
  ) {
    if let present = form.present {
      let terms = b.tile("bonus_terms", 1, walk.specification.key, "summands of the bonus")
      let weight = b.tile("bonus", 1, 1, layout: .column, "weight of the token's own value")
      b.map(terms.all, present, tokens: start, fill: 0)
      b.add(.reduce(Reduce(sumOf: terms.all, to: weight.all)))
      b.add(.multiply(Multiply(output.all, weight.all, value.all, accumulates: true)))
      if let sum { walk.add(sum.all, sum.all, weight.all, &b) }
    }
    if let normalizer = form.normalizer, let sum { divide(output, by: normalizer, sum, &b) }
    walk.writeOut(output, from: start, streams: streams, &b)
  }

  private func divide(
    _ output: Tile, by normalizer: Expression, _ sum: Tile, _ b: inout ProgramBuilder
  ) {
    b.add(
      .map(
        Map(
          sum.all, normalizer,
          [Symbol.normalizer: .tile(sum.all, .none), Symbol.scale: .scale])))
    b.add(
      .map(
        Map(
          output.all, .input(output.name, .scalar) / .input(sum.name, .scalar),
          [
            output.name: .tile(output.all, .none), sum.name: .tile(sum.all, .overColumns),
          ])))
  }
}
