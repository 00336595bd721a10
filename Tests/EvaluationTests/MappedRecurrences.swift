import Recurrences

/// Recurrences with maps around them that no shipped variant has: feature maps, norms over an axis,
/// normalizers beside gates, decays given as such on both axes.
enum MappedRecurrences {
  static let all = [
    featureMaps, softmaxKeys, normalizedQueries, summedGate, normalizedGLA, normalizedDecay,
    givenDecays,
  ]

  /// elu(x) + 1, for either axis.
  private static func eluPlusOne(_ x: KeyVector) -> KeyVector { relu(x) + exp(min(x, 0)) }
  /// x / |x|, with the floor that the field uses.
  private static func l2Norm(_ x: KeyVector) -> KeyVector { x / sqrt(sum(x * x) + 1e-6) }

  static let featureMaps = Recurrence("feature-maps", "elu + 1, relu and an input gate") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let i = r.gate("i", over: ValueAxis.self, "input gate")
    let g = r.logDecay("g", over: KeyAxis.self)
    let S = r.state { previous in
      exp(g) * previous + outer(relu(k) + exp(min(k, 0)), sigmoid(i) * v)
    }
    r.output = r.scale * contract(eluPlusOne(q), S)
  }

  static let softmaxKeys = Recurrence("softmax-keys", "softmax over the key of q and k") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: NoAxis.self)
    let S = r.state { previous in exp(g) * previous + outer(exp(k) / sum(exp(k)), v) }
    r.output = r.scale * contract(exp(q) / sum(exp(q)), S)
  }

  static let normalizedQueries = Recurrence(
    "normalized-queries", "l2 norm of q and k, RMS norm of v, read before the write, a bonus"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let w = r.gate("w", over: KeyAxis.self)
    let u = r.parameter("u", over: KeyAxis.self, "weight of the present token")
    let normal = v / sqrt(sum(v * v) / 6 + 1e-5)
    let S = r.state { previous in
      exp(-exp(w)) * previous + outer(l2Norm(k), normal)
    }
    r.output =
      r.scale
      * contract(
        l2Norm(q), r.previous(S) + u * outer(l2Norm(k), normal))
  }

  static let summedGate = Recurrence("summed-gate", "a scalar gate of the keys' size") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let S = r.state { previous in
      exp(-softplus(sum(k * k) - 2)) * previous + outer(k, v)
    }
    r.output = r.scale * contract(q, S) + sigmoid(sum(v)) * v
  }

  static let normalizedGLA = Recurrence("normalized-gla", "a normalizer under a key gate") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: KeyAxis.self)
    let S = r.state { previous in exp(g) * previous + outer(exp(k), v) }
    let z = r.keyState("z") { previous in exp(g) * previous + exp(k) }
    r.output = contract(r.scale * exp(q), S) / max(abs(dot(r.scale * exp(q), z)), 1e-6) + v
  }

  static let normalizedDecay = Recurrence(
    "normalized-decay", "a normalizer under a scalar decay, read before the write"
  ) { r in
    let q = r.query(domain: .nonNegative), k = r.key(domain: .nonNegative), v = r.value()
    let alpha = r.decay("alpha", over: NoAxis.self)
    let S = r.state { previous in alpha * previous + outer(k, v) }
    let z = r.keyState("z") { previous in alpha * previous + k }
    r.output = contract(q, r.previous(S)) / max(dot(q, r.previous(z)), 1)
  }

  static let givenDecays = Recurrence("given-decays", "decays themselves along both axes") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let a = r.decay("a", over: KeyAxis.self), c = r.decay("c", over: ValueAxis.self)
    let S = r.state { previous in a * a * previous * c + outer((1 - a) * k, v) }
    r.output = r.scale * contract(q, S)
  }

  /// A normalizer that reads an input of its own, which no gradient here goes through.
  static let boundedNormalizer = Recurrence(
    "bounded-normalizer", "a floor of the normalizer that the caller gives"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let m = r.parameter("m", over: NoAxis.self, "floor of the divisor")
    let S = r.state { previous in previous + outer(k, v) }
    let z = r.keyState("z") { previous in previous + k }
    r.output = contract(q, S) / max(abs(dot(q, z)), exp(m))
  }
}
