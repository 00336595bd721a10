import Emission
import Targets

/// What clang is asked to make of one source: a pure value, whose argument vector is all there is to say.
public struct BuildJob: Hashable, Codable, Sendable {
  /// What comes out.
  public enum Output: String, Hashable, Codable, Sendable, CaseIterable {
    case library
    case object
    case assembly
    case executable
    /// The card's code of a source for a card.
    case ptx

    /// The product's name in a folder of its own.
    public var fileName: String {
      switch self {
      case .library: "library.so"
      case .object: "kernel.o"
      case .assembly: "kernel.s"
      case .executable: "program"
      case .ptx: "kernel.ptx"
      }
    }
  }

  /// A run-time check compiled into the code; the executable that loads it must have it too.
  public enum Sanitizer: String, Hashable, Codable, Sendable, CaseIterable {
    case address
    case thread
    case undefined
  }

  public var source: SourceFile
  public var target: Target
  /// The compiler's version: older ones are told less, and a cache keeps their products apart.
  public var compiler: CompilerVersion
  /// The optimisation flags, such as `-O3`.
  public var optimisation: [String]
  public var sanitizers: Set<Sanitizer>
  /// Whether `#pragma omp` means threads; a target compiled across has no OpenMP runtime and stays serial.
  public var openMP: Bool
  public var output: Output
  /// Further arguments at the end, such as `-DNAME=1`.
  public var furtherArguments: [String]
  /// What makes machine code for a card's library; without it the library carries PTX alone.
  public var assembler: CardAssembler?

  /// A job; without more said, the fastest threaded library.
  public init(
    source: SourceFile, target: Target, compiler: CompilerVersion,
    optimisation: [String] = ["-O3"], sanitizers: Set<Sanitizer> = [], openMP: Bool = true,
    output: Output = .library, furtherArguments: [String] = [], assembler: CardAssembler? = nil
  ) {
    self.source = source
    self.target = target
    self.compiler = compiler
    self.optimisation = optimisation
    self.sanitizers = sanitizers
    self.openMP = openMP
    self.output = output
    self.furtherArguments = furtherArguments
    self.assembler = assembler
  }

  /// Whether the product runs on several threads.
  public var isThreaded: Bool { openMP && !target.isCross && target.device == nil }

  /// What must be built before, in the same folder: a card's code, which its library carries.
  public var preceding: BuildJob? {
    guard target.device != nil, output == .library else { return nil }
    var job = self
    job.output = .ptx
    return job
  }

  /// The argument vector, without the program: relative names only, so that equal jobs give equal bytes.
  public var arguments: [String] {
    if let device = target.device, output == .ptx || output == .assembly {
      return deviceArguments(device)
    }
    return targetArguments
      + language + optimisation + ["-fPIC", "-fvisibility=hidden"]
      + ["-ffp-contract=off", "-fno-math-errno", "-g0"]
      + ["-Wall", "-Wextra", "-Werror", "-ferror-limit=8", "-fno-color-diagnostics"]
      + sanitizerArguments
      + (isThreaded ? ["-fopenmp"] : [])
      + outputArguments
      + furtherArguments
      + ["-o", output.fileName, source.name]
      + libraries
  }

  /// A card's library is the part of its source that a processor runs.
  private var language: [String] {
    target.device == nil ? ["-std=c11"] : ["-x", "c", "-std=c23", "-DSLUICE_HOST"]
  }

  /// CUDA without a toolkit: the source declares all that it needs. One that is there, as on a PATH
  /// with ptxas, is not looked at: clang warns of versions that are newer than itself.
  private func deviceArguments(_ device: Device) -> [String] {
    [
      "-x", "cuda", "-std=c++17", "-nocudainc", "-nocudalib", "--cuda-path=/dev/null",
      "--cuda-device-only",
      "--cuda-gpu-arch=\(target.name)", "--cuda-feature=+ptx\(device.ptxVersion)",
      "-fgpu-flush-denormals-to-zero",
    ] + optimisation + ["-ffp-contract=off", "-g0", "-S"]
      + ["-Wall", "-Wextra", "-Werror", "-ferror-limit=8", "-fno-color-diagnostics"]
      + furtherArguments + ["-o", output.fileName, source.name]
  }

  /// A tuning for a processor is named by LLVM 22; an older clang may not know it, and does without.
  private var targetArguments: [String] {
    compiler.major >= Toolchain.preferredMajor
      ? target.compilerArguments
      : target.compilerArguments.filter { !$0.hasPrefix("-mtune=") }
  }

  /// A loop that a sanitizer keeps from being vectorised or unrolled is no fault of the source.
  private var sanitizerArguments: [String] {
    guard !sanitizers.isEmpty else { return [] }
    let names = sanitizers.map(\.rawValue).sorted().joined(separator: ",")
    return [
      "-fsanitize=\(names)", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer",
      "-Wno-pass-failed",
    ]
  }

  private var outputArguments: [String] {
    switch output {
    case .assembly, .ptx: ["-S"]
    case .object: ["-c"]
    case .library: ["-shared"] + linking
    case .executable: linking
    }
  }

  /// `$ORIGIN`: a folder that carries its own OpenMP runtime beside the library stands alone.
  private var linking: [String] {
    ["-Wl,--build-id=none", "-Wl,--as-needed"]
      + (output == .library && sanitizers.isEmpty ? ["-Wl,-z,defs"] : [])
      + (isThreaded ? ["-Wl,-rpath,$ORIGIN"] : [])
  }

  private var libraries: [String] {
    switch output {
    case .assembly, .object, .ptx: []
    case .library: target.device == nil ? ["-lm"] : ["-ldl", "-lpthread"]
    case .executable: ["-lm", "-ldl", "-lpthread"]
    }
  }
}
