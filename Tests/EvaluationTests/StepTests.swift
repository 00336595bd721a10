import Emission
import Evaluation
import Execution
import Recurrences
import Schedules
import Targets
import Testing

/// The step of a single token: its tile program against the reference, its code against both, and
/// that a wrong one is found.
@Suite("Step")
struct StepTests {
  /// One token only, as the program is made for.
  static let recipes = [
    ProblemRecipe("a token, resets", [1]).with {
      $0.gates = .resets
      $0.hasInitialState = true
    },
    ProblemRecipe("grouped heads", [1]).with {
      $0.batch = 2
      $0.group = 3
      $0.gates = .mixed
      $0.hasInitialState = true
    },
    ProblemRecipe("from nothing", [1]),
  ]

  @Test("Interpreted, every variant is the reference's", arguments: Recurrence.variants.map(\.name))
  func derivation(_ name: String) throws {
    let recurrence = try Recurrence.named(name)
    let specification = try DerivationTests.specification(recurrence, key: 6, value: 5)
    let schedule = StepTests.schedule
    var plan = try #require(Schedules.stepPlan(specification))
    for valueTile in [5, 3] {
      plan.valueTile = valueTile
      guard schedule.objections(to: plan, for: specification).isEmpty else { continue }
      let program = try Emitter.lower(specification, plan)
      #expect(program.violations.isEmpty, "\(program.violations)")
      for finding in try program.checkDerivation(
        specification, plan, recipes: Self.recipes, seed: DerivationTests.seed)
      {
        #expect(finding.passed, "\(name), value tile \(valueTile): \(finding)")
      }
    }
  }

  static var schedule: any Schedule { Schedules.ofAnyEntry("step")! }

  @Test(
    "Compiled steps pass",
    arguments: [
      ("gla", "generic"), ("gated-outer", "native"), ("rwkv6", "native"), ("mamba", "native"),
      ("linear-attention-normalized", "native"),
    ])
  func compiled(_ name: String, _ target: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification(
      name, target: Host.detect().target(named: target))
    let forward = VerifierTests.plan(specification, "token-recurrent")
    let kernel = try Emitter.emit(
      specification, forward, step: Schedules.stepPlan(specification))
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    #expect(assessment.checks.contains { $0.name == "step by step" })
  }

  /// What is wrong with a step, and its text.
  static let faults = [
    (
      "no decay", "x = sl_times_each(sl_move_decayed(x, m.d, i + a, near), m.dv, j);", "(void)near;"
    ),
    ("the state of before is read", "before ? old : x, o)", "before >= 0 ? old : x, o)"),
    ("the state is not written", "sl_store(m.t + place, x);", "(void)m.t;"),
    ("every query head moves it", "const int moves = g == 0;", "const int moves = 1;"),
    ("a base of one is taken for granted", "sl_bases_are_one(m.d, rows, i, 1)", "1"),
    ("sums begin with what was there", "i == 0 ? sl_zero()", "i < 0 ? sl_zero()"),
    ("any length is taken", "if (args->length != 1) return 3;", ""),
  ]

  @Test("Planted faults are found", arguments: faults)
  func fault(_ name: String, _ right: String, _ wrong: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification("gla")
    let kernel = try Emitter.emit(
      specification, VerifierTests.plan(specification, "token-recurrent"),
      step: Schedules.stepPlan(specification))
    var source = kernel.source
    source.text = source.text.replacing(right, with: wrong)
    #expect(source != kernel.source, "it changes nothing")
    let assessment = try await fixture.assess(
      source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.failures.contains { $0.name.hasPrefix("step") }, "\(name) was not found")
  }
}
