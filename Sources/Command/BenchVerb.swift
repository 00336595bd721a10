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

  @OptionGroup var subject: SubjectOptions
  @Option(parsing: .unconditional, help: "Counted calls for each number of threads.")
  var calls: Int = 15
  @OptionGroup var format: FormatOptions

  func run() async throws {
    guard (1...10_000).contains(calls) else {
      throw SluiceError(.usage, "--calls must be from 1 to 10000, not \(calls).")
    }
    if let threads = subject.choices.threads, !(1...4096).contains(threads) {
      throw SluiceError(.usage, "--threads must be from 1 to 4096, not \(threads).")
    }
    // Sizes that no call can have are refused before anything is built for them.
    _ = try KernelRequest(recurrence: "", choices: subject.choices).shape()
    let builder = try await subject.tools.builder()
    let kernel = try await subject.open(builder)
    try checkRuns(kernel)
    let name = kernel.manifest.name
    let assessment = try await withProgress("verifying \(name)") {
      try await verify(
        library: kernel.library, manifest: kernel.manifest, target: kernel.target,
        options: VerifyOptions(builder: builder))
    }
    guard assessment.passed else {
      throw SluiceError(
        .verification, "\(name) is wrong, so it is not timed; 'sluice verify' shows where.")
    }
    let timings = try await withProgress("timing \(name)") {
      try await time(
        library: kernel.library, manifest: kernel.manifest, target: kernel.target,
        shape: try shape(kernel.manifest), threads: threads(kernel.target), calls: calls,
        builder: builder)
    }
    if format.json { try printJSON(timings) } else { show(timings) }
  }

  /// The options' sizes, but for those that the kernel was made for.
  private func shape(_ manifest: KernelManifest) throws -> ProblemShape {
    var shape = try KernelRequest(recurrence: manifest.recurrence.name, choices: subject.choices)
      .shape()
    (shape.key, shape.value) = (manifest.key, manifest.value)
    return shape
  }

  private func threads(_ target: Target) -> [Int] {
    if let given = subject.choices.threads { return [given] }
    return target.isCross ? [1] : Set([1, Host.detect().cores]).sorted()
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
