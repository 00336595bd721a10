/// Facts of a machine that a schedule and an emitter need; one file a target, none of them a decision.
public struct Target: Hashable, Codable, Sendable {
  /// The name that a user types and that a kernel's name carries: `generic`, `avx2`, `avx512`, `neon`.
  public var name: String
  /// The vocabulary header in `templates/c` that says what each word is on this machine.
  public var vocabulary: String
  /// Values of `float` in one vector.
  public var lanes: Int
  /// Architectural vector registers; a register block must fit them.
  public var vectorRegisters: Int
  /// Whether the machine multiplies pairs of bf16 into f32 (`vdpbf16ps`).
  public var hasBFloat16Products: Bool
  /// How many multiplications of bf16 pairs the machine does in the time of one in f32: two where
  /// `vdpbf16ps` runs as often as a multiply-add, one where it has half the units.
  public var bfloat16ProductRate: Double
  /// The header with the words of a matrix unit for bf16 (tiles of 16 x 32 by 32 x 16, sums in f32),
  /// pasted after the tile words; nil without one.
  public var matrixVocabulary: String?
  /// Bytes of first-level data cache and second-level cache of one core.
  public var firstLevelCache: Int
  public var secondLevelCache: Int
  /// What clang is told: `--target=…` when the code is for another architecture, then features.
  public var compilerArguments: [String]
  /// The program that runs this target's code on another host (`qemu-aarch64`), with its arguments.
  public var emulator: [String]
  /// The card that runs the kernels; nil where the processor does.
  public var device: Device?

  public init(
    name: String, vocabulary: String, lanes: Int, vectorRegisters: Int,
    hasBFloat16Products: Bool = false, bfloat16ProductRate: Double = 2,
    matrixVocabulary: String? = nil, firstLevelCache: Int = 32 << 10,
    secondLevelCache: Int = 512 << 10, compilerArguments: [String], emulator: [String] = [],
    device: Device? = nil
  ) {
    self.name = name
    self.vocabulary = vocabulary
    self.lanes = lanes
    self.vectorRegisters = vectorRegisters
    self.hasBFloat16Products = hasBFloat16Products
    self.bfloat16ProductRate = bfloat16ProductRate
    self.matrixVocabulary = matrixVocabulary
    self.firstLevelCache = firstLevelCache
    self.secondLevelCache = secondLevelCache
    self.compilerArguments = compilerArguments
    self.emulator = emulator
    self.device = device
  }
}

extension Target {
  /// An instruction set that needs hardware of its own; `nil` is plain C for any machine.
  public enum Architecture: String, Hashable, Codable, Sendable {
    case x86 = "x86_64"
    case aarch64

    /// The triple that clang is given for this architecture when the host has another.
    public var triple: String { "\(rawValue)-linux-gnu" }

    /// The name as people write it.
    public var title: String { self == .x86 ? "x86-64" : "64-bit Arm" }
  }

  /// The architecture that this target's vocabulary needs, or `nil` where any will do.
  public var architecture: Architecture? {
    switch vocabulary {
    case "generic.h", "double.h", "words.cuh": nil
    case "neon.h": .aarch64
    default: .x86
    }
  }

  /// Whether the machine has a matrix unit for bf16.
  public var hasMatrixUnit: Bool { matrixVocabulary != nil }

  /// Whether the code is compiled for another machine than the one that compiles it.
  public var isCross: Bool { !emulator.isEmpty }
}
