import Emission
import Evaluation
import Targets
import Testing

/// A verifier is judged by the faults that it catches.
@Suite("Planted faults")
struct PlantedFaultTests {
  static let seed: UInt64 = 99

  @Test("There are enough, each once")
  func count() {
    #expect(PlantedFault.all.count { $0.backward == nil } >= 25)
    #expect(PlantedFault.all.count { $0.backward != nil } >= 15)
    #expect(Set(PlantedFault.all.map(\.name)).count == PlantedFault.all.count)
    for layer in PlantedFault.Layer.allCases {
      #expect(PlantedFault.all.contains { $0.layer == layer })
    }
  }

  /// The same kernels without their faults: what is caught must be the fault.
  @Test("Kernels without faults pass")
  func controls() async throws {
    let fixture = try await KernelFixture()
    var seen: Set<String> = []
    for fault in PlantedFault.all.sorted(by: { $0.needsFarOffsets && !$1.needsFarOffsets }) {
      let control = try fault.control(for: .generic)
      let isGradient = fault.backward != nil
      guard seen.insert("\(control.manifest.name) \(isGradient)").inserted else { continue }
      let assessment = try await fixture.assess(
        control.source, control.manifest, for: .generic, seed: Self.seed,
        farOffsets: fault.needsFarOffsets, gradientOnly: isGradient)
      #expect(assessment.passed, "seed \(Self.seed): \(assessment)")
    }
  }

  @Test("Every fault is caught")
  func caught() async throws {
    let fixture = try await KernelFixture()
    try await sideBySide(PlantedFault.all) { fault in
      let kernel = try fault.emit(for: .generic)
      let control = try fault.control(for: .generic)
      #expect(kernel.source != control.source, "\(fault.name) changes nothing")
      let assessment = try await fixture.assess(
        kernel.source, kernel.manifest, for: .generic, seed: Self.seed,
        limit: .seconds(fault.needsFarOffsets ? 60 : 10), farOffsets: fault.needsFarOffsets,
        stopsEarly: fault.caughtBy == nil, gradientOnly: fault.backward != nil)
      let found = assessment.failures.first { check in
        fault.caughtBy == nil || check.group == fault.caughtBy
      }
      let what = found.map { "\($0.group.rawValue): \($0.name), \($0.what) \($0.detail)" }
      print("\(fault.layer.rawValue): \(fault.name) -> \(what ?? "NOT CAUGHT")")
      #expect(found != nil, "\(fault.name), seed \(Self.seed): \(assessment)")
    }
  }
}
