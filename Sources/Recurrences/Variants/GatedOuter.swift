extension Recurrence {
  /// The general gate of the GLA paper (Yang et al. 2024), an outer product of a key
  /// and a value decay: `S_t = diag(e^{g_t}) S_{t-1} diag(e^{gv_t}) + k_t v_t^T`.
  public static let gatedOuter = Recurrence(
    "gated-outer", "outer-product gate: log decays per key and per value"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: KeyAxis.self, "log decay of the state's rows, <= 0")
    let gv = r.logDecay("gv", over: ValueAxis.self, "log decay of the state's columns, <= 0")
    let S = r.state { previous in exp(g) * previous * exp(gv) + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
