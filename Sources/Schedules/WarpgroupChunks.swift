import Recurrences
import TileIR

/// What schedules share that walk a sequence in chunks of 64 tokens by products of warpgroups, the whole key
/// at once and 64 values a warpgroup. What is computed is the chunk form of `ChunkFused`.
public protocol WarpgroupChunks: Schedule {}

extension WarpgroupChunks {
  static var chunk: Int { 64 }
  static var subBlock: Int { 16 }
  static var mostKeys: Int { 256 }
  /// The most segments that a sequence is cut into.
  static var mostSegments: Int { 32 }

  /// Why the value, or what stands beside the state's read-out, cannot be taken.
  static func obstacleBesideState(in form: DiagonalForm) -> String? {
    if form.normalizer != nil || form.epilogue != nil {
      return "It takes no normalizer and no map of the output."
    }
    guard case .input = form.value else { return "v must be a tensor as it is." }
    if let skip = form.skip, skip.coefficient(of: form.value)?.axes != .scalar {
      return "What is added beside the state must be v times one number."
    }
    return nil
  }

  /// Values of a walk: 64 a warpgroup, of two or one.
  private func valueTiles(_ specification: KernelSpecification) -> [Int] {
    [128, 64].filter { $0 < specification.value + 64 }.map { min($0, specification.value) }
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    let ways: [Materialization] =
      [.none] + [2, 4, 8, 16, Self.mostSegments].map(Materialization.segments)
    return valueTiles(specification).flatMap { valueTile in
      ways.map {
        Plan(
          schedule: name, chunk: Self.chunk, subBlock: Self.subBlock, keyTile: specification.key,
          valueTile: valueTile, materialization: $0, products: .bf16)
      }
    }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found: [String] = []
    if plan.chunk != Self.chunk || plan.subBlock != Self.subBlock {
      found.append(
        "\(name) has chunks of 64 in sub-blocks of 16, not \(plan.chunk) and \(plan.subBlock).")
    }
    if plan.keyTile != specification.key {
      found.append("\(name) takes the whole key; key-tile must be K = \(specification.key).")
    }
    let tiles = valueTiles(specification)
    if !tiles.contains(plan.valueTile) {
      let tiles = tiles.map(String.init).joined(separator: " or ")
      found.append("\(name) has value-tile \(tiles) here, not \(plan.valueTile).")
    }
    if plan.headTile != 1 { found.append("a card's block walks one head; head-tile must be 1.") }
    switch plan.materialization {
    case .none, .segments(2...Self.mostSegments): break
    default: found.append("\(name) has from 2 to \(Self.mostSegments) segments, or none.")
    }
    if plan.products != .bf16 { found.append("\(name) multiplies in bf16.") }
    if plan.threads < 1 { found.append("threads must be at least 1, not \(plan.threads).") }
    return found + plan.innerObjections([], specification)
  }

  /// The program of `ChunkFused`, or in segments that of `Segmented`. No tile of it lies in a block's shared
  /// memory as it is.
  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    var chunks = plan
    chunks.products = .f32
    var program =
      plan.materialization == .none
      ? ChunkFused().lower(specification, chunks) : Segmented().lower(specification, chunks)
    for phase in program.phases.indices {
      for tile in program.phases[phase].tiles.indices {
        program.phases[phase].tiles[tile].place = .registers
      }
    }
    return program
  }
}

extension Expression {
  /// `c` of a product `c * factor`; nil for what is no such product.
  public func coefficient(of factor: Expression) -> Expression? {
    if self == factor { return .constant(1) }
    guard case .binary(.multiply, let left, let right) = self else { return nil }
    if let rest = left.coefficient(of: factor) { return (rest * right).simplified }
    return right.coefficient(of: factor).map { (left * $0).simplified }
  }
}
