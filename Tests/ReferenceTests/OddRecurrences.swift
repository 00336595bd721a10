import Recurrences

/// Recurrences that no schedule runs and the reference does all the same.
enum OddRecurrences {
  static let all = [delta, bounded, coupled, exclusive]

  /// The delta rule: an update that sums over the state.
  static let delta = Recurrence("delta", "writes what the state does not say yet") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let beta = r.gate("beta", over: NoAxis.self, domain: .unit)
    let S = r.state { $0 + outer(0.3 * (beta * k), v - contract(k, $0)) }
    r.output = r.scale * contract(q, S)
  }

  /// A state inside a nonlinearity, and a sum over the value axis in the output.
  static let bounded = Recurrence("bounded", "tanh of the state") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let S = r.state { tanh($0) + outer(k, v) }
    let read = contract(q, S)
    r.output = r.scale * (read / sqrt(1 + sum(read * read)))
  }

  /// Two states, the second of which reads both values of the first.
  static let coupled = Recurrence("coupled", "a state that reads another") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let g = r.logDecay("g", over: KeyAxis.self)
    let S = r.state { exp(g) * $0 + outer(k, v) }
    let past = r.previous(S)
    let z = r.keyState("z") { 0.5 * $0 + contract(S - past, v) * 0.1 }
    r.output = contract(r.scale * q, past) + dot(q, z) * v
  }

  /// The output reads the past alone, and every word of the unary vocabulary is somewhere.
  static let exclusive = Recurrence("exclusive", "all words") { r in
    let q = r.query(), k = r.key(), v = r.value()
    let x = r.gate("x", over: KeyAxis.self, domain: Interval(0.5, 2))
    let y = r.gate("y", over: ValueAxis.self, domain: Interval(0.5, 2))
    let S = r.state { sigmoid(x) * $0 * exp(-softplus(y)) + outer(log(x) + relu(k) - abs(k), v) }
    let kept = max(oneMinusExp(-y), 0.2) + min(sqrt(y), logSigmoid(y))
    r.output = r.scale * (contract(tanh(q), r.previous(S)) * kept) / 2
  }
}
