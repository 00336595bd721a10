extension Expression: CustomStringConvertible {
  /// The expression as mathematics, with only the parentheses that it needs.
  public var description: String { written(above: 0) }

  private func written(above outer: Int) -> String {
    switch self {
    case .constant(let value):
      return value == value.rounded() && abs(value) < 1e9 ? String(Int(value)) : String(value)
    case .input(let name, _): return name
    case .state(let name, _, let previous): return previous ? "\(name)[t-1]" : "\(name)[t]"
    case .unary(.negate, let operand): return "-" + operand.written(above: 3)
    case .unary(let function, let operand):
      return "\(function.rawValue)(\(operand.written(above: 0)))"
    case .sum(let axis, let operand):
      return "sum(\(axis): \(operand.written(above: 0)))"
    case .monomials(let operand): return "monomials(\(operand.written(above: 0)))"
    case .binary(let function, let left, let right):
      guard let (sign, rank) = function.infix else {
        return "\(function.rawValue)(\(left.written(above: 0)), \(right.written(above: 0)))"
      }
      let commutes = function == .add || function == .multiply
      let text =
        left.written(above: rank) + " \(sign) " + right.written(above: commutes ? rank : rank + 1)
      return rank < outer ? "(\(text))" : text
    }
  }
}

extension Expression.Binary {
  fileprivate var infix: (sign: String, rank: Int)? {
    switch self {
    case .add: ("+", 1)
    case .subtract: ("-", 1)
    case .multiply: ("*", 2)
    case .divide: ("/", 2)
    case .maximum, .minimum: nil
    }
  }
}
