import Execution
import Foundation
import Targets
import Testing

import Tuning

/// The command `tune`, from outside.
@Suite(.serialized) struct TuneCommandTests {
  static let small =
    ["gla", "--key-dim", "8", "--value-dim", "8", "--heads", "2", "--length", "300"]
    + ["--target", "generic", "--threads", "1"]

  /// The command, beside the running test executable.
  static let command: String = {
    var path = [UInt8](repeating: 0, count: 4096)
    let count = path.withUnsafeMutableBytes {
      readlink("/proc/self/exe", $0.baseAddress!, $0.count)
    }
    let tests = String(decoding: path.prefix(max(count, 0)), as: UTF8.self)
    return "\(Files.parent(of: tests))/sluice"
  }()

  private func sluice(
    _ shop: Workshop, _ arguments: [String]
  ) async throws -> Program.Outcome {
    try await Program(
      Self.command, arguments, folder: shop.folder,
      environment: ["SLUICE_CACHE": shop.cache.folder]
    ).run(limit: .seconds(120))
  }

  private func tune(_ shop: Workshop, _ further: [String]) async throws -> Program.Outcome {
    try await sluice(shop, ["tune"] + Self.small + ["--records", "r.sqlite"] + further)
  }

  @Test func aKilledSearchGoesOn() async throws {
    let shop = try await Workshop()
    let process = Process()
    process.executableURL = URL(filePath: Self.command)
    process.arguments = ["tune"] + Self.small + ["--records", "r.sqlite", "--budget", "12c"]
    process.currentDirectoryURL = URL(filePath: shop.folder)
    process.environment = ProcessInfo.processInfo.environment.merging([
      "SLUICE_CACHE": shop.cache.folder
    ]) { $1 }
    process.standardOutput = FileHandle.nullDevice
    let said = Pipe()
    process.standardError = said
    try process.run()
    // Killed at once when it says that the fifth is measured.
    var text = ""
    while !text.contains("measured 5") {
      let data = said.fileHandleForReading.availableData
      if data.isEmpty { break }
      text += String(decoding: data, as: UTF8.self)
    }
    #expect(process.isRunning)
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal)
    let kept = try RecordStore("\(shop.folder)/r.sqlite").all()
    #expect((5..<12).contains(kept.count), "said were 5, kept \(kept.count)")

