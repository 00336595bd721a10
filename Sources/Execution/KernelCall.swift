import Emission
import Foundation
import Recurrences
import Targets

/// Calls a loaded kernel in this process, on raw bytes in the tensors' own types.
public struct KernelCall: Sendable {
  public let manifest: KernelManifest
  private let library: LoadedLibrary

  /// What a call gives: `output` is [B, T, query heads, V] in the manifest's type, `finalState`
  /// [sequences, heads, K, state columns] in that of its sums.
  public typealias Outcome = (output: [UInt8], finalState: [UInt8]?)

  /// Loads a package's library.
  ///
  /// - Throws: a sentence when this machine cannot run it, or it is not what the manifest says.
  public init(_ package: KernelPackage) throws(SluiceError) {
    let target = try asSentence { try Target.named(package.manifest.target) }
    guard Host.detect().runs(target) else {
      throw SluiceError(
        .unsupported,
        "\(package.library) was built for \(target.name), and this machine is another; "
          + "build the package for this one.")
    }
    try self.init(
      manifest: package.manifest, library: asSentence { try LoadedLibrary(package.library) })
  }

  /// A library that is loaded already; its own word must agree with the manifest on everything that
  /// fixes how much memory is read and written.
  public init(manifest: KernelManifest, library: LoadedLibrary) throws(SluiceError) {
    self.manifest = manifest
    self.library = library
    let text = try asSentence { try library.text("\(manifest.name)_manifest") }
    guard let own = try? JSONDecoder().decode(KernelManifest.self, from: Data(text.utf8)) else {
      throw SluiceError(.badInput, "\(library.path) does not describe itself: it is damaged.")
    }
    guard own.abi == manifest.abi, own.name == manifest.name, own.key == manifest.key,
      own.value == manifest.value, own.type == manifest.type,
      Self.sizes(own.inputs) == Self.sizes(manifest.inputs),
      own.stateColumns == manifest.stateColumns
    else {
      throw SluiceError(
        .badInput, "\(library.path) is not the kernel that its manifest describes.")
    }
  }

  /// Computes.
  ///
  /// - Parameters:
  ///   - inputs: by name, dense [B, T, heads, D] in the manifest's types; parameters [heads, D].
  ///   - scale: the factor on the output; the recurrence's own when nil.
  ///   - initialState: [sequences, heads, K, state columns], as `finalState`; zero when nil.
  ///   - threads: the plan's own number when nil.
  /// - Throws: a sentence for what does not fit, or the library's refusal.
  public func forward(
    inputs: [String: [UInt8]], shape: ProblemShape, scale: Double? = nil,
    initialState: [UInt8]? = nil, wantsFinalState: Bool = false, threads: Int? = nil
  ) throws(SluiceError) -> Outcome {
    let sizes = try CallSizes(manifest, shape)
    try sizes.check(inputs, initialState)
    guard let threads = Int32(exactly: threads ?? 0), threads >= 0 else {
      throw SluiceError(.usage, "The number of threads is negative or too large.")
    }
    // NaN where nothing is written would be seen; zeros cost the same.
    var output = [UInt8](repeating: 0, count: sizes.output)
    var finalState = [UInt8](repeating: 0, count: wantsFinalState ? sizes.state : 0)
    let code = try asSentence {
      try withPointers(manifest.inputs.map { inputs[$0.name]! }) { pointers in
        try output.withUnsafeMutableBytes { output in
          try finalState.withUnsafeMutableBytes { final in
            try withOptional(initialState) { initial in
              try withOptional(shape.cumulativeLengths?.map(Int64.init)) { lengths in
                let block = ArgumentBlock(
                  inputs: pointers.count, hasSnapshots: manifest.snapshotEvery != nil)
                block.set(shape)
                block.set(lengths, at: 48)
                block.set(threads, at: 56)
                block.set(scale: scale ?? manifest.defaultScale, of: manifest.type)
                block.set(initial, at: 88)
                block.set(wantsFinalState ? UnsafeRawPointer(final.baseAddress) : nil, at: 96)
                block.set(UnsafeRawPointer(output.baseAddress), at: 104)
                for (place, pointer) in pointers.enumerated() {
                  block.set(pointer, at: 112 + 8 * place)
                }
                return try run(block)
              }
            }
          }
        }
      }
    }
    if code != 0 { throw refusal(Int(code)) }
    return (output, wantsFinalState ? finalState : nil)
  }

  /// Inputs without their summaries, which move no byte.
  private static func sizes(_ inputs: [KernelManifest.Input]) -> [KernelManifest.Input] {
    inputs.map { input in
      var bare = input
      bare.summary = ""
      return bare
    }
  }

  /// Asks for the workspace, allocates it and calls.
  private func run(_ block: ArgumentBlock) throws -> Int32 {
    typealias Size = @convention(c) (UnsafeRawPointer) -> Int64
    let size = unsafeBitCast(
      try library.address(of: "\(manifest.name)_workspace_size"), to: Size.self)
    let needed = withExtendedLifetime(library) { size(block.memory) }
    guard needed >= 0 else { throw refusal(Int(-needed)) }
    let workspace = UnsafeMutableRawPointer.allocate(
      byteCount: max(Int(needed), 64), alignment: 64)
    defer { workspace.deallocate() }
    block.set(UnsafeRawPointer(workspace), at: 72)
    block.set(UInt64(needed), at: 80)
    block.fillEmpty(with: workspace)
    return try library.call("\(manifest.name)_forward", block.memory)
  }

  /// What a return code means (docs/abi.md).
  private func refusal(_ code: Int) -> SluiceError {
    let meaning =
      switch code {
      case 1: "the library has another version of the argument struct"
      case 2: "a required pointer is missing"
      case 3:
        "a size is negative or too large, or the query heads are not a multiple of the heads"
      case 4: "cu_seqlens does not rise from 0 to the number of tokens, or the batch is not 1"
      case 5: "the workspace is too small"
      case 6: "a pointer is not aligned"
      case 8: "the operating system does not let this process use the matrix tiles"
      case 7: "the layout or the number of threads is unknown or negative"
      case 9: "the tokens between two snapshots are no multiple of the chunk"
      default: "the library does not say why"
      }
    return SluiceError(
      .badInput, "\(manifest.name) refused the call with code \(code): \(meaning).")
  }
}

extension KernelManifest {
  /// The factor on the output when the caller gives none.
  public var defaultScale: Double {
    recurrence.defaultScale == .one ? 1 : 1 / Double(key).squareRoot()
  }
}
