import Targets

/// How much a search may cost.
public enum Budget: Hashable, Sendable {
  /// Seconds of this run, building and measuring together.
  case seconds(Double)
  /// Candidates of this problem, with those that are on record already.
  case candidates(Int)

  /// Reads `60s` (seconds) or `24c` (candidates).
  public init(_ text: String) throws(SluiceError) {
    let number = text.dropLast()
    if text.hasSuffix("s"), let seconds = Double(number), seconds.isFinite, seconds > 0,
      seconds <= 604_800
    {
      self = .seconds(seconds)
    } else if text.hasSuffix("c"), let count = Int(number), (1...100_000).contains(count) {
      self = .candidates(count)
    } else {
      throw SluiceError(
        .usage,
        "--budget must be seconds such as 60s (at most a week) or candidates such as 24c, above "
          + "zero, not '\(text)'.")
    }
  }
}
