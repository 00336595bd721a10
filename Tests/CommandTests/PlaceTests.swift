import Execution
import Glibc
import Sluice
import Testing

/// Folders that cannot be written, and disks that are full: a sentence, and nothing half-written.
@Suite struct PlaceTests {
  @Test func aPathThroughAFile() async throws {
    let scene = try Scene()
    try Files.write("text", to: "\(scene.folder)/file")
    for words in [["build", "gla"], ["generate", "gla"]] {
      for place in ["file/below", "file"] {
        try await scene.refusal(
          words + Scene.small + ["-o", place], .cannotCreate, saying: "file")
      }
    }
  }

  @Test func aFolderOfSomethingElse() async throws {
    let scene = try Scene()
    try Files.makeFolder("\(scene.folder)/mine")
    try Files.write("text", to: "\(scene.folder)/mine/notes")
    try await scene.refusal(
      ["build", "gla"] + Scene.small + ["-o", "mine"], .cannotCreate, saying: "is left alone")
  }

  @Test func aFullDisk() async throws {
    let scene = try Scene()
    let disk = "\(scene.folder)/disk"
    try Files.makeFolder(disk)
    let mount = try await Program(
      "mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    ).run()
    guard mount.succeeded else {
      try Test.cancel("A full disk needs the right to mount one: \(mount.errors)")
    }
    defer { _ = umount2(disk, Int32(MNT_DETACH)) }
    let package = try await scene.package()
    let shape = try ProblemShape(length: 2000, queryHeads: 2, heads: 2, key: 8, value: 8)
    try SafeTensors.write(
      try GivenInputs(package.manifest, shape).tensors, to: "\(scene.folder)/in")
    for words in [
      ["build", "gla", "-o", "disk/deep/package"] + Scene.small,
      ["generate", "gla", "-o", "disk/deep/source"] + Scene.small,
      ["run", "package", "-i", "in", "-o", "disk/out"],
    ] {
      try await scene.refusal(words, .cannotCreate, saying: "the disk is full")
    }
    // The folders of a cache may stay; what was to be built in them may not.
    let outcome = try await scene.sluice(
      ["build", "gla", "-o", "other"] + Scene.small,
      environment: ["SLUICE_CACHE": "\(disk)/cache"])
    #expect(outcome.ending == .exited(SluiceError.Kind.cannotCreate.rawValue))
    #expect(outcome.errors.contains("disk is full"))
    #expect(!Files.isFolder("\(scene.folder)/other"))
    #expect(Files.names(in: "\(disk)/cache").allSatisfy { !$0.hasPrefix("building-") })
  }

  @Test func aCacheThatCannotBeWritten() async throws {
    let scene = try Scene()
    try Files.write("text", to: "\(scene.folder)/file")
    let outcome = try await scene.sluice(
      ["build", "gla", "-o", "package"] + Scene.small,
      environment: ["SLUICE_CACHE": "file/cache", "TMPDIR": scene.folder])
    #expect(outcome.succeeded, "\(outcome.errors)")
    #expect(outcome.errors.contains("Kernels are kept in \(scene.folder)/sluice-"))
  }
}
