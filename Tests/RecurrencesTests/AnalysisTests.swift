import Recurrences
import Testing

/// What the analysis makes of recurrences that no variant has.
@Suite struct AnalysisTests {
  private func reason(_ recurrence: Recurrence) throws -> String {
    guard case .elementwise(let form) = try recurrence.normalForm().structure else { return "" }
    return form.reason
  }

  private func refusal(_ recurrence: Recurrence) -> [String] {
    do {
      _ = try recurrence.normalForm()
      return []
    } catch { return error.reasons }
  }

  @Test func bonusBesideTheReadOut() throws {
    let beside = Recurrence("beside", "bonus as dot(q * u, k) * v") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let u = r.parameter("u", over: KeyAxis.self)
      let S = r.state { $0 + outer(k, v) }
      r.output = r.scale * (contract(q, r.previous(S)) + dot(q * u, k) * v)
    }
    let form = try #require(try beside.normalForm().diagonal)
    #expect(form.present?.description == "scale * q * u * k")
    #expect(form.skip == nil)
    #expect(form.readsPrevious)
  }

  @Test func normAndGateBehindTheReadOut() throws {
    let normed = Recurrence("normed", "RMS norm and an output gate") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let gate = r.outputGate()
      let S = r.state { $0 + outer(k, v) }
      r.output = rmsNorm(r.scale * contract(q, S) + v) * swish(gate)
    }
    let form = try #require(try normed.normalForm().diagonal)
    #expect(form.query.description == "scale * q" && form.skip?.description == "v")
    let epilogue = try #require(form.epilogue)
    #expect(epilogue.inputNames.sorted() == ["og", Symbol.output] && !epilogue.readsState)
  }

  @Test func readBeforeWriteWithoutBonus() throws {
    let exclusive = Recurrence("exclusive", "reads the past only") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { $0 + outer(k, v) }
      r.output = contract(q, r.previous(S))
    }
    let form = try #require(try exclusive.normalForm().diagonal)
    #expect(form.readsPrevious && form.present == nil)
  }

  @Test func skipBesideANormalizer() throws {
    let skip = Recurrence("skip", "a skip after the division") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let g = r.logDecay("g", over: NoAxis.self)
      let S = r.state { exp(g) * $0 + outer(k, v) }
      let z = r.keyState("z") { exp(g) * $0 + k }
      r.output = contract(q, S) / max(abs(dot(q, z)), 1) + v
    }
    let form = try #require(try skip.normalForm().diagonal)
    #expect(form.normalizer?.description == "maximum(abs(normalizer), 1)")
    #expect(form.skip == .input("v", .value))
  }

  @Test func skipUnderANormalizerHasNoChunkForm() throws {
    let skip = Recurrence("skip", "a skip that is divided too") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { $0 + outer(k, v) }
      let z = r.keyState("z") { $0 + k }
      r.output = (contract(q, S) + v) / max(abs(dot(q, z)), 1)
    }
    #expect(try reason(skip).contains("other than by a sum over its keys"))
  }

  @Test func normalizerThatDecaysDifferently() throws {
    let other = Recurrence("other", "z keeps what S forgets") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let g = r.logDecay("g", over: KeyAxis.self)
      let S = r.state { exp(g) * $0 + outer(k, v) }
      let z = r.keyState("z") { $0 + k }
      r.output = contract(q, S) / max(abs(dot(q, z)), 1)
    }
    #expect(try reason(other) == "The normalizer 'z' decays differently from the state.")
  }

  @Test func stateInsideANonlinearity() throws {
    let bounded = Recurrence("bounded", "tanh of the state") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { tanh($0) + outer(k, v) }
      r.output = contract(q, S)
    }
    #expect(try reason(bounded) == "The state stands inside a nonlinearity: tanh(S[t-1]).")
    #expect(try bounded.normalForm().gateClass == "full key x value gate")
  }

  @Test func deltaRule() {
    let delta = Recurrence("delta", "writes what the state does not say yet") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { $0 + outer(k, v - contract(k, $0)) }
      r.output = contract(q, S)
    }
    let reasons = refusal(delta)
    #expect(reasons.first?.contains("a delta rule, which has no schedule here") == true)
    #expect(reasons.last == "No schedule remains for it.")
  }

  @Test func rankTwoWrite() throws {
    let two = Recurrence("two", "two outer products a token") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let k2 = r.key("k2")
      let S = r.state { $0 + outer(k, v) + outer(k2, v) }
      r.output = contract(q, S)
    }
    #expect(try reason(two) == "A token writes more than one outer product.")
    let whole = Recurrence("whole", "a matrix a token") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let S = r.state { $0 + relu(outer(k, v)) }
      r.output = contract(q, S)
    }
    #expect(try reason(whole) == "What a token writes, relu(k * v), has rank above one.")
  }
}
