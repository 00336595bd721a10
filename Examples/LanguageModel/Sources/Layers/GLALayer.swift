import Sluice

extension Recurrence {
  /// What a GLA layer does between its projections (Yang et al. 2024, section 4.4): the decay is
  /// `sigmoid(x)^(1/16)` of the logits `g`; a head's output is normed and gated.
  ///
  ///     S_t = diag(sigmoid(g_t)^(1/16)) S_{t-1} + k_t v_t^T
  ///     o_t = rmsNorm(scale * S_t^T q_t) * weight * swish(og_t)
  static let glaLayer = Recurrence(
    "gla-layer", "GLA from its gate's logits to the normed and gated output"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.gate("g", over: KeyAxis.self, "logits of the decay")
    let og = r.outputGate("og", "gate of the output before its swish")
    let weight = r.parameter("weight", over: ValueAxis.self, "weight of the norm")
    let S = r.state { previous in exp(logSigmoid(g) / 16) * previous + outer(k, v) }
    r.output = rmsNorm(r.scale * contract(q, S)) * weight * swish(og)
  }
}
