import Emission
import Evaluation
import Execution
import Foundation
import GRDB
import Schedules
import Targets

/// The records of all searches, in one SQLite database that any number of tuners share.
///
/// Every record is committed by itself, and a write-ahead log lets readers go on meanwhile: a tuner
/// that is killed loses what it had not yet saved, and nobody else anything.
public struct RecordStore: Sendable {
  public let path: String
  private let database: any DatabaseWriter

  /// Of the database's layout; another number is another layout.
  static let layout = 1

  /// `records.sqlite` in the kernel cache's folder.
  public static var defaultPath: String { "\(KernelCache().folder)/records.sqlite" }

  /// Opens the database for reading and writing; makes it where there is none.
  ///
  /// - Throws: `.badInput` for a file that is damaged, no database, or of another layout;
  ///   `.cannotCreate` where it cannot be written.
  public init(_ path: String = defaultPath) throws(SluiceError) {
    self.path = path
    try Self.inSentences(path) { try Files.makeFolder(Files.parent(of: path)) }
    database = try Self.inSentences(path) {
      var settings = Configuration()
      settings.busyMode = .timeout(20)
      // Two that make the file at once: the loser waits and finds it made.
      var attempts = 0
      while true {
        do {
          return try DatabasePool(path: path, configuration: settings)
        } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY && attempts < 50 {
          attempts += 1
          Thread.sleep(forTimeInterval: 0.05)
        }
      }
    }
    try Self.inSentences(path) { [database] in
      try database.write { db in try Self.prepare(db, path) }
    }
  }

  /// Opens the database if there is one, for reading alone; nil if there is none.
  public init?(reading path: String) throws(SluiceError) {
    guard Files.isRegular(path) else { return nil }
    self.path = path
    database = try Self.inSentences(path) {
      let queue: DatabaseQueue
      do {
        var settings = Configuration()
        settings.busyMode = .timeout(5)
        settings.readonly = true
        queue = try DatabaseQueue(path: path, configuration: settings)
        try queue.read { db in try Self.check(db, path) }
      } catch let error as DatabaseError where error.resultCode == .SQLITE_CANTOPEN {
        // A log wants files beside the database, which a read-only folder does not let it have.
        return try Self.copy(of: path)
      }
      return queue
    }
  }

  /// The database with what its log holds, in memory.
  private static func copy(of path: String) throws -> DatabaseQueue {
    let folder = try Files.makeUniqueFolder(in: temporaryFolder, prefix: "sluice-records-")
    defer { Files.remove(folder) }
    for suffix in ["", "-wal"] where Files.isRegular(path + suffix) {
      try Files.write(try Files.read(path + suffix), to: "\(folder)/copy\(suffix)")
    }
    let memory = try DatabaseQueue()
    try DatabaseQueue(path: "\(folder)/copy").backup(to: memory)
    try memory.read { db in try check(db, path) }
    return memory
  }

  private static func prepare(_ db: Database, _ path: String) throws {
    let isNew = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") == 0
    if isNew {
      try db.execute(
        sql: """
          CREATE TABLE candidate (
            problem TEXT NOT NULL,  -- digest of the key
            plan TEXT NOT NULL,     -- as JSON with sorted keys
            version TEXT NOT NULL,  -- of the emitter
            target TEXT NOT NULL,
            gates TEXT NOT NULL,    -- class of the recurrence's gates
            record TEXT NOT NULL,   -- the whole, as JSON
            PRIMARY KEY (problem, plan)
          ) WITHOUT ROWID;
          CREATE INDEX relatives ON candidate (version, target, gates);
          PRAGMA user_version = \(layout);
          """)
    }
    try check(db, path)
    let answer = try String.fetchOne(db, sql: "PRAGMA quick_check(1)")
    guard answer == "ok" else { throw damage(path, answer ?? "") }
  }

  private static func check(_ db: Database, _ path: String) throws {
    let version = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
    let isOurs = try db.tableExists("candidate")
    guard isOurs, version == layout else {
      throw SluiceError(
        .badInput,
        isOurs
          ? "\(path) is of another version of Sluice: its layout is \(version), and this one knows "
            + "\(layout). \(remedy(path))"
          : "\(path) is a database of something else. Give --records another file.")
    }
  }

