import Recurrences
import Schedules
import Targets

/// A plan with what the model predicted and what the clock said.
public struct MeasuredPlan: Hashable, Codable, Sendable {
  public var plan: Plan
  /// Seconds of a call, by the model.
  public var predicted: Double
  /// Seconds of a call, the median of several; nil when it was not timed.
  public var measured: Double?
  /// Bytes that a call reads of the caller's tensors and writes, by the tile program.
  public var bytes: Double?
  public var status: Status
  /// What is behind the status, as the end of a sentence.
  public var note: String?
  /// SHA-256 of the kernel's text.
  public var digest: String?
  /// Stores to the stack and reloads in the compiled kernel's innermost loops, as they stand; nil where
  /// it was not read back.
  public var loopSpills: Int?

  /// What became of a candidate.
  public enum Status: String, Hashable, Codable, Sendable, CaseIterable {
    /// Right, and timed.
    case ok
    case wrong, memory, crashed, hung, refused, unbuilt
    /// Not run yet.
    case untried
  }

  public init(
    plan: Plan, predicted: Double, measured: Double? = nil, bytes: Double? = nil,
    status: Status, note: String? = nil, digest: String? = nil
  ) {
    self.plan = plan
    self.predicted = predicted
    self.measured = measured
    self.bytes = bytes
    self.status = status
    self.note = note
    self.digest = digest
  }
}

/// Measured plans of one kernel on one machine, for one workload.
public struct MeasuredSpace: Hashable, Codable, Sendable {
  public var recurrence: String
  public var key: Int
  public var value: Int
  public var type: ElementType
  public var gateType: ElementType
  /// With the caches of the machine.
  public var target: Target
  public var workload: Workload
  /// The machine in one line.
  public var machine: String
  /// What the model went by; nil for assumed figures.
  public var calibration: Calibration?
  /// Legal plans of the space, of which `plans` are all or a sample.
  public var legal: Int
  public var plans: [MeasuredPlan]

  public init(
    specification: KernelSpecification, workload: Workload, machine: String,
    calibration: Calibration?, legal: Int, plans: [MeasuredPlan]
  ) {
    recurrence = specification.recurrence.name
    key = specification.key
    value = specification.value
    type = specification.type
    gateType = specification.gateType
    target = specification.target
    self.workload = workload
    self.machine = machine
    self.calibration = calibration
    self.legal = legal
    self.plans = plans
  }

  /// Plans that were right and timed.
  public var timed: [MeasuredPlan] { plans.filter { $0.status == .ok && $0.measured != nil } }

  /// The quickest by the clock.
  public var best: MeasuredPlan? {
    timed.min { ($0.measured ?? .infinity) < ($1.measured ?? .infinity) }
  }

  /// The timed plan that the model likes best.
  public var pick: MeasuredPlan? { timed.min { $0.predicted < $1.predicted } }

  /// The model's pick's time over the best one's; one is perfect.
  public var pickOverBest: Double? {
    guard let pick = pick?.measured, let best = best?.measured else { return nil }
    return pick / best
  }

  /// Spearman's rank correlation of how far a plan misses its prediction, measured over predicted time,
  /// with the spills of its innermost loops, which the model does not know; nil where they were not
  /// read back, and where all plans have as many.
  public var spillCorrelation: Double? {
    let known = timed.filter { $0.loopSpills != nil }
    return spearman(
      known.compactMap { plan in plan.measured.map { $0 / plan.predicted } },
      known.compactMap { $0.loopSpills.map(Double.init) })
  }

  /// Spearman's rank correlation of predicted and measured times; nil for fewer than three plans.
  public var rankCorrelation: Double? {
    spearman(timed.map(\.predicted), timed.compactMap(\.measured))
  }

  /// Useful operations of one call: 4 K V a token and query head.
  public var usefulFlops: Double {
    4 * Double(workload.batch * workload.length * workload.queryHeads * key * value)
  }
}

/// Spearman's rank correlation: Pearson's of the ranks, equal numbers sharing theirs.
public func spearman(_ x: [Double], _ y: [Double]) -> Double? {
  guard x.count == y.count, x.count > 2 else { return nil }
  let (a, b) = (ranks(x), ranks(y))
  let mean = Double(x.count + 1) / 2
  var (both, first, second) = (0.0, 0.0, 0.0)
  for (p, q) in zip(a, b) {
    both += (p - mean) * (q - mean)
    first += (p - mean) * (p - mean)
    second += (q - mean) * (q - mean)
  }
  return first > 0 && second > 0 ? both / (first * second).squareRoot() : nil
}

private func ranks(_ numbers: [Double]) -> [Double] {
  let order = numbers.indices.sorted { numbers[$0] < numbers[$1] }
  var ranks = Array(repeating: 0.0, count: numbers.count)
  var start = 0
  while start < order.count {
    var end = start
    while end + 1 < order.count, numbers[order[end + 1]] == numbers[order[start]] { end += 1 }
    for place in start...end { ranks[order[place]] = Double(start + end) / 2 + 1 }
    start = end + 1
  }
  return ranks
}

extension PlanSearch {
  /// A sample of the legal plans, quickest first by the model: all where there are no more than
  /// `count`; else the model's best ten, every plan of a schedule that has at most a third of `count`
  /// and fits, and then of every schedule and chunk one plan after the other, drawn evenly over its
  /// rank.
  public func sample(_ count: Int) -> [Candidate] {
    guard ranked.count > count else { return ranked }
    var chosen = Set(ranked.prefix(min(10, count)).map(\.plan))
    let small = Dictionary(grouping: ranked) { $0.plan.schedule }.values
      .filter { $0.count <= count / 3 }.sorted { $0.count < $1.count }
    for plans in small {
      let union = chosen.union(plans.map(\.plan))
      if union.count <= count { chosen = union }
    }
    let strata = Dictionary(grouping: ranked) { "\($0.plan.schedule) \($0.plan.chunk)" }
      .sorted { $0.key < $1.key }.map(\.value)
    // The golden section spreads any number of draws evenly.
    for turn in 0..<count where chosen.count < count {
      let place = (Double(turn) * 0.618_033_988_749_895).truncatingRemainder(dividingBy: 1)
      for plans in strata where chosen.count < count {
        chosen.insert(plans[Int(place * Double(plans.count))].plan)
      }
    }
    return ranked.filter { chosen.contains($0.plan) }
  }
}
