extension Recurrence {
  /// Mamba's selective scan (Gu and Dao 2023, algorithm 2 and its reference code): every entry of
  /// the state decays on its own, so there is no matrix form.
  ///
  ///     d_t = softplus(dt_t + dt_bias),  h_t = e^{A d_t} * h_{t-1} + B_t (d_t x_t)^T
  ///     y_t = h_t^T C_t + D x_t
  ///
  /// The value axis is the channel, the key axis the paper's N; q is C, k is B, v is x.
  public static let mamba = Recurrence(
    "mamba", "Mamba's selective scan: a decay per key and value", scale: .one
  ) { r in
    let q = r.query("q", "C: reads the state"), k = r.key("k", "B: writes the state")
    let v = r.value("v", "x: the layer's input")
    let dt = r.gate("dt", over: ValueAxis.self, "step size before its softplus")
    // Finite in f32 too: an infinite rate times an underflown step size would be no number.
    let A = r.parameter(
      "A", over: BothAxes.self, domain: Interval(-0x1p100, 0), "decay rates, <= 0, [K, V] a head")
    let bias = r.parameter("dt_bias", over: ValueAxis.self, "added to dt")
    let D = r.parameter("D", over: ValueAxis.self, "weight of the skip from x to the output")
    let step = softplus(dt + bias)
    let S = r.state { previous in exp(A * step) * previous + outer(k, step * v) }
    r.output = r.scale * contract(q, S) + D * v
  }
}
