extension Target {
  /// NVIDIA cards from Ampere (A100) on: what they all have, 163 KiB of shared memory on an A100.
  public static let sm80 = Target(
    name: "sm_80", vocabulary: "words.cuh", lanes: 32, vectorRegisters: 64,
    secondLevelCache: 40 << 20, compilerArguments: [],
    device: Device(
      computeCapability: 80, architectures: [.init("sm_80", 80), .init("sm_90", 90)],
      ptxVersion: 70, driverVersion: 12000, sharedMemory: 163 << 10, threads: 256))
}
