import Recurrences

extension Expression {
  /// The value at one place of the axes, by the plainest recursion there is.
  ///
  /// - Parameter look: the value of an input or a state at a place.
  public func value(
    _ row: Int, _ column: Int, key: Int, value size: Int,
    _ look: (Expression, _ row: Int, _ column: Int) -> Double
  ) -> Double {
    func part(_ node: Expression, _ row: Int, _ column: Int) -> Double {
      node.value(row, column, key: key, value: size, look)
    }
    switch self {
    case .constant(let number): return number
    case .input, .state: return look(self, row, column)
    case .unary(let function, let operand): return function.apply(part(operand, row, column))
    case .binary(let function, let left, let right):
      return function.apply(part(left, row, column), part(right, row, column))
    case .sum(let axes, let operand):
      var sum = 0.0
      for place in 0..<(axes.contains(.key) ? key : 1) {
        for other in 0..<(axes.contains(.value) ? size : 1) {
          sum += part(
            operand, axes.contains(.key) ? place : row, axes.contains(.value) ? other : column)
        }
      }
      return sum
    }
  }
}
