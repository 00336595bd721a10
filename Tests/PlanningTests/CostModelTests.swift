import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// What any sane model of time must say, whatever its figures.
@Suite("Cost model")
struct CostModelTests {
  static func specification(
    _ name: String = "gla", key: Int = 64, value: Int = 64, type: ElementType = .f32,
    target: Target = .avx512
  ) throws -> KernelSpecification {
    try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: key, value: value, type: type,
      gateType: .f32, target: target)
  }

  static func plans(_ specification: KernelSpecification) throws -> [Plan] {
    try Planner().legalPlans(specification, PlanRequest())
  }

  @Test(
    "Every legal plan takes a finite positive time", arguments: Recurrence.variants.map(\.name))
  func finite(_ name: String) throws {
    for (target, type) in [(Target.generic, ElementType.f32), (.avx512bf16, .bf16)] {
      let specification = try Self.specification(
        name, key: 60, value: 100, type: type, target: target)
      // Every seventh: all kinds, in a fraction of the time.
      for (place, plan) in try Self.plans(specification).enumerated() where place % 7 == 0 {
        for workload in [Workload(), Workload(heads: 1, length: 1, threads: 64)] {
          let prediction = CostModel().prediction(of: plan, for: specification, workload)
          #expect(
            prediction.seconds.isFinite && prediction.seconds > 0, "\(plan) for \(workload)")
          #expect(prediction.terms.values.allSatisfy { $0 > 0 })
        }
      }
    }
  }

  @Test("Time is linear in the tokens")
  func linear() throws {
    let specification = try Self.specification()
    for plan in try Self.plans(specification) where plan.materialization != .chunks {
      func seconds(_ length: Int) -> Double {
        CostModel().cost(of: plan, for: specification, Workload(heads: 64, length: length))
      }
      // Past what the last cache holds, at whole chunks and segments: the states at both ends fade.
      let ratio = seconds(65_536) / seconds(16_384)
      #expect(abs(ratio - 4) < 0.2, "\(plan): \(ratio)")
    }
  }

  @Test("More threads are never slower where there are heads enough")
  func threads() throws {
    let specification = try Self.specification()
    for plan in try Self.plans(specification) {
      let times = [1, 2, 4, 8].map { threads in
        CostModel().cost(
          of: plan, for: specification, Workload(batch: 4, heads: 16, threads: threads))
      }
      #expect(times == times.sorted(by: >), "\(plan): \(times)")
    }
  }

  @Test("A thread too many for the workers is idle, not faster")
  func idle() throws {
    let specification = try Self.specification()
    let plan = Plan(
      schedule: "chunk-fused", chunk: 16, subBlock: 16, keyTile: 64, valueTile: 64)
    func prediction(_ threads: Int, length: Int = 512) -> Prediction {
      CostModel().prediction(
        of: plan, for: specification, Workload(heads: 3, length: length, threads: threads))
    }
    // Three workers on two threads take two rounds.
    #expect(prediction(2).terms[.idle] ?? 0 > 0)
    #expect(prediction(1).terms[.idle] == nil)
    #expect(prediction(3).seconds < prediction(2).seconds)
    #expect(prediction(2).seconds > 0.66 * prediction(1).seconds)
    // Long walks are handed on: one and a half, and a stretch.
    let shared = prediction(2, length: 4096).seconds / prediction(1, length: 4096).seconds
    #expect((0.5...0.53).contains(shared))
  }

  @Test("Heads walked together are quicker, unless threads have none left")
  func headTiles() throws {
    let specification = try Self.specification(key: 128, value: 128)
    func prediction(_ headTile: Int, heads: Int) -> Prediction {
      let plan = Plan(
        schedule: "register-recurrent", chunk: 16, subBlock: 16, keyTile: 128, valueTile: 128,
        headTile: headTile)
      return CostModel().prediction(
        of: plan, for: specification, Workload(heads: heads, threads: 2))
    }
    #expect(prediction(2, heads: 16).seconds < prediction(1, heads: 16).seconds)
    #expect(prediction(4, heads: 4).seconds > prediction(2, heads: 4).seconds)
    // One worker has four heads, the other the fifth.
    #expect(prediction(4, heads: 5).terms[.idle] ?? 0 > 0)
    #expect(prediction(4, heads: 5).seconds > 0.9 * prediction(4, heads: 8).seconds)
    // What is not there costs nothing.
    #expect(prediction(4, heads: 1).seconds <= 1.01 * prediction(2, heads: 1).seconds)
  }

  @Test("More work takes longer: larger heads, wider values, smaller lanes")
  func work() throws {
    func best(_ specification: KernelSpecification) throws -> Double {
      try Planner.search(specification, model: CostModel()).ranked[0].prediction.seconds
    }
    let small = try best(Self.specification())
    #expect(try best(Self.specification(key: 128)) > small)
    #expect(try best(Self.specification(value: 128)) > small)
    #expect(try best(Self.specification(target: .avx2)) > small)
  }

  @Test("A slower figure makes the plans slower that use it, and no other")
  func figures() throws {
    let specification = try Self.specification()
    var slow = Calibration.assumed(for: .avx512)
    slow.scores *= 10
    let fused = Plan(
      schedule: "chunk-fused", chunk: 16, subBlock: 16, keyTile: 64, valueTile: 64)
    let register = Plan(
      schedule: "register-recurrent", chunk: 16, subBlock: 16, keyTile: 64, valueTile: 64)
    func cost(_ plan: Plan, _ calibration: Calibration) -> Double {
      CostModel(calibration: calibration).cost(of: plan, for: specification, Workload())
    }
    #expect(cost(fused, slow) > cost(fused, .assumed(for: .avx512)))
    #expect(cost(register, slow) == cost(register, .assumed(for: .avx512)))
  }

  @Test("A machine that was disturbed in one measurement of three is believed the others")
  func undisturbed() {
    let quiet = Calibration.assumed(for: .avx512)
    var disturbed = quiet
    disturbed.recurrence *= 1.7
    disturbed.memoryRead /= 2
    disturbed.scaling = 1.1
    for place in 0..<3 {
      var runs = [quiet, quiet]
      runs.insert(disturbed, at: place)
      #expect(Calibration.undisturbed(runs) == quiet)
    }
    #expect(Calibration.undisturbed([disturbed]) == disturbed)
  }

  @Test("Ranks are compared as Spearman did")
  func ranks() {
    #expect(spearman([1, 2, 3, 4], [10, 20, 30, 400]) == 1)
    #expect(spearman([1, 2, 3, 4], [9, 8, 7, -1]) == -1)
    #expect(spearman([1, 1, 2, 2], [5, 5, 5, 5]) == nil)
    // By hand: ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4.
    #expect(abs((spearman([1, 2, 2, 3], [1, 3, 2, 4]) ?? 0) - 0.948_683) < 1e-6)
  }
}
