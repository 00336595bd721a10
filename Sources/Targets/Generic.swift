extension Target {
  /// Plain C, any architecture: four lanes in a loop that a compiler may or may not turn into vectors.
  public static let generic = Target(
    name: "generic", vocabulary: "generic.h", lanes: 4, vectorRegisters: 16,
    compilerArguments: [])
}
