import Emission
import Evaluation
import Execution
import Foundation
import Planning
import Schedules
import Targets

/// Searches the plans of a problem by the clock; the model says where to look first.
///
/// Building and measuring alternate: a few candidates are compiled side by side, then all processors
/// are the clock's. Machines with few cores cannot do both at once without disturbing the clock.
public struct Tuner: Sendable {
  public var specification: KernelSpecification
  public var workload: Workload
  /// What of the plans is pinned.
  public var request: PlanRequest
  public var budget: Budget
  /// Compilations at a time.
  public var jobs: Int
  /// Whether candidates that are on record are measured anew.
  public var again = false
  /// Orders the candidates before any is measured.
  public var ranker: any Ranker
  public var records: RecordStore
  public var builder: Builder
  public var cache: KernelCache
  /// Hears of every step.
  public var progress: @Sendable (TuningProgress) -> Void = { _ in }
  /// Seconds until a candidate counts as hung.
  package var limit = 60
  /// To tune the gradient: the plan of the forward entry beside it.
  public var forward: Plan?
  /// Changes a kernel's source before it is compiled; tests plant bad candidates with it.
  package var alteration: @Sendable (EmittedKernel) -> SourceFile = { $0.source }

  public init(
    _ specification: KernelSpecification, _ workload: Workload, request: PlanRequest,
    budget: Budget, jobs: Int, ranker: any Ranker, records: RecordStore, builder: Builder,
    cache: KernelCache = KernelCache()
  ) {
    self.specification = specification
    self.workload = workload
    self.request = request
    self.budget = budget
    self.jobs = jobs
    self.ranker = ranker
    self.records = records
    self.builder = builder
    self.cache = cache
  }

  /// Rounds in which the candidates of a batch take turns, and the least time of each one's turn.
  static let rounds = 3
  static let milliseconds = 60

  /// Runs the search until the budget is spent, or nothing is left to try.
  public func run() async throws -> TuningReport {
    let clock = ContinuousClock()
    let start = clock.now
    let key = TuningKey(specification, workload, isGradient: forward != nil)
    let planner =
      forward.map { Planner.gradients(ranker: ranker, beside: $0) } ?? Planner(ranker: ranker)
    let plans = try planner.legalPlans(specification, request, workload)
    var order = SearchOrder(plans, specification, workload, ranker)
    var report = TuningReport(key: key, workload: workload, plans: order.count, records: [])
    if !again {
      for record in try records.records(of: key) where request.admits(record.plan) {
        guard let candidate = order.remove(record.plan) else { continue }
        report.note(record)
        if let seconds = record.seconds { order.note(candidate, seconds: seconds) }
      }
    }
    report.resumed = report.records.count
    // Other tuners' turns are no time of this one's budget.
    var waited = Duration.zero
    func left() -> Duration? {
      guard case .seconds(let seconds) = budget else { return nil }
      return .seconds(seconds) + waited - start.duration(to: clock.now)
    }
    func room() -> Int {
      switch budget {
      case .candidates(let count): return count - report.records.count
      // The last part of the time is for the best ones' play-off.
      case .seconds(let seconds): return left()! > .seconds(0.15 * seconds) ? jobs : 0
      }
    }
    func tell(_ step: TuningProgress.Step) {
      progress(
        TuningProgress(
          step: step, report: report, open: order.open.count, left: left(), room: room()))
    }
    tell(.began)
    guard room() > 0, !order.open.isEmpty else { return report }

    let folder = try Files.makeUniqueFolder(
      in: temporaryFolder, prefix: "sluice-tune-")
    defer { Files.remove(folder) }
    let workshop = CandidateBuilder(
      specification: specification, builder: builder, cache: cache, forward: forward,
      alteration: alteration)
    let measurer = try await TurnMeasurer(
      of: plans, workload, by: workshop, in: folder, limit: limit)
    let turn = MeasuringTurn(in: cache.folder)
    var isFirst = true
    while room() > 0 {
      // The first batch has one of each schedule; later ones are small, to learn from each.
      let batch = order.next(isFirst ? min(room(), Schedules.all.count) : min(room(), jobs))
      if batch.isEmpty { break }
      isFirst = false
      let best = order.best?.candidate
      let (measured, wait) = try await turn.take {
        let built = try await workshop.build(batch, jobs: jobs)
        report.note(built)
        tell(.built)
        // The best so far takes its turns again: what it takes now says how quick the machine is now.
        let anchor = try await workshop.build(best.map { [$0] } ?? [], jobs: 1)
        return try await measurer.takeTurns(
          anchor + built, rounds: Self.rounds, milliseconds: Self.milliseconds,
          isOver: { left().map { $0 < .zero } ?? false },
          keep: { if $0.candidate != best { try records.save(record($0, $1, key)) } })
      }
      waited += wait
      for record in TuningReport.comparable(
        measured.map { record($0, $1, key) }, with: report.records)
      where record.plan != best?.plan || record.status != .ok {
        try records.save(record)
        report.note(record)
        if let seconds = record.seconds,
          let candidate = batch.first(where: { $0.plan == record.plan })
        {
          order.note(candidate, seconds: seconds)
        }
        tell(.measured(record))
      }
    }
    if report.records.count > report.resumed {
      try await playOff(workshop, measurer, key, &report, left: left)
    }
    tell(.ended)
    return report
  }

  /// The few best once more in turns, and more of them: their order is what the search is for.
  private func playOff(
    _ workshop: CandidateBuilder, _ measurer: TurnMeasurer, _ key: TuningKey,
    _ report: inout TuningReport, left: () -> Duration?
  ) async throws {
    guard let best = report.best?.seconds else { return }
    let close = report.records.filter { $0.seconds.map { $0 <= 1.15 * best } ?? false }
      .sorted { $0.seconds! < $1.seconds! }.prefix(6)
    guard close.count > 1, left().map({ $0 > .zero }) ?? true else { return }
    let (measured, _) = try await MeasuringTurn(in: cache.folder).take {
      let built = try await workshop.build(
        close.map {
          SearchOrder.Candidate(plan: $0.plan, predicted: $0.predicted, axes: $0.plan.axes)
        }, jobs: jobs)
      return try await measurer.takeTurns(
        built, rounds: 2 * Self.rounds, milliseconds: 2 * Self.milliseconds,
        isOver: { left().map { $0 < .zero } ?? false }, keep: { _, _ in })
    }
    for record in TuningReport.comparable(
      measured.map { record($0, $1, key) }, with: report.records)
    {
      try records.save(record)
      report.note(record)
    }
  }

  private func record(
    _ candidate: BuiltCandidate, _ runs: [CandidateRun], _ key: TuningKey
  ) -> TuningRecord {
    let predicted = candidate.candidate.predicted
    let compiler = builder.toolchain.version.line
    if case .failure(let error) = candidate.library {
      return TuningRecord(
        key: key, workload: workload, kernel: candidate.name, predicted: predicted,
        compiler: compiler, status: .unbuilt, detail: error.details.first ?? error.message)
    }
    return TuningRecord(
      key: key, workload: workload, kernel: candidate.name, predicted: predicted,
      compiler: compiler, runs: runs)
  }
}
