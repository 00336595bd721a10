import Recurrences
import Targets
import TileIR

/// Two kernels on a card that has products of warpgroups: the first one makes every chunk of 64 tokens
/// ready, side by side, and the second one walks over what that leaves in the workspace and knows
/// nothing of the recurrence. Gates along the values take a third one between them, which finds what
/// tokens of one chunk bring each other.
///
/// What is computed is the chunk form of `ChunkFused` in sub-blocks of 16, whose tile program this has.
/// How a card's blocks do it is the words `templates/cuda/prepared.cuh` and `prepared_walk.cuh`.
public struct WarpgroupPrepared: Schedule {
  public let name = "warpgroup-prepared"
  public let summary = "chunks of 64 made ready side by side, then walked (H100, H200)"
  static let chunk = 64
  static let subBlock = 16
  static let mostKeys = 256
  /// Values of a walk: 64 a warpgroup.
  static let valueTiles = [128, 64]

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = WarpgroupFused.obstacleToProducts(of: specification) { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    if specification.key > Self.mostKeys || specification.value % 8 != 0 {
      return "It takes K up to \(Self.mostKeys) and V a multiple of 8, not K = "
        + "\(specification.key) and V = \(specification.value)."
    }
    if form.normalizer != nil || form.epilogue != nil {
      return "It takes no normalizer and no map of the output."
    }
    guard case .input = form.value else { return "v must be a tensor as it is." }
    if let skip = form.skip, skip.coefficient(of: form.value)?.axes != .scalar {
      return "What is added beside the state must be v times one number."
    }
    let maps = [form.query, form.key, form.present, form.keyGate?.decay].compactMap { $0 }
    guard maps.allSatisfy({ $0.isElementwise && $0.axes.isSubset(of: .key) }) else {
      return "q, k and the gate must be maps of one key and token."
    }
    guard let decay = form.valueGate?.decay else { return nil }
    return decay.isElementwise && decay.axes.isSubset(of: .value)
      ? nil : "The gate along the value axis must be a map of one value and token."
  }

  private func tiles(_ specification: KernelSpecification) -> [Int] {
    Self.valueTiles.filter { $0 < specification.value + 64 }.map { min($0, specification.value) }
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    return tiles(specification).map {
      Plan(
        schedule: name, chunk: Self.chunk, subBlock: Self.subBlock, keyTile: specification.key,
        valueTile: $0, products: .bf16)
    }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    Self.objections(to: plan, for: specification, name: name, tiles: tiles(specification))
  }

  /// What a schedule of that name, with these value tiles, says against a plan.
  static func objections(
    to plan: Plan, for specification: KernelSpecification, name: String, tiles: [Int]
  ) -> [String] {
    var found: [String] = []
    if plan.chunk != chunk || plan.subBlock != subBlock {
      found.append(
        "\(name) has chunks of 64 in sub-blocks of 16, not \(plan.chunk) and \(plan.subBlock).")
    }
    if plan.keyTile != specification.key {
      found.append("\(name) takes the whole key; key-tile must be K = \(specification.key).")
    }
    if !tiles.contains(plan.valueTile) {
      let tiles = tiles.map(String.init).joined(separator: " or ")
      found.append("\(name) has value-tile \(tiles) here, not \(plan.valueTile).")
    }
    if plan.headTile != 1 { found.append("a card's block walks one head; head-tile must be 1.") }
    if plan.materialization != .none {
      found.append("\(name) walks a whole sequence; materialization must be none.")
    }
    if plan.products != .bf16 { found.append("\(name) multiplies in bf16.") }
    if plan.threads < 1 { found.append("threads must be at least 1, not \(plan.threads).") }
    return found + plan.innerObjections([], specification)
  }

  /// The program of `ChunkFused`. No tile of it lies in a block's shared memory as it is.
  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    var chunks = plan
    chunks.products = .f32
    var program = ChunkFused().lower(specification, chunks)
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
