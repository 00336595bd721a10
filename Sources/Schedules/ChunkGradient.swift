import Recurrences
import TileIR

/// The gradient, chunk by chunk, from the states before chunks, with the adjoint of the state carried
/// along. The forward call wrote these states, or the gradient walks forward first and does.
public struct ChunkGradient: Schedule {
  public let name = "chunk-gradient"
  public let summary = "gradient by matrix products, states before chunks reloaded"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    guard let form = specification.normalForm.diagonal else {
      return ChunkWalk.obstacle(to: specification)
    }
    return form.normalizer.flatMap(GradientNormalizer.obstacle)
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    // Chunks of 16 tokens were a tenth slower, and take twice the workspace of 32.
    return [Materialization.saved, .chunks].flatMap { states in
      [32, 64].flatMap { chunk in
        [8, 16, 4].flatMap { subBlock in
          [1, 2, 4].map { headTile in
            Plan(
              schedule: name, chunk: chunk, subBlock: subBlock, keyTile: specification.key,
              valueTile: specification.value, headTile: headTile, materialization: states)
          }
        }
      }
    }.filter { objections(to: $0, for: specification).isEmpty }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found = ChunkWalk.objections(to: plan, for: specification)
    found += ChunkGradient.objections(toGradient: plan, name, for: specification)
    if specification.normalForm.diagonal?.normalizer != nil {
      // A row is turned as part of a whole block of them.
      found += ChunkWalk.objectionToHeadTile(plan)
    }
    return found
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    let walk = GradientWalk(specification, plan)
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    walk.write(&b)
    return ChunkGradient.program(specification, plan, b, walk.pseudoCode, isTransposed: true)
  }

  /// What plans of all gradients must be.
  static func objections(
    toGradient plan: Plan, _ name: String, for specification: KernelSpecification
  ) -> [String] {
    var found: [String] = []
    if plan.keyTile != specification.key || plan.valueTile != specification.value {
      found.append(
        "\(name) takes whole states: key-tile must be \(specification.key) and value-tile "
          + "\(specification.value).")
    }
    if ![.chunks, .saved].contains(plan.materialization) {
      found.append(
        "\(name) reads the states before chunks again; materialization must be chunks or saved.")
    }
    if plan.materialization == .saved, specification.target.device != nil {
      found.append(
        "No kernel for a card writes states out on the way; materialization must be chunks.")
    }
    if plan.products != .f32 { found.append("\(name) multiplies in f32.") }
    if specification.target.device != nil, plan.headTile != 1 {
      found.append("a card's block walks one head; head-tile must be 1, not \(plan.headTile).")
    }
    return found
  }

  /// The walk as a program, with what each sequence adds to a head's parameters summed up after it.
  ///
  /// - Parameter isTransposed: whether states before chunks are held as V x K.
  static func program(
    _ specification: KernelSpecification, _ plan: Plan, _ b: ProgramBuilder,
    _ pseudoCode: [String], isTransposed: Bool
  ) -> TileProgram {
    let parameters = specification.recurrence.inputs.filter { $0.role == .parameter }.map(\.name)
    var phases = [
      TileProgram.Phase(
        name: "gradient", pseudoCode: pseudoCode, grid: [.sequence, .head, .valueTile],
        tiles: b.tiles, body: b.body)
    ]
    if !parameters.isEmpty {
      let sums: [Statement] = parameters.map {
        .operation(
          .sumSequences(SumSequences(TensorName.adjoint(of: $0), from: TensorName.partial(of: $0))))
      }
      phases.append(
        TileProgram.Phase(
          name: "gather", pseudoCode: ["what each sequence adds to a head's parameters, in order"],
          grid: [.head], tiles: [],
          body: plan.headTile == 1 ? sums : [.loop(.heads(ChunkWalk.ownHead), sums)]))
    }
    return TileProgram(
      name: specification.recurrence.name, key: specification.key, value: specification.value,
      chunk: plan.chunk, valueTile: plan.valueTile, segmentation: .perChunk,
      headTile: plan.headTile, tensors: tensors(specification, plan, isTransposed), phases: phases)
  }

  /// The inputs, the adjoints that the caller brings, those that it gets, and the workspace.
  private static func tensors(
    _ specification: KernelSpecification, _ plan: Plan, _ isTransposed: Bool
  ) -> [Tensor] {
    let (key, value) = (specification.key, specification.value)
    var tensors = ProgramBuilder.tensors(specification).filter {
      ![TensorName.output, TensorName.finalState, TensorName.snapshots].contains($0.name)
    }
    let inputs = tensors.filter { $0.kind != .initialState }
    tensors += [
      Tensor(
        TensorName.adjoint(of: TensorName.output), .queryTokens, type: specification.type,
        columns: value),
      Tensor(
        TensorName.adjoint(of: TensorName.finalState), .initialState, rows: key,
        columns: specification.stateColumns, isOptional: true),
      Tensor(
        TensorName.adjoint(of: TensorName.initialState), .finalState, rows: key,
        columns: specification.stateColumns, isOptional: true),
      Tensor(
        TensorName.chunkState, .segment, rows: isTransposed ? value : key,
        columns: isTransposed ? key : value),
    ]
    if specification.normalForm.diagonal?.normalizer != nil {
      tensors.append(Tensor(TensorName.chunkNormalizer, .segment, columns: key))
    }
    if plan.materialization == .saved {
      tensors.append(
        Tensor(
          TensorName.states, .chunkStates, rows: key, columns: specification.stateColumns,
          isOptional: true))
    }
    for input in inputs {
      var adjoint = input
      adjoint.name = TensorName.adjoint(of: input.name)
      tensors.append(adjoint)
      guard input.kind == .parameter else { continue }
      adjoint.name = TensorName.partial(of: input.name)
      adjoint.kind = .partial
      tensors.append(adjoint)
    }
    return tensors
  }
}

extension Schedules {
  /// The schedules of gradients.
  public static let gradients: [any Schedule] = [
    AlikeGradient(), WarpgroupGradient(), WalkedGradient(), ChunkGradient(), TokenGradient(),
  ]

  public static func gradient(_ name: String) -> (any Schedule)? {
    gradients.first { $0.name == name }
  }
}
