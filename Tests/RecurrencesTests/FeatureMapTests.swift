import Recurrences
import TestSupport
import Testing

/// Maps of queries and keys, and the monomials of one of them.
@Suite struct FeatureMapTests {
  @Test func monomialsAreTheExpansion() {
    var random = Seeded()
    for features in 1...9 {
      func draw() -> [Double] { (0..<features).map { _ in .random(in: -2...2, using: &random) } }
      let (x, y) = (draw(), draw())
      let dot = zip(x, y).reduce(0) { $0 + $1.0 * $1.1 }
      let (mapped, other) = (Monomials.apply(x), Monomials.apply(y))
      #expect(mapped.count == Monomials.count(of: features))
      let got = zip(mapped, other).reduce(0) { $0 + $1.0 * $1.1 }
      #expect(abs(got - (1 + dot + dot * dot / 2)) < 1e-12, "seed \(random.seed)")
      // With phi(y) as the adjoint of phi(x), that of x is the gradient of the expansion.
      for (adjoint, own) in zip(Monomials.adjoint(other, at: x), y) {
        #expect(abs(adjoint - (1 + dot) * own) < 1e-12, "seed \(random.seed)")
      }
    }
  }

  @Test func featuresFollowFromTheirMonomials() {
    var counts: Set<Int> = []
    for features in 1...89 {
      counts.insert(Monomials.count(of: features))
      #expect(Monomials.features(in: Monomials.count(of: features)) == features)
    }
    #expect(Monomials.count(of: 16) == 153 && Monomials.count(of: 89) == 4095)
    for count in -3...4096 where !counts.contains(count) {
      #expect(Monomials.features(in: count) == nil)
    }
  }

  @Test func boundsHoldEveryMonomial() {
    var random = Seeded()
    for _ in 0..<200 {
      let ends = [Double.random(in: -3...3, using: &random), .random(in: -3...3, using: &random)]
      let domain = Interval(ends.min()!, ends.max()!)
      let bounds = Expression.monomials(.input("x", .feature)).bounds(given: ["x": domain])
      let x = (0..<3).map { _ in Double.random(in: domain.lower...domain.upper, using: &random) }
      for monomial in Monomials.apply(x) {
        #expect(
          bounds.lower <= monomial && monomial <= bounds.upper,
          "\(monomial) outside \(bounds), seed \(random.seed)")
      }
    }
  }

  @Test(arguments: FeatureMap.allCases)
  func everyVariantWithItsOwnKeysTakesThem(_ map: FeatureMap) throws {
    for recurrence in Recurrence.variants where recurrence.name != "hgrn2" {
      let mapped = try recurrence.mapping(map)
      #expect(mapped.problems == [])
      #expect(mapped.name == "\(recurrence.name)-\(map.rawValue)")
      let (form, plain) = (try mapped.normalForm(), try recurrence.normalForm())
      #expect(form.gateClass == plain.gateClass)
      #expect((form.diagonal?.normalizer == nil) == (plain.diagonal?.normalizer == nil))
      #expect(mapped.hasFeatures == (map == .taylor2))
    }
    let error = #expect(throws: RecurrenceError.self) { try Recurrence.hgrn2.mapping(map) }
    #expect(error?.description.contains("It has no key of its own") == true)
  }

  @Test func monomialsOfSomethingElse() {
    let wrong = Recurrence("wrong", "monomials of keys") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { $0 + outer(KeyVector(.monomials(k.expression)), v) }
      r.output = contract(q, S)
    }
    #expect(wrong.problems == ["Monomials are of features, and k lies along key."])
  }
}
