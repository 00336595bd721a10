import ArgumentParser
import Execution
import Targets
import Tuning

struct RecordsVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "records",
    abstract: "Lists, exports, imports and clears what was measured.",
    subcommands: [List.self, Export.self, Import.self, Clear.self, SetAside.self],
    defaultSubcommand: List.self)

  /// The file that a subcommand is about.
  struct Place: ParsableArguments {
    @Option(help: "The file of records (default: records.sqlite in the cache's folder).")
    var records: String?

    var path: String { records ?? RecordStore.defaultPath }

    /// The records of this version; none where there is no file yet.
    func all() throws -> [TuningRecord] { try RecordStore(reading: path)?.all() ?? [] }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows every problem's best plan.")
    @OptionGroup var place: Place
    @OptionGroup var format: FormatOptions

    func run() throws {
      let store = try RecordStore(reading: place.path)
      let records = try store?.all() ?? []
      if format.json { return try printJSON(records) }
      let problems = Dictionary(grouping: records, by: \.key)
      let best = records.filter { record in
        record.seconds.map { own in
          !problems[record.key]!.contains { $0.seconds ?? .infinity < own }
        } ?? false
      }
      print(
        table(
          [["PROBLEM", "TARGET", "MACHINE", "TRIED", "BEST ms", "KERNEL"]]
            + best.map { record in
              [
                record.key.words, record.key.target,
                record.key.machine == Host.processor ? "this one" : record.key.machine,
                String(problems[record.key]!.count), rounded((record.seconds ?? 0) * 1e3, 3),
                record.kernel,
              ]
            }))
      print("\n\(records.count) records in \(place.path)")
      let others = try store?.countOfOtherVersions() ?? 0
      if others > 0 {
        print("\(others) more are of other versions and not used; 'sluice records clear --stale'")
      }
    }
  }

  struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints all records as JSON, in an order of their own.")
    @OptionGroup var place: Place
    @Option(name: .shortAndLong, help: "Write this file instead.") var output: String?

    func run() throws {
      let text = try RecordFile(place.all()).text
      if let output { try Files.write(text, to: output) } else { print(text, terminator: "") }
    }
  }

  struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Takes in the records of a file that 'export' wrote.")
    @Argument(help: "The JSON file.") var file: String
    @OptionGroup var place: Place

    func run() throws {
      let given = try RecordFile.read(file)
      let records = given.ofThisVersion
      let store = try RecordStore(place.path)
      let known = Dictionary(
        uniqueKeysWithValues: try store.all().map { ("\($0.key) \($0.kernel)", $0) })
      // What this file already knows was measured here, or before.
      let new = records.filter { known["\($0.key) \($0.kernel)"] == nil }
      try store.save(new)
      let others = given.records.count - records.count
      if others > 0 { print("\(others) more are of other versions: left out") }
      let foreign = new.count { $0.key.machine != Host.processor }
      print("\(new.count) records taken in, \(records.count - new.count) were here already")
      if foreign > 0 {
        print("\(foreign) of them are of other machines: kept, and not used on this one")
      }
    }
  }

  struct Clear: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Removes all records.")
    @OptionGroup var place: Place
    @Flag(help: "Only those of other versions of Sluice, which are never used.") var stale = false

    func run() throws {
      guard Files.isRegular(place.path) else {
        print("0 records removed: there is no \(place.path)")
        return
      }
      let count = try RecordStore(place.path).clear(otherVersionsOnly: stale)
      print("\(count) records removed from \(place.path)")
    }
  }

  struct SetAside: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Renames a file of records that cannot be used, so that a new one is begun.")
    @OptionGroup var place: Place

    func run() throws {
      print("\(place.path) is now \(try RecordStore.setAside(place.path))")
    }
  }
}
