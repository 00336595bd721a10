import Schedules
import TileIR

/// A schedule whose tile program says what is computed and not how its blocks do it, so that the
/// program's operations say nothing of its time: it brings a price of its own.
protocol PricedSchedule: Schedule {
  /// Seconds of one call of a plan, and of the program that the schedule lowered it to.
  func seconds(of plan: Plan, _ program: TileProgram, _ workload: Workload) -> Double
}

extension WarpgroupFused: PricedSchedule {
  func seconds(of plan: Plan, _ program: TileProgram, _ workload: Workload) -> Double {
    WarpgroupCost(program: program, workload: workload).seconds
  }
}

/// Figures of an H200: two walks side by side over each head, each cut into segments that are summed
/// up before, then all chunks at once. A chunk of a walk takes 3.4 us, of a segment's sum 2.5 us; what
/// the chunks' kernel takes beyond its bytes' time was measured.
extension WarpgroupGradient: PricedSchedule {
  func seconds(of plan: Plan, _ program: TileProgram, _ workload: Workload) -> Double {
    let segments = Double(Self.segments(of: plan))
    let heads = Double(workload.batch * workload.queryHeads)
    let chunks = (Double(workload.length) / Double(plan.chunk)).rounded(.up)
    let turns = (chunks / segments).rounded(.up)
    func rounds(_ blocks: Double) -> Double { (blocks / WarpgroupCost.processors).rounded(.up) }
    let tiles = Double(program.key / Self.tile * (program.value / Self.tile))
    let sums =
      segments == 1
      ? 0 : WarpgroupCost.launch + rounds(2 * heads * tiles * (segments - 1)) * turns * 2.5e-6
    let walks = WarpgroupCost.launch + rounds(2 * heads * tiles * segments) * turns * 3.4e-6
    // Tensors have two bytes an element, gates and their adjoints four.
    let rows = heads * chunks * Double(plan.chunk) * Double(16 * program.key + 6 * program.value)
    let states = heads * chunks * Double(program.key * program.value) * 2 * 2
    let found = 1.4 * (rows + states) / WarpgroupCost.bandwidth
    return sums + walks + 2 * WarpgroupCost.launch + found
  }
}

/// Figures of an H200: a walk forward and one back, each of 64 values a block, which take so long a token;
/// half as much again for what is summed up after each.
extension WalkedGradient: PricedSchedule {
  func seconds(of plan: Plan, _ program: TileProgram, _ workload: Workload) -> Double {
    let tiles = Double((program.value + Self.tile - 1) / Self.tile)
    let walks = Double(workload.batch * workload.heads) * tiles
    let rounds = (walks / WarpgroupCost.processors).rounded(.up)
    let token = 0.15e-6 + Double(program.key) / 128 * 0.25e-6
    let queries = Double(workload.queryHeads) / Double(workload.heads)
    return queries
      * (3 * rounds * Double(workload.length) * token + 4 * WarpgroupCost.launch)
  }
}

/// Figures of an H200: the first kernel is bound by its bytes or by 4.5 us of a processor's time for 64
/// tokens and 128 keys; then walks side by side, a chunk of which takes its bytes' time, out of the
/// second-level cache where walks share a head, or that of its products.
extension WarpgroupPrepared: PricedSchedule {
  func seconds(of plan: Plan, _ program: TileProgram, _ workload: Workload) -> Double {
    let panels = Double((program.key + 63) / 64)
    let heads = Double(workload.batch * workload.queryHeads)
    let chunks = (Double(workload.length) / 64).rounded(.up)
    let operands = panels * 16384 + 16384
    // q and k in two bytes, the gate in four; operands once more.
    let prepared =
      heads * chunks
      * max(
        (panels * 64 * 64 * 8 + operands) / WarpgroupCost.bandwidth,
        panels / 2 * 4.5e-6 / WarpgroupCost.processors)
    let groups = Double((plan.valueTile + 63) / 64)
    let tiles = Double(program.valueTiles)
    let walks = plan.walks(
      heads: heads, tiles, chunks, work: 0.5e-6 + panels * (0.15e-6 + 0.13e-6 * groups),
      bytes: operands / tiles + groups * 16384)
    let sums = plan.sums(
      program, workload, chunks, work: 0.25e-6 + panels * (0.05e-6 + 0.07e-6 * groups),
      bytes: panels * 8448 / tiles + groups * 8192, launch: 7e-6)
    return prepared + walks + sums + WarpgroupCost.launch
  }
}

extension Plan {
  fileprivate var segments: Double {
    if case .segments(let count) = materialization { Double(count) } else { 1 }
  }

  /// Walks of so many heads, side by side, in segments: a chunk takes so long, or its bytes' time.
  fileprivate func walks(
    heads: Double, _ tiles: Double, _ chunks: Double, but: Double = 0, work: Double, bytes: Double
  ) -> Double {
    let walks = heads * tiles * (segments - but)
    let least = bytes * min(walks, WarpgroupCost.processors) / WarpgroupCost.bandwidth
    let rounds = (walks / WarpgroupCost.processors).rounded(.up)
    return rounds * (chunks / segments).rounded(.up) * max(work, least) + WarpgroupCost.launch
  }

  /// What there is before walks in segments: sums of all but the last, and the kernel that combines them; both
  /// take `launch` beside that.
  fileprivate func sums(
    _ program: TileProgram, _ workload: Workload, _ chunks: Double, work: Double, bytes: Double,
    launch: Double
  ) -> Double {
    guard segments > 1 else { return 0 }
    let heads = Double(workload.batch * workload.heads)
    let sums = walks(
      heads: heads, Double(program.valueTiles), chunks, but: 1, work: work, bytes: bytes)
    // States are read and written where they are combined, and once more at each end.
    let states = heads * segments * Double(program.key * program.value) * 16
    return sums + states / WarpgroupCost.bandwidth + launch - WarpgroupCost.launch
  }
}
