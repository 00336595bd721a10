import Schedules
import TileIR

/// Figures of an H200, fitted to plans of K 128 and 256, with a gate and without: walks side by side, a chunk of
/// which takes its bytes' time, out of the second-level cache where walks share a head, or that of its products and
/// of what stands between them. A block begins and ends with its part of a state, so every round of blocks takes
/// somewhat more.
extension WarpgroupAlike: PricedSchedule {
  func seconds(of plan: Plan, _ program: TileProgram, _ workload: Workload) -> Double {
    let panels = Double((program.key + 63) / 64)
    let groups = Double((plan.valueTile + 63) / 64)
    let tiles = Double(program.valueTiles)
    let chunks = (Double(workload.length) / 64).rounded(.up)
    let segments = Double(Self.segments(of: plan))
    let gate = program.hasGateOfToken ? 1.0 : 0
    func rounds(_ walks: Double, work: Double, bytes: Double, bandwidth: Double) -> Double {
      let least = bytes * min(walks, WarpgroupCost.processors) / bandwidth
      let block = (chunks / segments).rounded(.up) * max(work, least)
      return (walks / WarpgroupCost.processors).rounded(.up)
        * (block + 0.1e-6 + panels * groups * 0.56e-6)
    }
    let walks = rounds(
      Double(workload.batch * workload.queryHeads) * tiles * segments,
      // One warpgroup keeps the state of 64 values, and others have the outputs.
      work: groups == 1 && panels <= 2
        ? 0.31e-6 + panels * 0.18e-6 + gate * 0.19e-6
        : 0.62e-6 + panels * (0.05e-6 + 0.136e-6 * groups) + gate * 0.29e-6,
      bytes: panels * 16384 / tiles + groups * 16384, bandwidth: 4.6e12)
    let whole = 3.2e-6 + walks
    guard segments > 1 else { return whole }
    let heads = Double(workload.batch * workload.heads)
    let sums = rounds(
      heads * tiles * (segments - 1), work: 0.2e-6 + panels * (0.05e-6 + 0.05e-6 * groups),
      bytes: panels * 8192 / tiles + groups * 8192, bandwidth: 2.7e12)
    // States are written and read twice, mostly in the second-level cache; and there are two kernels more.
    let states = heads * segments * Double(program.key * program.value) * 16
    return whole + sums + states / 7.6e12 + 4.8e-6
  }

  private static func segments(of plan: Plan) -> Int {
    if case .segments(let count) = plan.materialization { count } else { 1 }
  }
}

/// Figures of an H200: walks side by side, a chunk of which takes so long for each panel of its keys; those
/// for dq and dk more where a gate wants sums of them. What segments add to states is found before, and a walk
/// then fetches what is before it.
extension AlikeGradient: PricedSchedule {
  func seconds(of plan: Plan, _ program: TileProgram, _ workload: Workload) -> Double {
    func tiles(_ count: Int, _ unit: Int) -> Double { Double((count + unit - 1) / unit) }
    let heads = Double(workload.batch * workload.heads)
    let queries = Double(workload.queryHeads) / Double(workload.heads)
    let chunks = (Double(workload.length) / 64).rounded(.up)
    let parts = tiles(program.value, 256), panels = tiles(program.value, 64) / parts
    let hasGate = program.hasGateOfToken
    func chunk(_ panels: Double) -> Double { 1.4e-6 + panels * 0.34e-6 }
    let own = (hasGate ? 2.4e-6 + panels * 0.65e-6 : chunk(panels)) + (parts > 1 ? 0.7e-6 : 0)
    // Walks for dv go beside the last of the others.
    let keys = 2 * heads * tiles(program.key, 128), values = heads * tiles(program.value, 128)
    let time = parts * keys * own + values * chunk(tiles(program.key, 64))
    let segments = Double(Self.segments(of: plan))
    let last = hasGate ? WarpgroupCost.launch : 0
    guard segments > 1 else {
      let busy = time * chunks / WarpgroupCost.processors
      // No less than a walk of each part, one after the other.
      return queries * (max(busy, parts * chunks * own) + parts * WarpgroupCost.launch) + last
    }
    // Rounds of blocks: of each part but the last, and of that one with the walks for dv.
    func rounds(_ segments: Double) -> (of: Double, last: Double) {
      (
        (parts - 1) * (keys * segments / WarpgroupCost.processors).rounded(.up),
        ((keys + values) * segments / WarpgroupCost.processors).rounded(.up)
      )
    }
    let walks = rounds(segments), ahead = rounds(segments - 1)
    let mean = (keys * own + values * chunk(tiles(program.key, 64))) / (keys + values)
    // A round's blocks do not end at once, so the first of the last part takes what its longest walk does.
    let chunkTime =
      (walks.of + 1) * own + (walks.last - 1) * mean
      + (ahead.of + ahead.last) * (0.35e-6 + panels * 0.2e-6)
    // Each block reads what all segments before its own add to the state, or all behind it.
    let fetched = (walks.of + walks.last) * ((segments - 1) * panels * 0.4e-6 + 2e-6)
    let all = (chunks / segments).rounded(.up) * chunkTime + fetched + 2 * parts * 4.5e-6
    return queries * all + last
  }
}

extension TileProgram {
  /// Whether a tensor has one number a token: a gate that all keys share.
  fileprivate var hasGateOfToken: Bool {
    tensors.contains { $0.kind == .tokens && $0.columns == 1 }
  }
}
