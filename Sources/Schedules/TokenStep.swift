import Recurrences
import TileIR

/// One token of a diagonal recurrence: `S = diag(d) S diag(c) + k v^T;  o = S^T q`.
struct TokenStep {
  let walk: ChunkWalk
  let form: DiagonalForm

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
      b.map(key.all, form.key, tokens: walk.start, fill: 0)
      b.map(value.all, form.value, tokens: walk.start, fill: 0)
      if !form.readsPrevious { update(state, key, value, &b) }
      read(state, value, &b)
      if form.readsPrevious { update(state, key, value, &b) }
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
  private func factor(
    _ name: String, _ gate: Expression, _ columns: Int, _ axis: String, _ b: inout ProgramBuilder
  ) -> Factor {
    let decay = b.tile(name, 1, columns, "decay of every \(axis)")
    let taken = b.tile("\(name)_taken", 1, columns, "what it takes away, 1 - \(name)")
    let factor = Factor(
      b.tile("\(name)_slope", 1, columns, "\(name), or \(name) - 1 where base is 1").all,
      base: b.tile("\(name)_base", 1, columns, "1 where \(name) is 1/2 or more, else 0").all)
    b.map(decay.all, gate, complement: taken.all, tokens: walk.start, fill: 1)
    b.add(.decayFactor(DecayFactor(factor, decay: decay.all, taken: taken.all)))
    return factor
  }

  private func read(_ state: ChunkWalk.State, _ value: Tile, _ b: inout ProgramBuilder) {
    b.loop(.queryHeads("g")) { b in
      let query = b.tile("q", 1, walk.specification.key, "query of the token, scaled")
      let output = b.tile("O", 1, walk.plan.valueTile, "output of the token")
      b.note("o = S^T q")
      b.map(query.all, form.query, tokens: walk.start, fill: 0)
      b.add(.multiply(Multiply(output.all, query.all, state.matrix, accumulates: false)))
      var bonus: Tile?
      if let present = form.present {
        let terms = b.tile("bonus_terms", 1, walk.specification.key, "summands of the bonus")
        let weight = b.tile("bonus", 1, 1, layout: .column, "weight of the token's own value")
        b.map(terms.all, present, tokens: walk.start, fill: 0)
        b.add(.reduce(Reduce(sumOf: terms.all, to: weight.all)))
        b.add(.multiply(Multiply(output.all, weight.all, value.all, accumulates: true)))
        bonus = weight
      }
      if let normalizer = form.normalizer {
        divide(output, by: normalizer, query, state, bonus, &b)
      }
      if let skip = form.skip {
        let added = b.tile("skip", 1, walk.plan.valueTile, "what goes past the state")
        b.map(added.all, skip, tokens: walk.start, fill: 0)
        walk.add(output.all, output.all, added.all, &b)
      }
      walk.finish(output, from: walk.start, &b)
      b.add(
        .storeTokens(
          StoreTokens(
            TokenSlice(
              TensorName.output, start: walk.start, rows: 1,
              column: .valueTile(times: walk.plan.valueTile), columns: walk.plan.valueTile),
            output.all)))
    }
  }

  private func divide(
    _ output: Tile, by normalizer: Expression, _ query: Tile, _ state: ChunkWalk.State,
    _ bonus: Tile?, _ b: inout ProgramBuilder
  ) {
    let sum = b.tile("n", 1, 1, layout: .column, "sum of the scores")
    b.add(.multiply(Multiply(sum.all, query.all, state.normalizer!, accumulates: false)))
    if let bonus {
      walk.add(sum.all, sum.all, bonus.all, &b)
    }
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
