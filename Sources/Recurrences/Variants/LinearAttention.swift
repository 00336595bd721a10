extension Recurrence {
  /// Linear attention (Katharopoulos et al. 2020, "Transformers are RNNs"), without its normalizer
  /// and with the feature map left to the caller: `S_t = S_{t-1} + k_t v_t^T`, `o_t = S_t^T q_t`.
  public static let linearAttention = Recurrence(
    "linear-attention", "linear attention: no gate, no normalizer"
  ) { r in
    let q = r.query(), k = r.key(), v = r.value()
    let S = r.state { previous in previous + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
