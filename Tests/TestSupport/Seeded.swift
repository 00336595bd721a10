import Foundation

/// A random generator that can be started again: SplitMix64.
public struct Seeded: RandomNumberGenerator {
  public let seed: UInt64
  private var state: UInt64

  /// A new seed each time, which is printed; `SLUICE_SEED` repeats a run.
  public init(for test: String = #function) {
    let given = ProcessInfo.processInfo.environment["SLUICE_SEED"].flatMap { UInt64($0) }
    self.init(seed: given ?? UInt64.random(in: 0..<1 << 32))
    print("\(test): SLUICE_SEED=\(seed)")
  }

  public init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}
