import Foundation

/// What a verification found: every check with what was measured beside its bound.
public struct Assessment: Hashable, Codable, Sendable {
  /// The kernel's name.
  public var kernel: String
  public var target: String
  /// Draws the same problems again.
  public var seed: UInt64
  public var effort: VerifyOptions.Effort
  public var checks: [Check]
  /// What was not tried, and why: whole sentences.
  public var leftOut: [String]
  /// Calls of the kernel, without repetitions.
  public var calls: Int

  /// One thing that must hold.
  public struct Check: Hashable, Codable, Sendable {
    public enum Group: String, Hashable, Codable, Sendable, CaseIterable {
      /// Against the reference.
      case accuracy
      /// Against the kernel itself.
      case law
      /// What a call may not do.
      case conduct
      /// Answers to bad arguments.
      case abi
    }

    public var group: Group
    /// The problem or law.
    public var name: String
    /// What was measured: `o`, `final state`, ...
    public var what: String
    /// Absent when there is no number, or none that is finite.
    public var measured: Double?
    public var bound: Double?
    /// The error that rounding the reference to the output's type makes.
    public var floor: Double?
    public var passed: Bool
    /// Where, or why not.
    public var detail: String

    /// A measured quantity: passes if it is at most its bound.
    init(
      _ group: Group, _ name: String, _ what: String, _ measured: Double, atMost bound: Double,
      floor: Double? = nil, detail: String = ""
    ) {
      self.group = group
      self.name = name
      self.what = what
      self.measured = measured.isFinite ? measured : nil
      self.bound = bound
      self.floor = floor.flatMap { $0.isFinite ? $0 : nil }
      passed = measured <= bound
      self.detail =
        measured.isFinite ? detail : "not finite" + (detail.isEmpty ? "" : ": ") + detail
    }

    /// Something that holds or does not.
    init(_ group: Group, _ name: String, _ what: String, holds: Bool, detail: String = "") {
      self.group = group
      self.name = name
      self.what = what
      passed = holds
      self.detail = detail
    }
  }

  /// Whether everything that was tried held.
  public var passed: Bool { checks.allSatisfy(\.passed) }

  public var failures: [Check] { checks.filter { !$0.passed } }

  /// The largest measured value of a quantity among the accuracy checks, for one-line summaries.
  public func worst(_ what: String) -> Double? {
    checks.filter { $0.group == .accuracy && $0.what == what }.compactMap(\.measured).max()
  }
}

extension Assessment: CustomStringConvertible {
  /// The table for people: accuracy one line a problem, laws one line each, and what was left out.
  public var description: String {
    var lines = [
      "\(kernel) on \(target), seed \(seed), \(effort.rawValue): \(calls) calls"
    ]
    lines += accuracyTable
    lines += lawTable
    if !leftOut.isEmpty { lines += ["", "left out:"] + leftOut.map { "  " + $0 } }
    let count = failures.count
    lines += [
      "", passed ? "passed \(checks.count) checks" : "FAILED \(count) of \(checks.count) checks",
    ]
    return lines.joined(separator: "\n")
  }

  private var accuracyTable: [String] {
    let own = checks.filter { $0.group == .accuracy }
    let columns = Array(
      own.reduce(into: [String]()) { if !$0.contains($1.what) { $0.append($1.what) } })
    guard !own.isEmpty else { return [] }
    let names = own.reduce(into: [String]()) { if !$0.contains($1.name) { $0.append($1.name) } }
    func row(_ cells: [String], _ end: String) -> String {
      let first = pad("  " + cells[0], 48)
      return first + cells.dropFirst().map { padLeft($0, 17) }.joined() + "   " + end
    }
    var lines = ["", row(["error (RMS ratio)"] + columns, "")]
    let bounds = columns.map { column in own.first { $0.what == column && $0.bound != nil }?.bound }
    let floors = columns.map { column in
      own.filter { $0.what == column }.compactMap(\.floor).max()
    }
    lines.append(row(["bound"] + bounds.map(text), ""))
    lines.append(row(["rounding floor"] + floors.map(text), ""))
    for name in names {
      let checks = columns.map { column in own.first { $0.name == name && $0.what == column } }
      let failing = checks.compactMap { $0 }.filter { !$0.passed }
      let details = failing.map { $0.detail.isEmpty ? $0.what : $0.detail }
      lines.append(
        row(
          [name] + checks.map { $0 == nil ? "" : text($0!.measured) },
          failing.isEmpty ? "ok" : "FAIL " + details.joined(separator: "; ")))
    }
    return lines
  }

  private var lawTable: [String] {
    let own = checks.filter { $0.group != .accuracy }
    guard !own.isEmpty else { return [] }
    return [""]
      + own.map { check in
        let numbers =
          check.bound == nil
          ? "" : "\(text(check.measured)) of \(text(check.bound))"
        return pad("  \(check.name): \(check.what)", 92) + padLeft(numbers, 20) + "   "
          + (check.passed ? "ok" : "FAIL \(check.detail)")
      }
  }

  private func text(_ number: Double?) -> String {
    guard let number else { return "-" }
    return number == 0 ? "0" : String(format: "%.2g", number)
  }
  private func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }
  private func padLeft(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(1, width - text.count)) + text
  }
}
