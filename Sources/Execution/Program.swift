import Subprocess
import Targets

/// One run of another program: an argument vector, never a shell.
public struct Program: Hashable, Sendable {
  public var path: String
  public var arguments: [String]
  /// The folder it runs in; `nil` is the current one.
  public var folder: String?
  /// Variables set on top of the inherited ones; `nil` unsets one.
  public var environment: [String: String?]

  /// A program by its path (or a bare name, looked up on `PATH`) and what it is told.
  public init(
    _ path: String, _ arguments: [String] = [], folder: String? = nil,
    environment: [String: String?] = [:]
  ) {
    self.path = path
    self.arguments = arguments
    self.folder = folder
    self.environment = environment
  }

  /// How a run ended, and what it printed.
  public struct Outcome: Hashable, Sendable {
    /// The ways a run can end.
    public enum Ending: Hashable, Sendable {
      case exited(Int32)
      case signalled(Int32)
      case timedOut
    }
    public var ending: Ending
    public var output: String
    public var errors: String

    /// An outcome by its parts.
    public init(ending: Ending, output: String, errors: String) {
      self.ending = ending
      self.output = output
      self.errors = errors
    }

    /// Whether it exited with 0.
    public var succeeded: Bool { ending == .exited(0) }

    /// The ending as the end of a sentence: `exited with 2`, `was killed by signal 11 (segmentation fault)`.
    public var description: String {
      switch ending {
      case .exited(let code): "exited with \(code)"
      case .signalled(let signal):
        "was killed by signal \(signal)\(Self.names[signal].map { " (\($0))" } ?? "")"
      case .timedOut: "ran past its time limit and was stopped"
      }
    }

    private static let names: [Int32: String] = [
      4: "illegal instruction", 6: "abort", 7: "bus error", 8: "arithmetic error", 9: "kill",
      11: "segmentation fault", 15: "termination",
    ]
  }

  /// Runs it to its end, or until the limit, when it is killed; throws a sentence if it cannot start.
  public func run(limit: Duration? = nil) async throws -> Outcome {
    guard let limit else { return try await runToEnd() }
    return try await withThrowingTaskGroup(of: Outcome.self) { group in
      group.addTask { try await runToEnd() }
      group.addTask {
        try await Task.sleep(for: limit)
        return Outcome(ending: .timedOut, output: "", errors: "")
      }
      defer { group.cancelAll() }
      return try await group.next()!
    }
  }

  /// The argument vector as a person would type it, for messages only.
  public var commandLine: String {
    ([path] + arguments).map { word in
      word.allSatisfy { $0.isLetter || $0.isNumber || "-_=./,+:@".contains($0) }
        ? word : "'\(word)'"
    }.joined(separator: " ")
  }

  private func runToEnd() async throws -> Outcome {
    let updates = environment.map { (Environment.Key(stringLiteral: $0.key), $0.value) }
    do {
      let result = try await Subprocess.run(
        path.contains("/") ? .path(.init(path)) : .name(path),
        arguments: Arguments(arguments),
        environment: .inherit.updating(Dictionary(uniqueKeysWithValues: updates)),
        workingDirectory: folder.map { .init($0) },
        output: .string(limit: 256 << 20), error: .string(limit: 16 << 20))
      let ending: Outcome.Ending =
        switch result.terminationStatus {
        case .exited(let code): .exited(code)
        case .signaled(let signal): .signalled(signal)
        }
      return Outcome(
        ending: ending, output: result.standardOutput, errors: result.standardError)
    } catch let error as SubprocessError {
      throw SluiceError(.toolchain, "Cannot run \(path): \(error.description)")
    }
  }
}

extension Program {
  /// A program of `target`'s code, under the target's emulator where it has one.
  public static func on(
    _ target: Target, _ path: String, _ arguments: [String] = [], folder: String? = nil,
    environment: [String: String?] = [:]
  ) -> Program {
    let words = target.emulator + [path] + arguments
    return Program(
      words[0], Array(words.dropFirst()), folder: folder, environment: environment)
  }
}
