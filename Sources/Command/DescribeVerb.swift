import ArgumentParser
import Execution
import Recurrences
import Schedules

struct DescribeVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe",
    abstract: "Shows a recurrence: inputs, normal form, and the schedules that can run it.")

  @Argument(help: "The recurrence.") var recurrence: String
  @OptionGroup var output: OutputOptions

  func run() throws {
    let recurrence = try Registry.named(recurrence)
    let form = try recurrence.normalForm()
    if output.json {
      try printJSON(form)
      return
    }
    print("\(recurrence.name): \(recurrence.summary)\n")
    for state in recurrence.states { print("  \(state.name)[t] = \(state.update)") }
    print("  o[t] = \(recurrence.output)\n")
    print(
      table(
        [["INPUT", "ROLE", "AXES", "DOMAIN", ""]]
          + recurrence.inputs.map {
            [$0.name, $0.role.rawValue, "\($0.axes)", "\($0.domain)", $0.summary]
          }))
    print("\n\(form)\n")
    let specification = try KernelSpecification(
      normalForm: form, key: 128, value: 128, type: .f32, gateType: .f32,
      target: Host.detect().bestTarget)
    print(
      table(
        [["SCHEDULE", "APPLIES"]]
          + Schedules.all.map {
            [$0.name, $0.obstacle(to: specification).map { "no: \($0)" } ?? "yes"]
          }))
  }
}
