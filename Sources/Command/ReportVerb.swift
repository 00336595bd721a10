import ArgumentParser
import Evaluation
import Execution
import Planning
import Recurrences
import Reporting
import Schedules
import Targets
import Tuning

struct ReportVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Writes an HTML page on measured plans: landscape, prediction, roofs, the best plan.")

  @Argument(help: "Records of 'sluice survey measure'; with none, what 'sluice tune' has measured.")
  var surveys: [String] = []
  @Option(help: "The file of what was tuned (default: records.sqlite in the cache's folder).")
  var records: String?
  @Option(name: .shortAndLong, help: "The page's file.")
  var output: String = "report.html"

  func run() throws {
    if output.isEmpty { throw SluiceError(.usage, "--output needs a file's name.") }
    let spaces = try surveys.isEmpty ? tuned() : surveys.map { try predicted(readSpace($0)) }
    guard !spaces.isEmpty else {
      throw SluiceError(
        .badInput, "Nothing was measured yet; run 'sluice tune', or give records of a survey.")
    }
    try Files.write(ReportPage(spaces).text, to: output)
    print(output)
  }

  /// What the tuner measured on this machine, a space each problem.
  private func tuned() throws -> [MeasuredSpace] {
    let host = Host.detect()
    let all = try RecordStore(reading: records ?? RecordStore.defaultPath)?.all() ?? []
    var order: [TuningKey] = []
    // The page is about forward calls.
    for record in all where record.key.entry == nil && !order.contains(record.key) {
      order.append(record.key)
    }
    return try order.compactMap { key in
      let own = all.filter { $0.key == key }
      guard let recurrence = try? Registry.named(key.recurrence), let first = own.first else {
        return nil
      }
      let specification = try KernelSpecification(
        normalForm: recurrence.normalForm(), key: key.key, value: key.value, type: key.type,
        gateType: key.gateType, target: host.target(named: key.target))
      guard TuningKey(specification, first.workload).recurrenceDigest == key.recurrenceDigest
      else { return nil }
      let isHere = key.machine == Host.processor
      let probe = isHere ? try? Probe.stored(for: key.target, on: host) : nil
      let legal = try Planner().legalPlans(specification, PlanRequest(), first.workload).count
      return try predicted(
        MeasuredSpace(
          specification: specification, workload: first.workload,
          machine: isHere ? host.description : key.machine, calibration: probe?.calibration,
          legal: legal, plans: own.map { MeasuredPlan($0) }))
    }
  }
}
