import Recurrences
import Targets
import TileIR

/// One kernel on a card that has products of warpgroups, for recurrences whose keys all decay alike, or not
/// at all: decays stand outside of every product, so q, k and v are multiplied as they lie in memory.
///
/// With few heads the sequences are cut into segments: two kernels before that one find the state before each,
/// and all are walked side by side.
///
/// What is computed is the chunk form of `ChunkFused`, whose tile program this has, or that of `Segmented`. How a card's blocks do
/// it is the word `templates/cuda/alike.cuh`.
public struct WarpgroupAlike: WarpgroupChunks {
  public let name = "warpgroup-alike"
  public let summary = "one decay a token or none: chunks of 64 walked as they come (H100, H200)"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = WarpgroupFused.obstacleToProducts(of: specification) { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    if form.keyGate?.axes == .key || form.valueGate != nil {
      return "It takes one decay a token for all keys and values, or none."
    }
    if let obstacle = WarpgroupFused.obstacleToRows(of: specification) { return obstacle }
    if form.readsPrevious { return "It reads out after the write." }
    if let obstacle = Self.obstacleBesideState(in: form) { return obstacle }
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
}
