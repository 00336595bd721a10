import Execution
import Foundation
import Sluice
import Testing

/// A package whose library was built from another source, with every digest in order: only trying
/// the kernel can tell.
@Suite struct FaultTests {
  /// Builds the package's source with a change, and signs it.
  private func replace(
    _ package: KernelPackage, _ old: String, with new: String
  ) async throws {
    let text = try String(decoding: Files.read(package.source), as: UTF8.self)
    let changed = text.replacing(old, with: new)
    try #require(changed != text)
    let builder = Builder(toolchain: try await Toolchain.find())
    let source = SourceFile(name: "\(package.manifest.name).c", text: changed)
    try await builder.build(builder.job(source, for: .generic), to: package.library)
    try Files.write(changed, to: package.source)
    var manifest = package.manifest
    manifest.sourceDigest = ContentDigest.sha256(changed)
    manifest.libraryDigest = try ContentDigest.sha256(ofFile: package.library)
    try Files.write(Emitter.json(manifest), to: "\(package.folder)/manifest.json")
  }

  /// The checks that `verify --json` says have failed.
  private func failures(_ scene: Scene) async throws -> [Assessment.Check] {
    let outcome = try await scene.sluice(["verify", "--package", "package", "--json"])
    #expect(outcome.ending == .exited(1))
    return try JSONDecoder().decode(Assessment.self, from: Data(outcome.output.utf8)).failures
  }

  @Test func aWrongKernelIsFound() async throws {
    let scene = try Scene()
    let package = try await scene.package()
    try await replace(
      package, "const float scale = args->scale;", with: "const float scale = 1.01f * args->scale;")
    let outcome = try await scene.sluice(["verify", "--package", "package"])
    #expect(outcome.ending == .exited(1), "\(outcome.errors)")
    // The table marks the rows that failed, and standard error counts them.
    #expect(outcome.output.contains("FAIL"))
    #expect(outcome.errors.contains("\(package.manifest.name) failed"))
    let failed = try await failures(scene)
    #expect(failed.contains { $0.group == .accuracy && $0.what == "o" && !$0.name.isEmpty })
    #expect(failed.allSatisfy { outcome.output.contains($0.name) })
    let bench = try await scene.sluice(["bench", "--package", "package", "--length", "8"])
    #expect(bench.ending == .exited(1) && bench.output.isEmpty)
    #expect(bench.errors.contains("is wrong, so it is not timed"))
  }

  @Test func aKernelThatCrashesIsAFailure() async throws {
    let scene = try Scene()
    let package = try await scene.package()
    try await replace(
      package, "  run(args, 0, 0);",
      with: "  *(volatile int *)(uintptr_t)8 = 1;\n  run(args, 0, 0);")
    let outcome = try await scene.sluice(["verify", "--package", "package"])
    #expect(outcome.ending == .exited(1), "\(outcome.description) \(outcome.errors)")
    #expect(outcome.output.contains("FAIL") && outcome.errors.contains("sluice: "))
    let failed = try await failures(scene)
    #expect(
      failed.contains { $0.detail.contains("crashed with a segmentation fault") },
      "\(failed.map(\.detail))")
  }
}
