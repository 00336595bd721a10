/// The type of a tensor's elements.
public enum ElementType: String, Hashable, Codable, Sendable, CaseIterable {
  case f32, bf16, f16, f64

  /// Bytes of one element.
  public var size: Int {
    switch self {
    case .f64: 8
    case .f32: 4
    case .bf16, .f16: 2
    }
  }
  /// What states, parameters and all sums are beside tensors of this type.
  public var sums: ElementType { self == .f64 ? .f64 : .f32 }
  /// Whether elements are what sums are: read and written as they lie in memory.
  public var isSums: Bool { self == sums }
  /// Half the distance from one to the next number: the relative error of one rounding.
  public var roundoff: Double {
    switch self {
    case .f32: 0x1p-24
    case .bf16: 0x1p-8
    case .f16: 0x1p-11
    case .f64: 0x1p-53
    }
  }
}

/// The sizes of one call: what a kernel learns at run time, beside the key and value sizes that it
/// was made for.
public struct ProblemShape: Hashable, Codable, Sendable {
  public var batch: Int
  /// Tokens a batch row; with packed sequences, tokens of all of them together.
  public var length: Int
  /// Heads of q and of the output: a multiple of `heads`.
  public var queryHeads: Int
  /// Heads of k, v, the gates and the state.
  public var heads: Int
  public var key: Int
  public var value: Int
  /// Where packed sequences begin, and at last where the final one ends; batch is then one.
  public var cumulativeLengths: [Int]?

  /// - Throws: `ShapeError` with every size that is wrong.
  public init(
    batch: Int = 1, length: Int, queryHeads: Int? = nil, heads: Int = 1, key: Int, value: Int,
    cumulativeLengths: [Int]? = nil
  ) throws(ShapeError) {
    self.batch = batch
    self.length = length
    self.heads = heads
    self.queryHeads = queryHeads ?? heads
    self.key = key
    self.value = value
    self.cumulativeLengths = cumulativeLengths
    let reasons = problems
    if !reasons.isEmpty { throw ShapeError(reasons: reasons) }
  }

  private var problems: [String] {
    var found: [String] = []
    for (name, size) in [
      ("batch", batch), ("heads", heads), ("key-dim", key), ("value-dim", value),
    ]
    where size < 1 {
      found.append("\(name) must be at least 1, not \(size).")
    }
    if length < 0 { found.append("length must not be negative, and is \(length).") }
    if heads > 0, queryHeads < 1 || queryHeads % heads != 0 {
      found.append("query heads (\(queryHeads)) must be a multiple of key/value heads (\(heads)).")
    }
    if found.isEmpty, !isCountable {
      found.append("batch, length, heads and sizes together are more than 64 bits count.")
    }
    if let ends = cumulativeLengths {
      if batch != 1 { found.append("packed sequences need batch 1, not \(batch).") }
      if ends.count < 2 || ends.first != 0 || ends.last != length
        || zip(ends, ends.dropFirst()).contains(where: { $0 > $1 })
      {
        found.append("cu_seqlens must rise from 0 to the length \(length), and is \(ends).")
      }
    }
    return found
  }

  /// Whether the bytes of every tensor, and of the states with a normalizer, fit an `Int`.
  private var isCountable: Bool {
    let tokens = [batch, max(length, 1), queryHeads, max(key, value)]
    let rows = max(batch, (cumulativeLengths?.count ?? 1) - 1)
    return [tokens, [rows, heads, key, value, 2]].allSatisfy { sizes in
      var bytes = 8
      return sizes.allSatisfy { size in
        let (product, overflows) = bytes.multipliedReportingOverflow(by: size)
        bytes = product
        return !overflows
      }
    }
  }

  /// One sequence of tokens with a state of its own.
  public struct Sequence: Hashable, Sendable {
    public var batch: Int
    public var tokens: Range<Int>
  }

  /// The sequences: one a batch row, or the packed ones.
  public var sequences: [Sequence] {
    guard let ends = cumulativeLengths else {
      return (0..<batch).map { Sequence(batch: $0, tokens: 0..<length) }
    }
    return zip(ends, ends.dropFirst()).map { Sequence(batch: 0, tokens: $0..<$1) }
  }
}

/// Sizes that no problem can have: every reason, each a sentence.
public struct ShapeError: Error, Hashable, Sendable, CustomStringConvertible {
  public var reasons: [String]
  public init(reasons: [String]) { self.reasons = reasons }
  public var description: String { reasons.joined(separator: " ") }
}
