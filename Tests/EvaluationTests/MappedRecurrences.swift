import Recurrences

/// Recurrences with maps around them that no shipped variant has: feature maps, norms over an axis,
/// normalizers beside gates, decays given as such on both axes.
enum MappedRecurrences {
  static let all =
    [
      featureMaps, softmaxKeys, normalizedQueries, summedGate, normalizedGLA, normalizedDecay,
      givenDecays, layer, normedOuter, gatedNormalizer, normedBonus, scaledTaylor,
    ]
    + (try! [
      Recurrence.linearAttentionNormalized.mapping(.taylor2), .simpleGLA.mapping(.taylor2),
      .rwkv6.mapping(.taylor2),
    ])

  static let featureMaps = Recurrence("feature-maps", "elu + 1, relu and an input gate") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let i = r.gate("i", over: ValueAxis.self, "input gate")
    let g = r.logDecay("g", over: KeyAxis.self)
    let S = r.state { previous in
      exp(g) * previous + outer(eluPlusOne(k), sigmoid(i) * v)
    }
    r.output = r.scale * contract(eluPlusOne(q), S)
  }

  static let softmaxKeys = Recurrence("softmax-keys", "softmax over the key of q and k") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: NoAxis.self)
    let S = r.state { previous in exp(g) * previous + outer(softmax(k), v) }
    r.output = r.scale * contract(softmax(q), S)
  }

  static let normalizedQueries = Recurrence(
    "normalized-queries", "l2 norm of q and k, RMS norm of v, read before the write, a bonus"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let w = r.gate("w", over: KeyAxis.self)
    let u = r.parameter("u", over: KeyAxis.self, "weight of the present token")
    let normal = rmsNorm(v)
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

  /// All of a gated linear attention layer between its projections.
  static let layer = Recurrence(
    "gla-layer", "gated linear attention, with its gate's map, output norm and swish gate"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.gate("g", over: KeyAxis.self, "logits of the decay")
    let og = r.outputGate("og", "logits of the output's gate")
    let weight = r.parameter("weight", over: ValueAxis.self, "weight of the norm")
    let S = r.state { previous in exp(logSigmoid(g) / 16) * previous + outer(k, v) }
    r.output = rmsNorm(r.scale * contract(q, S)) * weight * swish(og)
  }

  static let normedOuter = Recurrence(
    "normed-outer", "gates along both axes, a skip, then RMS norm with a gate"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: KeyAxis.self), gv = r.logDecay("gv", over: ValueAxis.self)
    let og = r.outputGate()
    let weight = r.parameter("weight", over: ValueAxis.self, "weight of the norm")
    let S = r.state { previous in exp(g) * previous * exp(gv) + outer(k, v) }
    r.output = rmsNorm(r.scale * contract(q, S) + weight * v) * weight * swish(og)
  }

  static let gatedNormalizer = Recurrence(
    "gated-normalizer", "a normalizer and a skip under an output gate"
  ) { r in
    let q = r.query(domain: .nonNegative), k = r.key(domain: .nonNegative), v = r.value()
    let g = r.logDecay("g", over: NoAxis.self)
    let og = r.outputGate()
    let S = r.state { previous in exp(g) * previous + outer(k, v) }
    let z = r.keyState("z") { previous in exp(g) * previous + k }
    r.output = (contract(q, S) / max(dot(q, z), 1) + v) * sigmoid(og)
  }

  static let normedBonus = Recurrence(
    "normed-bonus", "a read-out before the write with a bonus, then RMS norm"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let w = r.gate("w", over: KeyAxis.self)
    let u = r.parameter("u", over: KeyAxis.self, "weight of the present token")
    let S = r.state { previous in exp(-exp(w)) * previous + outer(k, v) }
    r.output = rmsNorm(contract(q, r.previous(S) + u * outer(k, v)))
  }

  /// Monomials within a map: of normed features with a weight each, and weighed themselves.
  static let scaledTaylor = Recurrence(
    "scaled-taylor", "normed and weighed features, the keys' monomials weighed under a gate"
  ) { r in
    let q = r.queryFeatures(), k = r.keyFeatures(), v = r.value()
    let g = r.logDecay("g", over: KeyAxis.self)
    let w = r.parameter("w", over: FeatureAxis.self, "weight of a feature")
    let u = r.parameter("u", over: KeyAxis.self, "weight of a monomial")
    let S = r.state { previous in
      exp(g) * previous + outer(taylor2(l2Norm(k) * w) * u, v)
    }
    r.output = r.scale * contract(taylor2(q * w), S)
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
