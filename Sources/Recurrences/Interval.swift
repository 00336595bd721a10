/// A closed interval of the extended reals: where a quantity lies.
public struct Interval: Hashable, Codable, Sendable, CustomStringConvertible {
  public var lower: Double
  public var upper: Double

  public init(_ lower: Double, _ upper: Double) {
    self.lower = lower
    self.upper = upper
  }

  public static let all = Interval(-.infinity, .infinity)
  /// Any finite number: what a logit may be.
  public static let finite = Interval(-.greatestFiniteMagnitude, .greatestFiniteMagnitude)
  public static let nonPositive = Interval(-.infinity, 0)
  public static let nonNegative = Interval(0, .infinity)
  public static let unit = Interval(0, 1)

  public func contains(_ other: Interval) -> Bool { lower <= other.lower && other.upper <= upper }

  public var description: String { "[\(lower), \(upper)]" }

  /// The interval as people say it: `any`, `finite`, `<= 0`, `0 to 1`.
  public var words: String {
    switch self {
    case .all: "any"
    case .finite: "finite"
    case _ where lower == -.infinity: "<= \(Self.short(upper))"
    case _ where upper == .infinity: ">= \(Self.short(lower))"
    default: "\(Self.short(lower)) to \(Self.short(upper))"
    }
  }

  private static func short(_ x: Double) -> String {
    x == x.rounded() && abs(x) < 1e6 ? String(Int(x)) : "\(x)"
  }
}

// Infinity is not representable in JSON, so bounds travel as text.
extension Interval {
  public init(from decoder: any Decoder) throws {
    var container = try decoder.unkeyedContainer()
    let bounds = try [container.decode(String.self), container.decode(String.self)]
    guard let lower = Double(bounds[0]), let upper = Double(bounds[1]) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "an interval needs two numbers, not \(bounds)")
    }
    self.init(lower, upper)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.unkeyedContainer()
    try container.encode("\(lower)")
    try container.encode("\(upper)")
  }
}
