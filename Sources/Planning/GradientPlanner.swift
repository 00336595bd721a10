import Schedules
import Targets

extension Planner {
  /// Chooses gradients' plans beside a forward plan: one that takes the forward call's states has
  /// chunks after which that one can write them out.
  public static func gradients(
    ranker: any Ranker = CostModel(), beside forward: Plan? = nil
  ) -> Planner {
    Planner(ranker: ranker, schedules: Schedules.gradients) { plan in
      guard let forward, plan.materialization == .saved, plan.chunk % forward.chunk != 0 else {
        return nil
      }
      return "The forward plan writes states out after chunks of \(forward.chunk) tokens, of which "
        + "\(plan.chunk) are no multiple; states could be 'chunks'."
    }
  }

  /// The gradient's plan: of those that are legal and fit the machine the one that the ranker prices
  /// least; one that does not fit when no other is left.
  ///
  /// - Parameters:
  ///   - request: what is pinned of the gradient's plan.
  ///   - forward: the plan of the forward entry beside it.
  /// - Throws: `SluiceError`: `.unsupported` with the reasons when no schedule has the gradient,
  ///   `.usage` when no plan has everything pinned.
  public func gradientPlan(
    _ specification: KernelSpecification, _ request: PlanRequest = PlanRequest(),
    _ workload: Workload = Workload(), beside forward: Plan? = nil
  ) throws(SluiceError) -> Plan {
    let obstacles = Schedules.gradients.compactMap { schedule in
      schedule.obstacle(to: specification).map { "\(schedule.name): \($0)" }
    }
    guard obstacles.count < Schedules.gradients.count else {
      throw SluiceError(
        .unsupported, "'\(specification.recurrence.name)' has no gradient here.",
        details: obstacles)
    }
    return try Planner.gradients(ranker: ranker, beside: forward)
      .plan(specification, request, workload)
  }
}
