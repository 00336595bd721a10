extension Recurrence {
  /// HGRN2 (Qin et al. 2024): the key is what the forget gate lets go, `k = 1 - e^g`, so
  /// `S_t = diag(e^{g_t}) S_{t-1} + (1 - e^{g_t}) v_t^T`.
  public static let hgrn2 = Recurrence(
    "hgrn2", "HGRN2: log decay per key, and the key is one minus the decay"
  ) { r in
    let q = r.query(), v = r.value()
    let g = r.logDecay("g", over: KeyAxis.self, "log of the forget gate, <= 0")
    let S = r.state { previous in exp(g) * previous + outer(oneMinusExp(g), v) }
    r.output = r.scale * contract(q, S)
  }
}
