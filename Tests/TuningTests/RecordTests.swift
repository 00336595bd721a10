import Evaluation
import Execution
import Foundation
import GRDB
import Planning
import Schedules
import Synchronization
import Targets
import Templates
import Testing

import Tuning

/// What was measured is kept, found again, shared, and never lost silently.
@Suite struct RecordTests {
  @Test func roundTrip() async throws {
    let shop = try await Workshop()
    let plans = try Workshop.plans()
    let records = try plans.prefix(5).enumerated().map { index, plan in
      try Workshop.record(
        plan, seconds: index == 2 ? nil : 0.001 * Double(index + 1),
        status: index == 2 ? .hung : .ok)
    }
    try shop.store.save(records)
    let text = try RecordFile(shop.store.all()).text
    let file = "\(shop.folder)/export.json"
    try Files.write(text, to: file)
    let other = try RecordStore("\(shop.folder)/other.sqlite")
    try other.save(try RecordFile.read(file).records)
    #expect(try RecordFile(other.all()).text == text)
    #expect(Set(try other.all()) == Set(records))
    // Saved in another order, the bytes are the same.
    let third = try RecordStore("\(shop.folder)/third.sqlite")
    for record in records.reversed() { try third.save(record) }
    #expect(try RecordFile(third.all()).text == text)
  }

  /// A machine that has become slower meanwhile changes no order: candidates that are measured beside a
  /// known one stand to it as they did in their turns, and whoever wins among known ones comes first.
  @Test func slowerMachine() throws {
    let plans = try Workshop.plans()
    let known = try plans.prefix(4).enumerated().map {
      try Workshop.record($1, seconds: 0.001 + 0.0002 * Double($0))
    }
    let beside = [
      try Workshop.record(plans[0], seconds: 0.0015),
      try Workshop.record(plans[4], seconds: 0.0012),
      try Workshop.record(plans[5], seconds: nil, status: .wrong),
    ]
    let compared = TuningReport.comparable(beside, with: known)
    #expect(abs(compared[0].seconds! - 0.001) < 1e-12)
    #expect(abs(compared[1].seconds! - 0.0008) < 1e-12)
    #expect(compared[2] == beside[2])
    // The second of the first three wins the play-off, on a machine half as quick.
    let playOff = try zip(plans, [0.0025, 0.0022, 0.0029]).map {
      try Workshop.record($0, seconds: $1)
    }
    let records = TuningReport.comparable(playOff, with: known) + known.suffix(1)
    #expect(records.min { $0.seconds! < $1.seconds! }?.plan == plans[1])
    // Nothing is known of any: the times stay what they are.
    #expect(TuningReport.comparable(Array(beside.dropFirst()), with: known) == beside.suffix(2))
  }

  @Test func importChecksEveryField() async throws {
    let shop = try await Workshop()
    let record = try Workshop.record(try Workshop.plans()[0], seconds: 0.001)
    let text = try RecordFile([record]).text
    let changes: [(String, String, String)] = [
      ("\"format\" : \"sluice-records-2\"", "\"format\" : \"sluice-records-9\"", "another version"),
      (
        "\"version\" : \"\(EmitterVersion.of(.generic))\"", "\"version\" : \"0\"",
        "another version"
      ),
      ("\"seconds\" : 0.001", "\"seconds\" : -1", "no time"),
      ("\"seconds\" : 0.001", "\"seconds\" : \"fast\"", "seconds"),
      ("\"status\" : \"ok\"", "\"status\" : \"splendid\"", "unknown value"),
      ("\"status\" : \"ok\"", "\"status\" : \"hung\"", "has a time"),
      ("\"calls\" : 9", "\"calls\" : 0", "timed calls"),
      ("\"target\" : \"generic\"", "\"target\" : \"vax\"", "target"),
      ("\"length\" : 256", "\"length\" : 255", "power of two"),
      ("\"recurrence\" : \"gla\"", "\"recurrence\" : \"mamba\"", "something else"),
    ]
    for (old, new, phrase) in changes {
      #expect(text.contains(old), "\(old)")
      let file = "\(shop.folder)/altered.json"
      try Files.write(text.replacing(old, with: new), to: file)
      let error = #expect(throws: SluiceError.self) { try RecordFile.read(file) }
      #expect(error?.kind == .badInput)
      #expect(error?.message.contains(phrase) == true, "\(new): \(error?.message ?? "")")
    }
    for damaged in [String(text.dropLast(20)), "", "[]", "{}"] {
      let file = "\(shop.folder)/altered.json"
      try Files.write(damaged, to: file)
      let error = #expect(throws: SluiceError.self) { try RecordFile.read(file) }
      #expect(error?.kind == .badInput)
    }
  }

