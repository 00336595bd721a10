#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

// Inside `Expression.Unary`, `exp` is a case; these names reach the C library.
private func power(_ x: Double) -> Double { exp(x) }
private func logarithm(_ x: Double) -> Double { log(x) }
private func hyperbolicTangent(_ x: Double) -> Double { tanh(x) }

extension Expression.Unary {
  /// The function's value in Double: the meaning that every emitted word is held to.
  public func apply(_ x: Double) -> Double {
    switch self {
    case .negate: return -x
    case .exp: return power(x)
    case .log: return logarithm(x)
    case .sigmoid:
      // Each branch raises e to a number <= 0, so neither overflows.
      if x >= 0 { return 1 / (1 + power(-x)) }
      let raised = power(x)
      return raised / (1 + raised)
    case .logSigmoid: return -Expression.Unary.softplus.apply(-x)
    case .softplus: return Swift.max(x, 0) + log1p(power(-Swift.abs(x)))
    case .tanh: return hyperbolicTangent(x)
    case .relu: return x > 0 ? x : x.isNaN ? x : 0
    case .abs: return Swift.abs(x)
    case .sqrt: return x.squareRoot()
    case .oneMinusExp: return -expm1(x)
    }
  }
}

extension Expression.Binary {
  /// The function's value in Double.
  public func apply(_ x: Double, _ y: Double) -> Double {
    switch self {
    case .add: x + y
    case .subtract: x - y
    case .multiply: x * y
    case .divide: x / y
    case .maximum: x > y ? x : y
    case .minimum: x < y ? x : y
    }
  }
}
