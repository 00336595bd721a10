import Foundation
import Subprocess
import Testing

#if canImport(System)
  import System
#else
  import SystemPackage
#endif

/// One way to compile a vocabulary: its header, the compiler's flags, and what runs the result.
struct VocabularyTarget: Sendable, CustomTestStringConvertible {
  var header: String
  var flags: [String]
  var architecture: String
  /// Features that the CPU must list, as Linux spells them.
  var features: [String] = []

  var testDescription: String { ([header, architecture] + flags).joined(separator: " ") }

  static let avx512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
  static let avx512Features = ["avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"]

  static let all = [
    VocabularyTarget(header: "generic.h", flags: [], architecture: "x86_64"),
    VocabularyTarget(
      header: "avx2.h", flags: ["-mavx2", "-mfma", "-mf16c"], architecture: "x86_64",
      features: ["avx2", "fma", "f16c"]),
    VocabularyTarget(
      header: "avx512.h", flags: avx512, architecture: "x86_64", features: avx512Features),
    VocabularyTarget(
      header: "avx512.h", flags: avx512 + ["-mavx512bf16"], architecture: "x86_64",
      features: avx512Features + ["avx512_bf16"]),
    VocabularyTarget(header: "generic.h", flags: [], architecture: "aarch64"),
    VocabularyTarget(header: "neon.h", flags: [], architecture: "aarch64"),
  ]
}

@Suite("Instruction vocabularies", .serialized)
struct VocabularyTests {
  static let tests = URL(filePath: #filePath).deletingLastPathComponent()
  static let templates = tests.deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "templates/c")

  #if arch(arm64)
    static let host = "aarch64"
  #else
    static let host = "x86_64"
  #endif

  @Test("Every word means what its scalar meaning says", arguments: VocabularyTarget.all)
  func words(of target: VocabularyTarget) async throws {
    try await check("vocabulary_test", target, says: "sl_exp2")
  }

  @Test(
    "Every word of a gradient's and a step's walk means what its scalar meaning says",
    arguments: VocabularyTarget.all)
  func walks(on target: VocabularyTarget) async throws {
    try await check("walk_test", target, says: "sl_move_column")
  }

  @Test(
    "Every word in double means what its scalar meaning says", arguments: ["x86_64", "aarch64"])
  func doubleWords(architecture: String) async throws {
    try await check(
      "double_test",
      VocabularyTarget(header: "double.h", flags: [], architecture: architecture),
      says: "sl_exp_both")
  }

  /// Compiles a program of checks for the target and runs it, under an emulator where it must be.
  private func check(
    _ name: String, _ target: VocabularyTarget, says word: String
  ) async throws {
    var runner: [String] = []
    if target.architecture != Self.host {
      let emulator = "qemu-\(target.architecture)"
      guard Self.isInstalled(emulator) else {
        try Test.cancel("\(emulator) is not installed, and this machine is \(Self.host)")
      }
      runner = [emulator]
    } else {
      let missing = target.features.filter { !Self.cpuFeatures.contains($0) }
      guard missing.isEmpty else {
        try Test.cancel("this CPU lacks \(missing.joined(separator: ", "))")
      }
    }

    let folder = FileManager.default.temporaryDirectory
      .appending(path: "vocabulary-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let program = folder.appending(path: name).path

    var arguments = [
      "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off",
      "-DSL_HEADER=\"\(target.header)\"", "-I", Self.templates.path,
    ]
    if target.architecture != Self.host {
      // Linked statically, so that the emulator needs no system root.
      arguments += ["--target=\(target.architecture)-linux-gnu", "-static"]
    }
    arguments += target.flags
    arguments += [Self.tests.appending(path: "\(name).c").path, "-lm", "-o", program]

    let compiled = try await Self.run([Self.compiler] + arguments)
    try #require(compiled.succeeded, "\(compiled.text)")
    let checked = try await Self.run(runner + [program])
    #expect(checked.succeeded, "\(checked.text)")
    #expect(checked.text.contains(word), "\(checked.text)")
  }

  @Test("Every word of the matrix unit means what its scalar meaning says")
  func matrixWords() async throws {
    guard Self.host == "x86_64" else { try Test.cancel("this machine is \(Self.host)") }
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "vocabulary-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let program = folder.appending(path: "matrix_test").path
    let compiled = try await Self.run(
      [Self.compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
        + VocabularyTarget.avx512
        + ["-mf16c", "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-I", Self.templates.path]
        + [Self.tests.appending(path: "matrix_test.c").path, "-lm", "-o", program])
    try #require(compiled.succeeded, "\(compiled.text)")
    let missing = (VocabularyTarget.avx512Features + ["avx512_bf16", "amx_tile", "amx_bf16"])
      .filter { !Self.cpuFeatures.contains($0) }
    guard missing.isEmpty else {
      try Test.cancel("this CPU lacks \(missing.joined(separator: ", "))")
    }
    let checked = try await Self.run([program])
    if checked.text.contains("does not grant") { try Test.cancel("\(checked.text)") }
    #expect(checked.succeeded, "\(checked.text)")
    #expect(checked.text.contains("sl_multiply_matrix"), "\(checked.text)")
  }

  @Test("The runner compiles without warnings", arguments: [[], ["-fsanitize=undefined"]])
  func runnerCompiles(flags: [String]) async throws {
    let compiled = try await Self.run(
      [
        Self.compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null",
        Self.templates.appending(path: "runner.c").path,
      ] + flags)
    #expect(compiled.succeeded, "\(compiled.text)")
  }

  /// The compiler: `SLUICE_CLANG` if that is set.
  static var compiler: String {
    ProcessInfo.processInfo.environment["SLUICE_CLANG"] ?? "clang-22"
  }

  /// The features that Linux lists for the first CPU.
  static let cpuFeatures: Set<String> = {
    let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("flags") } ?? ""
    return Set(line.split(separator: " ").map(String.init))
  }()

  static func isInstalled(_ name: String) -> Bool {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    return path.split(separator: ":").contains {
      FileManager.default.isExecutableFile(atPath: "\($0)/\(name)")
    }
  }

  /// Runs a command line; its output and errors, and whether it exited with 0.
  static func run(_ command: [String]) async throws -> (succeeded: Bool, text: String) {
    let executable: Executable =
      command[0].contains("/") ? .path(FilePath(command[0])) : .name(command[0])
    let result = try await Subprocess.run(
      executable, arguments: Arguments(Array(command.dropFirst())),
      output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
    let text = result.standardOutput + result.standardError
    return (result.terminationStatus.isSuccess, text)
  }
}
