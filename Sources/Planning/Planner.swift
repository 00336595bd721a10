import Recurrences
import Schedules
import Targets

/// Chooses the plan of a kernel: what the user pins stands, the rest is the ranker's.
public struct Planner: Sendable {
  public var ranker: any Ranker

  public init(ranker: any Ranker = CostModel()) { self.ranker = ranker }

  /// The best legal plan that has everything pinned.
  ///
  /// - Throws: `SluiceError` of kind `.usage` with every reason when no plan does.
  public func plan(
    _ specification: KernelSpecification, _ request: PlanRequest = PlanRequest()
  ) throws(SluiceError) -> Plan {
    let legal = try legalPlans(specification, request)
    // The first of equals wins, so that the choice does not depend on how plans are stored.
    var best = legal[0]
    var bestCost = ranker.cost(of: best, for: specification)
    for plan in legal.dropFirst() {
      let cost = ranker.cost(of: plan, for: specification)
      if cost < bestCost { (best, bestCost) = (plan, cost) }
    }
    return best
  }

  /// Every candidate with the pinned parts put in, without objections.
  public func legalPlans(
    _ specification: KernelSpecification, _ request: PlanRequest
  ) throws(SluiceError) -> [Plan] {
    var reasons: [(schedule: String, reason: String)] = []
    var legal: [Plan] = []
    for schedule in try schedules(request) {
      if let obstacle = schedule.obstacle(to: specification) {
        reasons.append((schedule.name, obstacle))
        continue
      }
      var refused: [String] = []
      for candidate in schedule.candidates(for: specification) {
        let plan = candidate.pinned(by: request)
        let objections = schedule.objections(to: plan, for: specification)
        if objections.isEmpty {
          if !legal.contains(plan) { legal.append(plan) }
        } else if refused.isEmpty || objections.count < refused.count {
          refused = objections
        }
      }
      reasons += refused.map { (schedule.name, $0) }
    }
    guard !legal.isEmpty else {
      throw SluiceError(
        .usage, "No plan fits '\(specification.recurrence.name)'.", details: lines(reasons))
    }
    return legal
  }

  /// One line a reason, with every schedule that has it.
  private func lines(_ reasons: [(schedule: String, reason: String)]) -> [String] {
    var schedules: [String: [String]] = [:]
    for (schedule, reason) in reasons { schedules[reason, default: []].append(schedule) }
    return reasons.compactMap { _, reason in
      schedules.removeValue(forKey: reason).map { "\($0.joined(separator: ", ")): \(reason)" }
    }
  }

  private func schedules(_ request: PlanRequest) throws(SluiceError) -> [any Schedule] {
    guard let name = request.schedule else { return Schedules.all }
    guard let schedule = Schedules.named(name) else {
      throw SluiceError(
        .usage,
        "There is no schedule '\(name)'; known are "
          + Schedules.all.map(\.name).joined(separator: ", ") + ".")
    }
    return [schedule]
  }
}

extension Plan {
  /// The plan with what the user pins in place of its own choices.
  func pinned(by request: PlanRequest) -> Plan {
    var plan = self
    if let chunk = request.chunk {
      // A sub-block that was not pinned follows a chunk that was.
      plan.chunk = chunk
      if request.subBlock == nil, chunk % max(1, plan.subBlock) != 0 { plan.subBlock = chunk }
    }
    if let subBlock = request.subBlock { plan.subBlock = subBlock }
    if let keyTile = request.keyTile { plan.keyTile = keyTile }
    if let valueTile = request.valueTile { plan.valueTile = valueTile }
    if let materialization = request.materialization { plan.materialization = materialization }
    if let threads = request.threads { plan.threads = threads }
    if let products = request.products { plan.products = products }
    return plan
  }
}
