import Emission
import Evaluation
import Recurrences
import Schedules
import Targets
import Testing

/// Compiled gradients against the reference.
@Suite("Gradient verifier")
struct GradientVerifierTests {
  static func plan(
    _ specification: KernelSpecification, _ states: Materialization = .saved
  ) -> Plan {
    Plan(
      schedule: "chunk-gradient", chunk: 16, subBlock: 4, keyTile: specification.key,
      valueTile: specification.value, materialization: states)
  }

  @Test(
    "Compiled gradients pass",
    arguments: ["gla-decay", "mamba2", "gated-outer", "linear-attention-normalized"]
  )
  func gradients(_ name: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification(name)
    let forward = VerifierTests.plan(specification, "chunk-fused")
    // Of one the gradient walks forward itself, whatever the forward call writes out.
    let gradient = Self.plan(specification, name == "gla-decay" ? .chunks : .saved)
    let kernel = try Emitter.emit(
      specification.writingStates(for: gradient), forward, backward: gradient)
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    for input in specification.recurrence.inputs {
      #expect(assessment.worst("d \(input.name)") != nil, "\(input.name) was not judged")
    }
  }

  @Test(
    "A norm and a gate behind the read-out, both ways",
    arguments: ["chunk-fused", "register-recurrent"])
  func epilogue(_ schedule: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelSpecification(
      normalForm: try MappedRecurrences.layer.normalForm(), key: 20, value: 24, type: .f32,
      gateType: .f32, target: .generic)
    var forward = VerifierTests.plan(specification, schedule)
    forward.valueTile = 24
    let kernel = try Emitter.emit(
      specification, forward, backward: Self.plan(specification))
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    #expect(assessment.worst("d og") != nil && assessment.worst("d weight") != nil)
  }
}
