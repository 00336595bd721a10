extension Expression {
  /// An interval that holds every value of the expression, by interval arithmetic over the maps.
  ///
  /// - Parameter domains: where each input lies; an input that is missing may be anything.
  public func bounds(given domains: [String: Interval]) -> Interval {
    switch self {
    case .constant(let value): return Interval(value, value)
    case .input(let name, _): return domains[name] ?? .all
    case .state: return .all
    case .sum(_, let operand):
      let inner = operand.bounds(given: domains)
      return Interval(inner.lower < 0 ? -.infinity : 0, inner.upper > 0 ? .infinity : 0)
    case .monomials(let operand):
      // 1, x, and products of two of them, of which squares count by sqrt(1/2).
      let x = operand.bounds(given: domains)
      let product = Expression.Binary.multiply.bounds(x, x)
      return Interval(
        Swift.min(1, x.lower, product.lower * (product.lower > 0 ? 0.5.squareRoot() : 1)),
        Swift.max(1, x.upper, product.upper))
    case .unary(let function, let operand):
      return function.bounds(operand.bounds(given: domains))
    case .binary(let function, let left, let right):
      return function.bounds(left.bounds(given: domains), right.bounds(given: domains))
    }
  }
}

extension Expression.Unary {
  fileprivate func bounds(_ x: Interval) -> Interval {
    switch self {
    case .negate: Interval(-x.upper, -x.lower)
    case .abs:
      Interval(
        x.lower > 0 ? x.lower : x.upper < 0 ? -x.upper : 0,
        Swift.max(Swift.abs(x.lower), Swift.abs(x.upper)))
    case .oneMinusExp: Interval(apply(x.upper), apply(x.lower))
    case .log, .sqrt:
      x.lower < 0 ? .all : Interval(apply(x.lower), apply(x.upper))
    // All others rise with their argument.
    default: Interval(apply(x.lower), apply(x.upper))
    }
  }
}

extension Expression.Binary {
  fileprivate func bounds(_ x: Interval, _ y: Interval) -> Interval {
    switch self {
    case .add: return widened(x.lower + y.lower, x.upper + y.upper)
    case .subtract: return widened(x.lower - y.upper, x.upper - y.lower)
    case .maximum: return Interval(Swift.max(x.lower, y.lower), Swift.max(x.upper, y.upper))
    case .minimum: return Interval(Swift.min(x.lower, y.lower), Swift.min(x.upper, y.upper))
    case .multiply: return corners(x, y, *)
    case .divide:
      return y.lower > 0 || y.upper < 0 ? corners(x, y, /) : .all
    }
  }

  /// Infinities that cancel bound nothing.
  private func widened(_ lower: Double, _ upper: Double) -> Interval {
    Interval(lower.isNaN ? -.infinity : lower, upper.isNaN ? .infinity : upper)
  }

  private func corners(
    _ x: Interval, _ y: Interval, _ apply: (Double, Double) -> Double
  ) -> Interval {
    // Zero times an infinite bound is zero: the bound itself is never reached.
    let values = [(x.lower, y.lower), (x.lower, y.upper), (x.upper, y.lower), (x.upper, y.upper)]
      .map { pair in
        let value = apply(pair.0, pair.1)
        return value.isNaN ? 0 : value
      }
    return Interval(values.min() ?? -.infinity, values.max() ?? .infinity)
  }
}
