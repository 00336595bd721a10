import Emission
import Evaluation
import Recurrences
import Schedules
import Targets
import Testing

/// Right kernels pass, whatever their variant, schedule and types.
@Suite("Verifier")
struct VerifierTests {
  static let seed: UInt64 = 4711

  static func plan(_ specification: KernelSpecification, _ schedule: String) -> Plan {
    let value = min(16, specification.value)
    switch schedule {
    case "chunk-fused":
      return Plan(
        schedule: schedule, chunk: 16, subBlock: 4, keyTile: specification.key / 2,
        valueTile: value)
    case "register-recurrent":
      return Plan(
        schedule: schedule, chunk: 8, subBlock: 8, keyTile: specification.key, valueTile: value)
    case "segmented":
      return Plan(
        schedule: schedule, chunk: 8, subBlock: 8, keyTile: specification.key, valueTile: value,
        materialization: .segments(3))
    default:
      return Plan(
        schedule: schedule, chunk: 1, subBlock: 1, keyTile: specification.key, valueTile: value)
    }
  }

  @Test(
    "Every variant passes on a schedule that has it", arguments: Recurrence.variants.map(\.name))
  func variants(_ name: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification(name)
    for schedule in Schedules.all where schedule.obstacle(to: specification) == nil {
      let plan = Self.plan(specification, schedule.name)
      let kernel = try Emitter.emit(specification, plan)
      let assessment = try await fixture.assess(
        kernel.source, kernel.manifest, for: specification.target, seed: Self.seed)
      #expect(assessment.passed, "\(assessment)")
    }
  }

  @Test("Element types pass", arguments: [ElementType.bf16, .f16])
  func types(_ type: ElementType) async throws {
    let fixture = try await KernelFixture()
    for name in ["gla", "gated-outer", "mamba2"] {
      let specification = try KernelFixture.specification(name, type: type, gateType: type)
      let plan = Self.plan(specification, "chunk-fused")
      let kernel = try Emitter.emit(specification, plan)
      let assessment = try await fixture.assess(
        kernel.source, kernel.manifest, for: specification.target, seed: Self.seed)
      #expect(assessment.passed, "\(assessment)")
      if name == "gla" { print(assessment) }
    }
  }
}
