extension Recurrence {
  /// RWKV-6, "Finch" (Peng et al. 2024): the read-out comes before the write and
  /// weighs the present token with a bonus u instead,
  ///
  ///     o_t = (S_{t-1} + diag(u) k_t v_t^T)^T q_t,  S_t = diag(e^{-e^{w_t}}) S_{t-1} + k_t v_t^T
  ///
  /// under this library's names: q is the receptance r.
  public static let rwkv6 = Recurrence(
    "rwkv6", "RWKV-6: decay exp(-exp(w)) per key, read before write, bonus u", scale: .one
  ) { r in
    let q = r.query("q", "receptance"), k = r.key(), v = r.value()
    let w = r.gate("w", over: KeyAxis.self, "log of the negated log decay")
    let u = r.parameter("u", over: KeyAxis.self, "weight of the present token")
    let S = r.state { previous in exp(-exp(w)) * previous + outer(k, v) }
    r.output = r.scale * contract(q, r.previous(S) + u * outer(k, v))
  }
}
