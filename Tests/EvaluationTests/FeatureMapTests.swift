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
      normalForm: try recurrence.normalForm(), key: Monomials.count(of: 5), value: 20, type: type,
      gateType: type.sums, target: target)
  }

  @Test("Monomials pass both ways and by single tokens")
  func monomials() async throws {
    let fixture = try await KernelFixture()
    let specification = try Self.specification(
      try Recurrence.linearAttentionNormalized.mapping(.taylor2))
    let gradient = GradientVerifierTests.plan(specification)
    var forward = VerifierTests.plan(specification, "chunk-fused")
    forward.keyTile = 7
    let kernel = try Emitter.emit(
      specification.writingStates(for: gradient), forward, backward: gradient,
      step: Schedules.stepPlan(specification))
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    #expect(assessment.worst("d q") != nil && assessment.worst("d k") != nil)
  }

  @Test(
    "They pass under gates, in bf16 and on this machine",
    arguments: [
      ("simple-gla", ElementType.f32, "register-recurrent"), ("retnet", .bf16, "segmented"),
    ])
  func forward(_ name: String, _ type: ElementType, _ schedule: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try Self.specification(
      try Recurrence.named(name).mapping(.taylor2), type: type,
      target: Host.detect().target(named: "native"))
    let kernel = try Emitter.emit(specification, VerifierTests.plan(specification, schedule))
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
      try Emitter.emit(card, VerifierTests.plan(card, "token-recurrent"))
    }
    #expect(refusal?.kind == .unsupported)
    let scan = try Self.specification(try Recurrence.mamba.mapping(.taylor2))
    #expect(TokenRecurrent().obstacle(to: scan) == nil)
    #expect(TokenGradient().obstacle(to: scan)?.contains("monomials") == true)
  }
}
