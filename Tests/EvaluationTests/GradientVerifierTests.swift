import Emission
import Evaluation
import Recurrences
import Schedules
import Targets
import Testing

/// Compiled gradients against the reference, and that a wrong one is found.
@Suite("Gradient verifier")
struct GradientVerifierTests {
  static func plan(_ specification: KernelSpecification) -> Plan {
    Plan(
      schedule: "chunk-gradient", chunk: 16, subBlock: 4, keyTile: specification.key,
      valueTile: specification.value, materialization: .chunks)
  }

  @Test("Compiled gradients pass", arguments: ["gla", "mamba2", "gated-outer"])
  func gradients(_ name: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification(name)
    let forward = VerifierTests.plan(specification, "register-recurrent")
    let kernel = try Emitter.emit(
      specification, forward, backward: Self.plan(specification))
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    for input in specification.recurrence.inputs {
      #expect(assessment.worst("d \(input.name)") != nil, "\(input.name) was not judged")
    }
  }

  @Test("A gradient without a decay is found")
  func fault() async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification("gla")
    let kernel = try Emitter.emit(
      specification, VerifierTests.plan(specification, "register-recurrent"),
      backward: Self.plan(specification))
    var source = kernel.source
    source.text = source.text.replacing(
      "sl_mul(decay, sl_fma(score, value, x))", with: "sl_fma(score, value, x)")
    #expect(source != kernel.source, "it changes nothing")
    let assessment = try await fixture.assess(
      source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.failures.contains { $0.what.hasPrefix("d ") })
  }
}
