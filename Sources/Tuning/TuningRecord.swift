import Emission
import Evaluation
import Foundation
import Planning
import Recurrences
import Schedules

/// What became of one candidate.
public struct TuningRecord: Hashable, Codable, Sendable {
  public var key: TuningKey
  /// The calls that were timed.
  public var workload: Workload
  /// The kernel's name, which has the plan in it.
  public var kernel: String
  public var plan: Plan
  public var status: CandidateStatus
  /// What is behind the status, as the end of a sentence; empty for what is right.
  public var detail: String
  /// A call's own time (``CallTimes/seconds``); only of status `ok`.
  public var seconds: Double?
  /// The quartiles' distance over the median; only of status `ok`.
  public var spread: Double?
  /// Timed calls.
  public var calls: Int
  /// Seconds that the model had thought.
  public var predicted: Double
  /// The compiler's version line.
  public var compiler: String
  /// The wall clock when it was measured, UTC: for people only, nothing depends on it.
  public var time: String

  /// A candidate that was run, by its runs of all rounds; any bad one decides.
  public init(
    key: TuningKey, workload: Workload, kernel: KernelName, predicted: Double, compiler: String,
    runs: [CandidateRun]
  ) {
    self.init(
      key: key, workload: workload, kernel: kernel, predicted: predicted, compiler: compiler,
      status: .ok, detail: "")
    if let bad = runs.first(where: { $0.status != .ok }) {
      status = bad.status
      detail = bad.detail
      if bad.status == .wrong, max(bad.whole, bad.worst) > 1 {
        detail += ": " + String(format: "%.3g times", max(bad.whole, bad.worst))
      }
      return
    }
    let times = CallTimes(runs)
    guard !times.sorted.isEmpty else {
      status = .refused
      detail = "no call of it was timed"
      return
    }
    seconds = times.seconds
    spread = times.spread
    calls = times.sorted.count
  }

  /// A candidate that was never timed.
  public init(
    key: TuningKey, workload: Workload, kernel: KernelName, predicted: Double, compiler: String,
    status: CandidateStatus, detail: String
  ) {
    self.key = key
    self.workload = workload
    self.kernel = kernel.description
    plan = kernel.plan
    self.status = status
    self.detail = detail
    calls = 0
    self.predicted = predicted
    self.compiler = compiler
    time = Date.now.ISO8601Format()
  }

  /// Why a field cannot be; nil for a record that could have been made here.
  var problem: String? {
    if let problem = key.problem { return problem }
    guard let name = KernelName(kernel) else { return "its kernel's name is none" }
    guard name.plan == plan, name.key == key.key, name.value == key.value, name.type == key.type,
      name.gateType == key.gateType, name.target == key.target, name.recurrence == key.recurrence
    else { return "its kernel's name says something else than its plan and key" }
    if workload.batch < 1 || workload.heads < 1 || workload.queryHeads < 1 || workload.length < 0 {
      return "its workload has no calls"
    }
    if workload.threads != key.threads { return "its workload has other threads than its key" }
    if status == .ok {
      guard let seconds, seconds.isFinite, seconds > 0 else { return "it has no time" }
      guard let spread, spread.isFinite, spread >= 0 else { return "it has no spread" }
      guard calls > 0 else { return "it has no timed calls" }
    } else if seconds != nil || spread != nil {
      return "it has a time, and is of status \(status.rawValue)"
    }
    return predicted.isFinite ? nil : "its prediction is no number"
  }

  /// Orders records for people and files: by problem, the quickest first, then by name.
  static func precedes(_ a: TuningRecord, _ b: TuningRecord) -> Bool {
    let (first, second) = (a.sortKey, b.sortKey)
    return first == second ? a.kernel < b.kernel : first.lexicographicallyPrecedes(second)
  }

  private var sortKey: [String] {
    let sizes = [key.key, key.value, key.heads, key.length, key.threads].map {
      String(format: "%08ld", $0)
    }
    return [key.recurrence, key.target, key.machine, key.type.rawValue, key.gateType.rawValue]
      + sizes + [key.recurrenceDigest, kernel]
  }
}
