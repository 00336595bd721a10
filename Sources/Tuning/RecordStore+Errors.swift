import Execution
import GRDB
import Targets

extension RecordStore {
  /// What a damaged or foreign database is answered with.
  static func remedy(_ path: String) -> String {
    "'sluice records set-aside --records \(path)' renames it, and a new one is begun."
  }

  static func damage(_ path: String, _ what: String) -> SluiceError {
    SluiceError(
      .badInput, "\(path) is damaged. \(remedy(path))", details: what.isEmpty ? [] : [what])
  }

  /// SQLite's failures as sentences.
  static func inSentences<T>(_ path: String, _ body: () throws -> T) throws(SluiceError) -> T {
    do {
      return try body()
    } catch let error as SluiceError {
      throw error
    } catch let error as DatabaseError {
      throw sentence(error, path)
    } catch {
      throw SluiceError(.internal, "The records of \(path) cannot be used: \(error).")
    }
  }

  private static func sentence(_ error: DatabaseError, _ path: String) -> SluiceError {
    let details = [error.message ?? error.description]
    switch error.resultCode {
    case .SQLITE_CORRUPT, .SQLITE_NOTADB: return damage(path, details[0])
    case .SQLITE_FULL:
      return SluiceError(
        .cannotCreate,
        "The disk of \(path) is full. What was saved before is kept: free some room, and run it "
          + "again.", details: details)
    case .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM:
      return SluiceError(
        .cannotCreate, "\(path) cannot be written or opened. Give --records a file that can.",
        details: details)
    case .SQLITE_BUSY, .SQLITE_LOCKED:
      return SluiceError(
        .io, "\(path) is held by another process that does not let go of it. Try again.",
        details: details)
    default:
      return SluiceError(.io, "\(path) cannot be read or written.", details: details)
    }
  }

  /// Renames a database, with its log, out of the way; nothing is deleted. Where it went.
  public static func setAside(_ path: String) throws -> String {
    guard Files.isRegular(path) else {
      throw SluiceError(.badInput, "There is no record file at \(path).")
    }
    var number = 1
    while Files.isRegular("\(path).aside-\(number)") { number += 1 }
    let place = "\(path).aside-\(number)"
    try Files.rename(path, to: place)
    for suffix in ["-wal", "-shm"] where Files.isRegular(path + suffix) {
      try Files.rename(path + suffix, to: place + suffix)
    }
    return place
  }
}
