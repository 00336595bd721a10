import CLLVM
import Foundation
import Targets

/// The machine that Sluice runs on, as LLVM and the kernel see it.
public struct Host: Hashable, Codable, Sendable {
  /// LLVM's name of the processor, such as `znver5`.
  public var cpuName: String
  /// `nil` on a machine that no target but `generic` serves.
  public var architecture: Target.Architecture?
  /// LLVM's names of the features that it has, such as `avx512bf16`.
  public var features: Set<String>
  /// Processors that this process may use.
  public var cores: Int
  /// Bytes of the data (or unified) cache by level.
  public var cacheSizes: [Int: Int]

  /// A host by its facts; ``detect()`` asks the machine.
  public init(
    cpuName: String, architecture: Target.Architecture?, features: Set<String>, cores: Int,
    cacheSizes: [Int: Int]
  ) {
    self.cpuName = cpuName
    self.architecture = architecture
    self.features = features
    self.cores = cores
    self.cacheSizes = cacheSizes
  }

  /// Asks LLVM for the processor and its features, and the kernel for cores and caches.
  public static func detect() -> Host {
    var features = take(LLVMGetHostCPUFeatures()).split(separator: ",")
      .filter { $0.hasPrefix("+") }.map { String($0.dropFirst()) }
    if sluice_matrix_permitted() == 0 { features.removeAll { $0.hasPrefix("amx") } }
    return Host(
      cpuName: take(LLVMGetHostCPUName()), architecture: .host, features: Set(features),
      cores: usableProcessors,
      cacheSizes: readCacheSizes("/sys/devices/system/cpu/cpu0/cache"))
  }

  /// Processors that this process may run on, which can be fewer than there are.
  private static var usableProcessors: Int {
    let status = String(decoding: (try? Files.read("/proc/self/status")) ?? [], as: UTF8.self)
    let mask = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") } ?? ""
    let count = mask.dropFirst("Cpus_allowed:".count).reduce(0) { count, digit in
      count + (digit.hexDigitValue ?? 0).nonzeroBitCount
    }
    return count > 0 ? count : ProcessInfo.processInfo.activeProcessorCount
  }

  /// The fastest target whose instructions this host has, tuned for it and with its caches.
  public var bestTarget: Target {
    let best = Target.all.last { runs($0) && $0.architecture != nil } ?? .generic
    return tuned(best)
  }

  /// The target that a user names; `native` is ``bestTarget``, and a target of this host takes its caches.
  public func target(named name: String) throws -> Target {
    if name == "native" { return bestTarget }
    let target = try Target.named(name)
    return runs(target) ? withCaches(target) : target
  }

  /// Whether the code of that target runs here without an emulator.
  public func runs(_ target: Target) -> Bool {
    // Whether there is a card, and which, the library itself finds out.
    guard target.device == nil else { return false }
    guard let needed = target.architecture else { return true }
    guard needed == architecture else { return false }
    let flags = target.compilerArguments.filter {
      $0.hasPrefix("-m") && !$0.contains("=")
    }
    return flags.allSatisfy { features.contains(String($0.dropFirst(2))) }
  }

  /// One line for a person: `znver5, x86-64, 16 cores, caches 48 KiB + 1 MiB + 32 MiB, best target avx512bf16`.
  public var description: String {
    let caches = cacheSizes.sorted { $0.key < $1.key }.map { Self.size($0.value) }
    return [
      cpuName, architecture?.title ?? "an architecture without vocabulary",
      cores == 1 ? "1 core" : "\(cores) cores",
      caches.isEmpty ? "caches unknown" : "caches " + caches.joined(separator: " + "),
      "best target \(bestTarget.name)",
    ].joined(separator: ", ")
  }

  /// Processors that have one unit for `vdpbf16ps` and two for multiply-adds.
  private static let slowPairs: Set<String> = [
    "cooperlake", "sapphirerapids", "emeraldrapids", "graniterapids", "graniterapids-d",
  ]

  private func withCaches(_ target: Target) -> Target {
    var target = target
    target.firstLevelCache = cacheSizes[1] ?? target.firstLevelCache
    target.secondLevelCache = cacheSizes[2] ?? target.secondLevelCache
    if Self.slowPairs.contains(cpuName) { target.bfloat16ProductRate = 1 }
    if target.architecture == architecture || target.architecture == nil {
      target.emulator = []
      target.compilerArguments.removeAll { $0.hasPrefix("--target=") }
    }
    return target
  }

  private func tuned(_ target: Target) -> Target {
    var target = withCaches(target)
    if !cpuName.isEmpty && cpuName != "generic" {
      target.compilerArguments.append("-mtune=\(cpuName)")
    }
    return target
  }

  /// Reads a folder such as `/sys/devices/system/cpu/cpu0/cache`; what is missing is left out.
  static func readCacheSizes(_ folder: String) -> [Int: Int] {
    func text(_ index: String, _ name: String) -> String {
      let bytes = (try? Files.read("\(folder)/\(index)/\(name)")) ?? []
      return String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
    }
    var sizes: [Int: Int] = [:]
    for index in Files.names(in: folder) where index.hasPrefix("index") {
      guard text(index, "type") != "Instruction", let level = Int(text(index, "level")) else {
        continue
      }
      let size = text(index, "size")
      let unit = size.hasSuffix("M") ? 1 << 20 : size.hasSuffix("K") ? 1 << 10 : 1
      if let count = Int(size.prefix { $0.isNumber }), count > 0 { sizes[level] = count * unit }
    }
    return sizes
  }

  private static func take(_ text: UnsafeMutablePointer<CChar>?) -> String {
    guard let text else { return "" }
    defer { LLVMDisposeMessage(text) }
    return String(cString: text)
  }

  private static func size(_ bytes: Int) -> String {
    bytes % (1 << 20) == 0 ? "\(bytes >> 20) MiB" : "\(bytes >> 10) KiB"
  }
}

extension Target.Architecture {
  /// The architecture that this process was compiled for.
  static var host: Target.Architecture? {
    #if arch(x86_64)
      .x86
    #elseif arch(arm64)
      .aarch64
    #else
      nil
    #endif
  }
}
