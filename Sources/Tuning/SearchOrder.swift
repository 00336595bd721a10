import Emission
import Planning
import Schedules

/// Which candidates to try next: those that the model promises most, and the neighbours of the best
/// that was measured, so that a wrong model is corrected by what the clock said.
struct SearchOrder: Sendable {
  struct Candidate: Hashable, Sendable {
    var plan: Plan
    /// Seconds, by the model.
    var predicted: Double
    var axes: [String: String]

    /// The axes without those of the innermost loops, which change a plan's time by little.
    var outerAxes: [String: String] {
      axes.filter { InnerLoops.Axis(rawValue: $0.key) == nil }
    }
  }

  /// Not yet tried, the most promising first.
  private(set) var open: [Candidate]
  /// Everything there is.
  let count: Int
  /// The best so far, by the clock.
  private(set) var best: (candidate: Candidate, seconds: Double)?
  private var begun = false
  /// What was taken out, but for the innermost loops.
  private var tried: Set<[String: String]> = []
  private var turn = 0

  init(
    _ plans: [Plan], _ specification: KernelSpecification, _ workload: Workload,
    _ ranker: any Ranker
  ) {
    open = plans.map {
      Candidate(
        plan: $0, predicted: ranker.cost(of: $0, for: specification, workload), axes: $0.axes)
    }.enumerated().sorted { a, b in
      // Equal predictions keep the schedules' order.
      (a.element.predicted, a.offset) < (b.element.predicted, b.offset)
    }.map(\.element)
    count = open.count
  }

  /// Takes a plan out of what is open; nil if it is not there.
  mutating func remove(_ plan: Plan) -> Candidate? {
    let axes = plan.axes
    return open.firstIndex(where: { $0.axes == axes }).map { take($0) }
  }

  private mutating func take(_ index: Int) -> Candidate {
    let candidate = open.remove(at: index)
    tried.insert(candidate.outerAxes)
    return candidate
  }

  /// Tells what the clock said.
  mutating func note(_ candidate: Candidate, seconds: Double) {
    if seconds < best?.seconds ?? .infinity { best = (candidate, seconds) }
  }

  /// The next candidates, at most `limit`; none when everything was tried.
  ///
  /// At first the model's best of each schedule that it does not think ten times slower than another.
  /// Then by turns the best one's neighbours along one axis (two, when these are exhausted), and the
  /// model's next that differs in more than its innermost loops from all before.
  mutating func next(_ limit: Int) -> [Candidate] {
    guard begun else {
      begun = true
      if best == nil, let first = open.first {
        var schedules: Set<String> = []
        let heads = open.filter {
          $0.predicted <= 10 * first.predicted && schedules.insert($0.plan.schedule).inserted
        }
        return Array(heads.prefix(limit)).compactMap { remove($0.plan) }
      }
      return next(limit)
    }
    var chosen: [Candidate] = []
    while chosen.count < limit, !open.isEmpty {
      turn += 1
      let index = turn % 2 == 1 ? neighbour ?? 0 : promising
      chosen.append(take(index))
    }
    return chosen
  }

  /// Where the model's next stands.
  private var promising: Int { open.firstIndex { !tried.contains($0.outerAxes) } ?? 0 }

  /// Where the most promising neighbour of the best stands.
  private var neighbour: Int? {
    guard let axes = best?.candidate.axes else { return nil }
    return open.firstIndex { Plan.distance($0.axes, axes) == 1 }
      ?? open.firstIndex { Plan.distance($0.axes, axes) == 2 }
  }
}
