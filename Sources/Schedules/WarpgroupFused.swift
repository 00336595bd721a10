import Recurrences
import Targets
import TileIR

/// A whole head walked by one block of a card that has products of warpgroups: the state stays in
/// registers, and a chunk of 64 tokens goes through the tensor cores at once.
///
/// The tile program says what is computed: maps to q, k and the decay, and the recurrence over 64
/// tokens. How a block does that (copies that run ahead, operands scaled about an anchor, four
/// products, and what is done where the anchor's range is not enough) is the word
/// `templates/cuda/anchored.cuh`.
public struct WarpgroupFused: Schedule {
  public let name = "warpgroup-fused"
  public let summary = "state in registers, chunks of 64 by products of warpgroups (H100, H200)"
  static let chunk = 64
  static let key = 128
  /// Values of a walk: a block has all of a head's, or two share its q, k and gates.
  static let valueTiles = [128, 64]

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    obstacle(to: specification) {
      $0.key == Self.key && $0.value % 64 == 0
        ? nil
        : "It takes K = 128 and V a multiple of 64, not K = \($0.key) and V = \($0.value)."
    }
  }

  /// Why no schedule could go by products of warpgroups.
  static func obstacleToProducts(of specification: KernelSpecification) -> String? {
    if let obstacle = ChunkWalk.obstacle(to: specification) { return obstacle }
    guard specification.target.device?.hasWarpgroups == true else {
      return "The target \(specification.target.name) has no products of warpgroups."
    }
    return specification.type == .bf16
      ? nil : "Its products are of bf16, and the tensors are \(specification.type.rawValue)."
  }

  /// Why no walk could be brought rows of these sizes by copies.
  static func obstacleToRows(of specification: KernelSpecification) -> String? {
    let (key, value) = (specification.key, specification.value)
    return key <= 256 && key % 8 == 0 && value % 8 == 0
      ? nil : "It takes K up to 256 and V, both multiples of 8, not K = \(key) and V = \(value)."
  }

  /// Why what is read out is not the state after the write alone.
  static func obstacleToReadOut(of form: DiagonalForm) -> String? {
    if form.readsPrevious { return "It reads out after the write." }
    return form.normalizer == nil && form.skip == nil && form.epilogue == nil
      ? nil : "It takes no normalizer and nothing beside the state's read-out."
  }

  /// The same with the sizes of another schedule.
  func obstacle(
    to specification: KernelSpecification, sizes: (KernelSpecification) -> String?
  ) -> String? {
    if let obstacle = Self.obstacleToProducts(of: specification) { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    if let obstacle = sizes(specification) { return obstacle }
    if form.valueGate != nil { return "It takes no gate along the value axis." }
    return Self.obstacleToReadOut(of: form) ?? mapObstacle(form, specification)
  }

  /// Operands are copied as they are, and mapped one number at a time.
  private func mapObstacle(_ form: DiagonalForm, _ specification: KernelSpecification) -> String? {
    func tensors(_ expression: Expression) -> [Recurrence.Input] {
      expression.inputNames.compactMap { specification.recurrence.input($0) }
    }
    func isElementwise(_ expression: Expression, along axis: Axes) -> Bool {
      let inputs = tensors(expression)
      return expression.isElementwise && inputs.filter { $0.role != .parameter }.count == 1
        && inputs.allSatisfy {
          $0.role == .parameter ? $0.axes == .scalar : $0.axes == axis
        }
    }
    guard isElementwise(form.query, along: .key), isElementwise(form.key, along: .key),
      tensors(form.query).contains(where: { $0.role == .query }),
      tensors(form.key).contains(where: { $0.role == .operand })
    else { return "q and k must each be a map of one tensor along the key, of their own." }
    guard case .input = form.value else { return "v must be a tensor as it is." }
    guard let gate = form.keyGate else { return nil }
    if gate.axes == .key {
      return isElementwise(gate.decay, along: .key) && specification.gateType == .f32
        ? nil : "A gate along the key must be a map of one f32 tensor."
    }
    return gate.decay.isElementwise && tensors(gate.decay).allSatisfy { $0.axes == .scalar }
      ? nil : "A scalar gate must be a map of scalars."
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    let ways: [Materialization] = [.none, .segments(2), .segments(4), .segments(8), .segments(16)]
    return Self.valueTiles.filter { specification.value % $0 == 0 }.flatMap { valueTile in
      ways.map { segments in
        Plan(
          schedule: name, chunk: Self.chunk, subBlock: 16, keyTile: Self.key, valueTile: valueTile,
          materialization: segments, products: .bf16)
      }
    }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found: [String] = []
    if plan.chunk != Self.chunk || plan.subBlock != 16 {
      found.append(
        "\(name) has chunks of 64 in sub-blocks of 16, not \(plan.chunk) and \(plan.subBlock).")
    }
    if plan.keyTile != Self.key { found.append("\(name) has key-tile 128.") }
    if !Self.valueTiles.contains(plan.valueTile) || specification.value % plan.valueTile != 0 {
      found.append("\(name) has value-tile 128 or 64, which divides V.")
    }
    if plan.headTile != 1 { found.append("a card's block walks one head; head-tile must be 1.") }
    switch plan.materialization {
    case .none: break
    case .segments(2...32): break
    default: found.append("\(name) has from 2 to 32 segments, or none.")
    }
    if plan.products != .bf16 { found.append("\(name) multiplies in bf16.") }
    if plan.threads < 1 { found.append("threads must be at least 1, not \(plan.threads).") }
    return found + plan.innerObjections([], specification)
  }

  /// For each chunk: k, v and d of its 64 tokens; for each query head q, and then
  /// `S_t = diag(d_t) S_{t-1} + k_t v_t^T; o_t = S_t^T q_t` over the tokens in turn.
  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    let walk = ChunkWalk(specification, plan)
    let (K, V) = (specification.key, plan.valueTile)
    var b = ProgramBuilder(specification, valueTile: V)
    let state = b.tile("S", K, V, place: .registers, "state of one head")
    let isSegmented = plan.materialization != .none
    walk.load(
      ChunkWalk.State(matrix: state.all),
      from: isSegmented ? TensorName.segmentState : TensorName.initialState,
      segment: isSegmented ? Index(GridAxis.segment.variable) : nil, &b)
    b.loop(.chunks("c")) { b in
      let key = b.tile("k", plan.chunk, K, "keys of the chunk")
      let value = b.tile("v", plan.chunk, V, "values of the chunk")
      b.map(key.all, walk.form.key, tokens: walk.start, fill: 0)
      b.map(value.all, walk.form.value, tokens: walk.start, fill: 0)
      var decay: Tile?
      if let gate = walk.form.keyGate {
        let columns = gate.axes == .key ? K : 1
        let tile = b.tile(
          "d", plan.chunk, columns, layout: columns == 1 ? .column : .rows, "decays of the chunk")
        b.map(tile.all, gate.decay, tokens: walk.start, fill: 1)
        decay = tile
      }
      b.loop(.queryHeads("g")) { b in
        let query = b.tile("q", plan.chunk, K, "queries of the chunk, scaled")
        let output = b.tile("O", plan.chunk, V, place: .registers, "outputs of the chunk")
        b.map(query.all, walk.form.query, tokens: walk.start, fill: 0)
        b.add(
          .recur(
            Recur(
              output: output.all, state: state.all, query: query.all, key: key.all,
              value: value.all, decay: decay?.all, decays: nil, valueDecay: nil, endScale: nil,
              readsPrevious: false, ahead: [])))
        b.add(
          .storeTokens(
            StoreTokens(
              TokenSlice(
                TensorName.output, start: walk.start, rows: plan.chunk,
                column: .valueTile(times: V), columns: V), output.all)))
      }
    }
    if !isSegmented {
      walk.store(ChunkWalk.State(matrix: state.all), to: TensorName.finalState, &b)
    }
    let phase = TileProgram.Phase(
      name: "walk",
      pseudoCode: [
        "for each chunk of 64 tokens, about its middle, with a_i the log decay from there to i:",
        "  q~_i = q_i 2^{a_i};  k~_i = k_i 2^{-a_i};  U = the state as it is at the middle",
        "  o = q~ U + tril(q~ k~^T) v;  U += k~^T v",
        "by factors in [0, 1] alone where a half decays by more than 2^-62",
      ],
      grid: [.sequence, .head, .valueTile] + (isSegmented ? [.segment] : []), tiles: b.tiles,
      body: b.body)
    guard case .segments(let count) = plan.materialization else {
      return walk.program(segmentation: .none, extraTensors: [], phases: [phase])
    }
    let segmented = Segmented()
    return walk.program(
      segmentation: .fixed(count), extraTensors: Segmented.tensors(walk),
      phases: [
        segmented.summarize(walk, specification, plan, statePlace: .registers),
        segmented.combine(walk, specification, plan), phase,
      ])
  }
}
