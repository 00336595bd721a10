import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// Plans of kernels that walk chunks as they come, against what plans took on an H200 (one run, us).
@Suite struct AlikePlanTests {
  /// What a problem of one sequence took by its plans: walks of so many values, in so many segments.
  struct Problem: CustomTestStringConvertible {
    var name: String
    var key: Int, value: Int
    var heads: Int, length: Int
    var times: [String: Double]

    var testDescription: String { "\(name) K \(key) V \(value) H \(heads) T \(length)" }

    init(
      _ name: String, _ key: Int, _ value: Int, heads: Int, length: Int, _ plans: [String],
      _ times: [Double]
    ) {
      (self.name, self.key, self.value) = (name, key, value)
      (self.heads, self.length) = (heads, length)
      self.times = Dictionary(uniqueKeysWithValues: zip(plans, times))
    }

    func check(_ found: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
      let time = try #require(
        times[found], "\(found) was not measured", sourceLocation: sourceLocation)
      let best = try #require(times.values.min())
      #expect(time <= 1.1 * best, "\(found)", sourceLocation: sourceLocation)
    }
  }

  private static func segments(_ plan: Plan) -> Int {
    if case .segments(let count) = plan.materialization { count } else { 1 }
  }

  /// Of problems whose plan was among those measured; docs/cuda-forward.md has the others.
  private static let forward: [Problem] = {
    let ungated = ["64_1", "64_8", "64_16", "64_32", "128_1", "128_8", "128_16"]
    let gated = ["64_1", "64_4", "64_8", "64_16", "128_1", "128_8", "128_16"]
    let large = ["128_1", "128_4", "128_8", "128_16"]
    return [
      (4, 2048, [25.7, 16.7, 20.5, 28.9, 46.5, 20.7, 20.1]),
      (4, 4096, [47.7, 20.6, 24.4, 34.3, 88.3, 27.6, 23.6]),
      (4, 8192, [91.3, 30.8, 36.2, 47.3, 171.5, 42.6, 33.7]),
      (4, 16384, [178.5, 52.2, 57.0, 67.9, 335.1, 70.2, 55.4]),
      (4, 32768, [351.6, 87.9, 93.1, 105.5, 663.3, 123.6, 93.5]),
      (1, 16384, [177.4, 40.9, 26.5, 21.1, 337.6, 65.5, 39.4]),
      (16, 4096, [48.5, 67.5, 91.2, 136.1, 87.4, 63.4, 85.6]),
    ].map { Problem("linear-attention", 128, 256, heads: $0.0, length: $0.1, ungated, $0.2) }
      + [
        (4, 512, [11.5, 14.2, 13.6, 13.9, 17.7, 16.0, 16.4]),
        (4, 1024, [18.0, 16.3, 14.9, 15.3, 30.2, 17.8, 17.5]),
        (4, 2048, [31.1, 21.3, 17.3, 17.2, 55.0, 22.1, 19.4]),
        (4, 8192, [110.2, 51.5, 32.3, 25.8, 202.8, 48.7, 32.7]),
        (4, 16384, [216.1, 95.0, 57.9, 42.6, 396.8, 83.6, 54.6]),
        (16, 4096, [59.4, 42.6, 49.7, 62.4, 105.1, 44.9, 57.7]),
        (16, 16384, [217.2, 121.8, 131.2, 145.3, 398.5, 119.1, 133.0]),
      ].map { Problem("simple-gla", 128, 128, heads: $0.0, length: $0.1, gated, $0.2) }
      + [
        (4, 4096, [145.0, 72.0, 55.0, 77.3]), (4, 16384, [554.9, 214.6, 131.5, 158.2]),
      ].map { Problem("simple-gla", 256, 512, heads: $0.0, length: $0.1, large, $0.2) }
  }()

  private static let gradients: [Problem] = [
    Problem("simple-gla", 128, 256, heads: 4, length: 16384, ["8", "16"], [214.1, 230.7]),
    Problem("simple-gla", 128, 256, heads: 4, length: 4096, ["8", "16"], [78.3, 107.9]),
    Problem("simple-gla", 128, 256, heads: 4, length: 2048, ["8", "16"], [48.0, 77.5]),
    Problem("simple-gla", 128, 256, heads: 1, length: 16384, ["8", "16"], [199.7, 137.3]),
    Problem("linear-attention", 128, 256, heads: 4, length: 16384, ["8", "16"], [149.2, 191.3]),
    Problem("linear-attention", 128, 256, heads: 4, length: 4096, ["8", "16"], [54.3, 92.4]),
    Problem("linear-attention", 128, 256, heads: 1, length: 16384, ["8", "16"], [120.4, 81.7]),
    Problem(
      "simple-gla", 256, 512, heads: 4, length: 16384, ["4", "8", "16"], [896.1, 669.5, 855.0]),
    Problem(
      "simple-gla", 256, 512, heads: 4, length: 4096, ["4", "8", "16"], [277.8, 253.6, 407.6]),
  ]

  @Test("A forward plan is within a tenth of the best that was measured", arguments: forward)
  func forwardPlans(_ problem: Problem) throws {
    let plan = try Planner().plan(
      try KernelSpecification(.named(problem.name), key: problem.key, value: problem.value),
      PlanRequest(), Workload(batch: 1, heads: problem.heads, length: problem.length))
    #expect(plan.schedule == "warpgroup-alike")
    try problem.check("\(plan.valueTile)_\(Self.segments(plan))")
  }

  @Test("A gradient is cut within a tenth of the best that was measured", arguments: gradients)
  func gradientPlans(_ problem: Problem) throws {
    let plan = try Planner().gradientPlan(
      try KernelSpecification(.named(problem.name), key: problem.key, value: problem.value),
      PlanRequest(), Workload(batch: 1, heads: problem.heads, length: problem.length))
    #expect(plan.schedule == "alike-gradient")
    try problem.check("\(AlikeGradient.segments(of: plan))")
  }
}
