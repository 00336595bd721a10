import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// The funnel from the joint space to the chosen plan.
@Suite("Plan search")
struct PlanSearchTests {
  @Test(
    "Counts add up, and every refused plan has a reason", arguments: ["gla", "mamba2", "mamba"])
  func counts(_ name: String) throws {
    for target in [Target.generic, .avx512bf16] {
      let specification = try CostModelTests.specification(
        name, key: 128, value: 100, type: .bf16, target: target)
      let search = try Planner.search(specification, model: CostModel())
      #expect(search.ranked.count == search.legal)
      #expect(Set(search.ranked.map(\.plan)).count == search.legal)
      for part in search.schedules {
        #expect(part.plans == part.legal + part.rejections.reduce(0) { $0 + $1.count })
        #expect(part.rejections.allSatisfy { $0.count > 0 && $0.reason.hasSuffix(".") })
        #expect((part.obstacle == nil) == (part.plans > 0))
      }
    }
  }

  @Test("The space is joint, and what is legal can be lowered")
  func space() throws {
    let specification = try CostModelTests.specification(key: 128, value: 128)
    let search = try Planner.search(specification, model: CostModel())
    #expect(search.plans > 1000)
    #expect(search.legal > 500 && search.legal < search.plans)
    for candidate in search.ranked {
      let schedule = try #require(Schedules.named(candidate.plan.schedule))
      #expect(schedule.objections(to: candidate.plan, for: specification) == [])
    }
    let seconds = search.ranked.map(\.prediction.seconds)
    #expect(seconds == seconds.sorted())
  }

  @Test("The planner's plan is the first of the search")
  func first() throws {
    let specification = try CostModelTests.specification()
    let workload = Workload(batch: 2, heads: 3, length: 300, threads: 4)
    let search = try Planner.search(specification, PlanRequest(), workload, model: CostModel())
    #expect(try Planner().plan(specification, PlanRequest(), workload) == search.ranked[0].plan)
  }

  @Test(
    "What does not fit the caches is refused with its size, and taken when nothing else is left")
  func fit() throws {
    var specification = try CostModelTests.specification(key: 256, value: 512)
    specification.target.secondLevelCache = 256 << 10
    let search = try Planner.search(specification, model: CostModel())
    let reasons = search.schedules.flatMap(\.rejections).map(\.reason)
    #expect(reasons.contains { $0.contains("second-level cache") && $0.contains("KiB") })
    #expect(reasons.contains { $0.contains("first-level cache") })
    let pinned = PlanRequest(schedule: "chunk-fused", valueTile: 512)
    #expect(try Planner().plan(specification, pinned).valueTile == 512)
  }

  @Test("Workspace that states would need is bounded")
  func workspace() throws {
    let specification = try CostModelTests.specification(key: 128, value: 128)
    let long = Workload(batch: 8, heads: 32, length: 65_536)
    let search = try Planner.search(
      specification, PlanRequest(schedule: "segmented"), long, model: CostModel())
    #expect(search.schedules[0].rejections.contains { $0.reason.contains("workspace") })
    #expect(!search.ranked.contains { $0.plan.materialization == .chunks })
  }

  @Test("Pins hold in every plan, and impossible ones are refused with reasons")
  func pins() throws {
    let specification = try CostModelTests.specification()
    let request = PlanRequest(chunk: 32, valueTile: 64)
    let search = try Planner.search(specification, request, model: CostModel())
    #expect(search.ranked.allSatisfy { request.admits($0.plan) })
    let error = #expect(throws: SluiceError.self) {
      try Planner.search(specification, PlanRequest(chunk: 3), model: CostModel())
    }
    #expect(error?.kind == .usage)
    #expect(error?.details.isEmpty == false)
  }

  @Test("A sample is stratified: small schedules whole, the best ten, every schedule and chunk")
  func sample() throws {
    let specification = try CostModelTests.specification(key: 128, value: 128)
    let search = try Planner.search(specification, model: CostModel())
    let sample = search.sample(60)
    #expect(sample.count == 60 && Set(sample.map(\.plan)).count == 60)
    #expect(Array(sample.prefix(10)) == Array(search.ranked.prefix(10)))
    let strata = Set(search.ranked.map { "\($0.plan.schedule) \($0.plan.chunk)" })
    #expect(Set(sample.map { "\($0.plan.schedule) \($0.plan.chunk)" }) == strata)
    #expect(search.sample(1_000_000) == search.ranked)
    #expect(search.sample(60) == sample)
  }
}
