import ArgumentParser
import Foundation
import Recurrences
import Reference
import Targets

/// The command: its verbs, and how errors become sentences and exit codes.
public struct SluiceCommand: AsyncParsableCommand {
  public static let configuration = CommandConfiguration(
    commandName: "sluice",
    abstract: "Compiles gated linear attention: from a written recurrence to a verified kernel.",
    version: "sluice \(sluiceVersion)",
    subcommands: [
      ListVerb.self, DescribeVerb.self, DoctorVerb.self, ProbeVerb.self, PlanVerb.self,
      GenerateVerb.self, BuildVerb.self, TuneVerb.self, RecordsVerb.self, VerifyVerb.self,
      RunVerb.self, BenchVerb.self, InspectVerb.self, SurveyVerb.self, ReportVerb.self,
    ])

  public init() {}

  /// Parses the command line, runs the verb for these recurrences beside the shipped ones, exits.
  public static func run(_ own: [Recurrence]) async -> Never {
    let shipped = Recurrence.variants.filter { variant in
      !own.contains { $0.name == variant.name }
    }
    await Interruption.guarding {
      await Registry.$recurrences.withValue(own + shipped) { await runVerb() }
    }
    Foundation.exit(0)
  }

  private static func runVerb() async {
    do {
      var verb = try parseAsRoot()
      if var verb = verb as? any AsyncParsableCommand {
        try await verb.run()
      } else {
        try verb.run()
      }
    } catch _ where Task.isCancelled {
      // A signal's consequences are no errors of their own.
      return
    } catch let error as SluiceError {
      fail(error.description, error.kind)
    } catch let error as RecurrenceError {
      fail(error.description, .usage)
    } catch let error as ShapeError {
      fail(error.description, .usage)
    } catch let error as ReferenceError {
      fail(error.description, .badInput)
    } catch {
      // Help, the version, and what the parser itself refuses, have their own ways out.
      guard exitCode(for: error) == .failure else { SluiceCommand.exit(withError: error) }
      fail("\(error)", .internal)
    }
  }

  /// Prints a sentence on standard error and exits.
  private static func fail(_ sentence: String, _ kind: SluiceError.Kind) -> Never {
    FileHandle.standardError.write(Data("sluice: \(sentence)\n".utf8))
    Foundation.exit(kind.rawValue)
  }
}

/// The recurrences that verbs know: the shipped ones and the user's own.
enum Registry {
  @TaskLocal static var recurrences: [Recurrence] = Recurrence.variants

  /// The recurrence called `name`, which may end in the map of its queries and keys: `gla-elu`.
  static func named(_ name: String) throws -> Recurrence {
    let isKnown = recurrences.contains { $0.name == name }
    for map in FeatureMap.allCases where !isKnown && name.hasSuffix("-\(map.rawValue)") {
      return try unmapped(String(name.dropLast(map.rawValue.count + 1))).mapping(map)
    }
    return try unmapped(name)
  }

  private static func unmapped(_ name: String) throws -> Recurrence {
    do {
      return try Recurrence.named(name, among: recurrences)
    } catch {
      let near = recurrences.map(\.name).min { distance($0, name) < distance($1, name) }
      let hint = near.map { distance($0, name) <= 3 ? " Did you mean '\($0)'?" : "" } ?? ""
      throw SluiceError(
        .usage,
        "There is no recurrence '\(name)'.\(hint) Known are "
          + recurrences.map(\.name).joined(separator: ", ") + ".")
    }
  }

  /// Edits that make one word the other.
  private static func distance(_ first: String, _ second: String) -> Int {
    let (a, b) = (Array(first), Array(second))
    var row = Array(0...b.count)
    for i in 0..<a.count {
      var corner = row[0]
      row[0] = i + 1
      for j in 0..<b.count {
        let substituted = corner + (a[i] == b[j] ? 0 : 1)
        corner = row[j + 1]
        row[j + 1] = min(substituted, row[j] + 1, row[j + 1] + 1)
      }
    }
    return row[b.count]
  }
}
