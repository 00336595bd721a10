import Recurrences
import Testing

/// Every variant's normal form is what the literature says of it.
@Suite struct VariantTests {
  static let forms: [String: String] = [
    "linear-attention": """
    linear-attention: no gate
      query      scale * q
      key        k
      value      v
      read-out   after the write
    """,
    "linear-attention-normalized": """
    linear-attention-normalized: no gate
      query      scale * q
      key        k
      value      v
      read-out   after the write
      divided by maximum(abs(normalizer), 1e-06)
    """,
    "retnet": """
    retnet: constant per head
      query      scale * q
      key        k
      value      v
      key decay  exp(g_gamma)
      read-out   after the write
    """,
    "lightning": """
    lightning: constant per head
      query      scale * q
      key        k
      value      v
      key decay  exp(-slope)
      read-out   after the write
    """,
    "simple-gla": """
    simple-gla: scalar per token
      query      scale * q
      key        k
      value      v
      key decay  exp(g)
      read-out   after the write
    """,
    "mamba2": """
    mamba2: scalar per token
      query      scale * q
      key        softplus(dt + dt_bias) * k
      value      v
      key decay  exp(-exp(A_log) * softplus(dt + dt_bias))
      read-out   after the write
      skip       D * v
    """,
    "gla": """
    gla: vector along key
      query      scale * q
      key        k
      value      v
      key decay  exp(g)
      read-out   after the write
    """,
    "gla-logits": """
    gla-logits: vector along key
      query      scale * q
      key        k
      value      v
      key decay  exp(logSigmoid(g) / 16)
      read-out   after the write
    """,
    "gla-decay": """
    gla-decay: vector along key
      query      scale * q
      key        k
      value      v
      key decay  alpha
      read-out   after the write
    """,
    "hgrn2": """
    hgrn2: vector along key
      query      scale * q
      key        oneMinusExp(g)
      value      v
      key decay  exp(g)
      read-out   after the write
    """,
    "rwkv6": """
    rwkv6: vector along key
      query      scale * q
      key        k
      value      v
      key decay  exp(-exp(w))
      read-out   before the write
      present    sum(key: scale * q * u * k)
    """,
    "gated-outer": """
    gated-outer: vector along key and vector along value
      query      scale * q
      key        k
      value      v
      key decay  exp(g)
      value decay exp(gv)
      read-out   after the write
    """,
    "mamba": """
    mamba: full key x value gate
      no chunk form: The gate exp(A * softplus(dt + dt_bias)) has a value of its own for every key \
    and value pair, so chunks have no matrix form.
      S[t] = exp(A * softplus(dt + dt_bias)) * S[t-1] + k * softplus(dt + dt_bias) * v
      o = scale * sum(key: q * S[t]) + D * v
    """,
  ]

  @Test(arguments: Recurrence.variants)
  func normalForm(_ variant: Recurrence) throws {
    let form = try variant.normalForm()
    let lines = form.description.split(separator: "\n")
    let wanted = try #require(Self.forms[variant.name]).split(separator: "\n")
    #expect(lines == wanted)
  }

  @Test func everyVariantIsHere() {
    #expect(Set(Recurrence.variants.map(\.name)) == Set(Self.forms.keys))
    #expect(Recurrence.variants.count == Self.forms.count)
  }

  @Test func logarithmsOfGates() throws {
    #expect(try Recurrence.gla.normalForm().diagonal?.keyGate?.logDecay == .input("g", .key))
    #expect(try Recurrence.glaDecay.normalForm().diagonal?.keyGate?.logDecay == nil)
    #expect(try Recurrence.retnet.normalForm().diagonal?.keyGate?.isPerToken == false)
    #expect(try Recurrence.mamba2.normalForm().diagonal?.keyGate?.isPerToken == true)
  }

  @Test func unknownName() {
    #expect {
      try Recurrence.named("glaa")
    } throws: {
      "\($0)".contains("There is no such variant; known are linear-attention, ")
    }
  }
}
