import ArgumentParser
import Emission
import Execution
import Planning
import Schedules
import Targets

struct PlanVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Shows the plan that a kernel gets, and with --explain the way to it.",
    discussion: "With --backward it is the gradient's plan.")

  @OptionGroup var kernel: KernelOptions
  @OptionGroup var gradient: GradientOptions
  @Flag(help: "Show how many plans there are, why others are refused, and the ten best.")
  var explain = false
  @OptionGroup var format: FormatOptions

  private struct Answer: Encodable {
    var kernel: String
    var plan: Plan
    /// Where the choice comes from: measured, by the model, or by both.
    var origin: String
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
    let request = KernelRequest(
      recurrence: kernel.recurrence, choices: kernel.choices, gradient: gradient)
    let specification = try request.specification(host)
    let model = try request.model(specification.target, host)
    let workload = try request.workload(host)
    var (plan, origin) = try request.choice(specification)
    var (planner, pinned) = (Planner(), try request.planRequest())
    if gradient.backward {
      planner = .gradients(beside: plan)
      pinned = try request.gradientRequest(threads: plan.threads)
      (plan, origin) = try request.gradientChoice(specification, beside: plan)
    }
    let name = KernelName(specification, plan).description
    guard explain || format.json else { return print(plan) }
    let search = try Planner.search(specification, pinned, workload, model: model, of: planner)
    guard !format.json else {
      return try printJSON(
        Answer(
          kernel: name, plan: plan, origin: origin.description,
          prediction: model.prediction(of: plan, for: specification, workload), workload: workload,
          calibration: model.calibration, plans: explain ? search.plans : nil,
          legal: explain ? search.legal : nil, schedules: explain ? search.schedules : nil,
          best: explain ? Array(search.ranked.prefix(10)) : nil))
    }
    print(PlanExplanation(search: search, kernel: name, model: model).text)
    if plan != search.ranked[0].plan { print("\nTaken is \(plan.short), \(origin).") }
  }
}
