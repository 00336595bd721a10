import ArgumentParser
import Emission
import Execution
import Planning
import Schedules
import Targets

struct PlanVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Shows the plan that a kernel gets, and with --explain the way to it.")

  @OptionGroup var kernel: KernelOptions
  @Flag(help: "Show how many plans there are, why others are refused, and the ten best.")
  var explain = false
  @OptionGroup var format: FormatOptions

  private struct Answer: Encodable {
    var kernel: String
    var plan: Plan
    var prediction: Prediction
    var workload: Workload
    /// The machine's probe, or nil when its figures are assumed.
    var calibration: Calibration?
    var plans: Int?
    var legal: Int?
    var schedules: [PlanSearch.Part]?
    var best: [PlanSearch.Candidate]?
  }

  func run() throws {
    let host = Host.detect()
    let specification = try kernel.request.specification(host)
    let model = try kernel.request.model(specification.target, host)
    let search = try Planner.search(
      specification, try kernel.request.planRequest(), try kernel.request.workload(host),
      model: model)
    let first = search.ranked[0]
    let name = KernelName(specification, first.plan).description
    guard !format.json else {
      return try printJSON(
        Answer(
          kernel: name, plan: first.plan, prediction: first.prediction, workload: search.workload,
          calibration: model.calibration, plans: explain ? search.plans : nil,
          legal: explain ? search.legal : nil, schedules: explain ? search.schedules : nil,
          best: explain ? Array(search.ranked.prefix(10)) : nil))
    }
    guard explain else { return print(first.plan) }
    print(PlanExplanation(search: search, kernel: name, model: model).text)
  }
}
