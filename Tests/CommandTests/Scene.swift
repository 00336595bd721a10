import Execution
import Foundation
import Sluice
import Testing

/// A folder of its own for one test, in which the built command runs; removed at its end.
final class Scene: Sendable {
  let folder: String
  /// Sizes and target of the smallest kernels: they build in no time, on any machine.
  static let small = ["--key-dim", "8", "--value-dim", "8", "--target", "generic"]

  init() throws {
    folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-command-")
  }

  deinit { Files.remove(folder) }

  /// The command, beside the running test executable.
  static let command: String = {
    var path = [UInt8](repeating: 0, count: 4096)
    let count = path.withUnsafeMutableBytes {
      readlink("/proc/self/exe", $0.baseAddress!, $0.count)
    }
    let tests = String(decoding: path.prefix(max(count, 0)), as: UTF8.self)
    return "\(Files.parent(of: tests))/sluice"
  }()

  /// Where kernels of all these tests are kept: what one has built another finds.
  static let cache: String = {
    atexit { Files.remove(Scene.cache) }
    return (try? Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-command-cache-")) ?? ""
  }()

  /// Runs the command in the folder.
  func sluice(
    _ arguments: [String], environment: [String: String?] = [:]
  ) async throws -> Program.Outcome {
    let own: [String: String?] = ["SLUICE_CACHE": Scene.cache]
    return try await Program(
      Scene.command, arguments, folder: folder,
      environment: own.merging(environment) { $1 }
    ).run(limit: .seconds(300))
  }

  /// Runs the command, which must end well and answer something.
  @discardableResult
  func answer(
    _ arguments: [String], environment: [String: String?] = [:],
    at location: SourceLocation = #_sourceLocation
  ) async throws -> String {
    let outcome = try await sluice(arguments, environment: environment)
    #expect(
      outcome.succeeded, "\(arguments): \(outcome.description) \(outcome.errors)",
      sourceLocation: location)
    #expect(!outcome.output.isEmpty, "\(arguments) prints nothing", sourceLocation: location)
    return outcome.output
  }

  /// The answer to `--json`, decoded.
  func json(
    _ arguments: [String], at location: SourceLocation = #_sourceLocation
  ) async throws -> Any {
    let text = try await answer(arguments + ["--json"], at: location)
    return try JSONSerialization.jsonObject(with: Data(text.utf8))
  }

  /// Builds a small kernel's package through the command.
  func package(
    _ recurrence: String = "gla", _ name: String = "package", _ further: [String] = []
  ) async throws -> KernelPackage {
    try await answer(["build", recurrence] + Scene.small + further + ["-o", name])
    return try KernelPackage.open("\(folder)/\(name)")
  }
}
