import Recurrences
import TileIR

/// Segment states first, then all segments side by side: for few heads and long sequences.
///
/// 1. summarize: every segment is walked from a zero state, which leaves what it adds and by how
///    much it decays what came before;
/// 2. combine: one walk over the segments puts the state before each in place of its summary;
/// 3. walk: every segment is read out from the state before it.
public struct Segmented: Schedule {
  public let name = "segmented"
  public let summary = "states between segments first, then all segments in parallel"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    ChunkWalk.obstacle(to: specification)
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    ChunkWalk.candidates(
      for: specification, schedule: name,
      materializations: [.segments(2), .segments(4), .segments(8), .segments(16), .chunks])
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found = ChunkWalk.objections(to: plan, for: specification, choosing: [.stores])
    found += ChunkWalk.objectionToHeadTile(plan)
    if [.none, .saved].contains(plan.materialization) {
      found.append("\(name) writes states; give materialization segments:N or chunks.")
    }
    return found
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    let walk = ChunkWalk(specification, plan)
    let segmentation: TileProgram.Segmentation =
      if case .segments(let count) = plan.materialization { .fixed(count) } else { .perChunk }
    return walk.program(
      segmentation: segmentation, extraTensors: Segmented.tensors(walk),
      phases: [
        summarize(walk, specification, plan), combine(walk, specification, plan),
        read(walk, specification, plan),
      ])
  }

  /// What lies in the workspace between the phases.
  static func tensors(_ walk: ChunkWalk) -> [Tensor] {
    let specification = walk.specification
    var tensors = [
      Tensor(
        TensorName.segmentState, .segment, rows: specification.key,
        columns: specification.stateColumns)
    ]
    if walk.form.keyGate != nil {
      tensors.append(
        Tensor(TensorName.segmentDecay, .segment, rows: 1, columns: specification.key))
    }
    if walk.hasValueGate {
      tensors.append(
        Tensor(TensorName.segmentValueDecay, .segment, rows: 1, columns: specification.value))
    }
    return tensors
  }

  private var ownSegment: Index { Index(GridAxis.segment.variable) }

  private func totals(_ walk: ChunkWalk, _ b: inout ProgramBuilder) -> WalkTotals {
    var totals = WalkTotals()
    if walk.form.keyGate != nil {
      totals.keys = b.tile("A", 1, walk.specification.key, "decay of the segment, for every key")
    }
    if walk.hasValueGate {
      totals.values = b.tile("B", 1, walk.plan.valueTile, "decay of the segment, for every value")
    }
    return totals
  }

  func summarize(
    _ walk: ChunkWalk, _ specification: KernelSpecification, _ plan: Plan,
    statePlace: Tile.Place = .scratch
  ) -> TileProgram.Phase {
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    let state = walk.declareState(&b, place: statePlace)
    let totals = totals(walk, &b)
    walk.fill(state.matrix, 0, &b)
    if let z = state.normalizer { walk.fill(z, 0, &b) }
    if let ones = state.ones { walk.fill(ones.all, 1, &b) }
    for tile in [totals.keys, totals.values].compactMap({ $0 }) { walk.fill(tile.all, 1, &b) }
    b.loop(.chunks("c")) { b in
      let operands = walk.prepare(&b, forScores: false)
      walk.carry(state, operands, total: totals, &b)
    }
    walk.store(state, to: TensorName.segmentState, segment: ownSegment, &b)
    if let keys = totals.keys {
      b.onFirstValueTile { b in
        b.add(
          .storeState(
            StoreState(
              StateSlice(
                TensorName.segmentDecay, columns: specification.key, segment: ownSegment),
              keys.all)))
      }
    }
    if let values = totals.values {
      b.add(
        .storeState(
          StoreState(
            StateSlice(
              TensorName.segmentValueDecay, column: .valueTile(times: plan.valueTile),
              columns: plan.valueTile, segment: ownSegment), values.all)))
    }
    return TileProgram.Phase(
      name: "summarize",
      pseudoCode: [
        "every segment from a zero state: what it adds to the state, and how it decays it",
        "for each chunk: S = diag(decay) S + k^T v",
      ],
      grid: [.sequence, .head, .valueTile, .segment], tiles: b.tiles, body: b.body)
  }

  func combine(
    _ walk: ChunkWalk, _ specification: KernelSpecification, _ plan: Plan
  ) -> TileProgram.Phase {
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    let state = walk.declareState(&b)
    let sum = b.tile("U", specification.key, plan.valueTile, "what a segment adds")
    let totals = totals(walk, &b)
    walk.load(state, from: TensorName.initialState, &b)
    b.loop(.segments("j")) { b in
      let segment = Index("j")
      let slice = StateSlice(
        TensorName.segmentState, column: .valueTile(times: plan.valueTile),
        columns: plan.valueTile, segment: segment)
      b.add(.loadState(LoadState(sum.all, slice)))
      b.add(.storeState(StoreState(slice, state.matrix)))
      if let keys = totals.keys {
        b.add(
          .loadState(
            LoadState(
              keys.all,
              StateSlice(TensorName.segmentDecay, columns: specification.key, segment: segment))))
      }
      if let values = totals.values {
        b.add(
          .loadState(
            LoadState(
              values.all,
              StateSlice(
                TensorName.segmentValueDecay, column: .valueTile(times: plan.valueTile),
                columns: plan.valueTile, segment: segment))))
      }
      advance(state.matrix, by: sum, totals, &b)
      if let z = state.normalizer { combineNormalizer(z, segment, totals, walk, &b) }
    }
    walk.store(state, to: TensorName.finalState, &b)
    return TileProgram.Phase(
      name: "combine",
      pseudoCode: ["for each segment: U = its summary;  its place = S;  S = diag(A) S diag(B) + U"],
      grid: [.sequence, .head, .valueTile], tiles: b.tiles, body: b.body)
  }

  /// `S = diag(A) S diag(B) + U`.
  private func advance(
    _ state: TileView, by sum: Tile, _ totals: WalkTotals, _ b: inout ProgramBuilder
  ) {
    var next = Expression.input("s", .scalar)
    var operands: [String: Map.Operand] = [
      "s": .tile(state, .none), "u": .tile(sum.all, .none),
    ]
    if let keys = totals.keys {
      next = next * .input("a", .scalar)
      operands["a"] = .tile(keys.all, .rowAsColumn)
    }
    if let values = totals.values, state.columns == values.columns {
      next = next * .input("b", .scalar)
      operands["b"] = .tile(values.all, .overRows)
    }
    b.add(.map(Map(state, next + .input("u", .scalar), operands)))
  }

  /// The normalizer's column belongs to all value tiles, so the first one alone moves it.
  private func combineNormalizer(
    _ z: TileView, _ segment: Index, _ totals: WalkTotals, _ walk: ChunkWalk,
    _ b: inout ProgramBuilder
  ) {
    let added = b.tile("u", z.rows, 1, layout: .column, "what a segment adds to the normalizer")
    let slice = StateSlice(
      TensorName.segmentState, column: Index(walk.specification.value), columns: 1,
      segment: segment)
    b.onFirstValueTile { b in
      b.add(.loadState(LoadState(added.all, slice)))
      b.add(.storeState(StoreState(slice, z)))
      advance(z, by: added, WalkTotals(keys: totals.keys), &b)
    }
  }

  private func read(
    _ walk: ChunkWalk, _ specification: KernelSpecification, _ plan: Plan
  ) -> TileProgram.Phase {
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    let state = walk.declareState(&b)
    walk.load(state, from: TensorName.segmentState, segment: ownSegment, &b)
    if let ones = state.ones { walk.fill(ones.all, 1, &b) }
    b.loop(.chunks("c")) { b in
      let operands = walk.prepare(&b, forScores: true)
      walk.readOut(state, operands, &b)
      walk.carry(state, operands, total: nil, &b)
      walk.snapshot(state, &b)
    }
    return TileProgram.Phase(
      name: "walk", pseudoCode: walk.pseudoCode(of: "each segment"),
      grid: [.sequence, .head, .valueTile, .segment], tiles: b.tiles, body: b.body)
  }
}
