extension Expression {
  /// 1 - self, written so that nothing is lost where self is close to one: what a decay takes away.
  public var complement: Expression {
    switch self {
    case .constant(let value): .constant(1 - value)
    case .unary(.exp, let x): .unary(.oneMinusExp, x)
    case .unary(.oneMinusExp, let x): .unary(.exp, x)
    case .unary(.sigmoid, let x): .unary(.sigmoid, -x)
    case .binary(.subtract, .constant(1), let x): x
    // 1 - x y = (1 - x) + x (1 - y)
    case .binary(.multiply, let x, let y): x.complement + x * y.complement
    case .binary(.maximum, let x, let y): .binary(.minimum, x.complement, y.complement)
    case .binary(.minimum, let x, let y): .binary(.maximum, x.complement, y.complement)
    default: .constant(1) - self
    }
  }
}
