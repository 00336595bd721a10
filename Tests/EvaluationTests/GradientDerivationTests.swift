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
    let specification = try DerivationTests.specification(
      try .named(name, among: known), key: 5, value: 6)
    let schedule = ChunkGradient()
    if let obstacle = schedule.obstacle(to: specification) {
      #expect(name == "mamba" && obstacle.hasSuffix("."), "\(obstacle)")
      return
    }
    for (chunk, subBlock) in [(2, 1), (4, 4), (6, 2), (12, 4)] {
      let plan = Plan(
        schedule: schedule.name, chunk: chunk, subBlock: subBlock, keyTile: 5, valueTile: 6,
        materialization: .chunks)
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
    for recurrence in [Recurrence.mamba, MappedRecurrences.boundedNormalizer] {
      let specification = try DerivationTests.specification(recurrence, key: 4, value: 4)
      let obstacle = try #require(
        ChunkGradient().obstacle(to: specification), "\(recurrence.name)")
      #expect(obstacle.hasSuffix("."), "\(obstacle)")
    }
  }
}
