import Emission
import Evaluation
import Recurrences
import Schedules
import Targets
import Testing

/// Interpreted programs of gradients against the reference's reverse mode.
@Suite("Gradient derivation")
struct GradientDerivationTests {
  @Test(
    "Gradients mean what the recurrence says",
    arguments: (Recurrence.variants + MappedRecurrences.all).map(\.name))
  func gradients(_ name: String) throws {
    let known = Recurrence.variants + MappedRecurrences.all
    let recurrence = try Recurrence.named(name, among: known)
    let key = recurrence.hasFeatures ? Monomials.count(of: 2) : 5
    let specification = try DerivationTests.specification(recurrence, key: key, value: 6)
    let schedule = try #require(
      Schedules.gradients.first { $0.obstacle(to: specification) == nil }, "\(name)")
    let isNormalized = specification.normalForm.diagonal?.normalizer != nil
    let shapes: [(Int, Int, Int, Materialization)] = [
      (2, 1, 1, .chunks), (4, 4, 2, .saved), (6, 2, 1, .chunks), (12, 4, 4, .chunks),
    ]
    for (chunk, subBlock, headTile, states) in shapes {
      let isScan = schedule.name == TokenGradient().name
      let plan = Plan(
        schedule: schedule.name, chunk: chunk, subBlock: isScan ? chunk : subBlock, keyTile: key,
        valueTile: 6, headTile: isScan || isNormalized ? 1 : headTile, materialization: states)
      #expect(schedule.objections(to: plan, for: specification).isEmpty)
      let program = schedule.lower(specification, plan)
      #expect(program.violations == [])
      for finding in try program.checkGradientDerivation(
        specification, plan, seed: DerivationTests.seed)
      {
        #expect(finding.passed, "\(name), chunk \(chunk), seed \(DerivationTests.seed): \(finding)")
      }
    }
  }

  @Test("What has no gradient here is refused with a sentence")
  func refusals() throws {
    let squared = Recurrence("squared", "an output that is not linear in what it reads") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let a = r.parameter("a", over: BothAxes.self, domain: Interval(-1, 0))
      let S = r.state { previous in exp(a) * previous + outer(k, v) }
      let read = contract(q, S)
      r.output = read * read
    }
    for recurrence in [squared, MappedRecurrences.boundedNormalizer] {
      let specification = try DerivationTests.specification(recurrence, key: 4, value: 4)
      for schedule in Schedules.gradients {
        let obstacle = try #require(schedule.obstacle(to: specification), "\(recurrence.name)")
        #expect(obstacle.hasSuffix("."), "\(obstacle)")
      }
    }
  }
}
