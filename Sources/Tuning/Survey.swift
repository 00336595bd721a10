import Emission
import Evaluation
import Execution
import Planning
import Recurrences
import Schedules

/// Measures many plans of one kernel, the quick and the slow: what a model is judged by.
///
/// As in a search, every candidate is held to stored answers before it is timed, in a process of its
/// own. The record that comes out may be taken up again: what was built from the same text keeps its
/// verdict and its time.
public struct Survey: Sendable {
  public var specification: KernelSpecification
  public var workload: Workload
  public var builder: Builder
  public var cache: KernelCache

  public init(
    _ specification: KernelSpecification, _ workload: Workload, builder: Builder,
    cache: KernelCache = KernelCache()
  ) {
    self.specification = specification
    self.workload = workload
    self.builder = builder
    self.cache = cache
  }

  /// The plans with what is known of them from an earlier record of the same problem; all are built,
  /// `jobs` at a time.
  public func built(
    _ candidates: [PlanSearch.Candidate], known: [MeasuredPlan], jobs: Int
  ) async throws -> [MeasuredPlan] {
    let earlier = Dictionary(known.map { ($0.plan, $0) }, uniquingKeysWith: { first, _ in first })
    let built = try await libraries(of: candidates.map(\.plan), jobs: jobs)
    return try zip(candidates, built).map { candidate, built in
      var plan = MeasuredPlan(
        plan: candidate.plan, predicted: candidate.prediction.seconds, status: .untried)
      switch built.library {
      case .failure(let error):
        (plan.status, plan.note) = (.unbuilt, error.message)
      case .success(let library):
        plan.loopSpills = try ObjectReader.report(on: library).loopSpills
        plan.digest = ContentDigest.sha256(
          try Emitter.emit(specification, candidate.plan).source.text)
        if let old = earlier[candidate.plan], old.digest == plan.digest {
          (plan.status, plan.measured, plan.note) = (old.status, old.measured, old.note)
        }
      }
      return plan
    }
  }

  /// The plans with a verdict and a time for those that have none yet, until the limit: calls for
  /// at least `milliseconds`, and of those near the best the smaller of two times.
  public func timed(
    _ plans: [MeasuredPlan], milliseconds: Int, until limit: ContinuousClock.Instant,
    progress: (Int) -> Void = { _ in }
  ) async throws -> [MeasuredPlan] {
    var plans = plans
    let pending = plans.indices.filter { plans[$0].status == .untried }
    guard !pending.isEmpty else { return plans }
    let folder = try Files.makeUniqueFolder(in: temporaryFolder, prefix: "sluice-survey-")
    defer { Files.remove(folder) }
    let measurer = try await workshop.measurer(of: workload, in: folder)
    func measure(_ index: Int, round: Int) async throws {
      guard let built = try await libraries(of: [plans[index].plan], jobs: 1).first,
        case .success(let library) = built.library
      else { return }
      let run = try await measurer.measure(
        library: library, name: built.name.description, round: round, milliseconds: milliseconds)
      plans[index].status = MeasuredPlan.Status(rawValue: run.status.rawValue) ?? .refused
      plans[index].note = run.detail.isEmpty ? nil : run.detail
      guard run.status == .ok else { return plans[index].measured = nil }
      plans[index].measured = min(plans[index].measured ?? .infinity, CallTimes([run]).seconds)
    }
    for (place, index) in pending.enumerated() where ContinuousClock.now < limit {
      try await measure(index, round: 0)
      progress(place + 1)
    }
    // What disturbed the machine for a while must not decide who is first.
    let best = plans.compactMap(\.measured).min() ?? 0
    for index in pending where ContinuousClock.now < limit {
      guard let seconds = plans[index].measured, seconds < 1.5 * best else { continue }
      try await measure(index, round: 1)
    }
    return plans
  }

  /// The times of several plans that take turns, so that they compare: seconds; none of one that
  /// failed.
  public func compared(
    _ plans: [Plan], rounds: Int, milliseconds: Int
  ) async throws -> [Plan: Double] {
    let folder = try Files.makeUniqueFolder(in: temporaryFolder, prefix: "sluice-survey-")
    defer { Files.remove(folder) }
    let measurer = try await workshop.measurer(of: workload, in: folder)
    let turns = try await TurnMeasurer(measurer: measurer).takeTurns(
      libraries(of: plans, jobs: 1), rounds: rounds, milliseconds: milliseconds,
      isOver: { false }, keep: { _, _ in })
    var seconds: [Plan: Double] = [:]
    for (candidate, runs) in turns where runs.allSatisfy({ $0.status == .ok }) && !runs.isEmpty {
      seconds[candidate.candidate.plan] = CallTimes(runs).seconds
    }
    return seconds
  }

  private var workshop: CandidateBuilder {
    CandidateBuilder(specification: specification, builder: builder, cache: cache)
  }

  private func libraries(of plans: [Plan], jobs: Int) async throws -> [BuiltCandidate] {
    try await workshop.build(
      plans.map { SearchOrder.Candidate(plan: $0, predicted: 0, axes: $0.axes) }, jobs: jobs)
  }
}

extension MeasuredPlan {
  /// What the tuner found out about a candidate.
  public init(_ record: TuningRecord) {
    self.init(
      plan: record.plan, predicted: record.predicted, measured: record.seconds,
      status: Status(rawValue: record.status.rawValue) ?? .refused,
      note: record.detail.isEmpty ? nil : record.detail)
  }
}
