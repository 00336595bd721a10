import Planning
import Schedules

/// A page on measured plans that stands alone: HTML with its style and pictures in it, no script,
/// nothing from elsewhere.
public struct ReportPage {
  var spaces: [MeasuredSpace]

  /// - Parameter spaces: measured spaces, in the order in which they are shown.
  public init(_ spaces: [MeasuredSpace]) { self.spaces = spaces }

  /// The page, which is well-formed XML as well.
  public var text: String {
    let head = Markup(
      "head", [:],
      [
        Markup("meta", ["charset": "utf-8"]),
        Markup(
          "meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"]),
        Markup("meta", ["name": "color-scheme", "content": "light dark"]),
        Markup("title", text: "Sluice: what was measured"), Markup("style", text: reportStyle),
      ])
    let body = Markup(
      "body", [:],
      [
        Markup(
          "main", [:],
          [Markup("h1", text: "What was measured"), machines] + [overview]
            + spaces.enumerated().map { SpaceSection(number: $0, space: $1).markup })
      ])
    return "<!DOCTYPE html>\n"
      + Markup("html", ["xmlns": "http://www.w3.org/1999/xhtml", "lang": "en"], [head, body])
      .description + "\n"
  }

  private var machines: Markup {
    var seen: [String] = []
    for space in spaces where !seen.contains(space.machine) { seen.append(space.machine) }
    let words = seen.isEmpty ? "No space was measured." : seen.joined(separator: "; ") + "."
    return Markup("p", ["class": "machine"], text: words)
  }

  private var overview: Markup {
    guard !spaces.isEmpty else { return Markup(text: "") }
    let head = [
      "problem", "legal plans", "timed", "best, ms", "GFLOP/s", "model's pick over best",
      "rank correlation",
    ]
    let rows = spaces.enumerated().map { number, space in
      Markup(
        "tr", [:],
        [
          Markup(
            "td", [:], [Markup("a", ["href": "#space\(number)"], text: space.problem)])
        ]
          + [
            String(space.legal), String(space.timed.count),
            space.best?.measured.map { short($0 * 1e3) } ?? "-",
            space.best?.measured.map { short(space.usefulFlops / $0 / 1e9) } ?? "-",
            space.pickOverBest.map { short($0) } ?? "-",
            space.rankCorrelation.map { short($0) } ?? "-",
          ].map { Markup("td", text: $0) })
    }
    return table(head, rows)
  }
}

func table(_ head: [String], _ rows: [Markup]) -> Markup {
  Markup(
    "div", ["class": "scroll"],
    [
      Markup(
        "table", [:],
        [
          Markup("thead", [:], [Markup("tr", [:], head.map { Markup("th", text: $0) })]),
          Markup("tbody", [:], rows),
        ])
    ])
}

extension MeasuredSpace {
  /// The problem in one line.
  var problem: String {
    "\(recurrence) B \(workload.batch), H \(workload.queryHeads)"
      + (workload.heads == workload.queryHeads ? "" : "/\(workload.heads)")
      + ", T \(workload.length), K \(key), V \(value), \(type.rawValue)"
  }
}
