import Emission
import Evaluation
import Recurrences
import Schedules
import Targets
import Testing

/// Interpreted tile programs against the reference: every variant, schedule and odd plan.
@Suite("Derivation")
struct DerivationTests {
  static let seed: UInt64 = 20_250_101

  static func specification(
    _ recurrence: Recurrence, key: Int, value: Int, type: ElementType = .f32,
    target: Target = .generic
  ) throws -> KernelSpecification {
    try KernelSpecification(
      normalForm: try recurrence.normalForm(), key: key, value: value, type: type, gateType: .f32,
      target: target)
  }

  func label(_ specification: KernelSpecification, _ plan: Plan) -> String {
    KernelName(specification, plan).description
  }

  /// Plans that no tuner would choose: small chunks, single-token sub-blocks, tiles that leave rests.
  static func oddPlans(key: Int, value: Int) -> [Plan] {
    var plans: [Plan] = []
    for (chunk, subBlock) in [(2, 1), (2, 2), (4, 2), (6, 2), (6, 3), (8, 1), (12, 4)] {
      for (keyTile, valueTile) in [(key, value), (key / 3, 3), (1, 1)] {
        let plan = Plan(
          schedule: "chunk-fused", chunk: chunk, subBlock: subBlock, keyTile: keyTile,
          valueTile: valueTile)
        plans.append(plan)
        for materialization in [Materialization.segments(1), .segments(3), .chunks] {
          var other = plan
          other.schedule = "segmented"
          other.materialization = materialization
          plans.append(other)
        }
      }
    }
    for chunk in [2, 6, 12] {
      for valueTile in [value, 3, 1] {
        plans.append(
          Plan(
            schedule: "register-recurrent", chunk: chunk, subBlock: chunk, keyTile: key,
            valueTile: valueTile))
      }
    }
    // Heads walked together: all in one worker, and a rest that is smaller than a tile.
    for (schedule, headTile) in [
      ("register-recurrent", 2), ("register-recurrent", 5), ("chunk-fused", 2),
    ] {
      plans.append(
        Plan(
          schedule: schedule, chunk: 6, subBlock: schedule == "chunk-fused" ? 3 : 6, keyTile: key,
          valueTile: 3, headTile: headTile))
    }
    return plans
      + [value, 3, 1].map {
        Plan(schedule: "token-recurrent", chunk: 1, subBlock: 1, keyTile: key, valueTile: $0)
      }
  }

  /// Checks those of the plans that apply, and returns how many do.
  private func check(_ plans: [Plan], of specification: KernelSpecification) throws -> Int {
    var count = 0
    for plan in plans {
      let schedule = try #require(Schedules.named(plan.schedule))
      guard schedule.obstacle(to: specification) == nil,
        schedule.objections(to: plan, for: specification).isEmpty
      else { continue }
      count += 1
      for finding in try checkDerivation(specification, plan, seed: Self.seed) {
        #expect(finding.passed, "\(label(specification, plan)), seed \(Self.seed): \(finding)")
      }
    }
    return count
  }

  @Test("Odd plans mean what the recurrence says")
  func oddPlans() async throws {
    try await sideBySide(Recurrence.variants + MappedRecurrences.all) { recurrence in
      let key = recurrence.hasFeatures ? Monomials.count(of: 3) : 9
      let specification = try Self.specification(recurrence, key: key, value: 7)
      let count = try check(Self.oddPlans(key: key, value: 7), of: specification)
      #expect(count >= 3, "no plan applied to \(recurrence.name)")
    }
  }

  @Test(
    "Every schedule's own candidates mean what the recurrence says",
    arguments: Recurrence.variants.map(\.name))
  func candidates(_ name: String) throws {
    let specification = try Self.specification(try .named(name), key: 5, value: 70)
    for schedule in Schedules.all {
      // One candidate of each chunk, sub-block and materialization in turn, the tiles alternating.
      var seen: Set<[String]> = []
      for plan in schedule.candidates(for: specification) where plan.chunk <= 64 {
        guard schedule.objections(to: plan, for: specification).isEmpty,
          seen.insert(["\(plan.chunk)", "\(plan.subBlock)"]).inserted
        else { continue }
        let recipe = ProblemRecipe("chunk and a tail, resets", [plan.chunk + 3]).with {
          $0.gates = .resets
          $0.hasInitialState = true
          $0.heads = 1
        }
        let program = schedule.lower(specification, plan)
        #expect(program.violations == [])
        for finding in try program.checkDerivation(
          specification, plan, recipes: [recipe], seed: Self.seed)
        {
          #expect(finding.passed, "\(label(specification, plan)), seed \(Self.seed): \(finding)")
        }
      }
    }
  }

  @Test("States written out on the way are the final states of prefixes")
  func snapshots() throws {
    for recurrence in Recurrence.variants {
      var specification = try Self.specification(recurrence, key: 9, value: 7)
      specification.snapshotEvery = 6
      let plans = Self.oddPlans(key: 9, value: 7).filter { $0.keyTile == 9 }
      let count = try check(plans, of: specification)
      #expect(count >= 1, "no plan applied")
    }
    var specification = try Self.specification(.gla, key: 9, value: 7)
    specification.snapshotEvery = 6
    let plan = Plan(schedule: "chunk-fused", chunk: 4, subBlock: 2, keyTile: 9, valueTile: 7)
    #expect(
      ChunkFused().objections(to: plan, for: specification) == [
        "chunk 4 does not divide the 6 tokens between two snapshots: states are written out between "
          + "chunks."
      ])
  }

  @Test("Programs with bf16 products mean the same in Double")
  func pairs() throws {
    for recurrence in Recurrence.variants {
      let specification = try Self.specification(
        recurrence, key: 10, value: 7, type: .bf16, target: .avx512bf16)
      for (chunk, subBlock, keyTile) in [(4, 2, 10), (8, 4, 2), (6, 6, 10)] {
        for (schedule, states) in [
          ("chunk-fused", Materialization.none), ("segmented", .segments(2)),
          ("segmented", .chunks),
        ] {
          let plan = Plan(
            schedule: schedule, chunk: chunk, subBlock: subBlock, keyTile: keyTile, valueTile: 4,
            materialization: states, products: .bf16)
          let known = try #require(Schedules.named(schedule))
          guard known.obstacle(to: specification) == nil,
            known.objections(to: plan, for: specification).isEmpty
          else { continue }
          for finding in try checkDerivation(specification, plan, seed: Self.seed) {
            #expect(finding.passed, "\(label(specification, plan)), seed \(Self.seed): \(finding)")
          }
        }
      }
    }
  }

  @Test("Programs for a matrix unit mean the same in Double")
  func matrixUnit() throws {
    var count = 0
    for recurrence in Recurrence.variants {
      let specification = try Self.specification(
        recurrence, key: 10, value: 7, type: .bf16, target: .amx)
      let plans = [(32, 16, 1), (64, 32, 2)].map { chunk, subBlock, headTile in
        Plan(
          schedule: "matrix-fused", chunk: chunk, subBlock: subBlock, keyTile: 10, valueTile: 4,
          headTile: headTile, products: .bf16)
      }
      count += try check(plans, of: specification)
    }
    #expect(count >= 10, "no plan applied")
  }
}
