import ArgumentParser
import Recurrences
import Schedules
import Targets

struct ListVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Shows the recurrences, targets and schedules.")

  @OptionGroup var output: OutputOptions

  private struct Row: Encodable {
    var name: String
    var gates: String
    var inputs: [String]
    var summary: String
  }

  private struct Everything: Encodable {
    var recurrences: [Row]
    var targets: [String]
    var schedules: [String: String]
  }

  func run() throws {
    let rows = Registry.recurrences.map { recurrence in
      let form = try? recurrence.normalForm()
      return Row(
        name: recurrence.name, gates: form?.gateClass ?? "cannot be compiled",
        inputs: recurrence.inputs.map(\.name), summary: recurrence.summary)
    }
    if output.json {
      let schedules = Dictionary(uniqueKeysWithValues: Schedules.all.map { ($0.name, $0.summary) })
      try printJSON(
        Everything(recurrences: rows, targets: Target.all.map(\.name), schedules: schedules))
      return
    }
    print(
      table(
        [["RECURRENCE", "GATES", "INPUTS", ""]]
          + rows.map { [$0.name, $0.gates, $0.inputs.joined(separator: " "), $0.summary] }))
    print()
    print(table([["SCHEDULE", ""]] + Schedules.all.map { [$0.name, $0.summary] }))
    print()
    print("targets: native, " + Target.all.map(\.name).joined(separator: ", "))
  }
}
