import ArgumentParser
import Emission
import Evaluation
import Execution
import Recurrences
import Targets

struct BenchVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Verifies a kernel, then times it beside the floor that this machine allows.")

  @Argument(help: "The recurrence; left out with --package.") var recurrence: String?
  @Option(help: "Time the library of this package folder.") var package: String?
  @Option(help: "Counted calls for each number of threads.") var calls: Int = 15
  @OptionGroup var choices: KernelChoices
  @OptionGroup var tools: ToolOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    guard (recurrence == nil) != (package == nil) else {
      throw SluiceError(.usage, "Give a recurrence or --package DIR.")
    }
    guard (1...10_000).contains(calls) else {
      throw SluiceError(.usage, "--calls must be from 1 to 10000, not \(calls).")
    }
    let subject = try await self.subject()
    let builder = subject.builder
    progress("verifying \(subject.manifest.name)")
    let assessment = try await verify(
      library: subject.library, manifest: subject.manifest, target: subject.target,
      options: VerifyOptions(builder: builder))
    guard assessment.passed else {
      throw SluiceError(
        .verification,
        "\(subject.manifest.name) is wrong, so it is not timed; 'sluice verify' shows where.")
    }
    var shape = try choices.kernel(subject.manifest.recurrence.name).shape()
    (shape.key, shape.value) = (subject.manifest.key, subject.manifest.value)
    let cores = subject.target.isCross ? 1 : Host.detect().cores
    let threads = choices.threads.map { [$0] } ?? Array(Set([1, cores])).sorted()
    progress("timing")
    let timings = try await time(
      library: subject.library, manifest: subject.manifest, target: subject.target, shape: shape,
      threads: threads, calls: calls, builder: builder)
    if output.json { try printJSON(timings) } else { show(timings) }
  }

  private func subject() async throws -> (
    library: String, manifest: KernelManifest, target: Target, builder: Builder
  ) {
    if let package {
      let opened = try KernelPackage.open(package)
      return (
        opened.library, opened.manifest, try Host.detect().target(named: opened.manifest.target),
        try await tools.builder()
      )
    }
    let built = try await choices.kernel(recurrence ?? "").build(tools)
    return (built.library, built.kernel.manifest, built.target, built.builder)
  }

  private func show(_ timings: [Timing]) {
    guard let first = timings.first else { return }
    let shape = first.shape
    print(
      "\(first.kernel)\nB \(shape.batch), H \(shape.queryHeads)/\(shape.heads), T \(shape.length), "
        + "K \(shape.key), V \(shape.value); verified; \(first.calls) calls\n")
    print(
      table(
        [["THREADS", "MEDIAN ms", "QUARTILES ms", "LEAST ms", "GFLOP/s", "FLOOR ms", "TIME/FLOOR"]]
          + timings.map { timing in
            [
              String(timing.threads), milliseconds(timing.median),
              "\(milliseconds(timing.lowerQuartile)) to \(milliseconds(timing.upperQuartile))",
              milliseconds(timing.least), rounded(timing.flops / timing.median / 1e9, 1),
              timing.floor.map(milliseconds) ?? "emulated",
              timing.ratio.map { rounded($0, 2) } ?? "-",
            ]
          }))
  }

  private func milliseconds(_ seconds: Double) -> String { rounded(seconds * 1e3, 3) }
}
