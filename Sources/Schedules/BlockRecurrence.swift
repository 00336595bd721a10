import Recurrences
import TileIR

/// One block of tokens of the register recurrence.
struct BlockRecurrence {
  let walk: ChunkWalk
  let state: Tile
  let next: Tile

  private var form: DiagonalForm { walk.form }
  private var block: Int { walk.chunk }
  private var specification: KernelSpecification { walk.specification }

  static func pseudoCode(_ walk: ChunkWalk) -> [String] {
    var lines = ["S = the state before the sequence", "for each block of \(walk.chunk) tokens:"]
    if walk.form.keyGate != nil {
      lines += [
        "  E_t = d_1 ... d_t, the decays since the block's start",
        "  if E stays far from zero:  Q = q E,  K = k / E, and S is scaled by E at the end",
        "  otherwise:                 Q = q,    K = k, and S is scaled by d_t at every token",
      ]
    }
    lines += [
      "  for each token t:  S = S\(walk.hasValueGate ? " diag(dv_t)" : "") + K_t v_t^T;  "
        + "o_t = S^T Q_t\(walk.form.readsPrevious ? ", read before the write" : "")"
    ]
    return lines
  }

  func write(_ b: inout ProgramBuilder) {
    let K = specification.key
    let key = b.tile("k", block, K, "keys of the block")
    let value = b.tile("v", block, walk.plan.valueTile, "values of the block")
    b.note("the block's keys and values; past the sequence's end k = v = 0 and nothing decays")
    b.map(key.all, form.key, tokens: walk.start, fill: 0)
    b.map(value.all, form.value, tokens: walk.start, fill: 0)
    var valueDecay: Tile?
    if let gate = form.valueGate {
      let decay = b.tile("dv", block, walk.plan.valueTile, "decays of the values")
      b.map(decay.all, gate.decay, tokens: walk.start, fill: 1)
      valueDecay = decay
    }
    guard let gate = form.keyGate else {
      heads(key, value, nil, valueDecay, fold: nil, &b)
      return exchange(&b)
    }
    let isColumn = gate.axes == .scalar
    func gateTile(_ name: String, _ meaning: String) -> Tile {
      isColumn
        ? b.tile(name, block, 1, layout: .column, meaning) : b.tile(name, block, K, meaning)
    }
    let decay = gateTile("d", "decays of the block")
    let running = gateTile("E", "running products of the decays since the block's start")
    let reading = form.readsPrevious ? gateTile("R", "the same, before each token's own") : running
    let total = b.tile(
      "T", 1, isColumn ? 1 : K, layout: isColumn ? .column : .rows, "product of the block's decays")
    let folded = b.tile("kE", block, K, "k / E")
    b.note("decays as factors in [0, 1]")
    b.map(decay.all, gate.decay, tokens: walk.start, fill: 1)
    b.add(.scan(Scan(running.all, decay.all, backward: false, exclusive: false)))
    if form.readsPrevious {
      b.add(.scan(Scan(reading.all, decay.all, backward: false, exclusive: true)))
    }
    b.add(.reduce(Reduce(total.all, decay.all, .product)))
    b.add(
      .map(
        Map(
          folded.all, .input(key.name, .scalar) / .input(running.name, .scalar),
          [
            key.name: .tile(key.all, .none),
            running.name: .tile(running.all, isColumn ? .overColumns : .none),
          ])))
    let outside = b.body
    b.body = []
    heads(folded, value, nil, valueDecay, fold: (reading, total, isColumn), &b)
    let fast = b.body
    b.body = []
    heads(key, value, decay, valueDecay, fold: nil, &b)
    let exact = b.body
    let condition = Condition(
      above: [Condition.Bound(total.all, RegisterRecurrent.smallestDecay)],
      magnitudeBelow: [Condition.Bound(folded.all, RegisterRecurrent.largestKey)])
    b.body = outside + [.when(condition, fast, otherwise: exact)]
    exchange(&b)
  }

  private func exchange(_ b: inout ProgramBuilder) {
    b.note("what was the next state is now the state")
    b.body.append(.exchange(state.name, next.name))
  }

  /// The outputs of each query head of the group, all from the same state.
  private func heads(
    _ key: Tile, _ value: Tile, _ decay: Tile?, _ valueDecay: Tile?,
    fold: (reading: Tile, total: Tile, isColumn: Bool)?, _ b: inout ProgramBuilder
  ) {
    b.loop(.queryHeads("g")) { b in
      let query = b.tile("q", block, specification.key, "queries of the block, scaled")
      let output = b.tile("O", block, walk.plan.valueTile, "outputs of the block")
      b.map(query.all, form.query, tokens: walk.start, fill: 0)
      if let fold {
        walk.scale(
          query.all, query.all, by: fold.reading.all, fold.isColumn ? .overColumns : .none, &b)
      }
      b.add(
        .recur(
          Recur(
            output: output.all, stateIn: state.all, stateOut: next.all, query: query.all,
            key: key.all, value: value.all, decay: decay?.all, valueDecay: valueDecay?.all,
            endScale: fold?.total.all, readsPrevious: form.readsPrevious, ahead: ahead)))
      if let present = form.present { addPresent(present, output, value, &b) }
      if let skip = form.skip {
        let added = b.tile("skip", block, walk.plan.valueTile, "what goes past the state")
        b.map(added.all, skip, tokens: walk.start, fill: 0)
        walk.add(output.all, output.all, added.all, &b)
      }
      b.add(
        .storeTokens(
          StoreTokens(
            TokenSlice(
              TensorName.output, start: walk.start, rows: block,
              column: .valueTile(times: walk.plan.valueTile), columns: walk.plan.valueTile),
            output.all)))
    }
  }

  private func addPresent(
    _ present: Expression, _ output: Tile, _ value: Tile, _ b: inout ProgramBuilder
  ) {
    let weights = walk.presentWeights(present, &b)
    b.add(
      .map(
        Map(
          output.all,
          .input(output.name, .scalar)
            + .input(weights.name, .scalar) * .input(value.name, .scalar),
          [
            output.name: .tile(output.all, .none), value.name: .tile(value.all, .none),
            weights.name: .tile(weights.all, .overColumns),
          ])))
  }

  /// The next block's rows of every token tensor that the maps read.
  private var ahead: [TokenSlice] {
    var slices: [TokenSlice] = []
    for input in specification.recurrence.inputs where input.role != .parameter {
      let isValue = input.axes.contains(.value)
      slices.append(
        TokenSlice(
          input.name, start: walk.start + block, rows: block,
          column: isValue ? .valueTile(times: walk.plan.valueTile) : 0,
          columns: isValue
            ? walk.plan.valueTile : input.axes == .key ? specification.key : 1))
    }
    return slices
  }
}
