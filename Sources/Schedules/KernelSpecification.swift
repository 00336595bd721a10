import Recurrences
import Targets

/// What a kernel is made for: a recurrence at fixed key and value sizes, element types, a machine.
public struct KernelSpecification: Hashable, Codable, Sendable {
  public var normalForm: NormalForm
  /// Key and value size of one head.
  public var key: Int
  public var value: Int
  /// Elements of q, k, v and o; and of the gates.
  public var type: ElementType
  public var gateType: ElementType
  public var target: Target
  /// Tokens between two states that a call may have written out, or a divisor of theirs; nil for a
  /// kernel that writes none.
  public var snapshotEvery: Int?

  /// - Throws: `ShapeError` for a size below one or above what a head can have, or for keys that are to
  ///   be monomials and of no number of features.
  public init(
    normalForm: NormalForm, key: Int, value: Int, type: ElementType, gateType: ElementType,
    target: Target, snapshotEvery: Int? = nil
  ) throws(ShapeError) {
    let wrong = [("key-dim", key), ("value-dim", value)].filter { !(1...4096).contains($0.1) }
    var reasons = wrong.map { "\($0.0) must be from 1 to 4096, not \($0.1)." }
    if let every = snapshotEvery, !(1...1 << 30).contains(every) {
      reasons.append("snapshots must be from 1 to 2^30 tokens, not \(every).")
    }
    if reasons.isEmpty, normalForm.recurrence.hasFeatures, Monomials.features(in: key) == nil {
      reasons.append(
        "key-dim must be (d + 1)(d + 2) / 2, the monomials of d features, such as 153 of 16, and no d "
          + "has \(key); feature-dim says d itself.")
    }
    guard reasons.isEmpty else { throw ShapeError(reasons: reasons) }
    self.snapshotEvery = snapshotEvery
    self.normalForm = normalForm
    self.key = key
    self.value = value
    self.type = type
    self.gateType = gateType
    self.target = type == .f64 ? target.inDouble ?? target : target
  }

  /// Why no kernel of these element types can be made; nil when one can.
  ///
  /// Double goes all the way or not at all: a gradient that is checked by differences needs every
  /// digit, and mixed with less it has none of them.
  public var precisionObstacle: String? {
    let isDouble = type == .f64
    if isDouble != (gateType == .f64) {
      return "Elements and gates are both of f64 or neither, not \(type.rawValue) and "
        + "\(gateType.rawValue): leave out --gate-dtype."
    }
    if isDouble != target.isDouble {
      return "f64 is for checking gradients, on the target generic alone, not on \(target.name): "
        + "leave out --target."
    }
    return nil
  }

  public var recurrence: Recurrence { normalForm.recurrence }

  /// Entries of what has these axes: 1, K, V, K * V, or the features.
  public func size(_ axes: Axes) -> Int { axes.count(key: key, value: value) }

  /// Columns of the state's matrix in memory: V, and one more for a normalizer.
  public var stateColumns: Int {
    value + (normalForm.diagonal?.normalizer == nil ? 0 : 1)
  }
}

extension KernelSpecification {
  /// The same, with states written out as a gradient's plan takes them: after each of its chunks, and
  /// wherever they were to be written out besides.
  public func writingStates(for gradient: Plan?) -> KernelSpecification {
    guard let own = gradient?.savedEvery else { return self }
    var (every, rest) = (snapshotEvery ?? own, own)
    while rest != 0 { (every, rest) = (rest, every % rest) }
    var writing = self
    writing.snapshotEvery = every
    return writing
  }
}
