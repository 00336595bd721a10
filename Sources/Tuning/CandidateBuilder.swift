import Emission
import Evaluation
import Execution
import Planning
import Schedules
import Targets

/// A candidate on its way: its kernel, and the library if there is one.
struct BuiltCandidate: Sendable {
  var candidate: SearchOrder.Candidate
  /// The plan that is tried, as a kernel's name has it.
  var name: KernelName
  /// What the entries' names begin with.
  var symbol: String
  /// The library's path, or why the compiler would not have it.
  var library: Result<String, SluiceError>
  /// The cache's notice when it had to take another folder.
  var notice: String?
}

/// Builds candidates, several at a time.
struct CandidateBuilder: Sendable {
  var specification: KernelSpecification
  var builder: Builder
  var cache: KernelCache
  /// Of gradients, the plan of the forward entry beside them.
  var forward: Plan?
  /// Changes a kernel's source before it is compiled: how tests plant candidates that misbehave.
  var alteration: @Sendable (EmittedKernel) -> SourceFile = { $0.source }

  /// All of them, in their order.
  ///
  /// - Throws: what is no candidate's fault: a full disk, a compiler that is missing.
  func build(_ candidates: [SearchOrder.Candidate], jobs: Int) async throws -> [BuiltCandidate] {
    try await withThrowingTaskGroup(of: (Int, BuiltCandidate).self) { group in
      var results: [BuiltCandidate?] = Array(repeating: nil, count: candidates.count)
      var started = 0
      func start() {
        guard started < candidates.count else { return }
        let index = started
        started += 1
        group.addTask { (index, try await build(candidates[index])) }
      }
      for _ in 0..<max(1, jobs) { start() }
      while let (index, built) = try await group.next() {
        results[index] = built
        start()
      }
      return results.compactMap { $0 }
    }
  }

  /// What judges and times the candidates on calls of a workload, whose cases it writes to the folder.
  ///
  /// - Parameters:
  ///   - plan: of gradients, one that is measured: others that take as many states are measured alike.
  ///   - limit: seconds until a candidate counts as hung.
  func measurer(
    of workload: Workload, plan: Plan? = nil, in folder: String, limit: Int = 60
  ) async throws -> Measurer {
    let program = try await RunnerProgram.measure.build(
      for: specification.target, builder: builder, cache: cache)
    let cases = try MeasurementCases(
      specification, workload, gradient: forward == nil ? nil : plan)
    let path = "\(folder)/cases\(plan?.savedEvery.map { "-\($0)" } ?? "").bin"
    try Files.write(cases.bytes, to: path)
    return Measurer(
      program: program, cases: path, timed: cases.timed,
      target: specification.target, limit: limit)
  }

  private func build(_ candidate: SearchOrder.Candidate) async throws -> BuiltCandidate {
    let kernel =
      if let forward {
        try Emitter.emit(
          specification.writingStates(for: candidate.plan), forward, backward: candidate.plan)
      } else {
        try Emitter.emit(specification, candidate.plan)
      }
    let (name, symbol) = (KernelName(specification, candidate.plan), kernel.name.description)
    do {
      let entry = try await cache.entry(
        for: builder.job(alteration(kernel), for: specification.target),
        description: try Emitter.json(kernel.manifest), builder: builder)
      return BuiltCandidate(
        candidate: candidate, name: name, symbol: symbol, library: .success(entry.product),
        notice: entry.notice)
    } catch let error as SluiceError where error.kind == .toolchain {
      try Task.checkCancellation()
      return BuiltCandidate(
        candidate: candidate, name: name, symbol: symbol, library: .failure(error))
    }
  }
}
