import Recurrences
import TileIR

/// One block of tokens of the register recurrence.
struct BlockRecurrence {
  let walk: ChunkWalk
  let state: TileView

  private var form: DiagonalForm { walk.form }
  private var block: Int { walk.chunk }
  private var specification: KernelSpecification { walk.specification }

  static func pseudoCode(_ walk: ChunkWalk) -> [String] {
    var lines = ["S = the state before the sequence", "for each block of \(walk.chunk) tokens:"]
    if walk.form.keyGate != nil {
      let (since, end, first) =
        walk.carries
        ? ("S was last scaled", " once it is small", "otherwise, S scaled first:")
        : ("the block's start", "", "otherwise:                ")
      lines += [
        "  E_t = the product of the decays since \(since); then, for each key,",
        "  if E stays far from zero:   Q = q E,  K = k / E, and S is scaled by E at the end\(end)",
        "  \(first)  Q = q,    K = k, and S is scaled by d_t at every token",
      ]
    }
    lines += [
      "  for each token t:  S = S\(walk.hasValueGate ? " diag(dv_t)" : "") + K_t v_t^T;  "
        + "o_t = S^T Q_t\(walk.form.readsPrevious ? ", read before the write" : "")"
    ]
    return lines + (walk.carries ? ["S is scaled by what E is then"] : [])
  }

  /// Before the first block: the state is as it should be.
  func begin(_ b: inout ProgramBuilder) {
    guard let carried = carried(&b) else { return }
    walk.fill(carried.past.slope, 0, &b)
    walk.fill(carried.past.base!, 1, &b)
  }

  /// After the last block: the state becomes the true one.
  func end(_ b: inout ProgramBuilder) {
    guard let carried = carried(&b) else { return }
    let (slope, base) = (carried.past.slope, carried.past.base!)
    let own = Expression.input(state.tile, .scalar)
    b.add(
      .map(
        Map(
          state, .input(slope.tile, .scalar) * own + .input(base.tile, .scalar) * own,
          [
            state.tile: .tile(state, .none), slope.tile: .tile(slope, .overColumns),
            base.tile: .tile(base, .overColumns),
          ])))
  }

  /// What decays are carried in from block to block, of the present head.
  private func carried(_ b: inout ProgramBuilder) -> Fold.Carried? {
    guard walk.carries else { return nil }
    let heads = walk.plan.headTile
    let own: Index = heads == 1 ? 0 : Index(ChunkWalk.ownHead, times: specification.key)
    func column(_ name: String, _ meaning: String) -> TileView {
      b.tile(name, specification.key * heads, 1, layout: .column, meaning).rows(
        own, specification.key)
    }
    func row(_ name: String, _ meaning: String) -> TileView {
      b.tile(name, 1, specification.key, meaning).all
    }
    return Fold.Carried(
      past: Factor(
        column(
          "past_slope", "E before the block, or E - 1 where base is 1: S is the state over it"),
        base: column("past_base", "1 where that E is 1/2 or more, else 0")),
      begin: Factor(
        row("S_slope", "what S is scaled by before the block, mostly one; less 1 where base is 1"),
        base: row("S_base", "1 where that is 1/2 or more, else 0")))
  }

  func write(_ b: inout ProgramBuilder) {
    let key = b.tile("k", block, specification.key, "keys of the block")
    let value = b.tile("v", block, walk.plan.valueTile, "values of the block")
    b.note("the block's keys and values; past the sequence's end k = v = 0 and nothing decays")
    b.map(value.all, form.value, tokens: walk.start, fill: 0)
    var valueDecay: Factor?
    if let gate = form.valueGate {
      let decay = b.tile("dv", block, walk.plan.valueTile, "decays of the values")
      let taken = b.tile("mv", block, walk.plan.valueTile, "what they take away, 1 - dv")
      let slope = b.tile("dv_slope", block, walk.plan.valueTile, "dv, or dv - 1 where base is 1")
      let base = b.tile("dv_base", block, walk.plan.valueTile, "1 where dv is 1/2 or more, else 0")
      b.map(decay.all, gate.decay, complement: taken.all, tokens: walk.start, fill: 1)
      let factor = Factor(slope.all, base: base.all)
      b.add(.decayFactor(DecayFactor(factor, decay: decay.all, taken: taken.all)))
      valueDecay = factor
    }
    // Keys, decays and their fold follow each other: emitters may do them in one pass.
    b.map(key.all, form.key, tokens: walk.start, fill: 0)
    let fold = form.keyGate.map { gateFold($0.decay, $0.axes, key, &b) }
    b.loop(.queryHeads("g")) { b in head(key, value, valueDecay, fold, &b) }
  }

