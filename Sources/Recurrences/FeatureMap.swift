/// A map that any recurrence can have on its queries and keys before it takes them.
public enum FeatureMap: String, Hashable, Codable, Sendable, CaseIterable {
  /// `elu(x) + 1` (Katharopoulos et al. 2020).
  case elu
  case relu
  case exp
  /// The softmax over the key axis.
  case softmax
  /// The expansion of `exp(q . k / sqrt(d))` to second order (Arora et al. 2024, "Simple linear
  /// attention language models balance the recall-throughput tradeoff"): q and k have d features, the
  /// state a row for each of their (d + 1)(d + 2) / 2 monomials.
  case taylor2

  /// What becomes of x, as text.
  public var formula: String {
    switch self {
    case .elu: "elu(x) + 1"
    case .relu: "max(x, 0)"
    case .exp: "exp(x)"
    case .softmax: "softmax(x)"
    case .taylor2: "monomials of x to degree 2"
    }
  }

  /// What becomes of an input.
  fileprivate func image(of name: String) -> Expression {
    let x = KeyVector(.input(name, .key))
    return switch self {
    case .elu: eluPlusOne(x).expression
    case .relu: Recurrences.relu(x).expression
    case .exp: Recurrences.exp(x).expression
    case .softmax: Recurrences.softmax(x).expression
    case .taylor2: Recurrences.taylor2(FeatureVector(.input(name, .feature))).expression
    }
  }

  /// Where legal entries lie: exponentials, and their products, stay in f32's range. Scores of mapped
  /// queries and keys are never negative, so a normalizer asks for nothing more.
  fileprivate var domain: Interval {
    switch self {
    case .exp, .softmax: Interval(-40, 40)
    case .elu, .relu, .taylor2: .all
    }
  }
}

extension Recurrence {
  /// The same recurrence of mapped queries and keys; its name gets the map's: `gla-elu`.
  ///
  /// - Throws: `RecurrenceError` when it has no query or no key of its own.
  public func mapping(_ map: FeatureMap) throws(RecurrenceError) -> Recurrence {
    var mapped = self
    mapped.name += "-" + map.rawValue
    mapped.summary += "; q and k are mapped, \(map.formula)"
    let places = inputs.indices.filter { place in
      let input = inputs[place]
      return input.axes == .key && (input.role == .query || input.role == .operand)
    }
    for role in [Recurrence.Input.Role.query, .operand]
    where !places.contains(where: { inputs[$0].role == role }) {
      throw RecurrenceError(
        recurrence: name,
        reasons: [
          "It has no \(role == .query ? "query" : "key") of its own along the key axis, and the map "
            + "'\(map.rawValue)' is one of queries and keys alike."
        ])
    }
    for place in places {
      let input = inputs[place].name
      let image = map.image(of: input)
      if map == .taylor2 { mapped.inputs[place].axes = .feature }
      mapped.inputs[place].domain = map.domain
      let isQuery = mapped.inputs[place].role == .query
      mapped.inputs[place].summary =
        (isQuery ? "what a token asks for" : "where a token writes") + ", before its map"
      for state in mapped.states.indices {
        mapped.states[state].update = mapped.states[state].update.substituting(input, by: image)
      }
      mapped.output = mapped.output.substituting(input, by: image)
    }
    // Its scale is part of the expansion.
    if map == .taylor2 { mapped.defaultScale = .one }
    mapped.problems = Self.check(mapped)
    return mapped
  }
}
