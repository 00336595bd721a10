import Recurrences
import Reference
import TestSupport
import Testing

@Suite struct ErrorMetricTests {
  @Test func plainNumbers() {
    #expect(rmsRatio([1, 2, 3], [1, 2, 3]) == 0)
    #expect(rmsRatio([3, 4.5], [3, 4]) == 0.1)
    #expect(rmsRatio([0, 0], [3, 4]) == 1)
    #expect(rmsRatio([1.1e200], [1e200]) < 0.11)
    #expect(rmsRatio([1.1e-200], [1e-200]) > 0.09)
  }

  @Test func emptyAndZero() {
    #expect(rmsRatio([], []) == 0)
    #expect(rmsRatio([1], []) == .infinity)
    #expect(rmsRatio([0, -0.0], [0, 0]) == 0)
    #expect(rmsRatio([0, 1e-30], [0, 0]) == .infinity)
  }

  @Test func notFinite() {
    #expect(rmsRatio([1, .nan], [1, 2]) == .infinity)
    #expect(rmsRatio([1, .infinity], [1, 2]) == .infinity)
    #expect(rmsRatio([.nan], [0]) == .infinity)
    #expect(rmsRatio([.infinity, 1], [.infinity, 1]) == 0)
    #expect(rmsRatio([-.infinity, 1], [.infinity, 1]) == .infinity)
    #expect(rmsRatio([.nan, 1], [.nan, 1]) == 0)
    #expect(rmsRatio([1, 1], [.nan, 1]) == .infinity)
  }

  @Test func roundingFloors() {
    var random = Seeded()
    let numbers = (0..<10000).map { _ in Double.random(in: -1...1, using: &random) }
    // Numbers in Double are as they are.
    #expect(roundingFloor(of: numbers, as: .f64) == 0)
    for type in ElementType.allCases where type != .f64 {
      let floor = roundingFloor(of: numbers, as: type)
      #expect(0.2 * type.roundoff < floor && floor < type.roundoff, "seed \(random.seed)")
    }
    #expect(roundingFloor(of: [1, 0.5, -2], as: .bf16) == 0)
  }
}
