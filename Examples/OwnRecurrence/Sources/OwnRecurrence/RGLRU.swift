import Sluice

extension Recurrence {
  /// The gate of Griffin's RG-LRU (De et al. 2024) on a matrix state, which no shipped variant has:
  /// what the gate keeps of the old it takes from the new.
  ///
  ///     a_t = -softplus(rate) * sigmoid(x_t)
  ///     S_t = diag(e^{a_t}) S_{t-1} + (sqrt(1 - e^{2 a_t}) * k_t) v_t^T
  ///     o_t = scale * S_t^T q_t
  static let rglru = Recurrence(
    "rglru", "RG-LRU's gate on a matrix state: a rate a key, a sigmoid a token"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let x = r.gate("x", over: KeyAxis.self, "logits of the recurrence gate")
    let rate = r.parameter(
      "rate", over: KeyAxis.self, domain: Interval(-80, 80), "decay rate before its softplus")
    let a = -softplus(rate) * sigmoid(x)
    let write = sqrt(oneMinusExp(2 * a)) * k
    let S = r.state { previous in exp(a) * previous + outer(write, v) }
    r.output = r.scale * contract(q, S)
  }
}
