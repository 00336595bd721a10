import Foundation
import Targets

/// Built products by the digest of everything that decides their bytes: `<folder>/<kk>/<key>/`.
///
/// Any number of processes may share one: each builds aside and renames into place, and who comes second
/// discards its own. An entry whose product does not have the digest on record is built anew.
public struct KernelCache: Sendable {
  public var folder: String
  /// Where products go, with a notice, when `folder` cannot be written; `nil`: below the temporary folder.
  public var fallback: String?

  /// A cache in that folder, or in the default one; nothing is created before the first build.
  public init(folder: String? = nil, fallback: String? = nil) {
    self.folder = folder ?? Self.defaultFolder(ProcessInfo.processInfo.environment)
    self.fallback = fallback
  }

  /// `$SLUICE_CACHE`, else `$XDG_CACHE_HOME/sluice`, else `~/.cache/sluice`.
  package static func defaultFolder(_ environment: [String: String]) -> String {
    func set(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    return set("SLUICE_CACHE")
      ?? set("XDG_CACHE_HOME").map { "\($0)/sluice" }
      ?? "\(set("HOME") ?? NSHomeDirectory())/.cache/sluice"
  }

  /// The entry's name: SHA-256 over the description (recurrence and plan), the job and Sluice's version.
  public static func key(of job: BuildJob, description: String) throws -> String {
    struct Material: Encodable {
      var description: String
      var target: Target
      var name: String
      var text: String
      var compiler: String
      var arguments: [String]
      var assembler: String?
      var sluice = sluiceVersion
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    let material = Material(
      description: description, target: job.target, name: job.source.name,
      text: job.source.text, compiler: job.compiler.line, arguments: job.arguments,
      assembler: job.assembler?.version)
    return ContentDigest.sha256(try encoder.encode(material))
  }

  /// The job's product, from the cache or built into it; `description` is the recurrence's and plan's text.
  public func entry(
    for job: BuildJob, description: String, builder: Builder
  ) async throws -> Entry {
    let key = try Self.key(of: job, description: description)
    if let found = valid(key, job) { return found }
    do {
      return try await make(key, job, description, builder)
    } catch let error as Unwritable {
      let other = KernelCache(folder: try fallback ?? Self.temporaryFolder())
      guard other.folder != folder else { throw error.reason }
      let found = other.valid(key, job)
      var entry =
        if let found { found } else {
          try await other.make(key, job, description, builder)
        }
      entry.notice = "\(error.reason.message) Kernels are kept in \(other.folder) instead."
      return entry
    }
  }

  /// The whole and undamaged entry of that key, if there is one.
  private func valid(_ key: String, _ job: BuildJob) -> Entry? {
    let place = place(key)
    guard
      let data = try? Files.read("\(place)/build.json"),
      let record = try? JSONDecoder().decode(Record.self, from: Data(data)),
      record.key == key,
      (try? ContentDigest.sha256(ofFile: "\(place)/\(job.output.fileName)"))
        == record.productDigest,
      (try? ContentDigest.sha256(ofFile: "\(place)/\(job.source.name)")) == record.sourceDigest
    else { return nil }
    return Entry(
      folder: place, product: "\(place)/\(job.output.fileName)",
      source: "\(place)/\(job.source.name)", record: record, wasBuilt: false)
  }

  private func make(
    _ key: String, _ job: BuildJob, _ description: String, _ builder: Builder
  ) async throws -> Entry {
    let scratch = try scratchFolder(beside: place(key))
    defer { Files.remove(scratch) }
    let product = try await builder.compile(job, in: scratch)
    let record = Record(
      key: key, description: description, target: job.target, compiler: job.compiler.line,
      arguments: job.arguments, sluice: sluiceVersion,
      sourceDigest: ContentDigest.sha256(job.source.text),
      productDigest: try ContentDigest.sha256(ofFile: product))
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try Files.write(Array(try encoder.encode(record)) + [10], to: "\(scratch)/build.json")
    try install(scratch, key, job)
    guard var entry = valid(key, job) else {
      throw SluiceError(.io, "The cache entry \(place(key)) changed while it was made; try again.")
    }
    entry.wasBuilt = true
    return entry
  }

  /// Renames a finished entry into place; one that is there already stays if it is whole.
  private func install(_ scratch: String, _ key: String, _ job: BuildJob) throws {
    for _ in 0..<8 {
      if rename(scratch, place(key)) == 0 || valid(key, job) != nil { return }
      let damaged = "\(scratch)-damaged"
      if rename(place(key), damaged) == 0 { Files.remove(damaged) }
    }
    throw Files.failure("create", place(key), .cannotCreate)
  }

  private func scratchFolder(beside place: String) throws -> String {
    do {
      try Files.makeFolder(Files.parent(of: place))
      sweep()
      return try Files.makeUniqueFolder(in: folder, prefix: "building-")
    } catch let error as SluiceError where !error.message.contains(Files.full) {
      throw Unwritable(reason: error)
    }
  }

  /// Removes what builders that were killed left behind more than a day ago.
  private func sweep() {
    for name in Files.names(in: folder) where name.hasPrefix("building-") {
      var status = stat()
      let path = "\(folder)/\(name)"
      if stat(path, &status) == 0, time(nil) - status.st_mtim.tv_sec > 86_400 {
        Files.remove(path)
      }
    }
  }

  private func place(_ key: String) -> String { "\(folder)/\(key.prefix(2))/\(key)" }

  /// A folder of this user's own below the system's temporary one.
  private static func temporaryFolder() throws -> String {
    let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
    let path = "\(base)/sluice-\(getuid())"
    try Files.makeFolder(path, mode: 0o700)
    var status = stat()
    guard lstat(path, &status) == 0, status.st_uid == getuid(), status.st_mode & 0o022 == 0 else {
      throw SluiceError(
        .cannotCreate, "\(path) belongs to someone else. Set SLUICE_CACHE to a folder of your own.")
    }
    return path
  }

  private struct Unwritable: Error { var reason: SluiceError }
}
