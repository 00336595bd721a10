extension Recurrence {
  /// Mamba-2's state space duality layer (Dao and Gu 2024, and its reference code), with
  /// the step size's map and the skip connection fused:
  ///
  ///     d_t = softplus(dt_t + dt_bias),  h_t = e^{-exp(A_log) d_t} h_{t-1} + d_t B_t x_t^T
  ///     y_t = h_t^T C_t + D x_t
  ///
  /// under this library's names: q is C, k is B, v is x.
  public static let mamba2 = Recurrence(
    "mamba2", "Mamba-2 (SSD): A_log, dt_bias, softplus and the D skip fused", scale: .one
  ) { r in
    let q = r.query("q", "C: reads the state"), k = r.key("k", "B: writes the state")
    let v = r.value("v", "x: the layer's input")
    let dt = r.gate("dt", over: NoAxis.self, "step size before its softplus")
    // Bounded so that e^A_log neither overflows in f32 nor meets an underflown step size as inf * 0.
    let aLog = r.parameter(
      "A_log", over: NoAxis.self, domain: Interval(-80, 80), "log of the decay rate of a head")
    let bias = r.parameter("dt_bias", over: NoAxis.self, "added to dt")
    let D = r.parameter("D", over: NoAxis.self, "weight of the skip from x to the output")
    let step = softplus(dt + bias)
    let S = r.state { previous in exp(-exp(aLog) * step) * previous + outer(step * k, v) }
    r.output = r.scale * contract(q, S) + D * v
  }
}
