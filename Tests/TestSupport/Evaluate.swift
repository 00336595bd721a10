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
      let isOverRows = axes.contains(.key) || axes.contains(.feature)
      for place in 0..<axes.subtracting(.value).count(key: key, value: 1) {
        for other in 0..<(axes.contains(.value) ? size : 1) {
          sum += part(operand, isOverRows ? place : row, axes.contains(.value) ? other : column)
        }
      }
      return sum
    case .monomials(let operand):
      // Of y = 1, x_1, ..., x_d the products y_a y_b with a <= b, those of the same a together.
      let features = Axes.feature.count(key: key, value: size)
      var (first, rest) = (0, row)
      while rest > features - first {
        rest -= features - first + 1
        first += 1
      }
      let second = first + rest
      func factor(_ place: Int) -> Double { place == 0 ? 1 : part(operand, place - 1, column) }
      let product = factor(first) * factor(second)
      return first == second && first > 0 ? product * 0.5.squareRoot() : product
    }
  }
}
