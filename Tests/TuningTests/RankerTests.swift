import Evaluation
import Planning
import Schedules
import Testing

import Tuning

/// Plans follow what was measured: for the problem itself, else for its nearest neighbour.
@Suite struct RankerTests {
  private func ranker(
    _ records: [TuningRecord], key: Int = 8, workload: Workload = Workshop.workload
  ) throws -> (RecordedRanker, Plan) {
    let specification = try Workshop.specification(key: key)
    let ranker = RecordedRanker(
      model: CostModel(), records: records, key: TuningKey(specification, workload), specification)
    return (ranker, try Planner(ranker: ranker).plan(specification))
  }

  @Test func theMeasuredBestWins() throws {
    let plans = try Workshop.plans()
    let model = try Planner().plan(try Workshop.specification())
    let slow = try #require(plans.last { $0 != model })
    let records = [
      try Workshop.record(model, seconds: 0.002), try Workshop.record(slow, seconds: 0.001),
    ]
    let (ranker, plan) = try ranker(records)
    #expect(plan == slow)
    #expect(ranker.origin(of: plan) == .measured(seconds: 0.001))
  }

  @Test func whatFailedIsNeverChosen() throws {
    let model = try Planner().plan(try Workshop.specification())
    let (ranker, plan) = try ranker([
      try Workshop.record(model, seconds: nil, status: .wrong)
    ])
    #expect(plan != model)
    #expect(ranker.cost(of: model, for: try Workshop.specification()) == .infinity)
  }

  @Test func aNeighbourCorrectsTheModel() throws {
    // What was measured at K = 16 says that the model's favourite is ten times slower than it thinks.
    let specification = try Workshop.specification(key: 16)
    let model = CostModel()
    let favourite = try Planner().plan(specification)
    var records: [TuningRecord] = []
    for plan in try Workshop.plans(key: 16) {
      let seconds = 1e-6 * model.cost(of: plan, for: specification)
      let isFavourite = plan.schedule == favourite.schedule
      records.append(
        try Workshop.record(plan, seconds: isFavourite ? 10 * seconds : seconds, key: 16))
    }
    let (ranker, plan) = try ranker(records, key: 8)
    #expect(try Planner().plan(try Workshop.specification()).schedule == favourite.schedule)
    #expect(plan.schedule != favourite.schedule)
    guard case .neighbour(let words) = ranker.origin(of: plan) else {
      Issue.record("the plan is not by a neighbour")
      return
    }
    #expect(words.contains("K 16"))
  }

  @Test func theNearestNeighbourIsTaken() throws {
    let plans = try Workshop.plans()
    let near = try Workshop.record(
      plans[0], seconds: 0.001, workload: Workload(heads: 2, length: 600, threads: 1))
    let far = try Workshop.record(
      plans[0], seconds: 0.001, workload: Workload(heads: 32, length: 300, threads: 16))
    let (ranker, plan) = try ranker([far, near])
    guard case .neighbour(let words) = ranker.origin(of: plan) else {
      Issue.record("the plan is not by a neighbour")
      return
    }
    #expect(words.contains("T about 512"))
  }
}
