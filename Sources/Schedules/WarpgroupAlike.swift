import Recurrences
import Targets
import TileIR

/// One kernel on a card that has products of warpgroups, for recurrences whose keys all decay alike, or not
/// at all: decays stand outside of every product, so q, k and v are multiplied as they lie in memory.
///
/// What is computed is the chunk form of `ChunkFused`, whose tile program this has. How a card's blocks do
/// it is the word `templates/cuda/alike.cuh`.
public struct WarpgroupAlike: Schedule {
  public let name = "warpgroup-alike"
  public let summary = "one decay a token or none: chunks of 64 walked as they come (H100, H200)"
  static let chunk = 64
  static let subBlock = 16
  static let mostKeys = 256
  /// Values of a walk: 64 a warpgroup.
  static let valueTiles = [128, 64]

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = WarpgroupFused.obstacleToProducts(of: specification) { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    if form.keyGate?.axes == .key || form.valueGate != nil {
      return "It takes one decay a token for all keys and values, or none."
    }
    if specification.key > Self.mostKeys || specification.key % 8 != 0
      || specification.value % 8 != 0
    {
      return "It takes K up to \(Self.mostKeys), K and V multiples of 8, not K = "
        + "\(specification.key) and V = \(specification.value)."
    }
    if form.readsPrevious { return "It reads out after the write." }
    if form.normalizer != nil || form.epilogue != nil {
      return "It takes no normalizer and no map of the output."
    }
    guard case .input = form.value else { return "v must be a tensor as it is." }
    if let skip = form.skip, skip.coefficient(of: form.value)?.axes != .scalar {
      return "What is added beside the state must be v times one number."
    }
    guard Self.operand(.query, in: form.query, specification) != nil,
      Self.operand(.operand, in: form.key, specification) != nil
    else {
      return "It takes q and k as they are, or times one number a token, and no map of keys."
    }
    return nil
  }

  /// The tensor that an expression is, times one number a token, and that number.
  public static func operand(
    _ role: Recurrence.Input.Role, in expression: Expression, _ specification: KernelSpecification
  ) -> (name: String, weight: Expression)? {
    for input in specification.recurrence.inputs where input.role == role && input.axes == .key {
      let weight = expression.coefficient(of: .input(input.name, .key))
      if let weight, weight.axes == .scalar { return (input.name, weight) }
    }
    return nil
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
    WarpgroupPrepared.objections(
      to: plan, for: specification, name: name, tiles: tiles(specification))
  }

  /// The program of `ChunkFused`. No tile of it lies in a block's shared memory as it is.
  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    WarpgroupPrepared().lower(specification, plan)
  }
}
