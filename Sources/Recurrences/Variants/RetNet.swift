extension Recurrence {
  /// RetNet's retention (Sun et al. 2023, "Retentive Network"): `S_t = gamma S_{t-1} + k_t v_t^T`, one gamma a
  /// head, given as its logarithm `g_gamma`.
  public static let retnet = Recurrence("retnet", "retention: a constant decay a head") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let gamma = r.parameter(
      "g_gamma", over: NoAxis.self, domain: .nonPositive, "log decay of a head, <= 0")
    let S = r.state { previous in exp(gamma) * previous + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
