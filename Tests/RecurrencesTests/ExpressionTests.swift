import Recurrences
import TestSupport
import Testing

/// Interval bounds and symbolic derivatives, over random trees.
@Suite struct ExpressionTests {
  static let key = 3, value = 2
  static let inputs: [(name: String, axes: Axes, domain: Interval)] = [
    ("s", .scalar, .finite), ("p", .scalar, .nonNegative), ("g", .key, .nonPositive),
    ("f", .value, .unit), ("x", .key, Interval(-3, 5)), ("y", .value, Interval(0.5, 2)),
  ]

  static func tree(_ depth: Int, _ random: inout Seeded) -> Expression {
    guard depth > 0, Int.random(in: 0..<8, using: &random) > 0 else {
      if Int.random(in: 0..<4, using: &random) == 0 {
        return .constant([-2, -1, 0, 0.5, 1, 3].randomElement(using: &random) ?? 0)
      }
      let (name, axes, _) = inputs.randomElement(using: &random) ?? inputs[0]
      return .input(name, axes)
    }
    switch Int.random(in: 0..<9, using: &random) {
    case 0...3:
      let function = Expression.Unary.allCases.randomElement(using: &random) ?? .exp
      return .unary(function, tree(depth - 1, &random))
    case 4...7:
      let function = Expression.Binary.allCases.randomElement(using: &random) ?? .add
      return .binary(function, tree(depth - 1, &random), tree(depth - 1, &random))
    default:
      return .sum(Bool.random(using: &random) ? .key : .value, tree(depth - 1, &random))
    }
  }

  /// Values of all inputs, by name, at each place of their axes.
  typealias Values = [String: [Double]]

  static func values(_ random: inout Seeded) -> Values {
    var values: Values = [:]
    for (name, axes, domain) in inputs {
      let count = (axes.contains(.key) ? key : 1) * (axes.contains(.value) ? value : 1)
      values[name] = (0..<count).map { _ in domain.draw(&random) }
    }
    return values
  }

  static func evaluate(_ tree: Expression, _ values: Values, _ row: Int, _ column: Int) -> Double {
    tree.value(row, column, key: key, value: value) { node, row, column in
      guard case .input(let name, let axes) = node else { return .nan }
      return values[name]?[axes == .key ? row : axes == .value ? column : 0] ?? .nan
    }
  }

  /// Whether any part of the tree, anywhere, satisfies `predicate`: `maximum` and `minimum` may hide
  /// from the whole that a part is no number, as the logarithm of a negative one.
  static func some(
    of tree: Expression, _ values: Values, _ predicate: (Double) -> Bool
  ) -> Bool {
    tree.contains { node in
      (0..<key).contains { row in
        (0..<value).contains { predicate(evaluate(node, values, row, $0)) }
      }
    }
  }

  @Test func boundsHoldEveryValue() {
    var random = Seeded()
    let domains = Dictionary(uniqueKeysWithValues: Self.inputs.map { ($0.name, $0.domain) })
    for _ in 0..<3000 {
      let tree = Self.tree(5, &random)
      let bounds = tree.bounds(given: domains)
      for _ in 0..<4 {
        var values = Self.values(&random)
        if Bool.random(using: &random) { values["g"]?[0] = -.infinity }
        let value = Self.evaluate(tree, values, 0, 0)
        if Self.some(of: tree, values, \.isNaN) { continue }
        let slack = 1e-12 * (abs(value).isFinite ? abs(value) : 0)
        #expect(
          bounds.lower - slack <= value && value <= bounds.upper + slack,
          "\(tree) is \(value), outside \(bounds), seed \(random.seed)")
      }
    }
  }

  /// A sum over an axis along which its operand was added up already counts that once for each place.
  @Test func sumsOfSumsAlongOneAxis() {
    let (y, g) = (Expression.input("y", .value), Expression.input("g", .key))
    let tree = Expression.sum(.value, .sum(.value, .sum(.key, y * g)))
    let derivative = tree.derivative(of: "g")
    #expect(Self.evaluate(derivative, ["y": [0.5, 1.25], "g": [-1, -2, -3]], 1, 1) == 2 * 1.75)
  }

  @Test func derivativesMatchFiniteDifferences() {
    var random = Seeded()
    var compared = 0
    for _ in 0..<3000 {
      let tree = Self.tree(4, &random)
      let (name, axes, _) = Self.inputs.randomElement(using: &random) ?? Self.inputs[0]
      let derivative = tree.derivative(of: name)
      let values = Self.values(&random)
      let (row, column) = (1, 1)
      let place = axes == .scalar ? 0 : 1
      func moved(_ step: Double) -> Double {
        var values = values
        values[name]?[place] += step
        return Self.evaluate(tree, values, row, column)
      }
      let (step, here) = (1e-5, moved(0))
      let (up, down) = ((moved(step) - here) / step, (here - moved(-step)) / step)
      let got = Self.evaluate(derivative, values, row, column)
      // At a pole there is no derivative, and near it or near a kink differences say nothing.
      if Self.some(of: tree, values, { !$0.isFinite })
        || Self.some(of: derivative, values, { !$0.isFinite })
      {
        continue
      }
      guard abs(here) < 1e4, abs(up) < 1e4, abs(up - down) < 1e-3 * (1 + abs(up)) else { continue }
      compared += 1
      let want = (moved(step) - moved(-step)) / (2 * step)
      #expect(
        abs(got - want) <= 1e-4 * (1 + abs(want) + abs(here)),
        "d/d\(name) of \(tree) is \(derivative): \(got), not \(want), seed \(random.seed)")
    }
    #expect(compared > 1000)
  }

  @Test func simplifiedTreesMeanTheSame() {
    var random = Seeded()
    for _ in 0..<3000 {
      let tree = Self.tree(5, &random)
      let values = Self.values(&random)
      // A quotient by zero turns on the sign of a zero, which simplifying does not keep.
      if Self.some(of: tree, values, { !$0.isFinite }) { continue }
      let want = Self.evaluate(tree, values, 1, 1)
      let got = Self.evaluate(tree.simplified, values, 1, 1)
      #expect(
        abs(got - want) <= 1e-9 * (1 + abs(want)),
        "\(tree) became \(tree.simplified): \(got), not \(want), seed \(random.seed)")
    }
  }

  @Test func derivativesAreWrittenShortly() {
    let (q, k) = (Expression.input("q", .key), Expression.input("k", .key))
    #expect(Expression.sum(.key, q * k).derivative(of: "q") == k)
    #expect((q * k).derivative(of: "v") == .constant(0))
    #expect((Expression.constant(2) * q + k).derivative(of: "q") == .constant(2))
    let gate = Expression.unary(.exp, .unary(.logSigmoid, q) / .constant(16))
    #expect(gate.derivative(of: "q").description == "exp(logSigmoid(q) / 16) * sigmoid(-q) / 16")
    // A sum inside a sum: the derivative of (sum q)^2, written the long way round.
    let square = Expression.sum(.key, .sum(.key, q) * q)
    #expect(square.derivative(of: "q").description == "sum(key: q) + sum(key: q)")
  }
}
