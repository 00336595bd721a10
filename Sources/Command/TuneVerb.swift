import ArgumentParser
import Emission
import Evaluation
import Execution
import Planning
import Schedules
import Targets
import Tuning

struct TuneVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tune",
    abstract: "Searches the fastest plan by measuring candidates; 'sluice build' then takes it.",
    discussion: """
      Every candidate is kept as soon as it is measured: a search that was interrupted goes on where \
      it was. With --bundle alone, writes a folder that measures on another machine; with --bundle \
      and --results, takes in what that machine printed.
      """)

  @OptionGroup var kernel: TuneOptions
  @Option(
    help: "Seconds of this run (60s), or candidates with those on record (24c).")
  var budget: String?
  @Option(parsing: .unconditional, help: "Compilations at a time (default: the cores).")
  var jobs: Int?
  @Flag(help: "Measure candidates that are on record anew.") var again = false
  @OptionGroup var tools: ToolOptions
  @OptionGroup var format: FormatOptions

  func run() async throws {
    let recurrence = kernel.recurrence
    let budget = try Budget(self.budget ?? "60s")
    let jobs = try jobs(on: Host.detect())
    let request = KernelRequest(recurrence: recurrence, choices: kernel.choices)
    let host = Host.detect()
    let specification = try request.specification(host)
    let target = specification.target
    guard host.runs(target) || target.isCross else {
      throw SluiceError(
        .unsupported,
        "\(target.name) is for another machine than this one (\(host.cpuName)); --bundle DIR writes "
          + "a folder to measure there.")
    }
    let records = try RecordStore(request.recordPath)
    let builder = try await tools.builder()
    let display = TuningDisplay(isQuiet: format.json)
    var tuner = Tuner(
      specification, try request.workload(host), request: try request.planRequest(),
      budget: budget, jobs: jobs, ranker: request.model, records: records, builder: builder)
    tuner.again = again
    tuner.progress = { display.show($0) }
    let report = try await tuner.run()
    for notice in report.notices { progress(notice) }
    if format.json {
      try printJSON(report)
    } else {
      display.summarize(report)
    }
    guard report.best != nil else {
      throw SluiceError(
        .verification, "No candidate was right; the table says what became of each.")
    }
  }

  private func jobs(on host: Host) throws -> Int {
    guard let jobs else { return host.cores }
    guard jobs > 0 else {
      throw SluiceError(.usage, "--jobs must be at least 1, not \(jobs).")
    }
    // More compilers than processors only take turns.
    return min(jobs, host.cores)
  }
}

/// What is tuned.
struct TuneOptions: ParsableArguments {
  @Argument(help: "The recurrence; 'sluice list' shows them.")
  var recurrence: String
  @OptionGroup var choices: KernelChoices
}
