import Recurrences
import Schedules
import Targets

/// Chooses the plan of a kernel: what the user pins stands, the rest is the ranker's.
public struct Planner: Sendable {
  public var ranker: any Ranker
  /// Those that are chosen from.
  public var schedules: [any Schedule]
  /// What else there is against a plan that its schedule has nothing against; nil for nothing.
  let objection: @Sendable (Plan) -> String?

  public init(
    ranker: any Ranker = CostModel(), schedules: [any Schedule] = Schedules.all,
    objection: @escaping @Sendable (Plan) -> String? = { _ in nil }
  ) {
    self.ranker = ranker
    self.schedules = schedules
    self.objection = objection
  }

  /// The best legal plan that has everything pinned.
  ///
  /// - Throws: `SluiceError` of kind `.usage` with every reason when no plan does.
  public func plan(
    _ specification: KernelSpecification, _ request: PlanRequest = PlanRequest(),
    _ workload: Workload = Workload()
  ) throws(SluiceError) -> Plan {
    let legal = try legalPlans(specification, request, workload)
    // The first of equals wins, so that the choice does not depend on how plans are stored.
    var best = legal[0]
    var bestCost = ranker.cost(of: best, for: specification, workload)
    for plan in legal.dropFirst() {
      let cost = ranker.cost(of: plan, for: specification, workload)
      if cost < bestCost { (best, bestCost) = (plan, cost) }
    }
    return best
  }

  /// Every candidate with the pinned parts put in, without objections, that fits the machine; those
  /// that do not fit when no other is left.
  public func legalPlans(
    _ specification: KernelSpecification, _ request: PlanRequest,
    _ workload: Workload = Workload()
  ) throws(SluiceError) -> [Plan] {
    let screened = try screen(specification, request, workload)
    let legal = screened.flatMap(\.legal)
    guard !legal.isEmpty else { throw Self.noPlan(specification, screened) }
    return legal
  }

  /// Every schedule's plans, the legal ones apart from the others.
  func screen(
    _ specification: KernelSpecification, _ request: PlanRequest, _ workload: Workload
  ) throws(SluiceError) -> [ScreenedSchedule] {
    let fit = Fit(specification: specification, workload: workload)
    var screened: [ScreenedSchedule] = []
    var unfit: [[(plan: Plan, reasons: [String])]] = []
    for schedule in try asked(by: request) {
      var part = ScreenedSchedule(schedule: schedule.name)
      part.obstacle = schedule.obstacle(to: specification)
      var seen: Set<Plan> = []
      var tooLarge: [(plan: Plan, reasons: [String])] = []
      for candidate in part.obstacle == nil ? schedule.candidates(for: specification) : [] {
        let plan = candidate.pinned(by: request)
        guard seen.insert(plan).inserted else { continue }
        var objections = schedule.objections(to: plan, for: specification)
        if let objection = objection(plan) { objections.append(objection) }
        guard objections.isEmpty else {
          part.refused.append((plan, objections))
          continue
        }
        // Where a schedule's blocks are its own, what the program says of tiles is not what they hold.
        let shortfalls =
          schedule is any PricedSchedule
          ? [] : fit.shortfalls(of: plan, schedule.lower(specification, plan))
        if shortfalls.isEmpty {
          part.legal.append(plan)
        } else {
          tooLarge.append((plan, shortfalls))
        }
      }
      screened.append(part)
      unfit.append(tooLarge)
    }
    // What does not fit still runs: it is better than nothing.
    let nothingFits = screened.allSatisfy(\.legal.isEmpty)
    for index in screened.indices {
      // A card does not start what its shared memory cannot hold, but of a gradient, whose largest
      // tiles then lie in the workspace.
      let starts =
        specification.target.device == nil || Schedules.gradient(screened[index].schedule) != nil
      if nothingFits, starts {
        screened[index].legal = unfit[index].map(\.plan)
      } else {
        screened[index].refused += unfit[index]
      }
    }
    return screened
  }

  static func noPlan(
    _ specification: KernelSpecification, _ screened: [ScreenedSchedule]
  ) -> SluiceError {
    var reasons: [(schedule: String, reason: String)] = []
    for part in screened {
      if let obstacle = part.obstacle { reasons.append((part.schedule, obstacle)) }
      // The plan that misses by the least says most.
      let nearest = part.refused.map(\.reasons).min { $0.count < $1.count } ?? []
      reasons += nearest.map { (part.schedule, $0) }
    }
    return SluiceError(
      .usage, "No plan fits '\(specification.recurrence.name)'.", details: lines(reasons))
  }

  /// One line a reason, with every schedule that has it.
  private static func lines(_ reasons: [(schedule: String, reason: String)]) -> [String] {
    var schedules: [String: [String]] = [:]
    for (schedule, reason) in reasons { schedules[reason, default: []].append(schedule) }
    return reasons.compactMap { _, reason in
      schedules.removeValue(forKey: reason).map { "\($0.joined(separator: ", ")): \(reason)" }
    }
  }

  private func asked(by request: PlanRequest) throws(SluiceError) -> [any Schedule] {
    guard let name = request.schedule else { return schedules }
    guard let schedule = schedules.first(where: { $0.name == name }) else {
      throw SluiceError(
        .usage,
        "There is no schedule '\(name)'; known are "
          + schedules.map(\.name).joined(separator: ", ") + ".")
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
    if let headTile = request.headTile { plan.headTile = headTile }
    if let materialization = request.materialization { plan.materialization = materialization }
    if let threads = request.threads { plan.threads = threads }
    if let products = request.products { plan.products = products }
    plan.inner = plan.inner.pinned(by: request.inner)
    return plan
  }
}
