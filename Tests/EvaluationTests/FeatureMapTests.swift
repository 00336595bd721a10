import Emission
import Evaluation
import Execution
import Recurrences
import Schedules
import Targets
import Testing

/// Compiled kernels of mapped queries and keys: forward, backward and by single tokens.
@Suite("Feature maps")
struct FeatureMapTests {
  static func specification(
    _ recurrence: Recurrence, type: ElementType = .f32, target: Target = .generic
  ) throws -> KernelSpecification {
    try KernelSpecification(
      normalForm: try recurrence.normalForm(), key: Monomials.count(of: 7), value: 24, type: type,
      gateType: type.sums, target: target)
  }

  @Test(
    "Monomials pass both ways and by single tokens",
    arguments: [
      ("linear-attention-normalized", "chunk-fused", "generic"),
      ("simple-gla", "register-recurrent", "native"),
    ])
  func monomials(_ name: String, _ schedule: String, _ target: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try Self.specification(
      try Recurrence.named(name).mapping(.taylor2), target: Host.detect().target(named: target))
    let gradient = GradientVerifierTests.plan(specification)
    let kernel = try Emitter.emit(
      specification.writingStates(for: gradient), VerifierTests.plan(specification, schedule),
      backward: gradient, step: Schedules.stepPlan(specification))
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    #expect(assessment.worst("d q") != nil && assessment.worst("d k") != nil)
  }

  @Test("They pass in bf16")
  func bf16() async throws {
    let fixture = try await KernelFixture()
    let specification = try Self.specification(
      try Recurrence.retnet.mapping(.taylor2), type: .bf16,
      target: Host.detect().target(named: "native"))
    let kernel = try Emitter.emit(specification, VerifierTests.plan(specification, "segmented"))
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
  }

  @Test("What cannot be is refused with a sentence")
  func refusals() throws {
    let mapped = try Recurrence.gla.mapping(.taylor2)
    let error = #expect(throws: ShapeError.self) {
      try KernelSpecification(
        normalForm: mapped.normalForm(), key: 128, value: 24, type: .f32, gateType: .f32,
        target: .generic)
    }
    #expect(error?.description.contains("(d + 1)(d + 2) / 2") == true)
    let card = try Self.specification(mapped, target: .sm90a)
    let refusal = #expect(throws: SluiceError.self) {
      try Emitter.emit(card, VerifierTests.plan(card, "chunk-fused"))
    }
    #expect(refusal?.kind == .unsupported)
    let scan = try Self.specification(try Recurrence.mamba.mapping(.taylor2))
    #expect(TokenRecurrent().obstacle(to: scan) == nil)
    #expect(TokenGradient().obstacle(to: scan)?.contains("monomials") == true)
  }
}
