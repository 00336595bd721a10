import Execution
import Recurrences
import Reference
import Sluice
import TestSupport
import Testing

/// From `build` to every verb that takes a package.
@Suite struct RunTests {
  @Test func aPackageAndWhatItIsGoodFor() async throws {
    let scene = try Scene()
    let package = try await scene.package()
    #expect(Files.isRegular(package.library) && Files.isRegular("\(package.folder)/__init__.py"))
    let text = try await scene.answer(["verify", "--package", "package"])
    #expect(text.contains("passed") && text.contains("bound") && text.contains("floor"))
    let found = try #require(
      try await scene.json(["verify", "--package", "package"]) as? [String: Any])
    let checks = try #require(found["checks"] as? [[String: Any]])
    #expect(!checks.isEmpty && checks.allSatisfy { $0["passed"] as? Bool == true })
    for path in ["package", package.library] {
      #expect(
        try await scene.answer(["inspect", path]).contains("\(package.manifest.name)_forward"))
      let report = try #require(try await scene.json(["inspect", path]) as? [String: Any])
      #expect(report["functions"] is [[String: Any]])
    }
  }

  @Test func verifyByName() async throws {
    #expect(try await Scene().answer(["verify", "gla"] + Scene.small).contains("passed"))
  }

  @Test func theManifestAsJSON() async throws {
    let scene = try Scene()
    let words = ["build", "retnet"] + Scene.small + ["-o", "package"]
    let manifest = try #require(try await scene.json(words) as? [String: Any])
    #expect(manifest["libraryDigest"] is String && manifest["plan"] is [String: Any])
    #expect(manifest["key"] as? Int == 8)
  }

  @Test(arguments: [["gla"], ["--package", "package"]])
  func bench(subject: [String]) async throws {
    let scene = try Scene()
    _ = try await scene.package()
    let sizes = subject == ["gla"] ? Scene.small : []
    let words = ["bench"] + subject + sizes + ["--length", "16", "--heads", "1", "--calls", "3"]
    #expect(try await scene.answer(words).contains("MEDIAN"))
    let timings = try #require(try await scene.json(words) as? [[String: Any]])
    #expect(!timings.isEmpty)
    #expect(timings.allSatisfy { $0["median"] is Double && $0["threads"] is Int })
  }

  @Test(arguments: [ElementType.f32, .bf16])
  func runMeetsTheReference(type: ElementType) async throws {
    let scene = try Scene()
    let package = try await scene.package("gla", "package", ["--dtype", type.rawValue])
    let shape = try ProblemShape(
      batch: 2, length: 37, queryHeads: 4, heads: 2, key: 8, value: 8)
    let given = try GivenInputs(package.manifest, shape)
    try SafeTensors.write(given.tensors, to: "\(scene.folder)/in")
    let words = ["run", "package", "-i", "in", "-o", "out", "--scale", "0.7"]
    #expect(try await scene.answer(words).contains("final_state"))
    let written = try SafeTensors.read("\(scene.folder)/out")
    let (output, state) = (try #require(written["o"]), try #require(written["final_state"]))
    #expect(output.shape == [2, 37, 4, 8] && state.shape == [2, 2, 8, 8])
    let bounds = Bounds(type)
    #expect(given.outputError(output) <= bounds.output)
    #expect(given.stateError(state) <= bounds.state)
    // A package needs no compiler, and an output is replaced.
    let report = try await scene.answer(words + ["--json"], environment: ["PATH": ""])
    #expect(report.contains("\"seconds\""))
    #expect(try SafeTensors.read("\(scene.folder)/out") == written)
  }
}
