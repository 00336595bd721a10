extension Target {
  /// Plain C, any architecture: four lanes in a loop that a compiler may or may not turn into vectors.
  public static let generic = Target(
    name: "generic", vocabulary: "generic.h", lanes: 4, vectorRegisters: 16,
    compilerArguments: [])

  /// The same machine as kernels in double see it: two lanes. Nil where there is no such vocabulary.
  public var inDouble: Target? {
    guard vocabulary == Target.generic.vocabulary else { return nil }
    var target = self
    target.vocabulary = "double.h"
    target.lanes = 2
    return target
  }

  /// Whether its vocabulary is that of kernels in double.
  public var isDouble: Bool { vocabulary == "double.h" }
}
