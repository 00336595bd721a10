import Emission
import Evaluation
import Execution
import Recurrences
import Schedules
import Targets
import Testing

/// States written out on the way: compiled kernels of every schedule pass, and a wrong one is found.
@Suite("Snapshots")
struct SnapshotTests {
  static func specification(
    _ name: String, _ type: ElementType = .f32
  ) throws -> KernelSpecification {
    var specification = try KernelFixture.specification(
      name, type: type, target: Host.detect().target(named: "native"))
    specification.snapshotEvery = 16
    return specification
  }

  @Test(
    "Compiled kernels pass",
    arguments: [
      ("gla", "register-recurrent", Materialization.none),
      ("linear-attention-normalized", "segmented", .segments(3)),
      ("mamba", "token-recurrent", .none),
    ])
  func compiled(_ name: String, _ schedule: String, _ states: Materialization) async throws {
    let fixture = try await KernelFixture()
    let specification = try Self.specification(name)
    var plan = VerifierTests.plan(specification, schedule)
    plan.materialization = states
    try await pass(specification, plan, fixture)
  }

  @Test("Compiled kernels of a matrix unit pass, where there is one")
  func matrix() async throws {
    let fixture = try await KernelFixture()
    let specification = try Self.specification("gla", .bf16)
    let schedule = try #require(Schedules.named("matrix-fused"))
    let plan = schedule.candidates(for: specification).first {
      schedule.objections(to: $0, for: specification).isEmpty
    }
    guard let plan else { return }
    try await pass(specification, plan, fixture)
  }

  private func pass(
    _ specification: KernelSpecification, _ plan: Plan, _ fixture: KernelFixture
  ) async throws {
    let kernel = try Emitter.emit(specification, plan)
    #expect(KernelName(kernel.name.description) == kernel.name)
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    #expect(assessment.checks.contains { $0.name.hasPrefix("snapshots") && $0.what == "states" })
  }

  /// What is wrong, and its text.
  static let faults = [
    ("a chunk late", "(chunk + 1) * 16", "chunk * 16"),
    ("not of its sequence", "+ begin / every", "+ 0 * begin"),
    ("of another head", "(first_snapshot * heads + head)", "(first_snapshot * heads)"),
    ("past the end", "tokens > length ||", "tokens > length + every ||"),
    ("any number of tokens is taken", " || args->snapshot_every % 16", ""),
  ]

  @Test("Planted faults are found", arguments: faults)
  func fault(_ name: String, _ right: String, _ wrong: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try Self.specification("gla")
    let plan = VerifierTests.plan(specification, "chunk-fused")
    let kernel = try Emitter.emit(specification, plan)
    var source = kernel.source
    source.text = source.text.replacing(right, with: wrong)
    #expect(source != kernel.source, "it changes nothing")
    let assessment = try await fixture.assess(
      source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(!assessment.passed, "\(name) was not found")
  }
}
