/// What the analysis makes of a recurrence: the one form that every schedule reads.
///
///     S_t = diag(d_t) S_{t-1} diag(c_t) + k_t v_t^T
///     o_t = S^T q_t  [+ (q, u, k at the present token) v_t]  [/ normalizer]  [+ skip]
public struct NormalForm: Hashable, Codable, Sendable {
  /// The recurrence as written; the reference reads this, never the rest.
  public var recurrence: Recurrence
  public var structure: Structure

  public enum Structure: Hashable, Codable, Sendable {
    /// Gates along key and value at most: has a chunk form.
    case diagonal(DiagonalForm)
    /// Every entry of the state moves on its own, with no chunk form: a scan over tokens.
    case elementwise(ElementwiseForm)
  }

  public var diagonal: DiagonalForm? {
    if case .diagonal(let form) = structure { form } else { nil }
  }
}

/// A state whose decay is an outer product of a key gate and a value gate, plus a rank-one write.
public struct DiagonalForm: Hashable, Codable, Sendable {
  /// Maps of one token: query and key along `.key` (the caller's scale is in the query), value
  /// along `.value`.
  public var query: Expression
  public var key: Expression
  public var value: Expression
  /// The decay of the state's rows: axes `.key`, or a scalar for the whole state.
  public var keyGate: Gate?
  /// The decay of the state's columns: axes `.value`.
  public var valueGate: Gate?
  /// The read-out takes the state before the present token.
  public var readsPrevious: Bool
  /// What the present token's value is weighted with in the output when the read-out excludes it:
  /// the sum over the key axis of this expression (RWKV's bonus: `q * u * k`).
  public var present: Expression?
  /// Added to the output; axes `.value` (`D * v`).
  public var skip: Expression?
  /// Divides the output: a scalar map of `Symbol.normalizer`, the sum of the token's scores.
  public var normalizer: Expression?
  /// What becomes of the output at last: a map of `Symbol.output` with axes `.value`, which may sum
  /// over the values (a norm) and read inputs of the token (a gate).
  public var epilogue: Expression?
}

/// A decay in [0, 1] by which a part of the state shrinks each token.
public struct Gate: Hashable, Codable, Sendable {
  public var decay: Expression
  /// Its natural logarithm, when the recurrence gives it as `exp(...)`.
  public var logDecay: Expression?
  /// Whether it depends on the token; if not, it is a constant of the head.
  public var isPerToken: Bool

  public var axes: Axes { decay.axes }
}

/// A state that has no chunk form: each entry's update reads only itself and the token's inputs.
public struct ElementwiseForm: Hashable, Codable, Sendable {
  /// Why there is no chunk form: a sentence.
  public var reason: String
}

extension NormalForm {
  /// The class in the words of the design's table of gated recurrences.
  public var gateClass: String {
    guard let form = diagonal else { return "full key x value gate" }
    func name(_ gate: Gate) -> String {
      switch (gate.axes, gate.isPerToken) {
      case (.key, true): "vector along key"
      case (.value, true): "vector along value"
      case (.key, false): "constant vector along key"
      case (.value, false): "constant vector along value"
      case (_, true): "scalar per token"
      case (_, false): "constant per head"
      }
    }
    let gates = [form.keyGate, form.valueGate].compactMap { $0.map(name) }
    return gates.isEmpty ? "no gate" : gates.joined(separator: " and ")
  }
}

extension NormalForm: CustomStringConvertible {
  public var description: String {
    var lines = ["\(recurrence.name): \(gateClass)"]
    guard case .diagonal(let form) = structure else {
      if case .elementwise(let scan) = structure {
        lines.append("  no chunk form: \(scan.reason)")
        for state in recurrence.states {
          lines.append("  \(state.name)[t] = \(state.update)")
        }
        lines.append("  o = \(recurrence.output)")
      }
      return lines.joined(separator: "\n")
    }
    lines.append("  query      \(form.query)")
    lines.append("  key        \(form.key)")
    lines.append("  value      \(form.value)")
    if let gate = form.keyGate { lines.append("  key decay  \(gate.decay)") }
    if let gate = form.valueGate { lines.append("  value decay \(gate.decay)") }
    lines.append("  read-out   \(form.readsPrevious ? "before the write" : "after the write")")
    if let present = form.present { lines.append("  present    sum(key: \(present))") }
    if let skip = form.skip { lines.append("  skip       \(skip)") }
    if let normalizer = form.normalizer { lines.append("  divided by \(normalizer)") }
    if let epilogue = form.epilogue { lines.append("  at last    \(epilogue)") }
    return lines.joined(separator: "\n")
  }
}

/// Why a recurrence has no normal form here: every reason found, each a sentence.
public struct RecurrenceError: Error, Hashable, Sendable, CustomStringConvertible {
  public var recurrence: String
  public var reasons: [String]
  public init(recurrence: String, reasons: [String]) {
    self.recurrence = recurrence
    self.reasons = reasons
  }
  public var description: String {
    "recurrence '\(recurrence)': " + reasons.joined(separator: " ")
  }
}
