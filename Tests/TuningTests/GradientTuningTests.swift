import Emission
import Evaluation
import Execution
import Planning
import Schedules
import Testing

import Tuning

/// Gradients' plans by the clock: a forward and a backward call, judged and timed together.
@Suite struct GradientTuningTests {
  static let forward = Plan(
    schedule: "register-recurrent", chunk: 16, subBlock: 16, keyTile: 8, valueTile: 8)

  private func tuner(_ shop: Workshop, _ budget: Budget) throws -> Tuner {
    var tuner = try shop.tuner(budget)
    tuner.forward = Self.forward
    return tuner
  }

  @Test("The search has records of its own, and the planner takes the best")
  func search() async throws {
    let shop = try await Workshop()
    let specification = try Workshop.specification()
    let report = try await tuner(shop, .candidates(4)).run()
    #expect(report.records.count == 4)
    for record in report.records { #expect(record.status == .ok, "\(record)") }
    let best = try #require(report.best)
    let stored = try shop.store.all()
    #expect(stored.count == 4 && stored.allSatisfy { $0.key.entry == "backward" })
    #expect(try shop.store.records(of: TuningKey(specification, Workshop.workload)).isEmpty)
    let ranker = RecordedRanker(
      model: CostModel(), records: stored, key: report.key, specification)
    let plan = try Planner(ranker: ranker).gradientPlan(
      specification, PlanRequest(), Workshop.workload, beside: Self.forward)
    #expect(plan == best.plan)
    #expect(ranker.origin(of: plan).description.hasPrefix("measured here"))
  }

  @Test(
    "A gradient that is wrong is told from a right one, and so are states",
    arguments: [
      (
        Materialization.saved, "path->passing = sl_fma(reading, read, path->passing)",
        "path->passing = sl_fma(reading, read, sl_mul(sl_set(1.01f), path->passing))"
      ),
      (
        .chunks, "path->passing = sl_fma(reading, read, path->passing)",
        "path->passing = sl_fma(reading, read, sl_mul(sl_set(1.01f), path->passing))"
      ),
      (.saved, "return first + (tokens / every - 1)", "return first + 0 * (tokens / every - 1)"),
    ])
  func wrong(_ states: Materialization, _ text: String, _ replacement: String) async throws {
    let shop = try await Workshop()
    var tuner = try tuner(shop, .candidates(1))
    tuner.request = PlanRequest(materialization: states)
    tuner.alteration = { kernel in
      var source = kernel.source
      #expect(source.text.contains(text))
      source.text = source.text.replacing(text, with: replacement)
      return source
    }
    let report = try await tuner.run()
    #expect(report.records.map(\.status) == [.wrong])
  }
}
