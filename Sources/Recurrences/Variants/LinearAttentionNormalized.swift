extension Recurrence {
  /// Normalized linear attention (Katharopoulos et al. 2020, "Transformers are RNNs"):
  /// `o_t = S_t^T q_t / (z_t . q_t)` with `z_t = z_{t-1} + k_t`.
  ///
  /// The paper's feature map makes q and k positive, and so is the sum of scores; their domain here
  /// is >= 0, and with it the quotient is a weighted mean of the values. So that no input divides by
  /// zero, the divisor is `max(|z . q|, 1e-6)`, as xLSTM's matrix memory has it; the scale stands
  /// on both sides of the line and matters only below that floor.
  public static let linearAttentionNormalized = Recurrence(
    "linear-attention-normalized", "linear attention divided by the sum of its scores"
  ) { r in
    let q = r.query(domain: .nonNegative, "what a token asks for, after its feature map, >= 0")
    let k = r.key(domain: .nonNegative, "where a token writes, after its feature map, >= 0")
    let v = r.value()
    let S = r.state { previous in previous + outer(k, v) }
    let z = r.keyState("z") { previous in previous + k }
    let scaled = r.scale * q
    r.output = contract(scaled, S) / max(abs(dot(scaled, z)), 1e-6)
  }
}
