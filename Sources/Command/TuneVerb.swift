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
      it was. With --backward it is the gradient whose plan is searched, beside the forward plan that \
      'sluice build' takes; measured is a forward and a backward call. With --bundle alone, writes a folder that measures on another machine; with --bundle \
      and --results, takes in what that machine printed.
      """)

  @Argument(help: "The recurrence; 'sluice list' shows them.")
  var recurrence: String?
  @OptionGroup var choices: KernelChoices
  @OptionGroup var gradient: GradientOptions
  @Option(
    help: "Seconds of this run (60s, the default), or candidates with those on record (24c).")
  var budget: String?
  @Option(parsing: .unconditional, help: "Compilations at a time (default: the cores).")
  var jobs: Int?
  @Flag(help: "Measure candidates that are on record anew.") var again = false
  @Option(help: "Write a folder that measures on another machine; with --results, the folder.")
  var bundle: String?
  @Option(help: "Take in what a bundle's measure printed.") var results: String?
  @OptionGroup var tools: ToolOptions
  @OptionGroup var format: FormatOptions

  private var request: KernelRequest {
    KernelRequest(recurrence: recurrence ?? "", choices: choices, gradient: gradient)
  }

  func run() async throws {
    let budget = try self.budget.map { text throws(SluiceError) in try Budget(text) }
    let host = Host.detect()
    let jobs = try jobs(on: host)
    if let results { return try ingest(results) }
    guard recurrence != nil else {
      throw SluiceError(.usage, "Give a recurrence to tune; 'sluice list' shows them.")
    }
    let specification = try request.specification(host)
    if gradient.backward, bundle != nil || specification.target.device != nil {
      throw SluiceError(
        .unsupported,
        "Gradients are measured on this machine's processor only: no bundles, no cards.")
    }
    if let bundle { return try await write(bundle, specification, budget, jobs) }
    guard host.runs(specification.target) || specification.target.isCross else {
      throw SluiceError(
        .unsupported,
        "\(specification.target.name) is for another machine than this one (\(host.cpuName)); "
          + "--bundle DIR writes a folder that measures there.")
    }
    try await search(specification, budget ?? .seconds(60), jobs)
  }

  /// Measures on this machine.
  private func search(
    _ specification: KernelSpecification, _ budget: Budget, _ jobs: Int
  ) async throws {
    let records = try RecordStore(request.recordPath)
    let display = TuningDisplay(isQuiet: format.json)
    var tuner = Tuner(
      specification, try request.workload(Host.detect()), request: try request.planRequest(),
      budget: budget, jobs: jobs, ranker: try request.model(specification.target, Host.detect()),
      records: records,
      builder: try await tools.builder())
    tuner.again = again
    if gradient.backward {
      let forward = try request.choice(specification).plan
      tuner.forward = forward
      tuner.request = try request.gradientRequest(threads: forward.threads)
    }
    tuner.progress = { display.show($0) }
    let report: TuningReport
    do {
      report = try await tuner.run()
    } catch {
      if !(error is SluiceError) { display.tellInterruption() }
      throw error
    }
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

  /// Writes the folder that measures elsewhere.
  private func write(
    _ folder: String, _ specification: KernelSpecification, _ budget: Budget?, _ jobs: Int
  ) async throws {
    guard case .candidates(let count) = budget ?? .candidates(24) else {
      throw SluiceError(.usage, "A bundle needs a number of candidates, such as --budget 24c.")
    }
    let (request, builder) = (request, try await tools.builder())
    let (bundle, notices) = try await withProgress("building up to \(count) candidates") {
      try await TuningBundle.write(
        specification, try request.workload(Host.detect()), request: try request.planRequest(),
        count: count, jobs: jobs, ranker: try request.model(specification.target, Host.detect()),
        to: folder, builder: builder)
    }
    for notice in notices { progress(notice) }
    if format.json { return try printJSON(bundle) }
    print(
      """
      \(folder): \(bundle.candidates.count) candidates for \(bundle.key.words), \
      \(bundle.key.target)
      on the other machine:  \(folder)/measure > results.json
      back here:             sluice tune --bundle \(folder) --results results.json
      """)
  }

  /// Takes in what another machine measured.
  private func ingest(_ path: String) throws {
    guard let bundle else {
      throw SluiceError(
        .usage, "--results needs --bundle DIR, the folder that they were made with.")
    }
    guard recurrence == nil else {
      throw SluiceError(.usage, "--results takes no recurrence: the bundle says what was tuned.")
    }
    let opened = try TuningBundle.open(bundle)
    let results = try BundleResults(path, of: opened)
    try RecordStore(request.recordPath).save(results.records)
    let report = results.report(of: opened)
    if format.json { return try printJSON(report) }
    print("measured on \(results.machine)\n")
    TuningDisplay(isQuiet: false).summarize(report)
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
