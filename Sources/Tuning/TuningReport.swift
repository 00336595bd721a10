import Emission
import Foundation
import Planning
import Schedules

/// What a search has found so far.
public struct TuningReport: Codable, Sendable {
  public var key: TuningKey
  public var workload: Workload
  /// Legal plans of the space.
  public var plans: Int
  /// Candidates with their measurements, those of earlier runs first.
  public var records: [TuningRecord]
  /// How many of them were on record before.
  public var resumed = 0
  /// Libraries that were built, or found in the cache.
  public var built = 0
  /// What the user should know beside the table.
  public var notices: [String] = []

  /// The quickest right candidate.
  public var best: TuningRecord? {
    records.filter { $0.status == .ok }.min { $0.seconds! < $1.seconds! }
  }

  /// Records of candidates that took turns, their times made comparable with `known` ones.
  ///
  /// Other programs slow a machine by more than candidates differ, for seconds or for minutes. The
  /// candidates that are known already tell by how much it is slower now than it was then (the
  /// geometric mean of their times' ratios), and all times are divided by that. When all of them are
  /// known, the quickest comes out no slower than the slowest was: whoever wins the
  /// play-off stands before everyone who was not in it.
  package static func comparable(_ measured: [TuningRecord], with known: [TuningRecord])
    -> [TuningRecord]
  {
    let slower = measured.compactMap { record -> Double? in
      let then = known.first { $0.kernel == record.kernel }?.seconds
      guard let then, let now = record.seconds else { return nil }
      return log(now / then)
    }
    guard !slower.isEmpty else { return measured }
    let scale = exp(-slower.reduce(0, +) / Double(slower.count))
    return measured.map { record in
      var record = record
      record.seconds? *= scale
      return record
    }
  }

  /// Puts a record in place of an older one of the same kernel, or at the end.
  mutating func note(_ record: TuningRecord) {
    if let index = records.firstIndex(where: { $0.kernel == record.kernel }) {
      records[index] = record
    } else {
      records.append(record)
    }
  }

  /// Counts what was built, and takes over what the cache had to say.
  mutating func note(_ candidates: [BuiltCandidate]) {
    for candidate in candidates {
      if case .success = candidate.library { built += 1 }
      if let notice = candidate.notice, !notices.contains(notice) { notices.append(notice) }
    }
  }
}

/// One step of a search, and how it stands.
public struct TuningProgress: Sendable {
  public enum Step: Sendable {
    case began, built
    case measured(TuningRecord)
    case ended
  }

  public var step: Step
  public var report: TuningReport
  /// Plans not yet tried.
  public var open: Int
  /// Time left of a budget in seconds.
  public var left: Duration?
  /// Candidates left of a budget of candidates.
  public var room: Int
}