  /// What changes for cards alone leaves processors' records what they were, and the other way round.
  @Test func processorsAndCardsHaveVersionsOfTheirOwn() async throws {
    #expect(EmitterVersion.of(.generic) == EmitterVersion.of(.avx512))
    #expect(EmitterVersion.of(.sm80) == EmitterVersion.of(.sm90a))
    #expect(EmitterVersion.of(.generic) != EmitterVersion.of(.sm90a))
    // No text that a card's kernels are made of is left out.
    for name in ["words.cuh", "hopper.cuh", "anchored.cuh", "gradient_walks.cuh", "launches.c"] {
      #expect(Templates.deviceTexts.contains(name), "\(name)")
    }
    #expect(Templates.deviceTexts.allSatisfy { Templates.text($0) != nil })

    let shop = try await Workshop()
    let plans = try Workshop.plans()
    let kept = try Workshop.record(plans[0], seconds: 0.001)
    let card = try Workshop.record(plans[1], seconds: 0.002, target: .sm90a)
    // A card's record that says the processors' version is about other kernels.
    let stale = try Workshop.record(
      plans[2], seconds: 0.002, version: EmitterVersion.of(.generic), target: .sm90a)
    try shop.store.save([kept, card, stale])
    #expect(Set(try shop.store.all()) == [kept, card])
    #expect(try shop.store.countOfOtherVersions() == 1)

    let file = "\(shop.folder)/mixed.json"
    try Files.write(try RecordFile([kept, card, stale]).text, to: file)
    #expect(Set(try RecordFile.read(file).ofThisVersion) == [kept, card])
    try Files.write(try RecordFile([stale]).text, to: file)
    let error = #expect(throws: SluiceError.self) { try RecordFile.read(file) }
    #expect(error?.message.contains("another version") == true)

    #expect(try shop.store.clear(otherVersionsOnly: true) == 1)
    #expect(Set(try shop.store.all()) == [kept, card])
  }

  @Test func damagedDatabasesAreSaidSo() async throws {
    let shop = try await Workshop()
    for plan in try Workshop.plans() {
      try shop.store.save(try Workshop.record(plan, seconds: 0.001))
    }
    let path = "\(shop.folder)/damaged.sqlite"
    do {
      // All of it in one file.
      let pool = try DatabasePool(path: shop.store.path)
      try await pool.writeWithoutTransaction { db in _ = try db.checkpoint(.truncate) }
    }
    let whole = try Files.read(shop.store.path)
    #expect(whole.count > 8192)
    for damaged in [Array(whole.prefix(whole.count / 2)), Array("no database".utf8)] {
      try Files.write(damaged, to: path)
      let error = #expect(throws: SluiceError.self) { try RecordStore(path) }
      #expect(error?.kind == .badInput)
      #expect(error?.message.contains("sluice records set-aside --records \(path)") == true)
      #expect(try Files.read(path) == damaged, "the file is as it was")
    }
    let place = try RecordStore.setAside(path)
    #expect(Files.isRegular(place))
    #expect(try RecordStore(path).all().isEmpty)
  }

