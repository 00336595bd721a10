import Foundation
import Planning
import Schedules

/// Where a plan's rank comes from.
public enum PlanOrigin: Hashable, Sendable, CustomStringConvertible {
  /// Timed on this machine for this problem.
  case measured(seconds: Double)
  /// The model, corrected by what was measured for a similar problem.
  case neighbour(String)
  case model

  public var description: String {
    switch self {
    case .measured(let seconds):
      "measured here (\(String(format: "%.3f", seconds * 1e3)) ms)"
    case .neighbour(let problem): "by the model, corrected by what was measured for \(problem)"
    case .model: "by the model"
    }
  }
}

/// Orders plans by what was measured, as far as that goes: for the problem itself, else for the
/// nearest one on record together with the model, else by the model alone.
public struct RecordedRanker: Ranker {
  private let model: any Ranker
  /// Seconds by plan of the problem itself; infinite for candidates that failed.
  private let measured: [[String: String]: Double]
  /// What the model's prediction is to be multiplied by, by the plan's shape and by its schedule.
  private var corrections: [[String: String]: Double] = [:]
  private var scheduleCorrections: [String: Double] = [:]
  private var neighbour: String?
  /// Whether a right candidate of the problem itself is on record.
  private let isMeasured: Bool

  /// Nothing is on record: the model alone.
  public init(model: any Ranker) {
    self.model = model
    measured = [:]
    isMeasured = false
  }

  /// - Parameters:
  ///   - records: of this problem and its relatives; others do no harm.
  ///   - model: what ranks where nothing was measured.
  public init(
    model: any Ranker, records: [TuningRecord], key: TuningKey,
    _ specification: KernelSpecification
  ) {
    self.model = model
    let own = records.filter { $0.key == key }
    measured = Dictionary(
      own.map { ($0.plan.axes, $0.seconds ?? .infinity) }, uniquingKeysWith: { min($0, $1) })
    isMeasured = own.contains { $0.status == .ok }
    guard !isMeasured else { return }

    var nearest: (distance: Double, key: TuningKey)?
    for record in records where record.status == .ok && record.key != key {
      // Beyond two octaves of everything together a record says less than the model.
      guard let distance = record.key.distance(to: key), distance <= 8 else { continue }
      if distance < nearest?.distance ?? .infinity { nearest = (distance, record.key) }
    }
    guard let other = nearest?.key else { return }
    neighbour = other.words
    var theirs = specification
    (theirs.key, theirs.value, theirs.gateType) = (other.key, other.value, other.gateType)
    var ratios: [(shape: [String: String], schedule: String, ratio: Double)] = []
    for record in records where record.key == other {
      guard let seconds = record.seconds else { continue }
      let predicted = model.cost(of: record.plan, for: theirs, record.workload)
      guard predicted > 0, predicted.isFinite else { continue }
      ratios.append(
        (
          record.plan.shape(key: other.key, value: other.value), record.plan.schedule,
          seconds / predicted
        ))
    }
    corrections = Dictionary(
      ratios.map { ($0.shape, $0.ratio) }, uniquingKeysWith: { first, _ in first })
    for (schedule, own) in Dictionary(grouping: ratios, by: \.schedule) {
      scheduleCorrections[schedule] = Self.median(own.map(\.ratio))
    }
    let all = Self.median(ratios.map(\.ratio))
    for schedule in Schedules.all + Schedules.gradients
    where scheduleCorrections[schedule.name] == nil {
      scheduleCorrections[schedule.name] = all
    }
  }

  public func cost(
    of plan: Plan, for specification: KernelSpecification, _ workload: Workload
  ) -> Double {
    let predicted = model.cost(of: plan, for: specification, workload)
    if measured.isEmpty, neighbour == nil { return predicted }
    if let seconds = measured[plan.axes] { return seconds }
    // What was not tried stands behind everything that was, in the model's order.
    if isMeasured { return 1e9 + predicted }
    guard neighbour != nil else { return predicted }
    let shape = plan.shape(key: specification.key, value: specification.value)
    return predicted * (corrections[shape] ?? scheduleCorrections[plan.schedule] ?? 1)
  }

  /// Where the rank of a plan comes from.
  public func origin(of plan: Plan) -> PlanOrigin {
    if let seconds = measured[plan.axes], seconds.isFinite { return .measured(seconds: seconds) }
    return neighbour.map { .neighbour($0) } ?? .model
  }

  private static func median(_ numbers: [Double]) -> Double {
    numbers.isEmpty ? 1 : numbers.sorted()[numbers.count / 2]
  }
}

extension TuningKey {
  /// The problem in a few words: `gla, K 128, V 128, f32, 16 heads, T about 2048, 2 threads`.
  public var words: String {
    "\(recurrence), K \(key), V \(value), \(type.rawValue), "
      + "\(heads == 1 ? "1 head" : "\(heads) heads"), T about \(length), "
      + (threads == 1 ? "1 thread" : "\(threads) threads")
      + (entry.map { ", \($0)" } ?? "")
  }
}
