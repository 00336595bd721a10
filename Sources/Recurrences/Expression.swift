/// Mathematics over the quantities of one token: what a recurrence is written in.
///
/// A quantity without an axis that its neighbour has is repeated along it, so the product of a key
/// vector and a value vector is their outer product. The typed layer (`Term`) is what people write;
/// this tree is what the analysis, the reference and the schedules read.
public indirect enum Expression: Hashable, Codable, Sendable {
  case constant(Double)
  /// An input of the recurrence, or one of the symbols of `Symbol`.
  case input(String, Axes)
  /// A state variable: its value after the present token, or before it.
  case state(String, Axes, previous: Bool)
  case unary(Unary, Expression)
  case binary(Binary, Expression, Expression)
  /// The sum over one axis: `sum(.key, q * S)` is `S^T q`.
  case sum(Axes, Expression)
  /// The `Monomials` of a vector of features, along the key axis.
  case monomials(Expression)

  public enum Unary: String, Hashable, Codable, Sendable, CaseIterable {
    case negate, exp, log, sigmoid, logSigmoid, softplus, tanh, relu, abs, sqrt, oneMinusExp
  }

  public enum Binary: String, Hashable, Codable, Sendable, CaseIterable {
    case add, subtract, multiply, divide, maximum, minimum
  }

  /// The axes along which the value varies.
  public var axes: Axes {
    switch self {
    case .constant: .scalar
    case .input(_, let axes), .state(_, let axes, _): axes
    case .unary(_, let operand): operand.axes
    case .binary(_, let left, let right): left.axes.union(right.axes)
    case .sum(let axis, let operand): operand.axes.subtracting(axis)
    case .monomials(let operand): operand.axes.subtracting(.feature).union(.key)
    }
  }

  /// The direct parts of this node, in the order they are written.
  public var children: [Expression] {
    switch self {
    case .constant, .input, .state: []
    case .unary(_, let operand), .sum(_, let operand), .monomials(let operand): [operand]
    case .binary(_, let left, let right): [left, right]
    }
  }

  /// The same node over other parts; `transform` is applied to each direct part.
  public func mapChildren(_ transform: (Expression) throws -> Expression) rethrows -> Expression {
    switch self {
    case .constant, .input, .state: self
    case .unary(let function, let operand): .unary(function, try transform(operand))
    case .sum(let axis, let operand): .sum(axis, try transform(operand))
    case .monomials(let operand): .monomials(try transform(operand))
    case .binary(let function, let left, let right):
      .binary(function, try transform(left), try transform(right))
    }
  }

  /// Whether any node of the tree satisfies `predicate`.
  public func contains(where predicate: (Expression) -> Bool) -> Bool {
    predicate(self) || children.contains { $0.contains(where: predicate) }
  }

  /// Whether the tree is elementwise: no sum over an axis, and nothing else that reads other places.
  public var isElementwise: Bool {
    !contains {
      switch $0 {
      case .sum, .monomials: true
      default: false
      }
    }
  }

  /// Names of the inputs that the tree reads, each once, in order of first appearance.
  public var inputNames: [String] {
    var names: [String] = []
    func visit(_ node: Expression) {
      if case .input(let name, _) = node, !names.contains(name) { names.append(name) }
      node.children.forEach(visit)
    }
    visit(self)
    return names
  }

  /// Whether the tree reads a state variable.
  public var readsState: Bool {
    contains {
      if case .state = $0 { true } else { false }
    }
  }

  /// The tree with every occurrence of a part replaced.
  public func replacing(_ part: Expression, by replacement: Expression) -> Expression {
    self == part ? replacement : mapChildren { $0.replacing(part, by: replacement) }
  }

  /// The tree with sums over an axis that their operand lacks as products with the axis's size.
  public func sized(key: Int, value: Int) -> Expression {
    let node = mapChildren { $0.sized(key: key, value: value) }
    guard case .sum(let axis, let operand) = node, operand.axes.isDisjoint(with: axis) else {
      return node
    }
    return (operand * .constant(Double(axis.count(key: key, value: value)))).simplified
  }

  /// The tree with every occurrence of an input replaced.
  public func substituting(_ name: String, by replacement: Expression) -> Expression {
    if case .input(name, _) = self { return replacement }
    return mapChildren { $0.substituting(name, by: replacement) }
  }
}

extension Expression {
  public static func + (left: Expression, right: Expression) -> Expression {
    .binary(.add, left, right)
  }
  public static func - (left: Expression, right: Expression) -> Expression {
    .binary(.subtract, left, right)
  }
  public static func * (left: Expression, right: Expression) -> Expression {
    .binary(.multiply, left, right)
  }
  public static func / (left: Expression, right: Expression) -> Expression {
    .binary(.divide, left, right)
  }
  public static prefix func - (operand: Expression) -> Expression { .unary(.negate, operand) }

  /// The product of `factors`, or one when there are none.
  public static func product(_ factors: [Expression]) -> Expression {
    guard let first = factors.first else { return .constant(1) }
    return factors.dropFirst().reduce(first, *)
  }

  /// The sum of `terms`, or zero when there are none.
  public static func total(_ terms: [Expression]) -> Expression {
    guard let first = terms.first else { return .constant(0) }
    return terms.dropFirst().reduce(first, +)
  }
}

/// Names that every recurrence may use without declaring them.
public enum Symbol {
  /// The factor on the output that the caller gives.
  public static let scale = "scale"
  /// In a normalizer's map: the sum of the scores, `q^T z`.
  public static let normalizer = "normalizer"
  /// In an epilogue: the output before it.
  public static let output = "output"
}
