import Emission
import Evaluation
import Execution
import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// Emitted code under the sanitizers: every schedule, all problems and laws, nothing reported.
@Suite("Sanitizers")
struct SanitizerTests {
  /// A recurrence for each schedule, with what is particular to it.
  static let kernels = [
    ("gla", "register-recurrent"), ("gated-outer", "chunk-fused"), ("mamba2", "segmented"),
    ("mamba", "token-recurrent"),
  ]

  @Test("Memory and arithmetic are clean", arguments: kernels.indices)
  func addressAndUndefined(_ index: Int) async throws {
    try await check(index, [.address, .undefined], threads: [1, 2])
  }

  /// LLVM's archer tells the thread sanitizer what OpenMP orders.
  @Test("Threads do not race", arguments: kernels.indices)
  func thread(_ index: Int) async throws {
    try await check(index, [.thread], threads: [2, 3])
  }

  private func check(
    _ index: Int, _ sanitizers: Set<BuildJob.Sanitizer>, threads: [Int]
  ) async throws {
    let (name, schedule) = Self.kernels[index]
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification(name)
    let plan = try Planner().plan(
      specification,
      PlanRequest(schedule: schedule, valueTile: schedule == "chunk-fused" ? 16 : nil))
    let kernel = try Emitter.emit(specification, plan)
    var job = fixture.builder.job(
      kernel.source, for: specification.target, sanitizers: sanitizers)
    job.optimisation = ["-O1"]
    let library = "\(fixture.folder)/\(kernel.name).so"
    try await fixture.builder.build(job, to: library)
    let options = VerifyOptions(
      seed: 1, threads: threads, sanitizers: sanitizers, builder: fixture.builder,
      cache: fixture.cache)
    let assessment = try await verify(
      library: library, manifest: kernel.manifest, target: specification.target, options: options)
    #expect(assessment.passed, "\(assessment)")
  }
}
