/// What a target is when its kernels run on a card beside the processor, reached by CUDA's driver.
public struct Device: Hashable, Codable, Sendable {
  /// Ten times the compute capability: 80 for an A100, 90 for an H100.
  public var computeCapability: Int
  /// Ten times the version of PTX that clang is asked for.
  public var ptxVersion: Int
  /// The oldest driver whose calls the library makes and which knows that PTX, as
  /// `cuDriverGetVersion` counts: 12000 for CUDA 12.0.
  public var driverVersion: Int
  /// Bytes of shared memory that one block may take.
  public var sharedMemory: Int
  /// Threads of one block.
  public var threads: Int
  /// Whether four warps multiply together, from shared memory (`wgmma`), and copies run on their own.
  public var hasWarpgroups: Bool

  public init(
    computeCapability: Int, ptxVersion: Int, driverVersion: Int, sharedMemory: Int, threads: Int,
    hasWarpgroups: Bool = false
  ) {
    self.computeCapability = computeCapability
    self.ptxVersion = ptxVersion
    self.driverVersion = driverVersion
    self.sharedMemory = sharedMemory
    self.threads = threads
    self.hasWarpgroups = hasWarpgroups
  }
}
