import Schedules
import TileIR

/// A schedule whose tile program says what is computed and not how its blocks do it, so that the
/// program's operations say nothing of its time: it brings a price of its own.
protocol PricedSchedule: Schedule {
  /// Seconds of one call of the program that the schedule lowered a plan to.
  func seconds(of program: TileProgram, _ workload: Workload) -> Double
}

extension WarpgroupFused: PricedSchedule {
  func seconds(of program: TileProgram, _ workload: Workload) -> Double {
    WarpgroupCost(program: program, workload: workload).seconds
  }
}

/// Figures of an H200: two walks side by side over each head, of which both wait for their chunk
/// before, then all chunks at once. What kernels take beyond their bytes' time was measured.
extension WarpgroupGradient: PricedSchedule {
  func seconds(of program: TileProgram, _ workload: Workload) -> Double {
    let heads = Double(workload.batch * workload.queryHeads)
    let chunks = (Double(workload.length) / Double(program.chunk)).rounded(.up)
    let rows = heads * chunks * Double(program.chunk * program.key)
    let states = heads * chunks * Double(program.key * program.value) * 2 * 2
    // Tensors have two bytes an element, gates and their adjoints four.
    let walked = 1.4 * (rows * 16 + states) / WarpgroupCost.bandwidth
    let rounds = (2 * heads / WarpgroupCost.processors).rounded(.up)
    let found = 1.7 * (rows * 22 + states) / WarpgroupCost.bandwidth
    return 3 * WarpgroupCost.launch + max(walked, rounds * chunks * 2e-6) + found
  }
}
