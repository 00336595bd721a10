import Recurrences
import Schedules

/// What became of every plan of the joint space: the way from all of them to the chosen one.
public struct PlanSearch: Hashable, Codable, Sendable {
  public var workload: Workload
  public var schedules: [Part]
  /// The legal plans, quickest first by the model.
  public var ranked: [Candidate]

  /// One schedule's share of the space.
  public struct Part: Hashable, Codable, Sendable {
    public var schedule: String
    /// Why the schedule cannot run the recurrence at all.
    public var obstacle: String?
    /// Plans with everything pinned, before any is refused.
    public var plans: Int
    public var legal: Int
    /// Regions that were refused, largest first; their counts and `legal` add up to `plans`.
    public var rejections: [Rejection]
  }

  /// Plans that are refused for one reason.
  public struct Rejection: Hashable, Codable, Sendable {
    /// The first of these plans' reason.
    public var reason: String
    public var count: Int
  }

  /// A legal plan with what the model thinks of it.
  public struct Candidate: Hashable, Codable, Sendable {
    public var plan: Plan
    public var prediction: Prediction
  }

  public var plans: Int { schedules.reduce(0) { $0 + $1.plans } }
  public var legal: Int { schedules.reduce(0) { $0 + $1.legal } }
}

extension Planner {
  /// The whole search, with the reason for every plan that was refused.
  ///
  /// - Throws: `SluiceError` of kind `.usage` with every reason when no plan is legal.
  public static func search(
    _ specification: KernelSpecification, _ request: PlanRequest = PlanRequest(),
    _ workload: Workload = Workload(), model: CostModel, of planner: Planner = Planner()
  ) throws -> PlanSearch {
    let screened = try planner.screen(specification, request, workload)
    let ranked = screened.flatMap(\.legal).map {
      PlanSearch.Candidate(
        plan: $0, prediction: model.prediction(of: $0, for: specification, workload))
    }
    guard !ranked.isEmpty else { throw noPlan(specification, screened) }
    return PlanSearch(
      workload: workload,
      schedules: screened.map { part in
        PlanSearch.Part(
          schedule: part.schedule, obstacle: part.obstacle,
          plans: part.legal.count + part.refused.count, legal: part.legal.count,
          rejections: part.rejections)
      },
      ranked: ranked.sorted { $0.prediction.seconds < $1.prediction.seconds })
  }
}

/// One schedule's plans, told apart.
struct ScreenedSchedule {
  var schedule: String
  var obstacle: String?
  var legal: [Plan] = []
  var refused: [(plan: Plan, reasons: [String])] = []

  /// Plans by their first reason; what differs in its numbers alone is one reason.
  var rejections: [PlanSearch.Rejection] {
    var order: [String] = []
    var found: [String: PlanSearch.Rejection] = [:]
    for (_, reasons) in refused {
      guard let reason = reasons.first else { continue }
      let kind = String(reason.map { $0.isNumber ? "0" : $0 }).replacing(/0+/, with: "0")
      if found[kind] == nil { order.append(kind) }
      found[kind, default: PlanSearch.Rejection(reason: reason, count: 0)].count += 1
    }
    return order.compactMap { found[$0] }.sorted { $0.count > $1.count }
  }
}
