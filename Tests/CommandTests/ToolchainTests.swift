import Execution
import Foundation
import Sluice
import Testing

/// No compiler, one too old, one that is none: sentences that say what to install.
@Suite struct ToolchainTests {
  private let verbs = [
    ["build", "gla", "-o", "package"], ["verify", "gla"], ["bench", "gla"],
    ["generate", "gla", "--emit", "asm"],
  ]

  /// A program that answers `--version` with that line.
  private func fake(_ line: String, _ scene: Scene, called name: String = "clang") throws -> String
  {
    let path = "\(scene.folder)/\(name)"
    try Files.write("#!/bin/sh\necho '\(line)'\n", to: path)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
    return path
  }

  @Test func none() async throws {
    let scene = try Scene()
    for verb in verbs {
      try await scene.refusal(
        verb + Scene.small, .toolchain, saying: "No clang was found. Install one",
        environment: ["PATH": ""])
      try await scene.refusal(
        verb + Scene.small + ["--clang", "./no-clang"], .toolchain,
        saying: "There is no compiler ./no-clang")
    }
  }

  @Test func tooOld() async throws {
    let scene = try Scene()
    let path = try fake("clang version 15.0.0", scene)
    for verb in verbs {
      try await scene.refusal(
        verb + Scene.small + ["--clang", path], .toolchain,
        saying: "is clang 15.0.0, and Sluice needs 17 or newer")
      try await scene.refusal(
        verb + Scene.small, .toolchain, saying: "Sluice needs 17 or newer",
        environment: ["PATH": scene.folder])
    }
  }

  @Test func noClang() async throws {
    let scene = try Scene()
    let path = try fake("gcc (GCC) 12.2.0", scene)
    try await scene.refusal(
      verbs[0] + Scene.small + ["--clang", path], .toolchain, saying: "does not answer as clang")
  }

  @Test func aCompilerThatFails() async throws {
    let scene = try Scene()
    // It answers for its version, and compiles nothing.
    let path = try fake("clang version 22.0.0", scene)
    let said = try await scene.refusal(
      verbs[0] + Scene.small + ["--clang", path], .toolchain, saying: "clang 22.0.0")
    #expect(said.contains("command: "))
  }

  @Test func nothingNeedsACompilerThatPrintsOnly() async throws {
    let scene = try Scene()
    for verb in [["list"], ["describe", "gla"], ["generate", "gla"] + Scene.small] {
      try await scene.answer(verb, environment: ["PATH": ""])
    }
  }
}