  /// Saves one record at once, in place of an older one of the same problem and plan.
  public func save(_ record: TuningRecord) throws(SluiceError) {
    try save([record])
  }

  /// Saves all of them, or none.
  public func save(_ records: [TuningRecord]) throws(SluiceError) {
    try Self.inSentences(path) {
      let rows = try records.map { record in
        StatementArguments([
          try record.key.digest, try Self.text(of: record.plan), record.key.version,
          record.key.target, record.key.gateClass, try Emitter.json(record),
        ])
      }
      try database.write { db in
        let statement = try db.makeStatement(
          sql: """
            INSERT INTO candidate (problem, plan, version, target, gates, record)
            VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record
            """)
        for row in rows { try statement.execute(arguments: row) }
      }
    }
  }

  /// The records of one problem.
  public func records(of key: TuningKey) throws(SluiceError) -> [TuningRecord] {
    try fetch("WHERE problem = ?", [try asText { try key.digest }])
  }

  /// The records of this version's emitter on a target, of recurrences with such gates.
  public func relatives(of key: TuningKey) throws(SluiceError) -> [TuningRecord] {
    try fetch(
      "WHERE version = ? AND target = ? AND gates = ?", [key.version, key.target, key.gateClass])
  }

  /// Every record of this version, in the order of files and lists.
  public func all() throws(SluiceError) -> [TuningRecord] {
    let (condition, arguments) = try Self.inSentences(path) {
      try database.read(Self.ofThisVersion)
    }
    return try fetch("WHERE \(condition)", arguments).sorted(by: TuningRecord.precedes)
  }

  /// How many records are of other versions, and so never used.
  public func countOfOtherVersions() throws(SluiceError) -> Int {
    try Self.inSentences(path) {
      try database.read { db in
        let (condition, arguments) = try Self.ofThisVersion(db)
        return try Int.fetchOne(
          db, sql: "SELECT count(*) FROM candidate WHERE NOT (\(condition))",
          arguments: StatementArguments(arguments)) ?? 0
      }
    }
  }

  /// Removes every record, or those of other versions; how many.
  public func clear(otherVersionsOnly: Bool) throws(SluiceError) -> Int {
    try Self.inSentences(path) {
      try database.write { db in
        let (condition, arguments) = otherVersionsOnly ? try Self.ofThisVersion(db) : ("FALSE", [])
        try db.execute(
          sql: "DELETE FROM candidate WHERE NOT (\(condition))",
          arguments: StatementArguments(arguments))
        return db.changesCount
      }
    }
  }

  /// The condition that a record is of its target's version as it is now, and its arguments. Only
  /// versions of targets that the file knows are asked for: a card's takes a while to compute.
  private static func ofThisVersion(_ db: Database) throws -> (String, [String]) {
    let targets = try String.fetchAll(db, sql: "SELECT DISTINCT target FROM candidate")
    let current = targets.compactMap { name in
      EmitterVersion.of(targetNamed: name).map { [$0, name] }
    }
    let conditions = current.map { _ in "(version = ? AND target = ?)" }
    return (
      conditions.isEmpty ? "FALSE" : conditions.joined(separator: " OR "), current.flatMap(\.self)
    )
  }

  private func fetch(
    _ condition: String, _ arguments: [String]
  ) throws(SluiceError) -> [TuningRecord] {
    try Self.inSentences(path) {
      let rows = try database.read { db in
        try String.fetchAll(
          db, sql: "SELECT record FROM candidate \(condition)",
          arguments: StatementArguments(arguments))
      }
      return try rows.map { row in
        guard let record = try? JSONDecoder().decode(TuningRecord.self, from: Data(row.utf8)),
          record.problem == nil
        else { throw Self.damage(path, "a record of it cannot be read") }
        return record
      }
    }
  }

  static func text(of plan: Plan) throws -> String { try Emitter.json(plan) }

  private func asText(_ body: () throws -> String) throws(SluiceError) -> String {
    try Self.inSentences(path, body)
  }
}
