import Schedules
import TileIR

extension CostModel {
  /// Bytes that a call of the plan reads of the caller's tensors and writes to them and to the
  /// workspace, each time that it does.
  public static func tensorBytes(
    of plan: Plan, for specification: KernelSpecification, _ workload: Workload
  ) -> Double {
    guard let schedule = Schedules.named(plan.schedule) else { return 0 }
    let program = schedule.lower(specification, plan)
    let walk = WalkCounts(program, workload)
    let group = Double(workload.queryHeads) / Double(max(1, workload.heads))
    var bytes = 0.0
    for phase in program.phases {
      let workers = walk.work(of: phase)
      for counted in program.countedOperations(
        of: phase, heads: workload.heads, queryHeads: group)
      {
        let times = counted.times * walk.times(counted.occasion, in: phase) * workers
        bytes += times * program.tensorBytes(of: counted.operation)
      }
    }
    return bytes
  }
}

extension TileProgram {
  fileprivate func tensorBytes(of operation: TileIR.Operation) -> Double {
    func bytes(_ slice: TokenSlice) -> Double {
      Double(slice.rows * slice.columns * (tensor(slice.tensor)?.type.size ?? 4))
    }
    func bytes(_ view: TileView) -> Double { Double(view.rows * view.columns * 4) }
    switch operation {
    case .map(let map):
      return map.operands.values.reduce(0) { sum, operand in
        if case .tokens(let slice) = operand { return sum + bytes(slice) }
        return sum
      }
    case .storeTokens(let store): return bytes(store.target)
    case .loadState(let load): return bytes(load.target)
    // As many states are written out whatever the plan.
    case .storeState(let store):
      return store.target.tensor == TensorName.snapshots ? 0 : bytes(store.source)
    default: return 0
    }
  }
}
