import Emission
import Execution
import Recurrences
import Schedules
import Sluice
import TestSupport
import Testing

/// The choices of a kernel's innermost loops: they change its speed, and not a bit of its answers.
@Suite struct InnerLoopTests {
  @Test func noBitChanges() async throws {
    let scene = try Scene()
    let shape = try ProblemShape(
      batch: 2, length: 37, queryHeads: 4, heads: 2, key: 8, value: 8)
    let pinned = ["--schedule", "register-recurrent", "--chunk", "8", "--heads", "4"]
    var first: [String: SafeTensor]?
    for (place, choices) in [
      [], ["--register-block", "2x1", "--unroll", "2"],
      ["--register-block", "3x2", "--unroll", "8"],
      ["--ahead", "0", "--stores", "streaming"], ["--ahead", "3"],
    ].enumerated() {
      let package = try await scene.package("gla", "package-\(place)", pinned + choices)
      let said = package.manifest.name.description
      #expect(KernelName(said)?.description == said)
      let given = try GivenInputs(package.manifest, shape)
      try SafeTensors.write(given.tensors, to: "\(scene.folder)/in")
      try await scene.answer(["run", "package-\(place)", "-i", "in", "-o", "out", "--scale", "0.7"])
      let written = try SafeTensors.read("\(scene.folder)/out")
      #expect(given.outputError(try #require(written["o"])) < 1e-5 || place > 0)
      first = first ?? written
      #expect(written["o"]?.bytes == first?["o"]?.bytes, "\(choices)")
      #expect(written["final_state"]?.bytes == first?["final_state"]?.bytes, "\(choices)")
    }
  }

  @Test(arguments: [
    (["--schedule", "register-recurrent", "--register-block", "9x1"], "from 1x1 to 8x4, not 9x1"),
    (["--schedule", "register-recurrent", "--register-block", "8x2"], "needs 23 registers"),
    (["--schedule", "register-recurrent", "--register-block", "2x3"], "wider than the 2 vectors"),
    (["--schedule", "register-recurrent", "--unroll", "3"], "1, 2, 4 or 8, not 3"),
    (["--schedule", "register-recurrent", "--ahead", "-1"], "from 0 to 4 blocks, not -1"),
    (
      ["--schedule", "register-recurrent", "--chunk", "6", "--unroll", "4"],
      "does not divide the 6 tokens"
    ),
    (["--schedule", "chunk-fused", "--unroll", "2"], "has no loop to unroll"),
    (["--schedule", "token-recurrent", "--stores", "plain"], "has no stores to choose"),
    (["--register-block", "4"], "--register-block must be rows and vectors"),
    (["--stores", "fast"], "--stores must be plain or streaming"),
  ])
  func aWrongChoiceIsNamed(words: [String], saying reason: String) async throws {
    let scene = try Scene()
    try await scene.refusal(
      ["generate", "gla"] + Scene.small + words + ["-o", "out"], .usage, saying: reason)
  }
}