    let outcome = try await tune(shop, ["--budget", "12c"])
    #expect(outcome.succeeded, "\(outcome.errors)")
    #expect(outcome.errors.contains("\(kept.count) on record"))
    #expect(outcome.errors.contains("[built \(12 - kept.count), measured \(12 - kept.count)"))
    let all = try RecordStore("\(shop.folder)/r.sqlite").all()
    #expect(all.count == 12)
    #expect(Set(kept.map(\.kernel)).isSubset(of: Set(all.map(\.kernel))))
  }

  @Test func twoTunersLoseNothing() async throws {
    let shop = try await Workshop()
    async let first = tune(shop, ["--budget", "4c"])
    async let second = sluice(
      shop,
      ["tune", "retnet"] + Self.small.dropFirst() + ["--records", "r.sqlite", "--budget", "4c"])
    let outcomes = try await [first, second]
    for outcome in outcomes { #expect(outcome.succeeded, "\(outcome.errors)") }
    let all = try RecordStore("\(shop.folder)/r.sqlite").all()
    #expect(all.count { $0.key.recurrence == "gla" } == 4)
    #expect(all.count { $0.key.recurrence == "retnet" } == 4)
  }

  @Test func buildTakesWhatWasMeasured() async throws {
    let shop = try await Workshop()
    let tuned = try await tune(shop, ["--budget", "4c", "--json"])
    #expect(tuned.succeeded, "\(tuned.errors)")
    let report = try JSONDecoder().decode(TuningReport.self, from: Data(tuned.output.utf8))
    let best = try #require(report.best)
    let built = try await sluice(
      shop, ["build"] + Self.small + ["--records", "r.sqlite", "-o", "out"])
    #expect(built.errors.contains("plan: measured here"))
    #expect(Files.isRegular("\(shop.folder)/out/\(best.kernel).so"))
    // Without the records the model is alone.
    let plain = try await sluice(
      shop, ["describe"] + Self.small + ["--records", "none.sqlite"])
    #expect(plain.output.contains("by the model\n"))
    #expect(!Files.isRegular("\(shop.folder)/none.sqlite"))
  }

  @Test func oneProcessorIsEnough() async throws {
    let shop = try await Workshop()
    let outcome = try await Program(
      "taskset",
      ["-c", "0", Self.command, "tune"] + Self.small.dropLast(2)
        + ["--records", "r.sqlite", "--budget", "2c", "--jobs", "64"],
      folder: shop.folder, environment: ["SLUICE_CACHE": shop.cache.folder]
    ).run(limit: .seconds(60))
    #expect(outcome.succeeded, "\(outcome.errors)")
    #expect(outcome.errors.contains("1 thread"))
    let all = try RecordStore("\(shop.folder)/r.sqlite").all()
    #expect(all.count { $0.status == .ok && $0.key.threads == 1 } == 2)
  }

  @Test func aReadOnlyFolderIsReadAndSaidSo() async throws {
    // A file system of its own needs root. It has room for some records: a save appends about 50 kB to
    // the log, and with half this room the first one did not always fit.
    let shop = try await Workshop()
    let place = "\(shop.folder)/place"
    try Files.makeFolder(place)
    guard try await Program("mount", ["-t", "tmpfs", "tmpfs", place]).run().succeeded else {
      return
    }
    let own = Self.small + ["--records", "place/r.sqlite"]
    let tuned = try await sluice(shop, ["tune"] + own + ["--budget", "2c"])
    #expect(tuned.succeeded, "\(tuned.errors)")
    let sealed = try await Program("mount", ["-o", "remount,ro", place]).run()
    #expect(sealed.succeeded)
    let refused = try await sluice(shop, ["tune"] + own + ["--budget", "3c"])
    #expect(refused.ending == .exited(SluiceError.Kind.cannotCreate.rawValue))
    #expect(refused.errors.contains("Give --records a file that can"), "\(refused.errors)")
    let described = try await sluice(shop, ["describe"] + own)
    #expect(described.output.contains("measured here"), "\(described.errors)")
    _ = try await Program("umount", [place]).run()
  }

  @Test(arguments: [
    (["--budget", "0s"], SluiceError.Kind.usage, "above zero"),
    (["--budget", "0c"], .usage, "above zero"),
    (["--jobs", "-2"], .usage, "--jobs must be at least 1"),
    (["--jobs", "0"], .usage, "--jobs must be at least 1"),
    (["--threads", "0"], .usage, "threads must be at least 1"),
    (["--results", "x.json"], .usage, "needs --bundle"),
    (["--bundle", "b", "--budget", "5s"], .usage, "number of candidates"),
    (["--records", "/proc/none/r.sqlite"], .cannotCreate, "/proc/none"),
    (["--records", "garbage.sqlite"], .badInput, "sluice records set-aside"),
  ])
  func badInputIsASentence(
    further: [String], kind: SluiceError.Kind, phrase: String
  ) async throws {
    let shop = try await Workshop()
    try Files.write(
      "this is no database, but it is long enough to be read as one",
      to: "\(shop.folder)/garbage.sqlite")
    let outcome = try await sluice(shop, ["tune"] + Self.small + further)
    #expect(outcome.ending == .exited(kind.rawValue), "\(outcome.description) \(outcome.errors)")
    #expect(outcome.errors.contains(phrase), "\(outcome.errors)")
    #expect(outcome.errors.hasPrefix("sluice: "))
  }

  @Test func aFullDiskLosesNothing() async throws {
    // A file system of its own needs root. It has room for some records: a save appends about 50 kB to
    // the log, and with half this room the first one did not always fit.
    let shop = try await Workshop()
    let small = "\(shop.folder)/small"
    try Files.makeFolder(small)
    let mount = try await Program("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", small]).run()
    guard mount.succeeded else { return }
    do {
      let outcome = try await sluice(
        shop, ["tune"] + Self.small + ["--records", "small/r.sqlite", "--budget", "200c"])
      #expect(
        outcome.ending == .exited(SluiceError.Kind.cannotCreate.rawValue), "\(outcome.errors)")
      #expect(outcome.errors.contains("full"), "\(outcome.errors)")
      // What it had said it measured is there.
      let last = outcome.errors.matches(of: /measured (\d+)/).last.flatMap { Int($0.1) } ?? 0
      #expect(last > 0)
      let copy = "\(shop.folder)/copy.sqlite"
      for suffix in ["", "-wal"] where Files.isRegular("\(small)/r.sqlite\(suffix)") {
        try Files.write(try Files.read("\(small)/r.sqlite\(suffix)"), to: copy + suffix)
      }
      #expect(try RecordStore(copy).all().count >= last)
    }
    _ = try await Program("umount", [small]).run()
  }
}
