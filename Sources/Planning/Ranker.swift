import Schedules

/// Orders plans: by a model or by the clock.
public protocol Ranker: Sendable {
  /// Seconds of one call of the workload.
  func cost(
    of plan: Plan, for specification: KernelSpecification, _ workload: Workload
  ) -> Double
}

extension Ranker {
  /// Seconds of one call of the workload that is taken when nobody says.
  public func cost(of plan: Plan, for specification: KernelSpecification) -> Double {
    cost(of: plan, for: specification, Workload())
  }
}
