import Emission
import Evaluation
import Execution
import Foundation
import Planning
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

  @Test("Every variant passes on a schedule that has it")
  func variants() async throws {
    let fixture = try await KernelFixture()
    let pairs = try Recurrence.variants.flatMap { variant in
      let specification = try KernelFixture.specification(variant.name)
      return Schedules.all.filter { $0.obstacle(to: specification) == nil }
        .map { (specification, $0.name) }
    }
    try await sideBySide(pairs) { specification, schedule in
      let kernel = try Emitter.emit(specification, Self.plan(specification, schedule))
      let assessment = try await fixture.assess(
        kernel.source, kernel.manifest, for: specification.target, seed: Self.seed)
      #expect(assessment.passed, "\(assessment)")
    }
  }

  @Test("Two plans give one answer, and two recurrences do not")
  func agreement() async throws {
    let fixture = try await KernelFixture()
    let options = VerifyOptions(
      seed: Self.seed, builder: fixture.builder, cache: fixture.cache)
    let gla = try KernelFixture.specification("gla")
    let one = try await fixture.build(gla, Self.plan(gla, "chunk-fused"))
    for schedule in ["segmented", "register-recurrent", "token-recurrent"] {
      let other = try await fixture.build(gla, Self.plan(gla, schedule))
      let assessment = try await verifyAgreement(one, other, options: options)
      #expect(assessment.passed, "\(assessment)")
      #expect(assessment.checks.count > 20)
    }
    let simple = try KernelFixture.specification("simple-gla")
    let stranger = try await fixture.build(simple, Self.plan(simple, "chunk-fused"))
    await #expect(throws: SluiceError.self) {
      try await verifyAgreement(one, stranger, options: options)
    }
    // A library under another's manifest: the answers differ, and are reported.
    var wrong = stranger
    wrong.manifest = one.manifest
    await #expect(throws: SluiceError.self) {
      let assessment = try await verifyAgreement(one, wrong, options: options)
      if !assessment.passed { throw SluiceError(.verification, "it differs") }
    }
  }

  @Test("A library that is none is refused with a sentence")
  func noLibrary() async throws {
    let fixture = try await KernelFixture()
    let gla = try KernelFixture.specification("gla")
    let kernel = try Emitter.emit(gla, Self.plan(gla, "chunk-fused"))
    try Files.write("no library", to: "\(fixture.folder)/none.so")
    for name in ["none.so", "absent.so"] {
      await #expect(throws: SluiceError.self) {
        try await verify(
          library: "\(fixture.folder)/\(name)", manifest: kernel.manifest, target: .generic,
          options: VerifyOptions(seed: 1, builder: fixture.builder, cache: fixture.cache))
      }
    }
  }

  @Test("An assessment travels as JSON")
  func json() async throws {
    let fixture = try await KernelFixture()
    let fault = try #require(PlantedFault.all.first { $0.name == "the last row dropped" })
    let kernel = try fault.emit(for: .generic)
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: .generic, seed: Self.seed, stopsEarly: true)
    #expect(!assessment.passed)
    let data = try JSONEncoder().encode(assessment)
    #expect(try JSONDecoder().decode(Assessment.self, from: data) == assessment)
  }

  @Test(
    "One key, one value and one value beside whole vectors are sizes like others",
    arguments: [(1, 1), (1, 20), (20, 17)])
  func sizesOfOne(_ key: Int, _ value: Int) async throws {
    let fixture = try await KernelFixture()
    let host = Host.detect()
    for target in [Target.generic, .avx512] where host.runs(target) {
      for (name, type) in [("chunk-fused", ElementType.bf16), ("register-recurrent", .f32)] {
        let specification = try KernelFixture.specification(
          "gla", key: key, value: value, type: type, target: target)
        let plan = try Planner().plan(specification, PlanRequest(schedule: name))
        let kernel = try Emitter.emit(specification, plan)
        let assessment = try await fixture.assess(
          kernel.source, kernel.manifest, for: target, seed: Self.seed)
        #expect(assessment.passed, "\(assessment)")
      }
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
    }
  }
}
