import Execution
import Foundation
import Targets

/// How a candidate fared.
public enum CandidateStatus: String, Hashable, Codable, Sendable, CaseIterable {
  /// Right, and timed.
  case ok
  /// An answer beyond its bound, or other bits from equal inputs.
  case wrong
  /// It touched memory that is not its own.
  case memory
  /// It took its process with it.
  case crashed
  /// It ran past its time limit.
  case hung
  /// It would not run: no such entry, no memory, a code that is not 0.
  case refused
  /// The compiler would not have it.
  case unbuilt
}

/// One run of a candidate: the line that `templates/c/measure.c` prints.
public struct CandidateRun: Hashable, Codable, Sendable {
  /// The kernel's name.
  public var candidate: String
  public var round: Int
  /// The processor, as `measure --machine` and ``Host/processor`` have it.
  public var machine: String
  public var status: CandidateStatus
  /// What is behind the status, as the end of a sentence; empty for what is right.
  public var detail: String
  /// The largest error over its bound: over everything compared, and over one head.
  public var whole: Double
  public var worst: Double
  /// Of each timed call.
  public var nanoseconds: [UInt64]
  /// The search, SHA-256 of the library and of the cases, and of the line before the seal: in bundles.
  public var search: String?
  public var library: String?
  public var cases: String?
  public var seal: String?
}

/// Runs candidates on stored cases, each in a process of its own.
public struct Measurer: Sendable {
  /// The executable of ``RunnerProgram/measure``.
  public var program: String
  /// The file of ``MeasurementCases``, and which of them is timed.
  public var cases: String
  public var timed: Int
  public var target: Target
  /// Seconds until a candidate counts as hung.
  public var limit: Int

  public init(program: String, cases: String, timed: Int, target: Target, limit: Int = 60) {
    self.program = program
    self.cases = cases
    self.timed = timed
    self.target = target
    self.limit = limit
  }

  /// Judges and times the library's kernel `name`, with timed calls for at least `milliseconds`.
  ///
  /// - Throws: only when the program itself cannot run; whatever the candidate does is an answer.
  public func measure(
    library: String, name: String, round: Int, milliseconds: Int
  ) async throws -> CandidateRun {
    let outcome = try await Program.on(
      target, program,
      [
        library, cases, "--kernel", name, "--timed", "\(timed)", "--time", "\(milliseconds)",
        "--limit", "\(limit)", "--round", "\(round)",
      ]
    ).run(limit: .seconds(limit + 10))
    let line = outcome.output.split(separator: "\n").last.map(String.init) ?? ""
    if let own = try? JSONDecoder().decode(CandidateRun.self, from: Data(line.utf8)),
      own.candidate == name, own.round == round
    {
      return own
    }
    try Task.checkCancellation()
    if outcome.ending == .exited(2) {
      throw SluiceError(
        .internal, "Candidates cannot be measured: \(outcome.errors.prefix(300))")
    }
    // It left without an answer: killed from outside, or it closed what the answer goes through.
    let isHung = outcome.ending == .timedOut
    return CandidateRun(
      candidate: name, round: round, machine: Host.processor, status: isHung ? .hung : .crashed,
      detail: isHung ? "ran past its time limit" : "the process \(outcome.description)",
      whole: 0, worst: 0, nanoseconds: [])
  }
}
