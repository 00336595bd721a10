import Recurrences
import Testing

/// What is wrong with a recurrence's text is said, all of it, in sentences.
@Suite struct CheckTests {
  private func plain(
    _ name: String = "plain", gate: (inout Recurrence.Writer) -> KeyVector = { _ in 1 },
    output: (Recurrence.Writer, KeyVector, StateMatrix) -> ValueVector = { contract($1, $2) }
  ) -> Recurrence {
    Recurrence(name, "for tests") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let decay = gate(&r)
      let S = r.state { decay * $0 + outer(k, v) }
      r.output = output(r, q, S)
    }
  }

  @Test func nothingWrong() {
    #expect(plain().problems == [])
    for variant in Recurrence.variants { #expect(variant.problems == [], "\(variant.name)") }
  }

  @Test func undeclaredName() {
    let recurrence = plain(output: { _, q, S in contract(q * KeyVector(.input("w", .key)), S) })
    #expect(recurrence.problems == ["'w' is used and not declared."])
    #expect(throws: RecurrenceError.self) { try recurrence.normalForm() }
  }

  @Test func unusedInput() {
    let recurrence = plain(gate: { r in
      _ = r.value("w")
      return 1
    })
    #expect(recurrence.problems == ["The input 'w' is declared and never used; remove it."])
  }

  @Test func gateThatMayGrow() {
    let recurrence = plain(gate: { r in exp(r.gate("x", over: KeyAxis.self)) })
    #expect(recurrence.problems.count == 1)
    #expect(recurrence.problems.first?.hasPrefix("The gate exp(x) lies in [0.0, inf]") == true)
    let negative = plain(gate: { r in tanh(r.gate("x", over: KeyAxis.self)) })
    #expect(negative.problems.first?.contains("provably lie in [0, 1]") == true)
    let proved = plain(gate: { r in 1 - r.decay("f", over: KeyAxis.self) })
    #expect(proved.problems == [])
  }

  @Test func wrongAxes() {
    let output = plain(output: { _, _, S in ValueVector(S.expression) })
    #expect(
      output.problems.first
        == "The output must lie along the value axis, not key x value; assign `output`.")
    let none = Recurrence("none", "no matrix") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let z = r.keyState("z") { $0 + k }
      r.output = dot(q, z) * v
    }
    #expect(none.problems == ["There is no state with both axes; declare one with `state`."])
    let mixed = plain(output: { _, q, S in contract(q, S) + ValueVector(.input("q", .value)) })
    #expect(mixed.problems == ["'q' is declared with axes key, and used with value."])
    let wide = Recurrence("wide", "a matrix into a vector") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { $0 + outer(k, v) }
      let z = r.keyState("z") { KeyVector($0.expression * v.expression) }
      r.output = contract(q, S) * dot(q, z)
    }
    #expect(wide.problems.first == "The update of 'z' has axes key x value, the state key.")
  }

  @Test func queryInAnUpdate() {
    let recurrence = Recurrence("asks", "the update reads the query") { r in
      let q = r.query(), v = r.value()
      let S = r.state { $0 + outer(q, v) }
      r.output = contract(q, S)
    }
    #expect(recurrence.problems.first?.contains("The update of 'S' reads the query 'q'") == true)
  }

  @Test func stateThatNobodyReads() {
    let recurrence = Recurrence("idle", "a state for nothing") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { $0 + outer(k, v) }
      _ = r.keyState("z") { $0 + k }
      r.output = contract(q, S)
    }
    #expect(recurrence.problems == ["The state 'z' is never read; remove it."])
  }

  @Test(arguments: ["Big", "1st", "", "a b", "a_b"])
  func badName(_ name: String) {
    #expect(plain(name).problems.first?.hasPrefix("The name '\(name)' must be") == true)
  }

  @Test(arguments: ["while", "1x", "x-y", "\u{212A}", "heads"])
  func badInput(_ name: String) {
    let recurrence = plain(gate: { r in exp(r.logDecay(name, over: KeyAxis.self)) })
    #expect(recurrence.problems.first?.hasPrefix("The input '\(name)' must be letters") == true)
  }

  @Test(arguments: ["A_log", "D", "dt_bias", "g2"])
  func goodInput(_ name: String) {
    #expect(plain(gate: { r in exp(r.logDecay(name, over: KeyAxis.self)) }).problems == [])
  }

  @Test func namesThatCollide() {
    let twice = plain(gate: { r in exp(r.logDecay("k", over: KeyAxis.self)) })
    #expect(twice.problems.first == "The input 'k' is declared twice; rename one.")
    let own = plain(gate: { r in exp(r.logDecay("scale", over: KeyAxis.self)) })
    #expect(own.problems.first == "The name 'scale' has a meaning of its own; rename the input.")
    let state = plain(gate: { r in exp(r.logDecay("S", over: KeyAxis.self)) })
    #expect(state.problems.contains("The state 'S' has the name of something else; rename it."))
  }
}
