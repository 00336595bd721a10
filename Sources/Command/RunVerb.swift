import ArgumentParser
import Evaluation
import Execution

struct RunVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract:
      "Runs a package's kernel on a safetensors file of inputs, and writes o and final_state.")

  @Argument(help: "The package's folder.") var package: String
  @Option(
    name: [.customShort("i"), .customLong("input")],
    help: "Inputs by name; initial_state and cu_seqlens where wanted.")
  var inputFile: String
  @Option(name: [.customShort("o"), .customLong("output")], help: "Where o and final_state go.")
  var outputFile: String
  @Option(help: "Threads (default: the plan's).") var threads: Int?
  @Option(help: "Factor on the output (default: the recurrence's).") var scale: Double?
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let report = try RunFiles.run(
      try KernelPackage.open(package), input: inputFile, output: outputFile, threads: threads,
      scale: scale)
    if output.json {
      try printJSON(report)
    } else {
      let shape = report.shape
      print(
        "\(outputFile): o [\(shape.batch), \(shape.length), \(shape.queryHeads), \(shape.value)] "
          + "and final_state, in \(rounded(report.seconds * 1e3, 3)) ms")
    }
  }
}
