import Planning

/// Chunk by value tile: the best time of each pair over all other axes.
struct HeatMap {
  let title: String
  let plans: [MeasuredPlan]
  /// The best time of the whole space, which the colours are relative to.
  let best: Double

  private static let cell = (width: 76.0, height: 30.0)
  private static let left = 64.0
  private static let top = 24.0

  var markup: Markup {
    let chunks = Set(plans.map(\.plan.chunk)).sorted()
    let tiles = Set(plans.map(\.plan.valueTile)).sorted()
    let (cell, left, top) = (Self.cell, Self.left, Self.top)
    let width = left + max(1.6, Double(tiles.count)) * cell.width + 8
    let height = top + Double(chunks.count) * cell.height + 46
    var parts: [Markup] = []
    for (row, chunk) in chunks.enumerated() {
      let y = top + Double(row) * cell.height
      parts.append(
        text(left - 8, y + cell.height / 2 + 4, String(chunk), "tick", anchor: "end"))
      for (column, tile) in tiles.enumerated() {
        parts += square(left + Double(column) * cell.width, y, chunk, tile)
      }
    }
    let bottom = top + Double(chunks.count) * cell.height
    for (column, tile) in tiles.enumerated() {
      parts.append(
        text(
          left + (Double(column) + 0.5) * cell.width, bottom + 16, String(tile), "tick",
          anchor: "middle"))
    }
    let middle = left + Double(tiles.count) * cell.width / 2
    parts.append(
      text(middle, bottom + 36, "value tile, columns", "title", anchor: "middle"))
    parts.append(text(0, 14, "chunk, tokens", "title"))
    return Markup(
      "figure", ["class": "map"],
      [
        Markup("figcaption", text: title),
        Markup(
          "svg",
          [
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": "0 0 \(coordinate(width)) \(coordinate(height))",
            "width": coordinate(width), "height": coordinate(height), "role": "img",
            "aria-label": "Least milliseconds of \(title) by chunk and value tile.",
          ], parts),
      ])
  }

  private func square(_ x: Double, _ y: Double, _ chunk: Int, _ tile: Int) -> [Markup] {
    let own = plans.filter { $0.plan.chunk == chunk && $0.plan.valueTile == tile }
    let least = own.min { ($0.measured ?? .infinity) < ($1.measured ?? .infinity) }
    guard let least, let seconds = least.measured, best > 0 else {
      return [
        box(x, y, "h-none", "chunk \(chunk), value tile \(tile): not measured"),
        text(
          x + Self.cell.width / 2, y + Self.cell.height / 2 + 4, "-", "cell", anchor: "middle"),
      ]
    }
    let step = Self.step(seconds / best)
    let words =
      "\(least.plan.words): \(short(seconds * 1e3)) ms, the best of \(own.count) "
      + "plan\(own.count == 1 ? "" : "s") here"
    return [
      box(x, y, "h\(step)", words),
      text(
        x + Self.cell.width / 2, y + Self.cell.height / 2 + 4, short(seconds * 1e3),
        "cell c\(step)", anchor: "middle"),
    ]
  }

  /// The limits of the colours: times over the best one's.
  static let limits = [1.05, 1.2, 1.5, 2, 3, 5]

  private static func step(_ ratio: Double) -> Int {
    limits.firstIndex { ratio <= $0 } ?? limits.count
  }

  private func box(_ x: Double, _ y: Double, _ kind: String, _ words: String) -> Markup {
    Markup(
      "rect",
      [
        "x": coordinate(x + 1), "y": coordinate(y + 1),
        "width": coordinate(Self.cell.width - 2), "height": coordinate(Self.cell.height - 2),
        "rx": "3", "class": "box \(kind)",
      ], [Markup("title", text: words)])
  }

  /// What the colours mean.
  static var legend: Markup {
    let names = limits.map { "to \(tickText($0))" } + ["more"]
    return Markup(
      "p", ["class": "legend"],
      [Markup(text: "time over the best: ")]
        + names.enumerated().map { index, name in
          Markup("span", ["class": "swatch b\(index) c\(index)"], text: name)
        })
  }
}
