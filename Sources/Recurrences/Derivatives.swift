extension Expression {
  /// The derivative with respect to an input, symbolic and simplified.
  ///
  /// Maps are elementwise, so this is the derivative at the same place of the axes: one number for
  /// each place of `input` and of the tree. States count as constants. Of a sum over an axis that
  /// the input has, only the term at the input's own place depends on it, so the sum falls away:
  /// the derivative of `sum(key: q * k)` by `q` is `k`, along the key axis. At a kink (`relu`,
  /// `abs`, `maximum`) it is the derivative from one side.
  ///
  /// - Precondition: no monomials read the input: each has two places of it, and no elementwise
  ///   derivative.
  public func derivative(of input: String) -> Expression {
    unsimplifiedDerivative(of: input).simplified
  }

  private func unsimplifiedDerivative(of input: String) -> Expression {
    switch self {
    case .constant, .state: return .constant(0)
    case .input(let name, _): return .constant(name == input ? 1 : 0)
    case .unary(let function, let operand):
      let inner = operand.derivative(of: input)
      if inner == .constant(0) { return inner }
      return function.derivative(operand) * inner
    case .binary(let function, let left, let right):
      return function.derivative(
        left, right, left.derivative(of: input), right.derivative(of: input))
    case .sum(let axis, let operand): return operand.derivative(ofSumOver: axis, by: input)
    case .monomials:
      precondition(
        !inputNames.contains(input), "monomials of an input must be held as an input of their own")
      return .constant(0)
    }
  }

  /// The derivative of `sum(axis: self)`.
  ///
  /// A sum inside, over the input's own axis, depends on the input from every place, not only from
  /// its own; such sums are held as inputs of their own, and the chain rule goes through them. (An
  /// input along both axes must not stand in nested sums over different axes.)
  private func derivative(ofSumOver axis: Axes, by input: String) -> Expression {
    // Along an axis that it does not have it is added up as often as there are places: a sum inside may run along
    // that axis, and is another one.
    let repeated = axis.subtracting(axes)
    if repeated != .scalar {
      let rest = axis.subtracting(repeated)
      let once =
        rest == .scalar
        ? unsimplifiedDerivative(of: input) : derivative(ofSumOver: rest, by: input)
      return .sum(repeated, .constant(1)) * once
    }
    let own = axes(of: input)
    var held: [(name: String, sum: Expression)] = []
    func hold(_ node: Expression) -> Expression {
      guard case .sum(let inner, _) = node, !inner.isDisjoint(with: own),
        node.inputNames.contains(input)
      else { return node.mapChildren(hold) }
      held.append(("held sum \(held.count)", node))
      return .input(held[held.count - 1].name, node.axes)
    }
    func summed(_ axes: Axes, _ term: Expression) -> Expression {
      axes == .scalar ? term : .sum(axes, term)
    }
    let open = hold(self)
    let direct = summed(axis.subtracting(own), open.derivative(of: input))
    let through = held.map { name, sum in
      summed(
        axis.intersection(sum.axes).subtracting(own),
        summed(axis.subtracting(sum.axes), open.derivative(of: name)) * sum.derivative(of: input))
    }
    return held.reduce(.total([direct] + through)) {
      $0.substituting($1.name, by: $1.sum)
    }
  }

  /// The axes of an input that the tree reads; a scalar's when it does not read it.
  private func axes(of input: String) -> Axes {
    if case .input(input, let axes) = self { return axes }
    return children.reduce(.scalar) { $0.union($1.axes(of: input)) }
  }

  /// One where the operand is above zero, zero elsewhere, in words that emitted code has: for every
  /// normal f32 number the product is at least one.
  fileprivate static func step(_ operand: Expression) -> Expression {
    .binary(
      .minimum, .binary(.maximum, operand * .constant(0x1p126), .constant(0)), .constant(1))
  }
}

extension Expression.Unary {
  /// The derivative at `x`.
  fileprivate func derivative(_ x: Expression) -> Expression {
    switch self {
    case .negate: .constant(-1)
    case .exp: .unary(.exp, x)
    case .log: .constant(1) / x
    // Not s * (1 - s), whose second factor loses its digits where s is near one.
    case .sigmoid: .unary(.sigmoid, x) * .unary(.sigmoid, -x)
    case .logSigmoid: .unary(.sigmoid, -x)
    case .softplus: .unary(.sigmoid, x)
    case .tanh: .constant(1) - .unary(.tanh, x) * .unary(.tanh, x)
    case .relu: .step(x)
    case .abs: .step(x) - .step(-x)
    case .sqrt: .constant(0.5) / .unary(.sqrt, x)
    case .oneMinusExp: -.unary(.exp, x)
    }
  }
}

extension Expression.Binary {
  /// The derivative at `x` and `y`, whose own derivatives are `dx` and `dy`.
  fileprivate func derivative(
    _ x: Expression, _ y: Expression, _ dx: Expression, _ dy: Expression
  ) -> Expression {
    switch self {
    case .add: return dx + dy
    case .subtract: return dx - dy
    case .multiply: return dx * y + x * dy
    case .divide: return dx / y - x / y * (dy / y)
    case .maximum, .minimum:
      // As `apply` has it, the second operand wins where both are equal.
      let first: Expression = .step(self == .maximum ? x - y : y - x)
      return first * dx + (.constant(1) - first) * dy
    }
  }
}

extension Expression {
  /// The tree without operations on constants and without neutral elements.
  ///
  /// A product with zero is zero whatever the other factor is, and a tree that turned out constant
  /// no longer says along which axes it was repeated.
  public var simplified: Expression {
    let node = mapChildren(\.simplified)
    switch node {
    case .constant, .input, .state: return node
    case .unary(.negate, .unary(.negate, let operand)): return operand
    case .unary(let function, .constant(let value)): return .constant(function.apply(value))
    case .unary: return node
    case .sum(_, .constant(0)): return .constant(0)
    case .sum, .monomials: return node
    case .binary(let function, .constant(let left), .constant(let right)):
      return .constant(function.apply(left, right))
    case .binary(let function, let left, let right): return function.simplified(left, right)
    }
  }
}

extension Expression {
  fileprivate var negated: Expression {
    if case .unary(.negate, let operand) = self { operand } else { -self }
  }
}

extension Expression.Binary {
  fileprivate func simplified(_ left: Expression, _ right: Expression) -> Expression {
    switch (self, left, right) {
    case (.add, .constant(0), let other), (.add, let other, .constant(0)),
      (.subtract, let other, .constant(0)), (.multiply, .constant(1), let other),
      (.multiply, let other, .constant(1)), (.divide, let other, .constant(1)):
      other
    case (.multiply, .constant(0), _), (.multiply, _, .constant(0)), (.divide, .constant(0), _):
      .constant(0)
    case (.subtract, .constant(0), let other), (.multiply, .constant(-1), let other),
      (.multiply, let other, .constant(-1)):
      other.negated
    default: .binary(self, left, right)
    }
  }
}
