import Schedules
import TileIR

/// Prices a walk by products of warpgroups, which hides what its operations cost behind each other:
/// a chunk takes what the preparing or the multiplying warps need for it, or what its bytes need,
/// whichever is longer. Figures of an H200.
struct WarpgroupCost {
  let program: TileProgram
  let workload: Workload

  /// Blocks that run at once, and bytes a second of the card's memory.
  static let processors = 132.0
  static let bandwidth = 4.1e12
  /// A launch, with the first copies' way and the last ones'.
  static let launch = 6e-6

  var seconds: Double {
    let walk = WalkCounts(program, workload)
    return program.phases.reduce(0) { sum, phase in
      let reads = phase.name == "walk"
      guard phase.name != "combine" else { return sum + Self.launch }
      let group = Double(workload.queryHeads) / Double(max(1, workload.heads))
      // A sequence's last segment is not summed up.
      let walks = walk.workers(of: phase) * (reads ? group : 1 - 1 / walk.segments)
      // q, k, v and o in two bytes, gates in four; no q and o where segments are summed up. Walks of
      // one head's values read its q, k and gates out of the second-level cache but once.
      let shared = Double(program.key * (reads ? 8 : 6)) / Double(program.valueTiles)
      let bytes = Double(program.chunk) * (shared + Double(program.valueTile * (reads ? 4 : 2)))
      let work = program.valueTile == 128 ? (reads ? 2.9e-6 : 1.7e-6) : (reads ? 1.9e-6 : 1.5e-6)
      let chunk = max(work, bytes * min(walks, Self.processors) / Self.bandwidth)
      let rounds = (walks / Self.processors).rounded(.up)
      return sum + Self.launch + rounds * walk.times(.chunk, in: phase) * chunk
    }
  }
}
