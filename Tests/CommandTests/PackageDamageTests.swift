import Execution
import Sluice
import Testing

/// A package that is not what it says is refused by every verb that opens one.
@Suite struct PackageDamageTests {
  private func refused(
    _ phrase: String, at location: SourceLocation = #_sourceLocation,
    after damage: (KernelPackage) throws -> Void
  ) async throws {
    let scene = try Scene()
    try damage(try await scene.package())
    for verb in [
      ["verify", "--package", "package"], ["bench", "--package", "package"],
      ["run", "package", "-i", "in", "-o", "out"], ["inspect", "package"],
    ] {
      try await scene.refusal(verb, .badInput, saying: phrase, at: location)
    }
  }

  private func manifest(_ package: KernelPackage) -> String { "\(package.folder)/manifest.json" }

  @Test func aByteOfTheLibrary() async throws {
    try await refused("is not the library that manifest.json describes") { package in
      var bytes = try Files.read(package.library)
      bytes[bytes.count / 2] ^= 1
      try Files.write(bytes, to: package.library)
    }
  }

  @Test func noLibrary() async throws {
    try await refused("has no library") { Files.remove($0.library) }
  }

  @Test func aManifestCutShort() async throws {
    try await refused("is damaged or foreign") { package in
      let bytes = try Files.read(manifest(package))
      try Files.write(Array(bytes.prefix(bytes.count / 2)), to: manifest(package))
    }
  }

  @Test func aForeignManifest() async throws {
    try await refused("is damaged or foreign") { package in
      try Files.write("{\"name\": \"another program\"}", to: manifest(package))
    }
    try await refused("is of another version") { package in
      try Files.write("{\"abi\": 99}", to: manifest(package))
    }
  }

  @Test func anotherDigest() async throws {
    try await refused("is not the library that manifest.json describes") { package in
      var other = package.manifest
      other.libraryDigest = String(repeating: "0", count: 64)
      try Files.write(Emitter.json(other), to: manifest(package))
    }
  }

  @Test func noPackageAtAll() async throws {
    let scene = try Scene()
    try Files.makeFolder("\(scene.folder)/empty")
    try Files.write("text", to: "\(scene.folder)/file")
    for (path, phrase) in [
      ("nowhere", "is no folder"), ("file", "is no folder"), ("empty", "has no manifest.json"),
    ] {
      try await scene.refusal(["verify", "--package", path], .badInput, saying: phrase)
    }
    try await scene.refusal(["inspect", "file"], .badInput, saying: "is not a library")
    try await scene.refusal(["inspect", "nowhere"], .io, saying: "there is no such file")
  }
}
