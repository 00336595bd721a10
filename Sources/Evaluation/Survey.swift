import Emission
import Execution
import Planning
import Recurrences
import Schedules
import Targets

/// Measures many plans of one kernel, each in processes of its own and only when it is right.
///
/// The record that it fills says of every plan what became of it, and may be taken up again: what
/// was built from the same text keeps its verdict and its time.
public struct Survey: Sendable {
  public var specification: KernelSpecification
  public var model: CostModel
  public var builder: Builder
  public var cache: KernelCache

  public init(
    specification: KernelSpecification, model: CostModel, builder: Builder,
    cache: KernelCache = KernelCache()
  ) {
    self.specification = specification
    self.model = model
    self.builder = builder
    self.cache = cache
  }

  /// The record with all its plans built and verified, `jobs` at a time; nothing is timed.
  ///
  /// - Parameter known: an earlier record of the same problem.
  public func judged(
    _ candidates: [PlanSearch.Candidate], known: [MeasuredPlan], jobs: Int,
    progress: @Sendable (Int) -> Void = { _ in }
  ) async throws -> [MeasuredPlan] {
    let earlier = Dictionary(
      known.map { ($0.plan, $0) }, uniquingKeysWith: { first, _ in first })
    var done: [Int: MeasuredPlan] = [:]
    try await withThrowingTaskGroup(of: (Int, MeasuredPlan).self) { group in
      func start(_ index: Int) {
        group.addTask {
          (index, try await judge(candidates[index], earlier: earlier[candidates[index].plan]))
        }
      }
      var next = min(max(1, jobs), candidates.count)
      for index in 0..<next { start(index) }
      for try await (index, plan) in group {
        done[index] = plan
        progress(done.count)
        if next < candidates.count {
          start(next)
          next += 1
        }
      }
    }
    return candidates.indices.compactMap { done[$0] }
  }

  /// The median of `calls` calls of every right plan that has no time yet, until the limit.
  public func timed(
    _ plans: [MeasuredPlan], _ workload: Workload, calls: Int, until limit: ContinuousClock.Instant,
    progress: @Sendable (Int) -> Void = { _ in }
  ) async throws -> [MeasuredPlan] {
    var plans = plans
    let pending = plans.indices.filter { plans[$0].status == .right && plans[$0].measured == nil }
    guard let first = pending.first else { return plans }
    let subject = try Subject(KernelManifest(specification, plans[first].plan))
    var recipe = ProblemRecipe("timing", [workload.length])
    recipe.batch = workload.batch
    recipe.heads = workload.heads
    recipe.group = workload.queryHeads / workload.heads
    let problem = try DrawnProblem(recipe, for: subject, seed: 1)
    for (place, index) in pending.enumerated() where ContinuousClock.now < limit {
      let kernel = try Emitter.emit(specification, plans[index].plan)
      let entry = try await self.entry(kernel)
      let results = try await withRunner(entry.product, kernel.manifest) { runner in
        try await runner.run(
          [KernelCall(problem: problem, threads: workload.threads)], repeats: 0,
          timings: CallRunner.Timings(count: calls + 2, copies: 2))
      }
      guard let result = results.first, case .returned(0) = result.ending,
        result.nanoseconds.count > 2
      else {
        plans[index].status = results.first?.ending == .hung ? .hung : .crashed
        plans[index].note = results.first?.ending.description
        continue
      }
      // The first calls warm the code and the pages.
      let sorted = result.nanoseconds.dropFirst(2).map { Double($0) * 1e-9 }.sorted()
      plans[index].measured = sorted[sorted.count / 2]
      progress(place + 1)
    }
    return plans
  }

  private func entry(_ kernel: EmittedKernel) async throws -> KernelCache.Entry {
    try await cache.entry(
      for: builder.job(kernel.source, for: specification.target, output: .library),
      description: try Emitter.json(kernel.manifest), builder: builder)
  }

  private func judge(
    _ candidate: PlanSearch.Candidate, earlier: MeasuredPlan?
  ) async throws -> MeasuredPlan {
    var plan = MeasuredPlan(
      plan: candidate.plan, predicted: candidate.prediction.seconds, status: .untried)
    let kernel = try Emitter.emit(specification, candidate.plan)
    let digest = ContentDigest.sha256(kernel.source.text)
    if let earlier, earlier.note == digest, earlier.status == .right {
      plan.status = .right
      plan.measured = earlier.measured
      plan.note = digest
      return plan
    }
    let entry: KernelCache.Entry
    do {
      entry = try await self.entry(kernel)
    } catch let error as SluiceError where error.kind == .toolchain {
      plan.status = .unbuildable
      plan.note = error.message
      return plan
    }
    let assessment = try await verifyEssentials(
      library: entry.product, manifest: kernel.manifest, target: specification.target,
      options: VerifyOptions(limit: .seconds(20), builder: builder, cache: cache))
    if let failure = assessment.failures.first {
      plan.status = failure.detail.contains("crashed") ? .crashed : .wrong
      plan.note = "\(failure.name): \(failure.what) \(failure.detail)"
    } else {
      plan.status = .right
      plan.note = digest
    }
    return plan
  }

  private func withRunner<T>(
    _ library: String, _ manifest: KernelManifest, _ work: (CallRunner) async throws -> T
  ) async throws -> T {
    let folder = try Files.makeUniqueFolder(in: temporaryFolder, prefix: "sluice-survey-")
    defer { Files.remove(folder) }
    return try await work(
      CallRunner(
        library: library, manifest: manifest, target: specification.target,
        runner: try await CallRunner.build(
          for: specification.target, builder: builder, cache: cache),
        folder: folder, limit: .seconds(60)))
  }
}
