import ArgumentParser
import Execution

struct InspectVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Shows a built library's instructions: mix, vector widths, spills.")

  @Argument(help: "A library, or a package's folder.") var path: String
  @OptionGroup var format: FormatOptions

  func run() async throws {
    let library = Files.isFolder(path) ? try KernelPackage.open(path).library : path
    let report = try ObjectReader.report(on: library)
    if format.json {
      try printJSON(report)
      return
    }
    let classes = InstructionClass.allCases
    print(
      table(
        [
          ["FUNCTION", "INSTRUCTIONS"] + classes.map { $0.rawValue.uppercased() }
            + ["WIDEST", "SPILLS", "RELOADS", "IN LOOPS", "FRAME"]
        ]
          + report.functions.sorted { $0.instructions > $1.instructions }.map { function in
            [function.name, String(function.instructions)]
              + classes.map { String(function.mix[$0] ?? 0) }
              + [
                report.register(ofBits: function.widestVector), String(function.spillStores),
                String(function.spillReloads), String(function.loopSpills),
                String(function.frameSize),
              ]
          }))
  }
}
