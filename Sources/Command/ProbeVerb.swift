import ArgumentParser
import Evaluation
import Execution
import Planning
import Targets

struct ProbeVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "probe",
    abstract: "Measures what this machine does with a target's words, for the planner; seconds.")

  @Option(help: "native, generic, avx2, avx512, avx512bf16 or neon (default native).")
  var target: String = "native"
  @Option(parsing: .unconditional, help: "Threads to measure together (default: all cores).")
  var threads: Int?
  @Option(name: .shortAndLong, help: "Write the record into this file instead of the cache.")
  var output: String?
  @OptionGroup var tools: ToolOptions
  @OptionGroup var format: FormatOptions

  func run() async throws {
    let host = Host.detect()
    let target = try host.target(named: target)
    let threads = threads ?? host.cores
    guard (1...4096).contains(threads) else {
      throw SluiceError(.usage, "--threads must be from 1 to 4096, not \(threads).")
    }
    if output == "" { throw SluiceError(.usage, "--output needs a file's name.") }
    let builder = try await tools.builder()
    let probe = try await withProgress("measuring \(host.cpuName) with \(target.name)") {
      try await Probe.measure(target, on: host, threads: threads, builder: builder)
    }
    let path = output ?? Probe.path(for: target.name)
    try probe.store(at: path)
    if format.json { try printJSON(probe) } else { show(probe, target, path) }
  }

  private func show(_ probe: Probe, _ target: Target, _ path: String) {
    let figures = probe.calibration
    let lanes = Double(target.lanes)
    func rate(_ seconds: Double, _ work: Double) -> String { rounded(work / seconds / 1e9, 1) }
    func bytes(_ rate: Double) -> String { rounded(rate / 1e9, 1) }
    func nanoseconds(_ seconds: Double) -> String { rounded(seconds * 1e9, 3) }
    print("\(probe.host.description)\nprobed with the words of \(target.name)\n")
    let arithmetic = [
      ("multiplications with addition, f32", figures.multiplyAdd, 2 * lanes),
      ("the same, pairs of bf16", figures.multiplyAddPairs, 4 * lanes),
      ("products of tiles, f32", figures.product, 2 * lanes),
      ("products of tiles, pairs of bf16", figures.productPairs, 4 * lanes),
      ("recurrence in registers", figures.recurrence, 2 * lanes),
      ("exact scores under a decay", figures.scores, 3 * lanes),
    ]
    print(
      table(
        [["ONE THREAD", "ns A VECTOR", "GFLOP/s"]]
          + arithmetic.map { [$0.0, nanoseconds($0.1), rate($0.1, $0.2)] }))
    let passes = [
      ("exponentials", figures.exponential), ("quotients", figures.division),
      ("elementwise pass", figures.pass), ("running products", figures.scan),
      ("transpose", figures.transpose),
    ]
    print(
      "\n"
        + table(
          [["ONE THREAD", "ns A VECTOR", "10^9 NUMBERS/s"]]
            + passes.map { [$0.0, nanoseconds($0.1), rate($0.1, lanes)] }))
    let levels = [
      ("first cache", figures.firstRead, figures.firstWrite),
      ("second cache", figures.secondRead, figures.secondWrite),
      ("third cache", figures.thirdRead, figures.thirdWrite),
      ("memory", figures.memoryRead, figures.memoryWrite),
    ]
    print(
      "\n"
        + table(
          [["ONE THREAD", "READ GB/s", "WRITE GB/s"]]
            + levels.map { [$0.0, bytes($0.1), bytes($0.2)] }
            + [["rows of 512 bytes, 8 KiB apart", bytes(figures.rowsRead), "-"]]))
    print(
      "\n\(figures.threads) threads do \(rounded(figures.scaling, 2)) times the arithmetic of one "
        + "and read \(bytes(figures.memoryReadTogether)) GB/s together; to begin and end them takes "
        + "\(rounded(figures.forkJoin * 1e6, 2)) us.\nkept in \(path)")
  }
}
