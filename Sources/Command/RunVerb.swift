import ArgumentParser
import Execution
import Targets

struct RunVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Runs a kernel on a safetensors file of inputs; writes o and final_state.",
    discussion: """
      The file holds the inputs by their names ('sluice describe' shows them), and where wanted \
      initial_state and cu_seqlens.
      """)

  @OptionGroup var subject: SubjectOptions
  @Option(name: .shortAndLong, help: "The safetensors file of inputs.") var input: String
  @Option(name: .shortAndLong, help: "The safetensors file to write.") var output: String
  @Option(help: "Factor on the output (default: the recurrence's own).") var scale: Double?
  @OptionGroup var format: FormatOptions

  func run() async throws {
    let kernel = try await subject.open()
    guard Host.detect().runs(kernel.target) else {
      throw SluiceError(
        .unsupported,
        "\(kernel.manifest.name) is for \(kernel.target.name), and this machine is another; "
          + "build it for this one.")
    }
    let call = try KernelCall(
      manifest: kernel.manifest, library: try LoadedLibrary(kernel.library))
    let report = try await withProgress("running \(kernel.manifest.name)") {
      try RunFiles.run(
        call, input: input, output: output, threads: subject.choices.threads, scale: scale)
    }
    if format.json {
      try printJSON(report)
      return
    }
    let shape = report.shape
    print(
      "\(output): o [\(shape.batch), \(shape.length), \(shape.queryHeads), \(shape.value)] and "
        + "final_state, in \(rounded(report.seconds * 1e3, 3)) ms")
  }
}
