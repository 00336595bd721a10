extension Target {
  /// NVIDIA Hopper (H100, H200) with the instructions that only it has.
  public static let sm90a = Target(
    name: "sm_90a", vocabulary: "words.cuh", lanes: 32, vectorRegisters: 64,
    secondLevelCache: 50 << 20, compilerArguments: [],
    device: Device(
      computeCapability: 90, architectures: [.init("sm_90a", 90)], ptxVersion: 80,
      driverVersion: 12000, sharedMemory: 227 << 10, threads: 256, hasWarpgroups: true))
}
