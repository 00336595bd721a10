import Recurrences

/// How far `got` is from `want`: the RMS of the differences over the RMS of `want`.
///
/// - Two empty arrays agree: 0. Arrays of different sizes do not: infinity.
/// - A number that is not finite where the wanted one is finite makes it infinity.
/// - A wanted infinity or NaN must be met by the same, else it is infinity; it counts for nothing
///   more.
/// - Where everything wanted is zero there is no scale to measure by: 0 if everything got is zero
///   too, else infinity.
public func rmsRatio(_ got: [Double], _ want: [Double]) -> Double {
  guard got.count == want.count else { return .infinity }
  let largest = want.reduce(0) { $1.isFinite ? max($0, abs($1)) : $0 }
  var (error, size) = (0.0, 0.0)
  for (actual, wanted) in zip(got, want) {
    guard wanted.isFinite else {
      if actual == wanted || (actual.isNaN && wanted.isNaN) { continue }
      return .infinity
    }
    guard actual.isFinite else { return .infinity }
    guard largest > 0 else {
      if actual == 0 { continue }
      return .infinity
    }
    // Measured in the largest number, so that no square overflows or vanishes.
    let (difference, own) = ((actual - wanted) / largest, wanted / largest)
    error += difference * difference
    size += own * own
  }
  return size > 0 ? (error / size).squareRoot() : 0
}

/// The error that rounding the reference itself to `type` makes: no kernel with outputs of that
/// type can be expected below it.
public func roundingFloor(of want: [Double], as type: ElementType) -> Double {
  rmsRatio(want.map(type.rounded), want)
}
