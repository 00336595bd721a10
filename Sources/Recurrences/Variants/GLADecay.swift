extension Recurrence {
  /// Gated linear attention (Yang et al. 2024) with the decay itself as input, the paper's
  /// alpha: `S_t = diag(alpha_t) S_{t-1} + k_t v_t^T`.
  public static let glaDecay = Recurrence(
    "gla-decay", "gated linear attention, decay per key in [0, 1]"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let alpha = r.decay("alpha", over: KeyAxis.self)
    let S = r.state { previous in alpha * previous + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
