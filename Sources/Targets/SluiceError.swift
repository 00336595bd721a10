/// What every stage throws when something that a user can cause went wrong: a sentence, and the exit code it becomes.
public struct SluiceError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The kinds of failure; the raw value is the command's exit code (after `sysexits.h`, where it has one).
  public enum Kind: Int32, Hashable, Codable, Sendable, CaseIterable {
    /// A kernel was wrong.
    case verification = 1
    /// The command was called in a way that it does not have.
    case usage = 64
    /// An input (a file, a package, a shape) is not what it says or must be.
    case badInput = 65
    /// What was asked for is well-formed, and has no answer here.
    case unsupported = 69
    /// Sluice itself is at fault.
    case `internal` = 70
    /// A file or folder cannot be made: no permission, no room.
    case cannotCreate = 73
    /// Reading or writing failed.
    case io = 74
    /// The compiler is missing, too old, or refused the source.
    case toolchain = 75
  }

  public var kind: Kind
  /// One or more whole sentences that say what happened and what to do.
  public var message: String
  /// What stands indented below the message: a compiler's lines, the command that failed.
  public var details: [String]

  /// An error of `kind` with its sentence, and further lines to print below it.
  public init(_ kind: Kind, _ message: String, details: [String] = []) {
    self.kind = kind
    self.message = message
    self.details = details
  }

  /// The process's exit code for this error.
  public var exitCode: Int32 { kind.rawValue }

  public var description: String {
    ([message] + details.map { "  " + $0 }).joined(separator: "\n")
  }
}
