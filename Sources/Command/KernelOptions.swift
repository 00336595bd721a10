import ArgumentParser
import Emission
import Execution
import Planning
import Recurrences
import Schedules
import Targets

/// What is made: a recurrence, and the choices for it.
struct KernelOptions: ParsableArguments {
  @Argument(help: "The recurrence; 'sluice list' shows them.")
  var recurrence: String
  @OptionGroup var choices: KernelChoices

  var request: KernelRequest { choices.kernel(recurrence) }
}

/// Sizes, types, the machine, and what of the plan is pinned: shared by all verbs that make kernels.
struct KernelChoices: ParsableArguments {
  @Option(help: "Key size of a head, K (default 128).") var keyDim: Int?
  @Option(help: "Value size of a head, V (default 128).") var valueDim: Int?
  @Option(help: "Query heads (default 4).") var heads: Int?
  @Option(help: "Key/value heads (default: as many as query heads).") var kvHeads: Int?
  @Option(help: "Batch rows.") var batch: Int = 1
  @Option(help: "Tokens a row.") var length: Int = 2048
  @Option(help: "Elements of q, k, v and o: f32, bf16 or f16.") var dtype: String = "f32"
  @Option(help: "Elements of the gates: f32, bf16 or f16.") var gateDtype: String = "f32"
  @Option(help: "native, generic, avx2, avx512, avx512bf16 or neon.") var target: String = "native"
  @Option(help: "The paper's layers: gla-340m (4 heads, K 128, V 256) or gla-1.3b (K 256, V 512).")
  var preset: String?

  @Option(help: "Pin the schedule.") var schedule: String?
  @Option(help: "Pin the tokens between two updates of the state.") var chunk: Int?
  @Option(help: "Pin the tokens of a diagonal piece of the scores.") var subBlock: Int?
  @Option(help: "Pin the rows of the state that one product works on.") var keyTile: Int?
  @Option(help: "Pin the columns of the state that one worker holds.") var valueTile: Int?
  @Option(help: "Pin which states are written: none, segments:N or chunks.")
  var materialization: String?
  @Option(help: "Pin what products multiply: f32 or bf16.") var products: String?
  @Option(help: "Threads when the caller does not say.") var threads: Int?

  /// These choices for one recurrence.
  func kernel(_ recurrence: String) -> KernelRequest {
    KernelRequest(recurrence: recurrence, choices: self)
  }
}

/// A recurrence with the choices for it: what the verbs turn into kernels.
struct KernelRequest {
  var recurrence: String
  var choices: KernelChoices

  /// The specification that the options describe.
  func specification(_ host: Host) throws -> KernelSpecification {
    let sizes = try sizes()
    return try KernelSpecification(
      normalForm: try Registry.named(recurrence).normalForm(), key: sizes.key, value: sizes.value,
      type: try elementType(choices.dtype, "--dtype"),
      gateType: try elementType(choices.gateDtype, "--gate-dtype"),
      target: try host.target(named: choices.target))
  }

  /// The sizes of a call, for verbs that run one.
  func shape() throws -> ProblemShape {
    let sizes = try sizes()
    let queryHeads = choices.heads ?? 4
    return try ProblemShape(
      batch: choices.batch, length: choices.length, queryHeads: queryHeads,
      heads: choices.kvHeads ?? queryHeads, key: sizes.key, value: sizes.value)
  }

  /// The planner's choice with everything that is pinned.
  func plan(_ specification: KernelSpecification) throws -> Plan {
    // Sizes that no call could have are refused before anything is made for them.
    _ = try shape()
    return try Planner().plan(
      specification,
      PlanRequest(
        schedule: choices.schedule, chunk: choices.chunk, subBlock: choices.subBlock,
        keyTile: choices.keyTile, valueTile: choices.valueTile,
        materialization: try materialization(), threads: choices.threads,
        products: try choices.products.map { try elementType($0, "--products") }))
  }

  /// The kernel, printed.
  func emit(_ host: Host) throws -> (specification: KernelSpecification, kernel: EmittedKernel) {
    let specification = try specification(host)
    return (specification, try Emitter.emit(specification, try plan(specification)))
  }

  private func sizes() throws -> (key: Int, value: Int) {
    let preset: (key: Int, value: Int)
    switch choices.preset {
    case nil: preset = (128, 128)
    case "gla-340m": preset = (128, 256)
    case "gla-1.3b": preset = (256, 512)
    case let name?:
      throw SluiceError(.usage, "There is no preset '\(name)'; known are gla-340m and gla-1.3b.")
    }
    return (choices.keyDim ?? preset.key, choices.valueDim ?? preset.value)
  }

  private func elementType(_ name: String, _ option: String) throws -> ElementType {
    guard let type = ElementType(rawValue: name) else {
      throw SluiceError(.usage, "\(option) must be f32, bf16 or f16, not '\(name)'.")
    }
    return type
  }

  private func materialization() throws -> Materialization? {
    guard let text = choices.materialization else { return nil }
    guard let value = Materialization(text) else {
      throw SluiceError(
        .usage,
        "--materialization must be none, segments:N (N from 1 to 4096) or chunks, not '\(text)'.")
    }
    return value
  }
}

/// The compiler, for verbs that build.
struct ToolOptions: ParsableArguments {
  @Option(help: "The clang to use, 17 or newer (default: clang-22, or the newest there is).")
  var clang: String?

  func builder() async throws -> Builder {
    Builder(toolchain: try await Toolchain.find(clang: clang))
  }
}

/// Machine-readable output.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print JSON.") var json = false
}
