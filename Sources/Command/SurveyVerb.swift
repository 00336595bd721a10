import ArgumentParser
import Emission
import Evaluation
import Execution
import Foundation
import Planning
import Recurrences
import Schedules
import Targets
import Tuning

struct SurveyVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "survey",
    abstract: "Measures many plans of a kernel, to judge the planner's model by.",
    subcommands: [MeasureVerb.self, ShowVerb.self, CompareVerb.self])
}

extension SurveyVerb {
  struct MeasureVerb: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "measure",
      abstract: "Builds, verifies and times plans; a record that is there is taken up again.")

    @OptionGroup var kernel: KernelOptions
    @OptionGroup var tools: ToolOptions
    @Option(name: .shortAndLong, help: "The record, a JSON file.")
    var output: String
    @Option(parsing: .unconditional, help: "Plans at most: all legal ones, or a stratified sample.")
    var plans: Int = 48
    @Option(parsing: .unconditional, help: "Milliseconds at least of each plan's timed calls.")
    var milliseconds: Int = 100
    @Option(parsing: .unconditional, help: "Builds side by side.")
    var jobs: Int = 1
    @Option(parsing: .unconditional, help: "Seconds to time for; what is left is for another run.")
    var seconds: Int = 600
    @Flag(help: "Build only.")
    var untimed = false
    @Flag(help: "Judge and time plans again that have a time.")
    var again = false

    func run() async throws {
      for (name, number) in [
        ("plans", plans), ("milliseconds", milliseconds), ("jobs", jobs), ("seconds", seconds),
      ]
      where !(1...100_000).contains(number) {
        throw SluiceError(.usage, "--\(name) must be from 1 to 100000, not \(number).")
      }
      let host = Host.detect()
      let specification = try kernel.request.specification(host)
      guard host.runs(specification.target) else {
        throw SluiceError(
          .unsupported, "\(specification.target.name) does not run on this machine.")
      }
      let workload = try kernel.request.workload(host)
      let model = try kernel.request.model(specification.target, host)
      let search = try Planner.search(
        specification, try kernel.request.planRequest(), workload, model: model)
      let survey = Survey(specification, workload, builder: try await tools.builder())
      var space = MeasuredSpace(
        specification: specification, workload: workload, machine: host.description,
        calibration: model.calibration, legal: search.legal, plans: [])
      let known = try Files.isRegular(output) && !again ? readSpace(output).plans : []
      space.plans = try await withProgress("building") {
        try await survey.built(search.sample(plans), known: known, jobs: jobs)
      }
      try write(space)
      if !untimed {
        space.plans = try await survey.timed(
          space.plans, milliseconds: milliseconds, until: .now + .seconds(seconds)
        ) { count in
          if count % 16 == 0 { progress("timed \(count)") }
        }
        try write(space)
      }
      let failed = space.plans.filter { $0.status != .ok && $0.status != .untried }.count
      print(
        "\(output): \(space.timed.count) timed, \(failed) failed, of \(space.plans.count) plans")
    }

    private func write(_ space: MeasuredSpace) throws {
      let aside = "\(output).new"
      try Files.write(try Emitter.json(space, pretty: true) + "\n", to: aside)
      try Files.rename(aside, to: output)
    }
  }

  struct ShowVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "show",
      abstract: "Prints how the model of today does on records of 'sluice survey measure'.")

    @Argument(help: "Records, JSON files.")
    var records: [String]
    @OptionGroup var format: FormatOptions

    struct Line: Encodable {
      var record: String
      var legal: Int
      var timed: Int
      var failed: Int
      var rankCorrelation: Double?
      var pick: Plan?
      var pickSeconds: Double?
      var best: Plan?
      var bestSeconds: Double?
      var pickOverBest: Double?
      /// Geometric mean of predicted over measured time.
      var predictedOverMeasured: Double
      /// Of measured over predicted time with the spills in innermost loops.
      var spillCorrelation: Double?
    }

    func run() throws {
      let lines = try records.map(line)
      guard !format.json else { return try printJSON(lines) }
      print(
        table(
          [
            [
              "RECORD", "LEGAL", "TIMED", "SPEARMAN", "PICK/BEST", "PICK ms", "BEST ms",
              "MODEL/CLOCK", "SPILLS", "PICK", "BEST",
            ]
          ]
            + lines.map { line in
              [
                URL(filePath: line.record).deletingPathExtension().lastPathComponent,
                String(line.legal), String(line.timed),
                line.rankCorrelation.map { rounded($0, 3) } ?? "-",
                line.pickOverBest.map { rounded($0, 3) } ?? "-",
                line.pickSeconds.map { rounded($0 * 1e3, 3) } ?? "-",
                line.bestSeconds.map { rounded($0 * 1e3, 3) } ?? "-",
                rounded(line.predictedOverMeasured, 2),
                line.spillCorrelation.map { rounded($0, 2) } ?? "-",
                line.pick?.short ?? "-", line.best?.short ?? "-",
              ]
            }))
    }

    private func line(_ path: String) throws -> Line {
      let space = try predicted(try readSpace(path))
      let logarithms = space.timed.map { log($0.predicted / ($0.measured ?? 1)) }
      return Line(
        record: path, legal: space.legal, timed: space.timed.count,
        failed: space.plans.filter { $0.status != .ok && $0.status != .untried }.count,
        rankCorrelation: space.rankCorrelation, pick: space.pick?.plan,
        pickSeconds: space.pick?.measured, best: space.best?.plan,
        bestSeconds: space.best?.measured, pickOverBest: space.pickOverBest,
        predictedOverMeasured: exp(
          logarithms.reduce(0, +) / Double(max(1, logarithms.count))),
        spillCorrelation: space.spillCorrelation)
    }
  }
}

/// A record of `sluice survey measure`.
func readSpace(_ path: String) throws -> MeasuredSpace {
  let bytes = Data(try Files.read(path))
  guard let space = try? JSONDecoder().decode(MeasuredSpace.self, from: bytes) else {
    throw SluiceError(
      .badInput,
      "\(path) is no record of 'sluice survey measure', or another version's; measure it anew.")
  }
  return space
}

extension MeasuredSpace {
  /// The kernel that the record is about.
  func specification() throws -> KernelSpecification {
    try KernelSpecification(
      normalForm: try Registry.named(recurrence).normalForm(), key: key, value: value, type: type,
      gateType: gateType, target: target)
  }
}

/// The record with what the model of today predicts from the record's own calibration, and the
/// bytes that each plan moves.
func predicted(_ space: MeasuredSpace) throws -> MeasuredSpace {
  var space = space
  let specification = try space.specification()
  let model = CostModel(calibration: space.calibration)
  for index in space.plans.indices {
    let plan = space.plans[index].plan
    guard Schedules.named(plan.schedule)?.objections(to: plan, for: specification).isEmpty == true
    else { continue }
    space.plans[index].predicted =
      model.prediction(of: plan, for: specification, space.workload).seconds
    space.plans[index].bytes = CostModel.tensorBytes(
      of: plan, for: specification, space.workload)
  }
  return space
}

extension Plan {
  /// The parts of a plan that matter, in one line.
  var short: String {
    var parts = [schedule, "c\(chunk)"]
    if subBlock != chunk { parts.append("s\(subBlock)") }
    parts += ["kt\(keyTile)", "vt\(valueTile)"]
    if headTile > 1 { parts.append("ht\(headTile)") }
    if materialization != .none { parts.append("\(materialization)") }
    if products != .f32 { parts.append(products.rawValue) }
    parts += innerChoices.map { "\($0.axis.option) \($0.value)" }
    return parts.joined(separator: " ")
  }
}
