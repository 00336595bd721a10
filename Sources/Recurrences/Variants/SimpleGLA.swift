extension Recurrence {
  /// Simple GLA (Yang et al. 2024; Mamba-2's and mLSTM's kind of gate):
  /// `S_t = e^{g_t} S_{t-1} + k_t v_t^T` with one log decay a token and head.
  public static let simpleGLA = Recurrence(
    "simple-gla", "simple GLA: a scalar log decay a token"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: NoAxis.self)
    let S = r.state { previous in exp(g) * previous + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
