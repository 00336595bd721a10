/// The axes that a quantity of one token (or of the state) varies along.
///
/// A scalar has none, a query `.key`, a value `.value`, the state both. Where the keys are monomials, a
/// query lies along the `.feature` axis first, whose size follows from that of the keys.
public struct Axes: OptionSet, Hashable, Codable, Sendable, CustomStringConvertible {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let scalar: Axes = []
  public static let key = Axes(rawValue: 1)
  public static let value = Axes(rawValue: 2)
  public static let feature = Axes(rawValue: 4)
  public static let keyValue: Axes = [.key, .value]

  public var description: String {
    switch self {
    case .scalar: "scalar"
    case .key: "key"
    case .value: "value"
    case .feature: "feature"
    default: "key x value"
    }
  }
}
