import Planning
import Schedules

/// One problem's part of the page: words, pictures, tables.
struct SpaceSection {
  let number: Int
  let space: MeasuredSpace

  var markup: Markup {
    let heading = Markup("h2", ["id": "space\(number)"], text: space.problem)
    let plots = SpacePlots(space)
    guard space.best != nil else {
      return Markup(
        "section", [:], [heading, Markup("p", text: "No plan was right and timed."), failures])
    }
    return Markup(
      "section", [:],
      [
        heading, Markup("p", text: chosen), Markup("p", text: circumstances),
        Markup("h3", text: "The landscape"),
        Markup(
          "p",
          text: "The least time in ms of every chunk and value tile, over all other choices."),
        HeatMap.legend, Markup("div", ["class": "maps"], [plots.landscape]),
        Markup("h3", text: "Predicted against measured"),
        Markup("p", text: correlation), plots.legend, plots.scatter,
        Markup("h3", text: "The machine's roofs"), Markup("p", text: roofs), plots.legend,
        plots.roofline, Markup("h3", text: "The ten best"), tenBest, failures,
      ])
  }

  /// The best plan in words.
  private var chosen: String {
    guard let best = space.best, let seconds = best.measured else { return "" }
    let plan = best.plan
    var text =
      "The best plan is \(plan.schedule): the state moves on every \(plan.chunk) "
      + (plan.chunk == 1 ? "token" : "tokens")
    if plan.subBlock != plan.chunk { text += ", scores come in pieces of \(plan.subBlock) tokens" }
    text +=
      plan.valueTile < space.value
      ? ", and a worker holds \(plan.valueTile) of the state's \(space.value) columns."
      : ", and a worker holds all \(space.value) columns of the state."
    switch plan.materialization {
    // Of gradients alone.
    case .saved: break
    case .none: text += " The state stays on chip for the whole sequence."
    case .segments(let count): text += " A sequence is walked in \(count) segments side by side."
    case .chunks: text += " Every chunk's state is written, and all chunks are read side by side."
    }
    return text
      + " It takes \(short(seconds * 1e3)) ms, \(short(space.usefulFlops / seconds / 1e9)) useful "
      + "GFLOP/s; the model expected \(short(best.predicted * 1e3)) ms."
  }

  private var circumstances: String {
    let threads = space.workload.threads
    return
      "Measured on \(space.machine), with \(threads) thread\(threads == 1 ? "" : "s") and the words "
      + "of \(space.target.name); \(space.timed.count) of \(space.legal) legal plans were timed."
      + (space.calibration == nil ? " The machine was not probed; its roofs are assumed." : "")
  }

  private var correlation: String {
    var text = "Every point is a plan; on the line the model is right."
    if let rank = space.rankCorrelation {
      text += " Spearman's rank correlation is \(short(rank))."
    }
    if let ratio = space.pickOverBest {
      text +=
        ratio == 1
        ? " The model's pick, ringed, is the best."
        : " The model's pick, ringed, takes \(short(ratio)) times as long as the best."
    }
    return text
  }

  private var roofs: String {
    "Useful operations are 4 K V a token and query head; bytes are all that a plan reads of the "
      + "caller's tensors and writes to them and to the workspace. A plan above the memory's line "
      + "reads rows again that a cache still has. The best plan is ringed."
  }

  private var tenBest: Markup {
    let flops = space.usefulFlops
    let best = space.best?.measured ?? 1
    let rows = space.timed.sorted { ($0.measured ?? 0) < ($1.measured ?? 0) }.prefix(10)
    return table(
      ["plan", "measured, ms", "predicted, ms", "over the best", "useful GFLOP/s"],
      rows.map { item in
        let seconds = item.measured ?? 0
        return Markup(
          "tr", [:],
          [
            item.plan.words, short(seconds * 1e3), short(item.predicted * 1e3),
            short(seconds / best), short(flops / seconds / 1e9),
          ].map { Markup("td", text: $0) })
      })
  }

  /// Candidates that were not right, each with its reason.
  private var failures: Markup {
    let failed = space.plans.filter { $0.status != .ok && $0.status != .untried }
    guard !failed.isEmpty else { return Markup(text: "") }
    return Markup([
      Markup("h3", text: "Candidates that failed"),
      table(
        ["plan", "what became of it", "how"],
        failed.map { item in
          Markup(
            "tr", [:],
            [item.plan.words, item.status.rawValue, item.note ?? ""].map {
              Markup("td", text: $0)
            })
        }),
    ])
  }
}
