import Targets

/// What a compiled library's code is made of, function by function.
public struct ObjectReport: Hashable, Codable, Sendable {
  /// One function's instructions, counted as they stand (not as often as they run).
  public struct Function: Hashable, Codable, Sendable {
    public var name: String
    /// Bytes of code.
    public var size: Int
    public var instructions: Int
    public var mix: [InstructionClass: Int]
    /// Instructions by the bits of the widest vector that each works on: 64, 128, 256, 512.
    public var vectorInstructions: [Int: Int]
    /// Vector registers stored to fixed places of the stack that are read again, and those reads.
    public var spillStores: Int
    public var spillReloads: Int
    /// Stores and reloads of them that stand in innermost loops, and so run most often.
    public var loopSpills: Int
    /// Bytes that the function takes off the stack pointer, without pushes, where they are constants.
    public var frameSize: Int

    /// The bits of the widest vector in use; 0 where there is none.
    public var widestVector: Int { vectorInstructions.keys.max() ?? 0 }

    /// The share, 0 to 1, that vectors of these bits have in all vector instructions.
    public func share(ofBits bits: Int) -> Double {
      let all = vectorInstructions.values.reduce(0, +)
      return all == 0 ? 0 : Double(vectorInstructions[bits] ?? 0) / Double(all)
    }
  }

  public var architecture: Target.Architecture
  /// In the order of their addresses.
  public var functions: [Function]

  /// The name of a vector register of these bits: `zmm`, `ymm`, `xmm`; `q` and `d` on Arm; `-` for 0.
  public func register(ofBits bits: Int) -> String {
    switch (architecture, bits) {
    case (_, 0): "-"
    case (.x86, 512): "zmm"
    case (.x86, 256): "ymm"
    case (.x86, _): "xmm"
    case (.aarch64, 64): "d"
    case (.aarch64, _): "q"
    }
  }

  /// The function of that name, or the first whose name begins so (`forward.omp_outlined` for `forward`).
  public func function(_ name: String) -> Function? {
    functions.first { $0.name == name } ?? functions.first { $0.name.hasPrefix(name) }
  }

  /// The bits of the widest vector in any function.
  public var widestVector: Int { functions.map(\.widestVector).max() ?? 0 }
  /// All spills to the stack, stores and reloads together.
  public var spills: Int { functions.reduce(0) { $0 + $1.spillStores + $1.spillReloads } }
  /// Those of them in innermost loops.
  public var loopSpills: Int { functions.reduce(0) { $0 + $1.loopSpills } }
}
