extension Recurrence {
  /// Lightning attention (Qin et al. 2024, "Lightning Attention-2"): the decay
  /// `lambda = exp(-slope)` is a constant of the head.
  public static let lightning = Recurrence(
    "lightning", "lightning attention: a constant decay a head, given as a slope"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let slope = r.parameter(
      "slope", over: NoAxis.self, domain: .nonNegative, "negated log decay of a head, >= 0")
    let S = r.state { previous in exp(-slope) * previous + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
