import Schedules
import Targets

extension Planner {
  /// The gradient's plan: of those that are legal and fit the machine the one that the ranker prices
  /// least; one that does not fit when no other is left.
  ///
  /// - Throws: `SluiceError` of kind `.unsupported` with the reasons when no schedule has the gradient.
  public func gradientPlan(
    _ specification: KernelSpecification, _ workload: Workload = Workload(),
    threads: Int = 1
  ) throws(SluiceError) -> Plan {
    let fit = Fit(specification: specification, workload: workload)
    var obstacles: [String] = []
    var legal: [(plan: Plan, cost: Double, fits: Bool)] = []
    for schedule in Schedules.gradients {
      if let obstacle = schedule.obstacle(to: specification) {
        obstacles.append("\(schedule.name): \(obstacle)")
        continue
      }
      if schedule is WarpgroupGradient {
        // Made for the machine: nothing that the general model knows comes near.
        let plans = schedule.candidates(for: specification)
        if var plan = plans.min(by: {
          WarpgroupCost.gradientWalks($0, workload) < WarpgroupCost.gradientWalks($1, workload)
        }) {
          plan.threads = threads
          return plan
        }
      }
      for candidate in schedule.candidates(for: specification)
      where schedule.objections(to: candidate, for: specification).isEmpty {
        var plan = candidate
        plan.threads = threads
        let fits = fit.shortfalls(of: plan, schedule.lower(specification, plan)).isEmpty
        legal.append((plan, ranker.cost(of: plan, for: specification, workload), fits))
      }
    }
    let fitting = legal.filter(\.fits)
    guard let best = (fitting.isEmpty ? legal : fitting).min(by: { $0.cost < $1.cost }) else {
      throw SluiceError(
        .unsupported, "'\(specification.recurrence.name)' has no gradient here.",
        details: obstacles)
    }
    return best.plan
  }
}
