import Recurrences
import Targets

/// How the innermost loops of a kernel are written: choices that a tile program leaves open, or that
/// change no number of it. What is nil is the schedule's or the emitter's own choice.
public struct InnerLoops: Hashable, Codable, Sendable {
  /// What stays in registers: keys and vectors of the state in a recurrence, rows and vectors of the
  /// sums in a product.
  public var registerBlock: RegisterBlock?
  /// Tokens of a recurrence that are written out in a row; `ownUnroll` where it is nil.
  public var unroll: Int?
  /// Blocks of tokens by which rows are asked for before they are read; one where it is nil, and
  /// nothing is asked for where it is 0.
  public var ahead: Int?
  /// How outputs are stored.
  public var stores: Stores?

  public init(
    registerBlock: RegisterBlock? = nil, unroll: Int? = nil, ahead: Int? = nil,
    stores: Stores? = nil
  ) {
    self.registerBlock = registerBlock
    self.unroll = unroll
    self.ahead = ahead
    self.stores = stores
  }

  public enum Stores: String, Hashable, Codable, Sendable, CaseIterable {
    /// Through the caches.
    case plain
    /// Past them, where the call's output is larger than `streamedBytes`.
    case streaming

    /// Bytes of an output up to which streaming stores go through the caches as well: what a core's
    /// second-level cache holds for who reads it next.
    public static let streamedBytes = 2 << 20
  }

  /// The emitter's own number of tokens in a row, for a block of so many. Requests for what is
  /// read next lie between them, one tensor's after one token, and so need some tokens to lie
  /// between.
  public static func ownUnroll(of tokens: Int) -> Int {
    [8, 4, 2].first { tokens % $0 == 0 } ?? 1
  }

  /// What there is to choose; the raw value is its field's name in a plan's JSON.
  public enum Axis: String, Hashable, Sendable, CaseIterable {
    case registerBlock, unroll, ahead, stores

    /// The name that the command has for it.
    public var option: String { self == .registerBlock ? "register-block" : rawValue }
  }

  /// The choice as text; nil where there is none.
  public subscript(axis: Axis) -> String? {
    switch axis {
    case .registerBlock: registerBlock?.description
    case .unroll: unroll?.description
    case .ahead: ahead?.description
    case .stores: stores?.rawValue
    }
  }

  /// Reads the choices from their texts; what is no choice's text is none.
  public init(reading texts: [Axis: String]) {
    self.init(
      registerBlock: texts[.registerBlock].flatMap(RegisterBlock.init),
      unroll: texts[.unroll].flatMap { Int($0) }, ahead: texts[.ahead].flatMap { Int($0) },
      stores: texts[.stores].flatMap(Stores.init))
  }

  /// The other one's choices where there are any, and these where not.
  public func pinned(by pins: InnerLoops) -> InnerLoops {
    InnerLoops(
      registerBlock: pins.registerBlock ?? registerBlock, unroll: pins.unroll ?? unroll,
      ahead: pins.ahead ?? ahead, stores: pins.stores ?? stores)
  }
}

extension Plan {
  /// Why the choices of its innermost loops cannot be had.
  ///
  /// - Parameter axes: what the schedule leaves open.
  func innerObjections(
    _ axes: Set<InnerLoops.Axis>, _ specification: KernelSpecification
  ) -> [String] {
    var found: [String] = []
    func refuse(_ axis: InnerLoops.Axis, _ isChosen: Bool, _ what: String) {
      if isChosen, !axes.contains(axis) { found.append("\(schedule) has no \(what) to choose.") }
    }
    refuse(.registerBlock, inner.registerBlock != nil, "register block")
    refuse(.unroll, inner.unroll != nil, "loop to unroll")
    refuse(.ahead, inner.ahead != nil, "distance of its requests ahead")
    refuse(.stores, inner.stores != nil, "stores")
    if let unroll = inner.unroll, ![1, 2, 4, 8].contains(unroll) {
      found.append("unroll must be 1, 2, 4 or 8, not \(unroll).")
    }
    if let ahead = inner.ahead, !(0...4).contains(ahead) {
      found.append("ahead must be from 0 to 4 blocks, not \(ahead).")
    }
    if let block = inner.registerBlock, axes.contains(.registerBlock) {
      found += objections(to: block, specification)
    }
    return found
  }

  private func objections(
    to block: RegisterBlock, _ specification: KernelSpecification
  ) -> [String] {
    let target = specification.target
    guard (1...8).contains(block.rows), (1...4).contains(block.vectors) else {
      return ["register-block must be from 1x1 to 8x4, not \(block)."]
    }
    let vectors = (valueTile + target.lanes - 1) / target.lanes
    if block.vectors > vectors {
      return [
        "register-block \(block) is wider than the \(vectors) vectors of value-tile \(valueTile)."
      ]
    }
    let hasColumnDecay = specification.normalForm.diagonal?.valueGate != nil
    let needed = block.registers(hasColumnDecay: hasColumnDecay)
    return needed <= target.vectorRegisters
      ? []
      : [
        "register-block \(block) needs \(needed) registers with what goes by, and "
          + "\(target.name) has \(target.vectorRegisters)."
      ]
  }
}

/// Rows and vectors of what stays in registers; reads `4x4`.
public struct RegisterBlock: Hashable, Codable, Sendable, CustomStringConvertible {
  public var rows: Int
  public var vectors: Int

  public init(_ rows: Int, _ vectors: Int) {
    self.rows = rows
    self.vectors = vectors
  }

  /// Reads `ROWSxVECTORS`; nil for anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: "x", omittingEmptySubsequences: false)
    guard parts.count == 2, let rows = Int(parts[0]), let vectors = Int(parts[1]),
      (1...64).contains(rows), (1...64).contains(vectors)
    else { return nil }
    self.init(rows, vectors)
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let block = RegisterBlock(try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "A register block reads ROWSxVECTORS.")
    }
    self = block
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }

  public var description: String { "\(rows)x\(vectors)" }

  /// Registers of a block of a recurrence: the state's own; of a token the values, the outputs, and
  /// the slopes and bases of a decay of columns; one number each of a query, a key and a decay.
  public func registers(hasColumnDecay: Bool) -> Int {
    rows * vectors + (hasColumnDecay ? 4 : 2) * vectors + 3
  }

  /// The largest of a recurrence whose state has so many rows and vectors.
  public static func fitting(
    _ rows: Int, _ vectors: Int, hasColumnDecay: Bool, in target: Target
  ) -> RegisterBlock {
    let width = min(target.vectorRegisters >= 32 ? 4 : 2, vectors)
    let height = [8, 4, 2].first {
      RegisterBlock($0, width).registers(hasColumnDecay: hasColumnDecay) <= target.vectorRegisters
    }
    return RegisterBlock(min(height ?? 1, rows), width)
  }
}
