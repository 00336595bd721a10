import Planning
import Schedules

/// The funnel of a plan search in words and tables.
struct PlanExplanation {
  let search: PlanSearch
  let kernel: String
  let model: CostModel

  /// How many of the best are shown.
  private static let shown = 10

  var text: String {
    [head, funnel, rejections, best, meanings, reason].filter { !$0.isEmpty }
      .joined(separator: "\n\n")
  }

  private var head: String {
    let workload = search.workload
    let figures =
      model.calibration == nil
      ? "the target's assumed figures; 'sluice probe' measures this machine's"
      : "this machine's probe"
    return """
      \(kernel)
      for B \(workload.batch), H \(workload.queryHeads)/\(workload.heads), T \(workload.length) \
      on \(counted(workload.threads, "thread"))
      priced by \(figures)
      """
  }

  private var funnel: String {
    "\(counted(search.plans, "plan")), \(search.legal) of them legal\n"
      + table(
        [["SCHEDULE", "PLANS", "LEGAL", "REFUSED"]]
          + search.schedules.map { part in
            [
              part.schedule, String(part.plans), String(part.legal),
              part.obstacle ?? String(part.plans - part.legal),
            ]
          })
  }

  private var rejections: String {
    let rows = search.schedules.flatMap { part in
      part.rejections.map { [part.schedule, String($0.count), $0.reason] }
    }
    return rows.isEmpty
      ? "" : table([["SCHEDULE", "REFUSED", "BECAUSE, for the first of them"]] + rows)
  }

  /// Terms that any of the shown plans has.
  private var terms: [Prediction.Term] {
    Prediction.Term.allCases.filter { term in
      search.ranked.prefix(Self.shown).contains { share($0, term) >= 0.001 }
    }
  }

  private func share(_ candidate: PlanSearch.Candidate, _ term: Prediction.Term) -> Double {
    (candidate.prediction.terms[term] ?? 0) / max(candidate.prediction.seconds, 1e-30)
  }

  private var best: String {
    let rows = search.ranked.prefix(Self.shown).map { candidate in
      [candidate.plan.short, milliseconds(candidate.prediction.seconds)]
        + terms.map { milliseconds(candidate.prediction.terms[$0] ?? 0) }
    }
    return "the model's best, in ms\n"
      + table([["PLAN", "ms"] + terms.map { $0.rawValue.uppercased() }] + rows)
  }

  private var meanings: String {
    table(terms.map { [$0.rawValue, $0.meaning] })
  }

  /// Where the first gains on the next plan of another kind.
  private var reason: String {
    guard let first = search.ranked.first else { return "" }
    guard
      let other = search.ranked.first(where: { $0.plan.schedule != first.plan.schedule })
        ?? search.ranked.dropFirst().first
    else { return "There is no other plan." }
    let gains = Prediction.Term.allCases.map { term in
      (term, (other.prediction.terms[term] ?? 0) - (first.prediction.terms[term] ?? 0))
    }
    let saved = gains.filter { $0.1 > 0 }.sorted { $0.1 > $1.1 }.prefix(2)
    let paid = gains.filter { $0.1 < 0 }.sorted { $0.1 < $1.1 }.prefix(1)
    func list(_ terms: ArraySlice<(Prediction.Term, Double)>) -> String {
      terms.map { "\(milliseconds(abs($0.1))) ms of \($0.0.rawValue)" }
        .joined(separator: " and ")
    }
    let difference = other.prediction.seconds - first.prediction.seconds
    var text =
      "\(first.plan.short) wins by \(milliseconds(difference)) ms over \(other.plan.short), the "
      + (other.plan.schedule == first.plan.schedule ? "next" : "best of another schedule")
      + ": it saves \(saved.isEmpty ? "nothing" : list(saved))"
    if !paid.isEmpty { text += ", and pays \(list(paid))" }
    return text + "."
  }

  private func milliseconds(_ seconds: Double) -> String { rounded(seconds * 1e3, 3) }

  private func counted(_ count: Int, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
  }
}
