extension Recurrence {
  /// Gated linear attention (Yang et al. 2024): a decay per key and token, given as its logarithm.
  public static let gla = Recurrence("gla", "gated linear attention, log decay per key") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: KeyAxis.self)
    let S = r.state { previous in exp(g) * previous + outer(k, v) }
    r.output = r.scale * contract(q, S)
  }
}
