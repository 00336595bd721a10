import Execution
import Foundation
import Planning
import Schedules
import Targets
import Testing

import Tuning

/// A bundle measures where there is neither Swift nor clang, and what comes back is checked.
@Suite struct BundleTests {
  /// A bundle of three candidates, and what its script printed.
  private func measured(
    _ shop: Workshop, target: Target = .generic, under: String? = nil
  ) async throws -> (folder: String, results: String) {
    let folder = "\(shop.folder)/bundle"
    let (bundle, notices) = try await TuningBundle.write(
      try Workshop.specification(target: target), Workshop.workload, request: PlanRequest(),
      count: 3, jobs: 2, ranker: CostModel(), to: folder, builder: shop.builder, cache: shop.cache)
    #expect(bundle.candidates.count == 3)
    #expect(notices.isEmpty)
    // The folder alone, elsewhere, with an environment in which nothing can be found.
    let elsewhere = "\(shop.folder)/elsewhere"
    try Files.rename(folder, to: elsewhere)
    let outcome = try await Program(
      "\(elsewhere)/measure", [], folder: "/",
      environment: [
        "PATH": under == nil ? "/nowhere:/bin" : "/usr/bin:/bin", "LD_LIBRARY_PATH": nil,
        "SLUICE_RUN_UNDER": under,
      ]
    ).run(limit: .seconds(120))
    #expect(outcome.succeeded, "\(outcome.errors)")
    #expect(outcome.errors.contains("round 1 of 3, candidate 1 of 3"))
    let results = "\(shop.folder)/results.json"
    try Files.write(outcome.output, to: results)
    return (elsewhere, results)
  }

  @Test func roundTrip() async throws {
    let shop = try await Workshop()
    let (folder, path) = try await measured(shop)
    let bundle = try TuningBundle.open(folder)
    let results = try BundleResults(path, of: bundle)
    #expect(results.machine == Host.processor)
    #expect(results.records.count == 3)
    #expect(results.records.allSatisfy { $0.status == .ok && $0.calls >= 9 })
    try shop.store.save(results.records)
    // What came back is what this machine would have measured: the planner takes it.
    let specification = try Workshop.specification()
    let key = TuningKey(specification, Workshop.workload)
    let ranker = RecordedRanker(
      model: CostModel(), records: try shop.store.relatives(of: key), key: key, specification)
    let best = results.records.min { $0.seconds! < $1.seconds! }!
    #expect(try Planner(ranker: ranker).plan(specification) == best.plan)
  }

  @Test func alteredAndForeignResultsAreRefused() async throws {
    let shop = try await Workshop()
    let (folder, path) = try await measured(shop)
    let bundle = try TuningBundle.open(folder)
    let text = String(decoding: try Files.read(path), as: UTF8.self)
    let lines = text.split(separator: "\n").map(String.init)
    let firstTime = try #require(text.firstMatch(of: /"nanoseconds":\[(\d+),/)).1
    var foreign = bundle
    foreign.workload.length += 1
    foreign = try foreign.sealed()
    let cases: [(String, TuningBundle, String)] = [
      (text.replacing("[\(firstTime),", with: "[1,"), bundle, "altered"),
      (text.replacing("\"status\":\"ok\"", with: "\"status\":\"wrong\""), bundle, "altered"),
      (text.replacing("\"round\":0", with: "\"round\":7"), bundle, "altered"),
      (text, foreign, "another search"),
      (lines.dropLast(3).joined(separator: "\n"), bundle, "cut short"),
      (lines[0] + "\n" + lines[2...].joined(separator: "\n"), bundle, "not every round"),
      (
        (lines.dropLast(2) + [lines[1].replacing("},", with: "}"), "]}"]).joined(separator: "\n"),
        bundle, "not every round"
      ),
      ("{}", bundle, "no results"), ("", bundle, "no results"),
    ]
    for (altered, bundle, phrase) in cases {
      let file = "\(shop.folder)/altered.json"
      try Files.write(altered, to: file)
      let error = #expect(throws: SluiceError.self, "\(phrase)") {
        try BundleResults(file, of: bundle)
      }
      #expect(error?.kind == .badInput)
      #expect(error?.message.contains(phrase) == true, "\(phrase): \(error?.message ?? "")")
    }
    // A bundle whose manifest was changed is none.
    let manifest = "\(folder)/manifest.json"
    let own = String(decoding: try Files.read(manifest), as: UTF8.self)
    try Files.write(own.replacing("\"rounds\" : 3", with: "\"rounds\" : 1"), to: manifest)
    let error = #expect(throws: SluiceError.self) { try TuningBundle.open(folder) }
    #expect(error?.message.contains("altered") == true)
  }

  @Test func anArmBundleRunsUnderAnEmulator() async throws {
    let shop = try await Workshop()
    let (folder, path) = try await measured(
      shop, target: .neon, under: "qemu-aarch64 -L /usr/aarch64-linux-gnu")
    let results = try BundleResults(path, of: try TuningBundle.open(folder))
    #expect(results.machine.hasPrefix("qemu-aarch64 on "))
    #expect(results.records.allSatisfy { $0.status == .ok })
  }
}
