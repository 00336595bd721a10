import Emission
import Execution
import Foundation
import Recurrences
import Targets
import Testing

/// A package that was changed after it was written does not open.
@Suite struct DamageTests {
  /// Writes a package, changes it, and gives the sentence that `open` answers with.
  private func sentence(_ change: (KernelPackage) throws -> Void) async throws -> String {
    let bench = try await PackageBench()
    let package = try await bench.write("gla")
    try change(package)
    let error = #expect(throws: SluiceError.self) { try KernelPackage.open(package.folder) }
    #expect(error?.kind == .badInput)
    return error?.description ?? ""
  }

  /// As `sentence`, for a manifest that says something else.
  private func sentence(manifest change: (inout KernelManifest) -> Void) async throws -> String {
    try await sentence { package in
      var manifest = package.manifest
      change(&manifest)
      try Files.write(Emitter.json(manifest), to: "\(package.folder)/manifest.json")
    }
  }

  @Test(arguments: ["so", "c"])
  func aFileThatChanged(suffix: String) async throws {
    let what = suffix == "so" ? "library" : "source"
    let changed = try await sentence { package in
      let path = suffix == "so" ? package.library : package.source
      var bytes = try Files.read(path)
      bytes[bytes.count / 2] ^= 1
      try Files.write(bytes, to: path)
    }
    #expect(changed.contains("is not the \(what) that manifest.json describes"))
    let missing = try await sentence { package in
      Files.remove(suffix == "so" ? package.library : package.source)
    }
    #expect(missing.contains("has no \(what)"))
  }

  @Test func anotherDigest() async throws {
    let none = try await sentence(manifest: { $0.libraryDigest = nil })
    #expect(none.contains("no digest of the library"))
    let other = try await sentence(manifest: { $0.sourceDigest = String(repeating: "0", count: 64) }
    )
    #expect(other.contains("is not the source"))
  }

  @Test(arguments: ["../../etc/passwd", "a/b", "", "gla", "gla_k8_v8"])
  func aNameThatIsNone(name: String) async throws {
    let found = try await sentence(manifest: { $0.name = name })
    #expect(found.contains("is no kernel's name"))
  }

  @Test func aManifestThatDisagreesWithItsName() async throws {
    let key = try await sentence(manifest: { $0.key = 16 })
    #expect(key.contains("key size is not the one in the name"))
    let plan = try await sentence(manifest: { $0.plan.threads += 1 })
    #expect(plan.contains("plan is not the one in the name"))
  }

  @Test func aManifestThatLiesAboutMemory() async throws {
    let inputs = try await sentence(manifest: { $0.inputs[0].size = 4 })
    #expect(inputs.contains("inputs are not the recurrence's"))
    let fewer = try await sentence(manifest: { $0.inputs.removeLast() })
    #expect(fewer.contains("inputs are not the recurrence's"))
    let columns = try await sentence(manifest: { $0.stateColumns = 1 })
    #expect(columns.contains("columns"))
  }

  @Test func anotherVersion() async throws {
    let found = try await sentence(manifest: { $0.abi = 7 })
    #expect(found.contains("its abi is 7"))
  }

  @Test(arguments: ["", "{", "[]", "{\"abi\": 1}", "{\"abi\": \"one\"}", "\u{0}\u{1}"])
  func aManifestThatIsNone(text: String) async throws {
    let found = try await sentence { try Files.write(text, to: "\($0.folder)/manifest.json") }
    #expect(found.contains("does not describe a kernel"))
  }

  @Test func noPackage() async throws {
    let bench = try await PackageBench()
    let absent = "\(bench.folder)/no/such"
    let missing = #expect(throws: SluiceError.self) { try KernelPackage.open(absent) }
    #expect(missing?.message.contains("is no folder") == true)
    let folder = #expect(throws: SluiceError.self) { try KernelPackage.open(bench.folder) }
    #expect(folder?.message.contains("no Sluice package") == true)
  }

  @Test func aLibraryOfAnotherKernel() async throws {
    let bench = try await PackageBench()
    let gla = try await bench.write("gla")
    let other = try await bench.package(of: .linearAttention)
    let error = #expect(throws: SluiceError.self) {
      try KernelCall(manifest: other.manifest, library: LoadedLibrary(gla.library))
    }
    #expect(error?.message.contains("no entry") == true)
  }
}
