import Glibc
import Targets

/// A compiler's version, as `clang --version` prints it.
public struct CompilerVersion: Hashable, Codable, Sendable, Comparable, CustomStringConvertible {
  public var major: Int
  public var minor: Int
  public var patch: Int
  /// The whole first line, which tells apart builds of one version: `Debian clang version 22.1.8 (…)`.
  public var line: String

  /// Reads the output of `clang --version`; `nil` if that was no clang.
  public init?(parsing text: String) {
    for line in text.split(separator: "\n") {
      guard let range = line.firstRange(of: "clang version ") else { continue }
      let digits = line[range.upperBound...].prefix { $0.isNumber || $0 == "." }
      let parts = digits.split(separator: ".").compactMap { Int($0) }
      guard let major = parts.first else { return nil }
      self.major = major
      minor = parts.count > 1 ? parts[1] : 0
      patch = parts.count > 2 ? parts[2] : 0
      self.line = String(line)
      return
    }
    return nil
  }

  public static func < (a: Self, b: Self) -> Bool {
    (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
  }

  /// `22.1.8`.
  public var description: String { "\(major).\(minor).\(patch)" }
}

/// The clang that builds kernels.
public struct Toolchain: Hashable, Codable, Sendable {
  /// The oldest major version that knows every instruction the vocabularies use.
  public static let oldestMajor = 17
  /// The version that Sluice is tested with, and looks for first.
  public static let preferredMajor = 22

  public var path: String
  public var version: CompilerVersion

  /// Finds clang: `clang` if given, else clang-22, else the newest `clang-N` from 17 on, else plain `clang`.
  ///
  /// Throws a sentence if there is none, or if the only one is too old. `searchPath` is as `PATH` is.
  public static func find(
    clang: String? = nil, searchPath: String? = nil
  ) async throws -> Toolchain {
    let folders = (searchPath ?? getenv("PATH").map { String(cString: $0) } ?? "")
      .split(separator: ":").map(String.init)
    if let clang {
      guard let path = locate(clang, in: folders) else {
        throw SluiceError(
          .toolchain, "There is no compiler \(clang). Give --clang the path of a clang.")
      }
      return try await probe(path)
    }
    guard let path = candidates(in: folders).first else {
      throw SluiceError(
        .toolchain,
        "No clang was found. Install one (apt-get install clang-\(preferredMajor)), or give its path with --clang."
      )
    }
    return try await probe(path)
  }

  /// The clangs in these folders, the one to take first in front.
  package static func candidates(in folders: [String]) -> [String] {
    let majors = Set(
      folders.flatMap { Files.names(in: $0) }
        .filter { $0.hasPrefix("clang-") }.compactMap { Int($0.dropFirst("clang-".count)) }
    ).filter { $0 >= oldestMajor && $0 != preferredMajor }.sorted(by: >)
    let names = ["clang-\(preferredMajor)"] + majors.map { "clang-\($0)" } + ["clang"]
    return names.compactMap { locate($0, in: folders) }
  }

  /// Asks the program at `path` what it is; throws a sentence if it is no clang, or too old a one.
  package static func probe(_ path: String) async throws -> Toolchain {
    let outcome = try await Program(path, ["--version"]).run(limit: .seconds(30))
    guard outcome.succeeded, let version = CompilerVersion(parsing: outcome.output) else {
      throw SluiceError(
        .toolchain,
        "\(path) does not answer as clang does. Give --clang the path of a clang from \(oldestMajor) on."
      )
    }
    guard version.major >= oldestMajor else {
      throw SluiceError(
        .toolchain,
        "\(path) is clang \(version), and Sluice needs \(oldestMajor) or newer. "
          + "Install one (apt-get install clang-\(preferredMajor)), or give its path with --clang.")
    }
    return Toolchain(path: path, version: version)
  }

  /// The OpenMP runtime that this clang's libraries need at run time, or `nil` if it has none.
  public func openMPRuntime() async throws -> String? {
    for name in ["libomp.so.5", "libomp.so"] {
      let outcome = try await Program(path, ["-print-file-name=\(name)"]).run()
      let found = outcome.output.prefix { $0 != "\n" }
      if found.contains("/"), let real = realpath(String(found), nil) {
        defer { free(real) }
        return String(cString: real)
      }
    }
    return nil
  }

  private static func locate(_ name: String, in folders: [String]) -> String? {
    let paths = name.contains("/") ? [name] : folders.map { "\($0)/\(name)" }
    return paths.first { Files.isRegular($0) && access($0, X_OK) == 0 }
  }
}