  /// Decays of the block, folded into its keys wherever that is safe.
  private func gateFold(
    _ gate: Expression, _ axes: Axes, _ key: Tile, _ b: inout ProgramBuilder
  ) -> Fold {
    let isColumn = axes == .scalar
    func tile(_ name: String, _ rows: Int, _ meaning: String) -> TileView {
      b.tile(
        name, rows, isColumn ? 1 : specification.key, layout: isColumn ? .column : .rows, meaning
      ).all
    }
    let fold = Fold(
      key: key.all,
      decay: tile("d", block, "decays of the block"),
      taken: tile("m", block, "what they take away, 1 - d"),
      folded: b.tile("kE", block, specification.key, "k / E, or k where decays are not folded").all,
      reading: tile("E", block, "running products of the decays, or one where not folded"),
      step: tile("d_step", block, "one, or the decays where they are not folded"),
      total: Factor(
        tile("T_slope", 1, "T, the product of the block's decays, or T - 1 where base is 1"),
        base: tile("T_base", 1, "1 where T is 1/2 or more or not folded, else 0")),
      exact: tile("exact", 1, "one where decays are not folded"),
      carried: carried(&b),
      readsPrevious: form.readsPrevious)
    b.note("decays as factors in [0, 1], folded where their product stays far from zero")
    b.map(fold.decay, gate, complement: fold.taken, tokens: walk.start, fill: 1)
    b.add(.fold(fold))
    return fold
  }

  /// The outputs of one query head of the group.
  private func head(
    _ key: Tile, _ value: Tile, _ valueDecay: Factor?, _ fold: Fold?, _ b: inout ProgramBuilder
  ) {
    let query = b.tile("q", block, specification.key, "queries of the block, scaled")
    let output = b.tile("O", block, walk.plan.valueTile, "outputs of the block")
    b.map(
      query.all, form.query, times: fold.map { ($0.reading, form.keyGate?.axes == .scalar) },
      tokens: walk.start, fill: 0)
    let rows = TokenSlice(
      TensorName.output, start: walk.start, rows: block,
      column: .valueTile(times: walk.plan.valueTile), columns: walk.plan.valueTile)
    b.add(
      .recur(
        Recur(
          output: output.all, state: state, query: query.all, key: fold?.folded ?? key.all,
          value: value.all, decay: fold?.step, decays: fold?.exact, valueDecay: valueDecay,
          endScale: fold?.total, beginScale: fold?.carried?.begin,
          readsPrevious: form.readsPrevious, ahead: ahead(output: rows))))
    if let present = form.present { addPresent(present, output, value, &b) }
    walk.writeOut(output, from: walk.start, streams: false, &b)
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

  /// What is asked for while a block's tokens are worked on: the rows of a block to come of every
  /// token tensor that the maps read, and the outputs' own, which are written next, unless they go
  /// past the caches.
  private func ahead(output: TokenSlice) -> [TokenSlice] {
    let inner = walk.plan.inner
    let distance = inner.ahead ?? 1
    if distance == 0 { return [] }
    var slices: [TokenSlice] = []
    for input in specification.recurrence.inputs where input.role != .parameter {
      let isValue = input.axes.contains(.value)
      slices.append(
        TokenSlice(
          input.name, start: walk.start + distance * block, rows: block,
          column: isValue ? .valueTile(times: walk.plan.valueTile) : 0,
          columns: isValue ? walk.plan.valueTile : specification.size(input.axes)))
    }
    return slices + (inner.stores == .streaming ? [] : [output])
  }
}
