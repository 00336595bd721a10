import Schedules
import TileIR

/// Everything that is printed for one kernel.
public struct EmittedKernel: Hashable, Codable, Sendable {
  public var name: KernelName
  public var program: TileProgram
  /// The C source, which stands alone, and the header for its callers.
  public var source: SourceFile
  public var header: SourceFile
  public var manifest: KernelManifest
  /// Bytes of shared memory that a block of each of a card's kernels is launched with.
  public var blockMemory: [String: Int] = [:]
}
