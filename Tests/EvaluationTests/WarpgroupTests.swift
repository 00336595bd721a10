import Emission
import Evaluation
import Recurrences
import Schedules
import Targets
import Testing

/// The tile programs of walks by products of warpgroups mean what their recurrences say.
@Suite struct WarpgroupTests {
  @Test(
    "The derivation agrees with the reference, in one piece, in segments and by halves of the values",
    arguments: ["gla", "simple-gla"],
    [(Materialization.none, 128), (.segments(2), 128), (.none, 64)])
  func derivation(_ name: String, _ way: (materialization: Materialization, valueTile: Int)) throws
  {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: 128, value: 128, type: .bf16,
      gateType: .f32, target: .sm90a)
    let plan = try #require(
      WarpgroupFused().candidates(for: specification).first {
        $0.materialization == way.materialization && $0.valueTile == way.valueTile
      })
    let program = try Emitter.lower(specification, plan)
    #expect(program.violations == [])
    for finding in try program.checkDerivation(specification, plan, seed: 7) {
      #expect(finding.passed, "\(finding)")
    }
  }

  @Test func whatItCannotWalkIsSaid() throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named("rwkv6").normalForm(), key: 128, value: 128, type: .bf16,
      gateType: .f32, target: .sm90a)
    #expect(WarpgroupFused().obstacle(to: specification) == "It reads out after the write.")
  }
}
