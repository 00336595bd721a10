import Emission
import Evaluation
import Planning
import Schedules

/// Measures several candidates in turns.
struct TurnMeasurer: Sendable {
  /// Of gradients that take the forward call's states, by the tokens between these; of others at 0.
  private let measurers: [Int: Measurer]

  init(measurer: Measurer) { measurers = [0: measurer] }

  /// What measures each of the plans.
  init(
    of plans: [Plan], _ workload: Workload, by workshop: CandidateBuilder, in folder: String,
    limit: Int
  ) async throws {
    var measurers: [Int: Measurer] = [:]
    for plan in plans where measurers[plan.savedEvery ?? 0] == nil {
      measurers[plan.savedEvery ?? 0] = try await workshop.measurer(
        of: workload, plan: plan, in: folder, limit: limit)
    }
    self.measurers = measurers
  }

  /// The runs of each candidate; rounds go through all of them, so that what disturbs the machine
  /// for a while disturbs none alone.
  ///
  /// A candidate that failed, or took half as long again as the best of them, has no further turn. One
  /// that may be the best and whose times are scattered has up to twice the rounds. Once `isOver`,
  /// nobody has a further turn but for the first. `keep` hears of each candidate after each of its
  /// turns, with all its runs: whatever happens in the next turn, this much is known.
  func takeTurns(
    _ candidates: [BuiltCandidate], rounds: Int, milliseconds: Int, isOver: () -> Bool,
    keep: (BuiltCandidate, [CandidateRun]) throws -> Void
  ) async throws -> [(BuiltCandidate, [CandidateRun])] {
    var times = Array(repeating: CallTimes(), count: candidates.count)
    var runs: [[CandidateRun]] = Array(repeating: [], count: candidates.count)
    var best = Double.infinity
    for round in 0..<2 * rounds where round == 0 || !isOver() {
      for (index, candidate) in candidates.enumerated() {
        guard case .success(let library) = candidate.library else {
          if round == 0 { try keep(candidate, []) }
          continue
        }
        if let last = runs[index].last {
          let isScattered = times[index].spread > 0.1 && times[index].seconds < 1.1 * best
          guard last.status == .ok, times[index].seconds <= 1.5 * best,
            round < rounds || isScattered
          else { continue }
        }
        // Every plan of the search has one.
        let run = try await measurers[candidate.candidate.plan.savedEvery ?? 0]!.measure(
          library: library, name: candidate.symbol, round: round,
          milliseconds: milliseconds)
        runs[index].append(run)
        times[index].add(run)
        try keep(candidate, runs[index])
        if run.status == .ok { best = min(best, times[index].seconds) }
      }
    }
    return Array(zip(candidates, runs))
  }
}

/// Times of one candidate's calls, in seconds.
struct CallTimes: Sendable {
  /// In rising order.
  private(set) var sorted: [Double] = []

  init(_ runs: [CandidateRun] = []) {
    for run in runs { add(run) }
  }

  mutating func add(_ run: CandidateRun) {
    sorted = (sorted + run.nanoseconds.map { Double($0) * 1e-9 }).sorted()
  }

  /// A call's own time: the lower quartile. Other programs slow a machine by up to a half for
  /// seconds, and not all kernels alike; the quicker calls say what the kernel takes.
  var seconds: Double { quantile(0.25) }
  /// The quartiles' distance over the median.
  var spread: Double {
    sorted.isEmpty ? .infinity : (quantile(0.75) - quantile(0.25)) / quantile(0.5)
  }

  private func quantile(_ part: Double) -> Double {
    sorted.isEmpty ? .infinity : sorted[min(sorted.count - 1, Int(part * Double(sorted.count)))]
  }
}
