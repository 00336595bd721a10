import CLLVM
import Foundation
import Targets

/// What there is on this machine of all that Sluice uses, and how to get what is missing.
public struct Diagnosis: Hashable, Codable, Sendable {
  public var findings: [Finding]

  /// One thing that was looked for.
  public struct Finding: Hashable, Codable, Sendable {
    public var what: String
    /// What it is, or what it would be good for.
    public var found: String
    /// Whether kernels cannot be built without it.
    public var isNeeded: Bool
    public var isThere: Bool
    /// How to get it.
    public var remedy: String?
  }

  /// What is needed and not there.
  public var missing: [Finding] { findings.filter { $0.isNeeded && !$0.isThere } }

  /// Looks; `clang` is the compiler that a user names instead of the one that would be found.
  public static func examine(clang: String? = nil) async -> Diagnosis {
    let host = Host.detect()
    var findings = [
      Finding("processor", host.description),
      Finding("vector features", host.vectorFeatures.joined(separator: " ")),
      Finding("best target", host.bestTarget.name),
      Finding("LLVM", llvmVersion),
    ]
    findings += await compiler(clang)
    findings.append(cache())
    findings.append(
      await tool(
        "qemu-aarch64", ["--version"], for: "running NEON kernels here", get: "qemu-user"))
    findings.append(
      await tool(
        "aarch64-linux-gnu-gcc", ["--version"], for: "linking NEON kernels here",
        get: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"))
    findings.append(
      await tool("python3", ["--version"], for: "the packages' Python modules", get: "python3"))
    findings.append(
      await tool(
        "python3", ["-c", "import numpy; print('NumPy', numpy.__version__)"], called: "NumPy",
        for: "the packages' Python modules", get: "python3-numpy"))
    findings.append(await assembler())
    return Diagnosis(findings: findings)
  }

  private static var llvmVersion: String {
    var (major, minor, patch): (UInt32, UInt32, UInt32) = (0, 0, 0)
    LLVMGetVersion(&major, &minor, &patch)
    return "\(major).\(minor).\(patch)"
  }

  private static func compiler(_ clang: String?) async -> [Finding] {
    let toolchain: Toolchain
    do {
      toolchain = try await Toolchain.find(clang: clang)
    } catch {
      let why = (error as? SluiceError)?.message ?? "\(error)"
      return [Finding("clang", why, isThere: false)]
    }
    let version = toolchain.version
    let runtime = (try? await toolchain.openMPRuntime()) ?? nil
    return [
      Finding("clang", "\(toolchain.path), \(version.line)"),
      runtime.map { Finding("OpenMP", $0) }
        ?? Finding(
          "OpenMP", "no libomp for this clang", isThere: false,
          remedy: "apt-get install libomp-\(version.major)-dev"),
    ]
  }

  private static func assembler() async -> Finding {
    let purpose = "machine code for cards beside their PTX"
    guard let found = try? await CardAssembler.find() else {
      return Finding(
        "ptxas", "not found, for \(purpose)", isNeeded: false, isThere: false,
        remedy: "pip install nvidia-cuda-nvcc")
    }
    return Finding("ptxas", "\(found.path), \(found.version), for \(purpose)", isNeeded: false)
  }

  private static func cache() -> Finding {
    let folder = KernelCache().folder
    do {
      try Files.makeFolder(folder)
      let probe = try Files.makeUniqueFolder(in: folder, prefix: ".doctor-")
      defer { Files.remove(probe) }
      try Files.write([1], to: "\(probe)/byte")
      return Finding("kernel cache", folder)
    } catch {
      // Kernels are then kept below the temporary folder.
      return Finding(
        "kernel cache", "\(folder) cannot be written", isNeeded: false, isThere: false,
        remedy: "set SLUICE_CACHE to a folder that can")
    }
  }

  private static func tool(
    _ program: String, _ arguments: [String], called name: String? = nil, for purpose: String,
    get packages: String
  ) async -> Finding {
    let outcome = try? await Program(program, arguments).run(limit: .seconds(20))
    let name = name ?? program
    guard let outcome, outcome.succeeded else {
      return Finding(
        name, "not found, for \(purpose)", isNeeded: false, isThere: false,
        remedy: "apt-get install \(packages)")
    }
    let version = outcome.output.prefix { $0 != "\n" }
    return Finding(name, "\(version), for \(purpose)", isNeeded: false)
  }
}

extension Diagnosis.Finding {
  init(
    _ what: String, _ found: String, isNeeded: Bool = true, isThere: Bool = true,
    remedy: String? = nil
  ) {
    self.what = what
    self.found = found
    self.isNeeded = isNeeded
    self.isThere = isThere
    self.remedy = remedy
  }
}

extension Host {
  /// The features that targets ask for, and that this machine has, sorted.
  public var vectorFeatures: [String] {
    let asked = Target.all.flatMap(\.compilerArguments)
      .filter { $0.hasPrefix("-m") && !$0.contains("=") }.map { String($0.dropFirst(2)) }
    return Set(asked).union(["neon", "amx-bf16", "avx512fp16"]).intersection(features).sorted()
  }
}
