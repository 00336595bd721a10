import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// The choice of gradients' plans.
@Suite("Gradient planner")
struct GradientPlannerTests {
  static func forward(chunk: Int) -> Plan {
    Plan(
      schedule: "register-recurrent", chunk: chunk, subBlock: chunk, keyTile: 128, valueTile: 128)
  }

  @Test("States that the forward call keeps are few beside its tensors, unless they are pinned")
  func keptStates() throws {
    var specification = try CostModelTests.specification(
      key: 128, value: 128, target: .avx512)
    specification.target.secondLevelCache = 2 << 20
    let plan = try Planner().gradientPlan(specification, beside: Self.forward(chunk: 16))
    #expect(plan.materialization == .saved && plan.chunk == 64)
    let pinned = PlanRequest(chunk: 32, materialization: .saved)
    #expect(try Planner().gradientPlan(specification, pinned).savedEvery == 32)
    let alone = PlanRequest(materialization: .chunks)
    #expect(try Planner().gradientPlan(specification, alone).savedEvery == nil)
  }

  @Test("The forward plan's chunks divide those between the states that it writes")
  func besideForward() throws {
    let specification = try CostModelTests.specification(
      key: 128, value: 128, target: .avx512)
    let long = Self.forward(chunk: 128)
    #expect(try Planner().gradientPlan(specification, beside: long).materialization == .chunks)
    let error = #expect(throws: SluiceError.self) {
      try Planner().gradientPlan(
        specification, PlanRequest(materialization: .saved), beside: long)
    }
    #expect(error?.details.contains { $0.contains("after chunks of 128 tokens") } == true)
  }

  @Test("Counts of the search add up")
  func counts() throws {
    let specification = try CostModelTests.specification(
      key: 128, value: 128, target: .avx512)
    let planner = Planner.gradients(beside: Self.forward(chunk: 64))
    let search = try Planner.search(specification, model: CostModel(), of: planner)
    #expect(search.ranked.count == search.legal && search.legal < search.plans)
    for part in search.schedules {
      #expect(part.plans == part.legal + part.rejections.reduce(0) { $0 + $1.count })
    }
  }

  @Test("States are written out wherever somebody wants them")
  func writtenStates() throws {
    var specification = try CostModelTests.specification(key: 128, value: 128)
    var gradient = Self.forward(chunk: 32)
    #expect(specification.writingStates(for: gradient) == specification)
    gradient.materialization = .saved
    #expect(specification.writingStates(for: gradient).snapshotEvery == 32)
    specification.snapshotEvery = 48
    #expect(specification.writingStates(for: gradient).snapshotEvery == 16)
  }
}
