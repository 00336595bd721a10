import Recurrences
import Testing

/// The verbs that only tell: what there is, and what is on this machine.
@Suite struct ListingTests {
  @Test func list() async throws {
    let scene = try Scene()
    let text = try await scene.answer(["list"])
    for variant in Recurrence.variants { #expect(text.contains(variant.name)) }
    let found = try #require(try await scene.json(["list"]) as? [String: Any])
    let rows = try #require(found["recurrences"] as? [[String: Any]])
    #expect(rows.compactMap { $0["name"] as? String } == Recurrence.variants.map(\.name))
    #expect(rows.allSatisfy { $0["inputs"] is [String] && $0["summary"] is String })
    #expect(found["targets"] != nil && found["schedules"] != nil)
  }

  @Test(arguments: Recurrence.variants.map(\.name))
  func describe(name: String) async throws {
    let scene = try Scene()
    let text = try await scene.answer(["describe", name])
    #expect(text.hasPrefix("\(name): "))
    #expect(text.contains("o[t] = ") && text.contains("SCHEDULE"))
    let found = try await scene.json(["describe", name])
    #expect((found as? [String: Any])?.isEmpty == false)
  }

  @Test func doctor() async throws {
    let scene = try Scene()
    let text = try await scene.answer(["doctor"])
    #expect(text.contains("clang") && text.contains("processor"))
    let findings = try #require(try await scene.json(["doctor"]) as? [[String: Any]])
    #expect(findings.allSatisfy { $0["what"] is String && $0["found"] is String })
    let missing = findings.filter { $0["isNeeded"] as? Bool == true }
      .filter { $0["isThere"] as? Bool != true }
    #expect(missing.isEmpty)
  }

  @Test func doctorWithoutCompiler() async throws {
    let outcome = try await Scene().sluice(["doctor"], environment: ["PATH": ""])
    #expect(outcome.ending == .exited(75))
    #expect(outcome.output.contains("MISSING") && outcome.output.contains("apt-get install"))
    #expect(outcome.errors.hasPrefix("sluice: Something needed is missing: clang"))
  }

  @Test(arguments: [
    "list", "describe", "doctor", "generate", "build", "verify", "run", "bench", "inspect",
  ])
  func help(verb: String) async throws {
    let scene = try Scene()
    #expect(try await scene.answer(["--help"]).contains("  \(verb) "))
    let text = try await scene.answer([verb, "--help"])
    #expect(text.hasPrefix("OVERVIEW: ") && text.contains("USAGE: sluice \(verb)"))
    // Backslashes of a text's own line breaks do not belong into it.
    #expect(!text.contains("\\"))
  }
}
