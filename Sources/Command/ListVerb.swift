import ArgumentParser
import Recurrences
import Schedules
import Targets

struct ListVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Shows the recurrences, schedules and targets.")

  @OptionGroup var format: FormatOptions

  private struct Row: Encodable {
    var name: String
    var gates: String
    var inputs: [String]
    var schedules: [String]
    var summary: String
  }

  private struct Everything: Encodable {
    var recurrences: [Row]
    var keyMaps: [String]
    var targets: [String]
    var schedules: [String: String]
  }

  func run() throws {
    let rows = Registry.recurrences.map(row)
    if format.json {
      let schedules = Dictionary(uniqueKeysWithValues: Schedules.all.map { ($0.name, $0.summary) })
      try printJSON(
        Everything(
          recurrences: rows, keyMaps: FeatureMap.allCases.map(\.rawValue),
          targets: Target.all.map(\.name), schedules: schedules))
      return
    }
    print(
      table(
        [["RECURRENCE", "GATES", "SCHEDULES", ""]]
          + rows.map { [$0.name, $0.gates, words($0.schedules), $0.summary] }))
    print()
    print(table([["SCHEDULE", ""]] + Schedules.all.map { [$0.name, $0.summary] }))
    print()
    print(
      "maps of q and k (--key-map): " + FeatureMap.allCases.map(\.rawValue).joined(separator: ", "))
    print("targets: native, " + Target.all.map(\.name).joined(separator: ", "))
  }

  private func words(_ schedules: [String]) -> String {
    let missing = Schedules.all.map(\.name).filter { !schedules.contains($0) }
    return missing.isEmpty
      ? "all" : missing.count == 1 ? "all but \(missing[0])" : schedules.joined(separator: " ")
  }

  private func row(_ recurrence: Recurrence) -> Row {
    let form = try? recurrence.normalForm()
    let specification = form.flatMap {
      try? KernelSpecification(
        normalForm: $0, key: 128, value: 128, type: .f32, gateType: .f32, target: .generic)
    }
    return Row(
      name: recurrence.name, gates: form?.gateClass ?? "cannot be compiled",
      inputs: recurrence.inputs.map(\.name),
      schedules: specification.map { own in
        Schedules.all.filter { $0.obstacle(to: own) == nil }.map(\.name)
      } ?? [],
      summary: recurrence.summary)
  }
}
