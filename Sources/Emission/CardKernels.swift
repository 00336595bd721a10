import Recurrences
import Schedules
import TileIR

/// Kernels on a card that go by words of their own and not by the block's.
protocol CardKernels {
  /// The templates, in their order.
  var vocabularies: [String] { get }
  /// What the templates are told of sizes.
  var settings: String { get }
  /// Maps, places and kernels, in front of which a `ChunkWalkEmitter`'s maps stand.
  var functions: String { get }
  var kernelNames: [String] { get }
  var kernelThreads: [Int] { get }
  /// Bytes of shared memory that each kernel is launched with.
  var kernelMemory: [Int] { get }
}

extension CardKernels {
  /// Shared memory of a block of a card with products of warpgroups.
  static var sharedMemory: Int { 227 << 10 }
}

/// Those of a gradient.
protocol CardGradient: CardKernels {
  /// Whether its workspace has places for each chunk, as the tile program's tensors have.
  var keepsChunks: Bool { get }
  /// Whether the processor describes tensors for its copies.
  var describesTensors: Bool { get }
  /// The bytes that a call's workspace takes, as C.
  var workspaceBytes: String { get }
  /// What adds the launches to `all`, from the kernel at `first` on.
  func launch(_ first: Int) -> [String]
}

extension CardGradient {
  var describesTensors: Bool { false }

  /// A map, or its slope, as a function of `x`, the tensor's number.
  func text(_ map: Expression) -> String {
    CExpression(isVector: true) { $0 == Symbol.scale ? "scale" : "x" }.text(map)
  }

  /// The member of a struct of maps that finds one.
  func member(_ name: String, _ map: Expression, _ out: inout CWriter) {
    out.block("SL_MEMBER float \(name)(float x) const") {
      $0.line("(void)x;")
      $0.longLine("return \(text(map));")
    }
  }
}
