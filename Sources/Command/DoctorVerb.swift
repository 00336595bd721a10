import ArgumentParser
import Execution
import Targets

struct DoctorVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Looks at this machine: what is there, what is missing, how to install it.")

  @OptionGroup var tools: ToolOptions
  @OptionGroup var format: FormatOptions

  func run() async throws {
    let diagnosis = await Diagnosis.examine(clang: tools.clang)
    if format.json {
      try printJSON(diagnosis.findings)
    } else {
      print(
        table(
          [["", "WHAT", "FOUND"]]
            + diagnosis.findings.map { finding in
              [
                finding.isThere ? "ok" : finding.isNeeded ? "MISSING" : "absent", finding.what,
                finding.found + (finding.remedy.map { "; \($0)" } ?? ""),
              ]
            }))
    }
    guard diagnosis.missing.isEmpty else {
      throw SluiceError(
        .toolchain,
        "Something needed is missing: \(diagnosis.missing.map(\.what).joined(separator: ", ")).")
    }
  }
}
