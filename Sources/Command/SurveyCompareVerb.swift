import ArgumentParser
import Emission
import Execution
import Planning
import Schedules
import Targets
import Tuning

extension SurveyVerb {
  struct CompareVerb: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "compare",
      abstract: "Times the model's pick and the tuner's beside a record's best plans, in turns.")

    @Argument(help: "A record of 'sluice survey measure'.")
    var record: String
    @Option(help: "The file of what 'sluice tune' measured (default: as 'sluice tune' has it).")
    var records: String?
    @Option(parsing: .unconditional, help: "Plans of the record that take part, the best ones.")
    var plans: Int = 3
    @Option(parsing: .unconditional, help: "Rounds of turns.")
    var rounds: Int = 5
    @OptionGroup var tools: ToolOptions
    @OptionGroup var format: FormatOptions

    struct Line: Encodable {
      var who: String
      var plan: Plan
      var seconds: Double?
      /// Its time over the best one's of this comparison.
      var overBest: Double?
    }

    func run() async throws {
      for (name, number) in [("plans", plans), ("rounds", rounds)]
      where !(1...100).contains(number) {
        throw SluiceError(.usage, "--\(name) must be from 1 to 100, not \(number).")
      }
      let space = try readSpace(record)
      let specification = try space.specification()
      guard Host.detect().runs(specification.target) else {
        throw SluiceError(
          .unsupported, "\(specification.target.name) does not run on this machine.")
      }
      var contenders: [(who: String, plan: Plan)] = []
      func add(_ who: String, _ plan: Plan?) {
        guard let plan else { return }
        if let place = contenders.firstIndex(where: { $0.plan == plan }) {
          contenders[place].who += ", \(who)"
        } else {
          contenders.append((who, plan))
        }
      }
      add(
        "the model's",
        try Planner(ranker: CostModel(calibration: space.calibration)).plan(
          specification, PlanRequest(threads: space.plans.first?.plan.threads), space.workload))
      add("the tuner's", try tuned(specification, space.workload))
      let ordered = space.timed.sorted { ($0.measured ?? 0) < ($1.measured ?? 0) }
      for (place, best) in ordered.prefix(plans).enumerated() {
        add("the record's \(place + 1).", best.plan)
      }
      let survey = Survey(specification, space.workload, builder: try await tools.builder())
      let seconds = try await survey.compared(
        contenders.map(\.plan), rounds: rounds, milliseconds: 200)
      let best = seconds.values.min()
      let lines = contenders.map { who, plan in
        Line(
          who: who, plan: plan, seconds: seconds[plan],
          overBest: seconds[plan].flatMap { own in best.map { own / $0 } })
      }
      guard !format.json else { return try printJSON(lines) }
      print(
        table(
          [["WHO", "ms", "OVER BEST", "PLAN"]]
            + lines.map { line in
              [
                line.who, line.seconds.map { rounded($0 * 1e3, 3) } ?? "failed",
                line.overBest.map { rounded($0, 3) } ?? "-", line.plan.short,
              ]
            }))
    }

    /// The quickest on record of the tuner; nil where there is none.
    private func tuned(
      _ specification: KernelSpecification, _ workload: Workload
    ) throws -> Plan? {
      let path = records ?? RecordStore.defaultPath
      guard let store = try RecordStore(reading: path) else { return nil }
      let known = try store.records(of: TuningKey(specification, workload))
      return known.filter { $0.seconds != nil }.min { $0.seconds! < $1.seconds! }?.plan
    }
  }
}
