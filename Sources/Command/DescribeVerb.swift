import ArgumentParser
import Emission
import Execution
import Recurrences
import Schedules
import Targets
import Tuning

struct DescribeVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe",
    abstract: "Shows a recurrence: inputs, normal form, and the schedules that can run it.")

  @OptionGroup var kernel: KernelOptions
  @OptionGroup var format: FormatOptions

  private struct Description: Encodable {
    var normalForm: NormalForm
    var inputs: [KernelManifest.Input]
    var schedules: [Applicability]
    var plan: Plan
    /// Where the plan comes from.
    var origin: String
  }

  private struct Applicability: Encodable {
    var name: String
    var obstacle: String?
  }

  func run() throws {
    let specification = try kernel.request.specification(Host.detect())
    let (plan, origin) = try kernel.request.choice(specification)
    let schedules = Schedules.all.map {
      Applicability(name: $0.name, obstacle: $0.obstacle(to: specification))
    }
    let form = specification.normalForm
    let manifest = KernelManifest(specification, plan)
    let inputs = manifest.inputs
    if format.json {
      try printJSON(
        Description(
          normalForm: form, inputs: inputs, schedules: schedules, plan: plan,
          origin: origin.description))
      return
    }
    let recurrence = specification.recurrence
    print("\(recurrence.name): \(recurrence.summary)\n")
    for state in recurrence.states { print("  \(state.name)[t] = \(state.update)") }
    print("  o[t] = \(recurrence.output)")
    print("  scale is \(recurrence.defaultScale == .one ? "1" : "1 / sqrt(K)") if none is given\n")
    print(
      table(
        [["INPUT", "SHAPE", "TYPE", "DOMAIN", ""]]
          + inputs.map {
            [$0.name, manifest.shape(of: $0), $0.type.rawValue, $0.domain.words, $0.summary]
          }))
    print("\n\(form)\n")
    print(
      table(
        [["SCHEDULE", "APPLIES"]]
          + schedules.map { [$0.name, $0.obstacle.map { "no: \($0)" } ?? "yes"] }))
    print("\nplan on \(specification.target.name), \(origin)\n\(plan)")
  }
}