  @Test func anotherLayoutIsRefused() async throws {
    let shop = try await Workshop()
    let pool = try DatabasePool(path: shop.store.path)
    try await pool.write { db in try db.execute(sql: "PRAGMA user_version = 7") }
    let error = #expect(throws: SluiceError.self) { try RecordStore(shop.store.path) }
    #expect(error?.message.contains("another version") == true)
    let foreign = "\(shop.folder)/foreign.sqlite"
    let queue = try DatabaseQueue(path: foreign)
    try await queue.write { db in try db.execute(sql: "CREATE TABLE songs (name TEXT)") }
    let other = #expect(throws: SluiceError.self) { try RecordStore(foreign) }
    #expect(other?.message.contains("something else") == true)
  }

  @Test func otherVersionsAndMachinesAreNotUsed() async throws {
    let shop = try await Workshop()
    let plans = try Workshop.plans()
    let specification = try Workshop.specification()
    let key = TuningKey(specification, Workshop.workload)
    try shop.store.save(try Workshop.record(plans[3], seconds: 1e-9, machine: "a vax"))
    try shop.store.save(
      try Workshop.record(plans[4], seconds: 1e-9, version: "0123456789abcdef"))
    #expect(try shop.store.countOfOtherVersions() == 1)
    #expect(try shop.store.all().count == 1)
    let ranker = RecordedRanker(
      model: CostModel(), records: try shop.store.relatives(of: key), key: key, specification)
    let plan = try Planner(ranker: ranker).plan(specification)
    #expect(plan == (try Planner().plan(specification)))
    #expect(ranker.origin(of: plan) == .model)
    #expect(try shop.store.clear(otherVersionsOnly: true) == 1)
    #expect(try shop.store.all().count == 1)
  }

  @Test func whereNothingCanBeWritten() async throws {
    for path in ["/proc/sluice/records.sqlite", "/dev/null/records.sqlite"] {
      let error = #expect(throws: SluiceError.self) { try RecordStore(path) }
      #expect(error?.kind == .cannotCreate, "\(error?.message ?? "")")
    }
  }

  /// How many hold the turn.
  private final class Holders: Sendable {
    let count = Mutex(0)
  }

  @Test func turnsExcludeEachOther() async throws {
    let shop = try await Workshop()
    let holders = Holders()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<6 {
        group.addTask {
          _ = try await MeasuringTurn(in: shop.folder).take {
            holders.count.withLock { $0 += 1 }
            try await Task.sleep(for: .milliseconds(5))
            #expect(holders.count.withLock { $0 } == 1)
            holders.count.withLock { $0 -= 1 }
          }
        }
      }
      try await group.waitForAll()
    }
    // Where there can be no file, nobody waits.
    #expect(try await MeasuringTurn(in: "/proc/none").take { 7 }.result == 7)
  }

  @Test func aBudgetIsSecondsOrCandidates() throws {
    #expect(try Budget("60s") == .seconds(60))
    #expect(try Budget("0.5s") == .seconds(0.5))
    #expect(try Budget("24c") == .candidates(24))
    for wrong in ["0s", "0c", "-3s", "-1c", "60", "s", "", "1e9s", "nans", "infs", "2.5c", "24 c"] {
      let error = #expect(throws: SluiceError.self) { try Budget(wrong) }
      #expect(error?.kind == .usage)
    }
  }

  @Test func aProcessorIsReadAsTheProgramReadsIt() async throws {
    let x86 =
      "processor\t: 0\nvendor_id\t: X\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: Chip 9\n\n"
    #expect(Host.processor(inList: x86) == "Chip 9, family 26, model 2")
    let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n"
    #expect(Host.processor(inList: arm) == "implementer 0x41, part 0xd0c")
    let shop = try await Workshop()
    let program = try await RunnerProgram.measure.build(
      for: .generic, builder: shop.builder, cache: shop.cache)
    let outcome = try await Program(program, ["--machine"]).run(limit: .seconds(10))
    #expect(outcome.output == Host.processor + "\n")
  }
}
