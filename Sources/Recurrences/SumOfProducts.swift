/// One product of a sum: its factors, in the order they were written.
struct Product: Hashable {
  var factors: [Expression]

  var expression: Expression { .product(factors) }

  /// The factors whose axes lie in `axes` only, and the rest.
  func split(where belongs: (Expression) -> Bool) -> (Product, Product) {
    (Product(factors: factors.filter(belongs)), Product(factors: factors.filter { !belongs($0) }))
  }

  /// Equality up to the order of the factors, constants of one left out.
  func matches(_ other: Product) -> Bool {
    func sorted(_ factors: [Expression]) -> [String] {
      factors.filter { $0 != .constant(1) }.map(\.description).sorted()
    }
    return sorted(factors) == sorted(other.factors)
  }
}

extension Expression {
  /// The factors of a product; quotients contribute their denominators' inverses.
  var factors: [Expression] {
    switch self {
    case .binary(.multiply, let left, let right): left.factors + right.factors
    case .binary(.divide, let left, let right):
      left.factors + [.binary(.divide, .constant(1), right)]
    case .unary(.negate, let operand): [.constant(-1)] + operand.factors
    default: [self]
    }
  }

  /// The expression as a sum of products, multiplied out only where `isOpen` says so: a gate such
  /// as `1 - f` stays one factor.
  func sumOfProducts(where isOpen: (Expression) -> Bool) -> [Product] {
    guard isOpen(self) else { return [Product(factors: factors)] }
    switch self {
    case .binary(.add, let left, let right):
      return left.sumOfProducts(where: isOpen) + right.sumOfProducts(where: isOpen)
    case .binary(.subtract, let left, let right):
      return left.sumOfProducts(where: isOpen)
        + right.sumOfProducts(where: isOpen).map {
          Product(factors: [.constant(-1)] + $0.factors)
        }
    case .unary(.negate, let operand):
      return operand.sumOfProducts(where: isOpen).map {
        Product(factors: [.constant(-1)] + $0.factors)
      }
    case .binary(.multiply, let left, let right):
      let others = right.sumOfProducts(where: isOpen)
      return left.sumOfProducts(where: isOpen).flatMap { first in
        others.map { Product(factors: first.factors + $0.factors) }
      }
    case .binary(.divide, let left, let right):
      return left.sumOfProducts(where: isOpen).map {
        Product(factors: $0.factors + [.binary(.divide, .constant(1), right)])
      }
    default:
      return [Product(factors: factors)]
    }
  }
}
