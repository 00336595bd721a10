import Sluice

extension Recurrence {
  /// What a RetNet layer does between its projections and rotations (Sun et al. 2023, equations 5
  /// to 8): one decay a head, and a head's output normed (without a weight) and gated.
  ///
  ///     S_t = e^{g_gamma} S_{t-1} + k_t v_t^T
  ///     o_t = rmsNorm(scale * S_t^T q_t) * swish(og_t)
  static let retnetLayer = Recurrence(
    "retnet-layer", "retention and its normed and gated output"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let og = r.outputGate("og", "gate of the output before its swish")
    let gamma = r.parameter(
      "g_gamma", over: NoAxis.self, domain: .nonPositive, "log decay of a head, <= 0")
    let S = r.state { previous in exp(gamma) * previous + outer(k, v) }
    r.output = rmsNorm(r.scale * contract(q, S)) * swish(og)
  }
}
