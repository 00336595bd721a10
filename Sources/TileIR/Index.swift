/// A whole number that is affine in loop variables: `16 r + 8`.
public struct Index: Hashable, Codable, Sendable, ExpressibleByIntegerLiteral,
  CustomStringConvertible
{
  public var constant: Int
  public var terms: [Term]

  public struct Term: Hashable, Codable, Sendable {
    public var variable: String
    public var factor: Int
  }

  public init(_ constant: Int) {
    self.constant = constant
    terms = []
  }
  public init(integerLiteral value: Int) { self.init(value) }
  public init(_ variable: String, times factor: Int = 1, plus constant: Int = 0) {
    self.constant = constant
    terms = [Term(variable: variable, factor: factor)]
  }

  /// The position of the value tile in the grid.
  public static func valueTile(times factor: Int) -> Index {
    Index(GridAxis.valueTile.variable, times: factor)
  }

  public static func + (left: Index, right: Int) -> Index {
    var sum = left
    sum.constant += right
    return sum
  }

  public static func + (left: Index, right: Index) -> Index {
    var sum = left
    sum.constant += right.constant
    for term in right.terms {
      if let place = sum.terms.firstIndex(where: { $0.variable == term.variable }) {
        sum.terms[place].factor += term.factor
      } else {
        sum.terms.append(term)
      }
    }
    return sum
  }

  /// The value, or nil if a variable has none.
  public func value(_ variables: [String: Int]) -> Int? {
    var sum = constant
    for term in terms {
      guard let value = variables[term.variable] else { return nil }
      sum += term.factor * value
    }
    return sum
  }

  /// Whether no variable stands in it.
  public var isConstant: Bool { terms.isEmpty }

  public var description: String {
    var parts = terms.map { $0.factor == 1 ? $0.variable : "\($0.factor)*\($0.variable)" }
    if constant != 0 || parts.isEmpty { parts.append(String(constant)) }
    return parts.joined(separator: "+").replacing("+-", with: "-")
  }
}

/// A way in which workers differ: the grid of a phase is the product of its axes.
public enum GridAxis: String, Hashable, Codable, Sendable, CaseIterable {
  case sequence, head, valueTile, segment

  /// The variable that holds the worker's place, usable in an `Index`.
  public var variable: String { rawValue }
}
