import Foundation

/// SplitMix64: the same seed gives the same problems on every machine.
public struct Random: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  /// A generator of its own for the part called `name`: one part does not move another's numbers.
  public init(seed: UInt64, _ name: String) {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    state = seed ^ hash
  }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// Uniform in [lower, upper).
  mutating func uniform(_ lower: Double = 0, _ upper: Double = 1) -> Double {
    lower + (upper - lower) * Double(next() >> 11) * 0x1p-53
  }

  /// Normal with mean 0 and deviation 1.
  mutating func normal() -> Double {
    let radius = (-2 * log(1 - uniform())).squareRoot()
    return radius * cos(2 * .pi * uniform())
  }

  mutating func chance(_ probability: Double) -> Bool { uniform() < probability }
}
