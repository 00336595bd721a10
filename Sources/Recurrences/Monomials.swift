/// The monomials of degree 0 to 2 of d features, as entries of the key axis.
///
///     phi(x) = 1;  x_1 ... x_d;  then for i = 1 ... d:  x_i^2 / sqrt(2), x_i x_{i+1} ... x_i x_d
///
/// Every product stands once, with the weight that makes
/// `phi(x) . phi(y) = 1 + x . y + (x . y)^2 / 2`, the expansion of `exp(x . y)` to second order; so
/// there are (d + 1)(d + 2) / 2 of them and not 1 + d + d^2.
public enum Monomials {
  /// How many monomials d features have.
  public static func count(of features: Int) -> Int { (features + 1) * (features + 2) / 2 }

  /// The features that have so many monomials; nil where none have.
  public static func features(in count: Int) -> Int? {
    guard count >= 3, count < 1 << 40 else { return nil }
    let features = Int((Double(8 * count + 1).squareRoot() - 3) / 2)
    return Monomials.count(of: features) == count ? features : nil
  }

  /// phi(x).
  public static func apply(_ x: [Double]) -> [Double] {
    let y = [1] + x
    return terms(x.count).map { $0.weight * y[$0.first] * y[$0.second] }
  }

  /// The adjoint of x, from that of phi(x).
  public static func adjoint(_ given: [Double], at x: [Double]) -> [Double] {
    let y = [1] + x
    var adjoint = Array(repeating: 0.0, count: y.count)
    for (term, own) in zip(terms(x.count), given) {
      adjoint[term.first] += own * term.weight * y[term.second]
      adjoint[term.second] += own * term.weight * y[term.first]
    }
    return Array(adjoint.dropFirst())
  }

  /// The factors of each, places in `1, x_1, ... x_d`, and its weight.
  private static func terms(_ features: Int) -> [(first: Int, second: Int, weight: Double)] {
    (0...features).flatMap { first in
      (first...features).map { second in
        (first, second, first == second && first > 0 ? 0.5.squareRoot() : 1)
      }
    }
  }
}

extension Axes {
  /// How many entries a quantity with these axes has, of a head with K keys and V values. The features
  /// are those whose monomials the keys are; 0 where the keys are none.
  public func count(key: Int, value: Int) -> Int {
    (contains(.key) ? key : 1) * (contains(.value) ? value : 1)
      * (contains(.feature) ? Monomials.features(in: key) ?? 0 : 1)
  }
}

extension Recurrence {
  /// Whether some input lies along features, whose monomials are the key axis.
  public var hasFeatures: Bool { inputs.contains { $0.axes.contains(.feature) } }
}
