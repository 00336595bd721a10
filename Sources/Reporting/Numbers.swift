import Foundation

/// A number with three digits that count: `0.0123`, `1.23`, `12.3`, `123`, `1 234`.
func short(_ number: Double) -> String {
  guard number.isFinite, number != 0 else { return number == 0 ? "0" : "-" }
  let places = max(0, 2 - Int(floor(log10(abs(number)))))
  let text = String(format: "%.\(min(places, 9))f", number)
  guard places == 0, abs(number) >= 10_000 else { return text }
  var grouped = ""
  for (index, digit) in text.reversed().enumerated() {
    if index > 0, index % 3 == 0, digit != "-" { grouped.append(" ") }
    grouped.append(digit)
  }
  return String(grouped.reversed())
}

/// A tick's number, with no digit more than it needs.
func tickText(_ number: Double) -> String {
  number >= 10_000 ? short(number) : String(format: "%g", number)
}

/// A coordinate: two places are a fraction of a pixel.
func coordinate(_ number: Double) -> String { String(format: "%.2f", number) }

/// A logarithmic axis from data to pixels.
struct LogAxis {
  let low: Double
  let high: Double
  let from: Double
  let to: Double

  /// An axis that holds the values with a little room on both sides.
  init(_ values: [Double], from: Double, to: Double) {
    let positive = values.filter { $0 > 0 && $0.isFinite }
    let least = positive.min() ?? 1
    let most = positive.max() ?? 10
    let room = max(1.12, pow(most / least, 0.06))
    low = least / room
    high = max(most * room, low * 2)
    self.from = from
    self.to = to
  }

  func place(_ value: Double) -> Double {
    from + (to - from) * log(max(value, low / 1e3) / low) / log(high / low)
  }

  /// 1, 2 and 5 times powers of ten; powers alone where these would be many.
  var ticks: [Double] {
    let first = Int(floor(log10(low)))
    let last = Int(ceil(log10(high)))
    let steps: [Double] = last - first > 4 ? [1] : last - first > 2 ? [1, 3] : [1, 2, 5]
    let all = (first...last).flatMap { power in steps.map { $0 * pow(10, Double(power)) } }
    return all.filter { $0 >= low * 0.999 && $0 <= high * 1.001 }
  }
}
