import Recurrences

/// Prints maps as C: one vector at a time, or one number at a time.
struct CExpression {
  /// Whether lanes of a vector are meant, or one float.
  var isVector: Bool
  /// Whether constants keep the digits of a double.
  var isDouble = false
  /// The word for vectors' quotients.
  var quotient = "sl_div"
  /// What each operand's value is called.
  var read: (String) -> String

  func text(_ expression: Expression) -> String {
    switch expression {
    case .constant(let value): return isVector ? "sl_set(\(literal(value)))" : literal(value)
    case .input(let name, _): return read(name)
    case .unary(let function, let operand): return unary(function, text(operand))
    case .binary(let function, let left, let right):
      return binary(function, text(left), text(right))
    case .state, .sum, .monomials:
      preconditionFailure("the verifier admits elementwise maps of no state")
    }
  }

  private func literal(_ value: Double) -> String {
    let value = isDouble ? value : Double(Float(value))
    if value.isNaN { return "NAN" }
    if value.isInfinite { return value > 0 ? "INFINITY" : "-INFINITY" }
    let text = isDouble ? "\(value)" : "\(Float(value))"
    let whole = text.contains(".") || text.contains("e") ? text : text + ".0"
    return isDouble ? whole : whole + "f"
  }

  private func unary(_ function: Expression.Unary, _ x: String) -> String {
    guard isVector else {
      switch function {
      case .negate: return "-(\(x))"
      case .abs: return "__builtin_fabsf(\(x))"
      case .sqrt: return "__builtin_sqrtf(\(x))"
      default: return "\(word(function))_1(\(x))"
      }
    }
    return "\(word(function))(\(x))"
  }

  private func word(_ function: Expression.Unary) -> String {
    switch function {
    case .negate: "sl_neg"
    case .exp: "sl_exp"
    case .log: "sl_log"
    case .sigmoid: "sl_sigmoid"
    case .logSigmoid: "sl_logsigmoid"
    case .softplus: "sl_softplus"
    case .tanh: "sl_tanh"
    case .relu: "sl_relu"
    case .abs: "sl_abs"
    case .sqrt: "sl_sqrt"
    case .oneMinusExp: "sl_one_minus_exp"
    }
  }

  private func binary(_ function: Expression.Binary, _ x: String, _ y: String) -> String {
    guard isVector else {
      switch function {
      case .add: return "(\(x) + \(y))"
      case .subtract: return "(\(x) - \(y))"
      case .multiply: return "(\(x) * \(y))"
      case .divide: return "(\(x) / \(y))"
      // A comparison with NaN is false, so the second operand comes out, as in vectors.
      case .maximum: return "(\(y) < \(x) ? \(x) : \(y))"
      case .minimum: return "(\(x) < \(y) ? \(x) : \(y))"
      }
    }
    switch function {
    case .add: return "sl_add(\(x), \(y))"
    case .subtract: return "sl_sub(\(x), \(y))"
    case .multiply: return "sl_mul(\(x), \(y))"
    case .divide: return "\(quotient)(\(x), \(y))"
    case .maximum: return "sl_max(\(x), \(y))"
    case .minimum: return "sl_min(\(x), \(y))"
    }
  }
}
