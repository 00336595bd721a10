import Foundation
import Planning
import Schedules

/// The pictures of one measured space.
struct SpacePlots {
  let space: MeasuredSpace
  let schedules: [String]

  init(_ space: MeasuredSpace) {
    self.space = space
    schedules = Set(space.plans.map(\.plan.schedule)).sorted()
  }

  private func series(_ plan: Plan) -> Int { schedules.firstIndex(of: plan.schedule) ?? 0 }

  /// Colours and shapes of the schedules.
  var legend: Markup {
    Markup(
      "p", ["class": "legend"],
      schedules.enumerated().map { index, name in
        Markup(
          "span", [:],
          [
            Markup(
              "svg",
              ["xmlns": "http://www.w3.org/2000/svg", "viewBox": "0 0 14 14", "class": "key"],
              [mark(7, 7, series: index, name)]), Markup(text: " \(name)"),
          ])
      })
  }

  // MARK: Predicted against measured

  var scatter: Markup {
    let timed = space.timed
    let both = timed.flatMap { [$0.predicted * 1e3, ($0.measured ?? 0) * 1e3] }
    let frame = Frame(x: both, y: both, xTitle: "measured, ms", yTitle: "predicted, ms")
    let diagonal = line(
      frame.x.place(frame.x.low), frame.y.place(frame.y.low), frame.x.place(frame.x.high),
      frame.y.place(frame.y.high), "diagonal")
    let pick = space.pick?.plan
    let ordered = timed.sorted { ($0.plan == pick ? 1 : 0) < ($1.plan == pick ? 1 : 0) }
    let marks = ordered.map { item in
      mark(
        frame.x.place((item.measured ?? 0) * 1e3), frame.y.place(item.predicted * 1e3),
        series: series(item.plan), words(item), isChosen: item.plan == pick)
    }
    return frame.plot(
      [diagonal] + marks,
      label: "Predicted against measured milliseconds of \(timed.count) plans, both logarithmic.")
  }

  // MARK: Roofline

  var roofline: Markup {
    let calibration = space.calibration ?? .assumed(for: space.target)
    let roofs = Roofs(calibration, lanes: space.target.lanes, threads: space.workload.threads)
    let points = space.timed.compactMap { item -> (Double, Double, MeasuredPlan)? in
      guard let bytes = item.bytes, bytes > 0, let seconds = item.measured else { return nil }
      return (space.usefulFlops / bytes, space.usefulFlops / seconds / 1e9, item)
    }
    let rates = points.map(\.1) + [roofs.flops / 1e9]
    let intensities = points.map(\.0)
    // Room to the left, so that the slopes show.
    let span = intensities + [(intensities.min() ?? 1) / 4, (intensities.max() ?? 10) * 3]
    let frame = Frame(
      x: span, y: rates + [(rates.min() ?? 1) / 2], xTitle: "useful operations a byte of tensors",
      yTitle: "useful GFLOP/s")
    var marks: [Markup] = []
    for (number, roof) in roofs.slopes.enumerated() {
      let knee = roofs.flops / roof.rate
      let start = max(frame.x.low, frame.y.low * 1e9 / roof.rate)
      let end = min(knee, frame.x.high)
      guard start < end else { continue }
      marks.append(
        line(
          frame.x.place(start), frame.y.place(start * roof.rate / 1e9), frame.x.place(end),
          frame.y.place(end * roof.rate / 1e9), "roof"))
      // Names stand under their slopes, one below the other.
      let place = start * pow(end / start, 0.3)
      marks.append(
        text(
          frame.x.place(place) + 8,
          frame.y.place(place * roof.rate / 1e9) + 16 + Double(number) * 2,
          "\(roof.name) \(short(roof.rate / 1e9)) GB/s", "roofname"))
    }
    let knee = roofs.slopes.map { roofs.flops / $0.rate }.min() ?? frame.x.low
    marks.append(
      line(
        frame.x.place(max(frame.x.low, knee)), frame.y.place(roofs.flops / 1e9),
        frame.x.place(frame.x.high), frame.y.place(roofs.flops / 1e9), "roof"))
    marks.append(
      text(
        frame.x.place(frame.x.high) - 4, frame.y.place(roofs.flops / 1e9) - 7,
        "f32 multiply-adds \(short(roofs.flops / 1e9)) GFLOP/s", "roofname", anchor: "end"))
    let best = space.best?.plan
    for (intensity, rate, item) in points {
      marks.append(
        mark(
          frame.x.place(intensity), frame.y.place(rate), series: series(item.plan), words(item),
          isChosen: item.plan == best))
    }
    return frame.plot(
      marks, label: "Roofline: useful GFLOP/s of \(points.count) plans over their intensity.")
  }

  // MARK: The landscape

  /// One map a schedule: for each chunk and value tile the best time over all other axes.
  var landscape: Markup {
    Markup(
      schedules.compactMap { name in
        let own = space.timed.filter { $0.plan.schedule == name }
        return own.isEmpty
          ? nil : HeatMap(title: name, plans: own, best: space.best?.measured ?? 0).markup
      })
  }

  private func words(_ item: MeasuredPlan) -> String {
    "\(item.plan.words): measured \(short((item.measured ?? 0) * 1e3)) ms, predicted "
      + "\(short(item.predicted * 1e3)) ms"
  }
}

/// What bounds a rate: arithmetic, and bytes by level.
private struct Roofs {
  let flops: Double
  let slopes: [(name: String, rate: Double)]

  init(_ calibration: Calibration, lanes: Int, threads: Int) {
    let own = Double(max(1, threads))
    // What the measured threads did together, and no more than that for more of them.
    let scale = min(own, calibration.scaling)
    flops = 2 * Double(lanes) / calibration.multiplyAdd * scale
    slopes = [
      ("memory", own > 1 ? calibration.memoryReadTogether : calibration.memoryRead),
      ("third cache", calibration.thirdRead * scale),
      ("second cache", calibration.secondRead * scale),
    ]
  }
}

extension Plan {
  /// The parts of a plan that matter, in one line.
  var words: String {
    var parts = ["\(schedule), chunk \(chunk)"]
    if subBlock != chunk { parts.append("sub-block \(subBlock)") }
    parts += ["key tile \(keyTile)", "value tile \(valueTile)"]
    if headTile > 1 { parts.append("head tile \(headTile)") }
    if materialization != .none { parts.append("states \(materialization)") }
    if products != .f32 { parts.append("products \(products.rawValue)") }
    parts += innerChoices.map { "\($0.axis.option.replacing("-", with: " ")) \($0.value)" }
    return parts.joined(separator: ", ")
  }
}
