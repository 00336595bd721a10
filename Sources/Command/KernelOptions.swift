import ArgumentParser
import Evaluation

/// What is made: a recurrence, and the choices for it.
struct KernelOptions: ParsableArguments {
  @Argument(help: "The recurrence; 'sluice list' shows them.")
  var recurrence: String
  @OptionGroup var choices: KernelChoices

  var request: KernelRequest { KernelRequest(recurrence: recurrence, choices: choices) }
}

/// Whether a kernel is made with its gradient: an option of verbs that make it for good or try it.
struct GradientOptions: ParsableArguments {
  @Flag(
    help: ArgumentHelp(
      "Also make the gradient: an entry 'backward'.",
      discussion: "The library is three times as large, and takes four times as long to build."))
  var backward = false
  @Option(help: "Pin the gradient's schedule: chunk-gradient, ...") var gradientSchedule: String?
  @Option(parsing: .unconditional, help: "Pin the tokens of a chunk of the gradient.")
  var gradientChunk: Int?
  @Option(parsing: .unconditional, help: "Pin the tokens of a piece of its scores.")
  var gradientSubBlock: Int?
  @Option(parsing: .unconditional, help: "Pin the adjacent heads that it walks together.")
  var gradientHeadTile: Int?
  @Option(
    help: ArgumentHelp(
      "Pin where its states come from: saved by the forward call, its own walk (chunks), or on a "
        + "card one in N parts side by side (segments:N).",
      discussion: "Saved, they take batch x heads x T / chunk x K x V x 4 bytes until it is called."
    ))
  var gradientStates: String?

  /// Whether anything of the gradient's plan is pinned.
  var pinsAny: Bool {
    gradientSchedule != nil || gradientChunk != nil || gradientSubBlock != nil
      || gradientHeadTile != nil || gradientStates != nil
  }

  func validate() throws {
    if pinsAny, !backward {
      throw ValidationError("Options of the gradient's plan (--gradient-...) go with --backward.")
    }
  }
}

/// Whether a kernel is made with its entry for a single token.
struct StepOptions: ParsableArguments {
  @Flag(
    inversion: .prefixedNo,
    help: "An entry 'step' that moves states by one token in place (packages have it).")
  var step: Bool?
}

/// Sizes, types, the machine, and what of the plan is pinned: shared by all verbs that make kernels.
///
/// Numbers are taken as they stand, so that -3 is answered as a wrong number and not as an option.
struct KernelChoices: ParsableArguments {
  @Option(help: "Map queries and keys first: elu (elu + 1), relu, exp, softmax or taylor2.")
  var keyMap: String?
  @Option(parsing: .unconditional, help: "Key size of a head, K (default 128).")
  var keyDim: Int?
  @Option(
    parsing: .unconditional,
    help: "Features of q and k, whose monomials are the keys under taylor2 (default 16: K = 153).")
  var featureDim: Int?
  @Option(parsing: .unconditional, help: "Value size of a head, V (default 128).")
  var valueDim: Int?
  @Option(parsing: .unconditional, help: "Query heads (default 4).")
  var heads: Int?
  @Option(parsing: .unconditional, help: "Key/value heads (default: as many as query heads).")
  var kvHeads: Int?
  @Option(parsing: .unconditional, help: "Batch rows, where something is timed.")
  var batch: Int = 1
  @Option(parsing: .unconditional, help: "Tokens a row, where something is timed.")
  var length: Int = 2048
  @Option(
    help: "Elements of q, k, v and o: f32, bf16, f16, or f64 to check gradients (default f32).")
  var dtype: String?
  @Option(help: "Elements of the gates: f32, bf16 or f16 (default f32; f64 where --dtype is).")
  var gateDtype: String?
  @Option(help: "native, generic, avx2, avx512, avx512bf16, amx or neon (default native).")
  var target: String?
  @Option(help: "The paper's layers: gla-340m (4 heads, K 128, V 256) or gla-1.3b (K 256, V 512).")
  var preset: String?

  @Option(help: "Pin the schedule; 'sluice list' shows them.") var schedule: String?
  @Option(parsing: .unconditional, help: "Pin the tokens between two updates of the state.")
  var chunk: Int?
  @Option(parsing: .unconditional, help: "Pin the tokens of a diagonal piece of the scores.")
  var subBlock: Int?
  @Option(parsing: .unconditional, help: "Pin the rows of the state that one product works on.")
  var keyTile: Int?
  @Option(parsing: .unconditional, help: "Pin the columns of the state that one worker holds.")
  var valueTile: Int?
  @Option(parsing: .unconditional, help: "Pin the adjacent heads that one worker walks together.")
  var headTile: Int?
  @Option(help: "Pin which states are written: none, segments:N or chunks.")
  var materialization: String?
  @Option(help: "Pin what products multiply: f32 or bf16.") var products: String?
  @Option(help: "Pin the rows and vectors that stay in registers: 4x4.") var registerBlock: String?
  @Option(parsing: .unconditional, help: "Pin the tokens or steps that are unrolled.")
  var unroll: Int?
  @Option(parsing: .unconditional, help: "Pin how many blocks ahead rows are asked for.")
  var ahead: Int?
  @Option(help: "Pin how outputs are stored: plain or streaming.") var stores: String?
  @Option(
    parsing: .unconditional,
    help: "Calls can have states written out after every so many tokens, or a multiple.")
  var snapshots: Int?
  @Option(
    parsing: .unconditional,
    help: "Threads when the caller does not say; the plan is chosen for them, else for all cores.")
  var threads: Int?
  @Option(help: "The file of what was measured (default: records.sqlite in the cache's folder).")
  var records: String?
  @Option(help: "Choose the plan by this file of 'sluice probe' (default: this machine's).")
  var probe: String?
}

/// A kernel that there may be already: a recurrence with the choices for it, or a package.
struct SubjectOptions: ParsableArguments {
  @Argument(help: "The recurrence, built with the choices below; or a package's folder.")
  var recurrence: String?
  @Option(help: "The folder of a package, whatever it is called.") var package: String?
  @OptionGroup var choices: KernelChoices
  @OptionGroup var tools: ToolOptions
}

/// The compiler, for verbs that build.
struct ToolOptions: ParsableArguments {
  @Option(help: "The clang to use, 17 or newer (default: clang-22, or the newest there is).")
  var clang: String?
  @Option(
    help: ArgumentHelp(
      "The ptxas that makes a card's machine code; none does without (default: the one there is).",
      valueName: "path|none"))
  var ptxas: String?
}

/// How answers are printed.
struct FormatOptions: ParsableArguments {
  @Flag(help: "Print JSON.") var json = false
}

extension VerifyOptions.Effort: ExpressibleByArgument {}
