import ArgumentParser
import Execution
import Planning
import Reporting
import Targets

struct ReportVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Writes an HTML page on measured plans: landscape, prediction, roofs, the best plan.")

  @Argument(help: "Records of 'sluice survey measure', JSON files.")
  var records: [String]
  @Option(name: .shortAndLong, help: "The page's file.")
  var output: String = "report.html"

  func run() throws {
    if output.isEmpty { throw SluiceError(.usage, "--output needs a file's name.") }
    let spaces = try records.map { try predicted(try readSpace($0)) }
    try Files.write(ReportPage(spaces).text, to: output)
    print(output)
  }
}
