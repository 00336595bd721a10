import Execution
import Sluice
import Testing

/// `generate`: every stage, the same bytes each time, and the command in a file's head makes the file.
@Suite struct GenerateTests {
  @Test(arguments: ["normal-form", "plan", "tile", "source", "header", "manifest", "asm"])
  func everyStage(stage: String) async throws {
    let scene = try Scene()
    let words = ["generate", "gla"] + Scene.small + ["--emit", stage]
    let first = try await scene.answer(words)
    // Another cache, so that assembly is made anew and not only found again.
    let second = try await scene.answer(
      words, environment: ["SLUICE_CACHE": "\(scene.folder)/cache"])
    #expect(first == second)
  }

  @Test func sourceIsTheDefault() async throws {
    let scene = try Scene()
    let source = try await scene.answer(["generate", "gla"] + Scene.small)
    let named = try await scene.answer(["generate", "gla"] + Scene.small + ["--emit", "source"])
    #expect(source == named)
    #expect(source.contains("do not edit"))
  }

  @Test func intoAFolder() async throws {
    let scene = try Scene()
    let words = ["generate", "gla"] + Scene.small
    let listed = try await scene.answer(words + ["-o", "new/folder"])
    let paths = listed.split(separator: "\n").map { "\(scene.folder)/\($0)" }
    #expect(paths.count == 2)
    #expect(Files.names(in: "\(scene.folder)/new/folder").count == 2)
    let source = try String(decoding: Files.read(paths[0]), as: UTF8.self)
    #expect(source == (try await scene.answer(words)))
    let header = try String(decoding: Files.read(paths[1]), as: UTF8.self)
    #expect(header == (try await scene.answer(words + ["--emit", "header"])))
  }

  static let plans = [
    ["gla"],
    ["gla", "--schedule", "chunk-fused", "--chunk", "32", "--sub-block", "8"],
    ["gla", "--schedule", "segmented", "--materialization", "segments:3", "--threads", "2"],
    ["gla", "--schedule", "segmented", "--materialization", "chunks"],
    ["gla", "--schedule", "register-recurrent", "--value-tile", "4"],
    ["gla", "--dtype", "bf16", "--gate-dtype", "bf16"],
    ["mamba", "--schedule", "token-recurrent"],
    ["linear-attention-normalized"], ["rwkv6"], ["mamba2", "--dtype", "f16"],
  ]

  @Test(arguments: plans)
  func theCommandInTheHeadMakesTheFile(plan: [String]) async throws {
    let scene = try Scene()
    let source = try await scene.answer(["generate"] + plan + Scene.small)
    let lines = source.split(separator: "\n", maxSplits: 2).map(String.init)
    let words = try #require(lines.count > 1 ? lines[1] : nil).dropFirst(2)
      .split(separator: " ").map(String.init)
    #expect(words.prefix(2) == ["sluice", "generate"])
    #expect(try await scene.answer(Array(words.dropFirst())) == source)
  }
}
