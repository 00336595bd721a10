import Emission
import Recurrences
import Targets

/// Whether the numbers of a gate or parameter lie where the recurrence says.
///
/// Beyond its domain a gate makes the state grow without bound, so it is refused. NaN is no number
/// beyond a bound: it passes, and reaches what docs/abi.md says.
enum Domain {
  /// - Throws: a sentence with the first number outside, and where it stands.
  static func check(
    _ tensor: SafeTensor, _ input: KernelManifest.Input, _ file: String
  ) throws(SluiceError) {
    guard let (place, number) = firstOutside(tensor.bytes, input.type, input.domain) else {
      return
    }
    let side = number > input.domain.upper ? "above" : "below"
    let bound = side == "above" ? input.domain.upper : input.domain.lower
    let index = index(of: place, in: tensor.shape).map(String.init).joined(separator: ", ")
    throw SluiceError(
      .badInput,
      "The tensor '\(input.name)' of \(file) is \(number) at [\(index)], \(side) its domain's "
        + "bound of \(bound): \(input.summary).")
  }

  private static func firstOutside(
    _ bytes: [UInt8], _ type: ElementType, _ domain: Interval
  ) -> (Int, Double)? {
    bytes.withUnsafeBytes { bytes in
      switch type {
      case .f64:
        first(bytes.count / 8, domain) {
          bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self)
        }
      case .f32:
        first(bytes.count / 4, domain) {
          Double(bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self))
        }
      case .bf16:
        first(bytes.count / 2, domain) {
          let half = bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)
          return Double(Float(bitPattern: UInt32(half) << 16))
        }
      case .f16:
        first(bytes.count / 2, domain) {
          Double(bytes.loadUnaligned(fromByteOffset: 2 * $0, as: Float16.self))
        }
      }
    }
  }

  private static func first(
    _ count: Int, _ domain: Interval, _ number: (Int) -> Double
  ) -> (Int, Double)? {
    for place in 0..<count {
      let number = number(place)
      if number > domain.upper || number < domain.lower { return (place, number) }
    }
    return nil
  }

  private static func index(of place: Int, in shape: [Int]) -> [Int] {
    var rest = place
    return shape.reversed().map { size in
      defer { rest /= size }
      return rest % size
    }.reversed()
  }
}
