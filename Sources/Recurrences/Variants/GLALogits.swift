extension Recurrence {
  /// Gated linear attention with its gate's map fused (Yang et al. 2024, the GLA layer): the decay is
  /// `sigmoid(x)^(1/16)`, and `g` holds the logits x.
  public static let glaLogits = Recurrence(
    "gla-logits", "gated linear attention, gate logits with logsigmoid / 16 fused"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.gate("g", over: KeyAxis.self, "logits of the decay")
    let S = r.state { previous in exp(logSigmoid(g) / 16) * previous + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
