/// What a target is when its kernels run on a card beside the processor, reached by CUDA's driver.
public struct Device: Hashable, Codable, Sendable {
  /// Ten times the compute capability: 80 for an A100, 90 for an H100.
  public var computeCapability: Int
  /// What machine code is made for, where ptxas is at hand. A card runs code of its own major number
  /// and no greater minor one, so a target of many cards names several.
  public var architectures: [Architecture]
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
    computeCapability: Int, architectures: [Architecture], ptxVersion: Int, driverVersion: Int,
    sharedMemory: Int, threads: Int, hasWarpgroups: Bool = false
  ) {
    self.computeCapability = computeCapability
    self.architectures = architectures
    self.ptxVersion = ptxVersion
    self.driverVersion = driverVersion
    self.sharedMemory = sharedMemory
    self.threads = threads
    self.hasWarpgroups = hasWarpgroups
  }

  /// One of ptxas's machine codes.
  public struct Architecture: Hashable, Codable, Sendable {
    /// As ptxas has it: `sm_90a`.
    public var name: String
    /// Ten times the least compute capability of the cards that run it.
    public var computeCapability: Int

    public init(_ name: String, _ computeCapability: Int) {
      self.name = name
      self.computeCapability = computeCapability
    }

    /// The file that ptxas writes and the library's source embeds.
    public var fileName: String { "kernel.\(name).cubin" }
  }
}
