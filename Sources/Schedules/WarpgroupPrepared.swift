import Recurrences
import Targets
import TileIR

/// Two kernels on a card that has products of warpgroups: the first one makes every chunk of 64 tokens
/// ready, side by side, and the second one walks over what that leaves in the workspace and knows
/// nothing of the recurrence. Gates along the values take a third one between them, which finds what
/// tokens of one chunk bring each other.
///
/// With few heads the sequences are cut into segments: two kernels more find the state before each of them,
/// and all are walked side by side.
///
/// What is computed is the chunk form of `ChunkFused` in sub-blocks of 16, whose tile program this has, or
/// that of `Segmented`. How a card's blocks do it is the words `templates/cuda/prepared.cuh` and `prepared_walk.cuh`.
public struct WarpgroupPrepared: WarpgroupChunks {
  public let name = "warpgroup-prepared"
  public let summary = "chunks of 64 made ready side by side, then walked (H100, H200)"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = WarpgroupFused.obstacleToProducts(of: specification) { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    if specification.key > Self.mostKeys || specification.value % 8 != 0 {
      return "It takes K up to \(Self.mostKeys) and V a multiple of 8, not K = "
        + "\(specification.key) and V = \(specification.value)."
    }
    if let obstacle = Self.obstacleBesideState(in: form) { return obstacle }
    let maps = [form.query, form.key, form.present, form.keyGate?.decay].compactMap { $0 }
    guard maps.allSatisfy({ $0.isElementwise && $0.axes.isSubset(of: .key) }) else {
      return "q, k and the gate must be maps of one key and token."
    }
    guard let decay = form.valueGate?.decay else { return nil }
    return decay.isElementwise && decay.axes.isSubset(of: .value)
      ? nil : "The gate along the value axis must be a map of one value and token."
  }
}
