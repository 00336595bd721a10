import Sluice
import Testing

/// Words that the command does not have, and sizes and plans that cannot be.
@Suite struct UsageTests {
  /// What is wrong, and a part of the sentence that answers it.
  static let choices: [([String], String)] = [
    (["--key-dim", "0"], "key-dim must be at least 1, not 0"),
    (["--key-dim", "-8"], "key-dim must be at least 1, not -8"),
    (["--value-dim", "5000"], "value-dim must be from 1 to 4096"),
    (["--key-dim", "9223372036854775807"], "more than 64 bits"),
    (["--key-dim", "eight"], "'eight' is invalid"),
    (["--length", "-3"], "length must not be negative"),
    (["--length", "9223372036854775807"], "more than 64 bits"),
    (["--batch", "0"], "batch must be at least 1"),
    (["--heads", "0"], "heads must be at least 1"),
    (["--heads", "4", "--kv-heads", "3"], "must be a multiple"),
    (["--chunk", "7"], "chunk must be an even number from 2 to 512, not 7"),
    (["--chunk", "0"], "not 0"),
    (["--sub-block", "5"], "sub-block 5 does not divide chunk"),
    (["--key-map", "cosine"], "--key-map must be one of elu, relu, exp, softmax, taylor2"),
    (["--key-map", "taylor2"], "(d + 1)(d + 2) / 2, the monomials of d features"),
    (["--key-map", "taylor2", "--feature-dim", "0"], "--feature-dim must be from 1 to 89"),
    (["--key-map", "taylor2", "--feature-dim", "3"], "3 features have 10 monomials"),
    (["--feature-dim", "4"], "--feature-dim is of keys that are monomials"),
    (["--key-tile", "3"], "key-tile 3 does not divide K = 8"),
    (["--key-tile", "0"], "key-tile 0 does not divide"),
    (["--value-tile", "9"], "value-tile must be from 1 to V = 8, not 9"),
    (["--threads", "0"], "threads must be at least 1, not 0"),
    (["--threads", "-2"], "threads must be at least 1, not -2"),
    (["--target", "sse"], "There is no target named \"sse\""),
    (["--dtype", "f8"], "--dtype must be f32, bf16, f16 or f64, not 'f8'"),
    (["--gate-dtype", "int8"], "--gate-dtype must be"),
    (["--products", "f16"], "--products must be f32 or bf16"),
    (["--products", "bf16"], "bf16 products need bf16 tensors"),
    (["--preset", "gla-9b"], "There is no preset 'gla-9b'"),
    (["--schedule", "fast"], "There is no schedule 'fast'"),
    (["--materialization", "some"], "--materialization must be none, segments:N"),
    (["--materialization", "segments:0"], "--materialization must be none, segments:N"),
    (["--schedule", "chunk-fused", "--materialization", "chunks"], "No plan fits 'gla'"),
    (["--colour", "red"], "Unknown option '--colour'"),
  ]

  @Test(arguments: choices)
  func wrongChoices(words: [String], phrase: String) async throws {
    let scene = try Scene()
    for verb in [["generate"], ["build", "-o", "package"]] {
      try await scene.refusal(verb + ["gla"] + Scene.small + words, .usage, saying: phrase)
    }
  }

  @Test func aVariantThatIsNotThere() async throws {
    let scene = try Scene()
    for verb in ["describe", "generate", "build", "verify", "bench"] {
      let said = try await scene.refusal([verb, "mamba3"], .usage, saying: "Did you mean 'mamba")
      #expect(said.contains("Known are linear-attention,"))
    }
    let said = try await scene.refusal(
      ["generate", "something-else"], .usage, saying: "no recurrence 'something-else'")
    #expect(!said.contains("Did you mean"))
  }

  @Test func whatNoSequenceOfBlocksCanCompute() async throws {
    try await Scene().refusal(
      ["generate", "mamba", "--schedule", "chunk-fused"] + Scene.small, .usage,
      saying: "No plan fits 'mamba'")
  }

  static let verbs: [([String], String)] = [
    (["generate"], "Missing expected argument"),
    (["compile"], "Unexpected argument 'compile'"),
    (["generate", "gla", "--emit", "object"], "'object' is invalid"),
    (["generate", "gla", "-o", ""], "needs a folder's name"),
    (["build", "gla", "-o", ""], "needs a folder's name"),
    (["run", "gla"], "Missing expected argument '--input"),
    (["verify"], "Give one of"),
    (["verify", "gla", "--package", "package"], "Give one of"),
    (["verify", "gla", "--effort", "most"], "'most' is invalid"),
    (["verify", "gla", "--seed", "-1"], "--seed"),
    (["verify", "--all", "--package", "package"], "--all takes neither --package"),
    (["bench"], "Give one of"),
    (["bench", "gla", "--calls", "0"], "--calls must be from 1 to 10000"),
    (["bench", "gla", "--calls", "-1"], "--calls must be from 1 to 10000"),
    (["bench", "gla", "--threads", "-1"], "--threads must be from 1 to 4096"),
    (["bench", "gla", "--length", "9223372036854775807"], "more than 64 bits"),
  ]

  @Test(arguments: verbs)
  func wrongVerbs(words: [String], phrase: String) async throws {
    try await Scene().refusal(words, .usage, saying: phrase)
  }

  /// The sentence has the command that judges this very kernel on a machine with the card.
  @Test func kernelsForACard() async throws {
    let kernel = ["--target", "sm_80", "--dtype", "f16", "--key-dim", "40", "--value-dim", "24"]
    let command =
      "sluice tune gla --target sm_80 --dtype f16 --gate-dtype f32 --key-dim 40 --value-dim 24 --bundle"
    try await Scene().refusal(["verify", "gla"] + kernel, .unsupported, saying: command)
  }

  @Test func moreThanTheMemoryHolds() async throws {
    let words = ["bench", "gla"] + Scene.small + ["--batch", "1000000", "--length", "1000000"]
    try await Scene().refusal(words, .unsupported, saying: "choose a smaller --batch")
  }
}
