/// The axes of a plot: lines, ticks and their titles.
struct Frame {
  static let width = 620.0
  static let height = 400.0
  static let left = 74.0
  static let right = 16.0
  static let top = 14.0
  static let bottom = 58.0

  let x: LogAxis
  let y: LogAxis
  let xTitle: String
  let yTitle: String

  init(x: [Double], y: [Double], xTitle: String, yTitle: String) {
    self.x = LogAxis(x, from: Frame.left, to: Frame.width - Frame.right)
    self.y = LogAxis(y, from: Frame.height - Frame.bottom, to: Frame.top)
    self.xTitle = xTitle
    self.yTitle = yTitle
  }

  /// The whole plot with its marks, and a sentence for those who cannot see it.
  func plot(_ marks: [Markup], label: String) -> Markup {
    Markup(
      "svg",
      [
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": "0 0 \(Int(Frame.width)) \(Int(Frame.height))", "role": "img",
        "aria-label": label,
      ], grid + marks + titles)
  }

  private var grid: [Markup] {
    let (bottom, top) = (Frame.height - Frame.bottom, Frame.top)
    let (left, right) = (Frame.left, Frame.width - Frame.right)
    var parts: [Markup] = []
    for tick in x.ticks {
      let place = x.place(tick)
      parts.append(line(place, top, place, bottom, "grid"))
      parts.append(text(place, bottom + 18, tickText(tick), "tick", anchor: "middle"))
    }
    for tick in y.ticks {
      let place = y.place(tick)
      parts.append(line(left, place, right, place, "grid"))
      parts.append(text(left - 8, place + 4, tickText(tick), "tick", anchor: "end"))
    }
    parts.append(line(left, bottom, right, bottom, "axis"))
    parts.append(line(left, top, left, bottom, "axis"))
    return parts
  }

  private var titles: [Markup] {
    let middle = (Frame.top + Frame.height - Frame.bottom) / 2
    return [
      text(
        (Frame.left + Frame.width - Frame.right) / 2, Frame.height - 14, xTitle, "title",
        anchor: "middle"),
      Markup(
        "text",
        [
          "x": coordinate(18), "y": coordinate(middle), "class": "title", "text-anchor": "middle",
          "transform": "rotate(-90 18 \(coordinate(middle)))",
        ], text: yTitle),
    ]
  }
}

func line(
  _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ kind: String
) -> Markup {
  Markup(
    "line",
    [
      "x1": coordinate(x1), "y1": coordinate(y1), "x2": coordinate(x2), "y2": coordinate(y2),
      "class": kind,
    ])
}

func text(
  _ x: Double, _ y: Double, _ words: String, _ kind: String, anchor: String = "start"
) -> Markup {
  Markup(
    "text",
    ["x": coordinate(x), "y": coordinate(y), "class": kind, "text-anchor": anchor], text: words)
}

/// A point of a schedule's own shape and colour; a pointer at rest on it shows the words.
func mark(_ x: Double, _ y: Double, series: Int, _ words: String, isChosen: Bool = false) -> Markup
{
  let size = isChosen ? 6.5 : 4.2
  let kind = "mark s\(series % 4)\(isChosen ? " chosen" : "")"
  let title = Markup("title", text: words)
  func path(_ points: [(Double, Double)]) -> Markup {
    let corners = points.map { "\(coordinate(x + $0.0 * size)) \(coordinate(y + $0.1 * size))" }
    return Markup("path", ["d": "M \(corners.joined(separator: " L ")) Z", "class": kind], [title])
  }
  switch series % 4 {
  case 0:
    return Markup(
      "circle",
      ["cx": coordinate(x), "cy": coordinate(y), "r": coordinate(size), "class": kind], [title])
  case 1: return path([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
  case 2: return path([(0, -1.15), (1.1, 0.85), (-1.1, 0.85)])
  default: return path([(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)])
  }
}
