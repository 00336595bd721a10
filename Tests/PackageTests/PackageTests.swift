import Emission
import Execution
import Foundation
import Recurrences
import Targets
import Testing

@Suite struct PackageTests {
  @Test func whatIsWrittenOpens() async throws {
    let bench = try await PackageBench()
    let written = try await bench.write("deep/down/gla")
    let opened = try KernelPackage.open("\(bench.folder)/deep/down/gla")
    #expect(opened == written)
    #expect(opened.manifest.compiler == bench.builder.toolchain.version.line)
    let names = Set(Files.names(in: opened.folder))
    let name = bench.kernel.name.description
    #expect(
      names.isSuperset(of: [
        "\(name).so", "\(name).c", "\(name).h", "manifest.json", "__init__.py",
        "pyproject.toml", "_wheel.py", "_tensors.py", "py.typed",
      ]))
    #expect(names.contains("libomp.so.5") == names.contains("libomp.so.5.LICENSE.txt"))
    #expect(Files.names(in: "\(bench.folder)/deep/down") == ["gla"])
    _ = try KernelCall(opened)
  }

  /// Those of the other kind of machine are imported where it is known that they are there.
  @Test(arguments: [false, true])
  func everyPythonFileThatIsImportedIsThere(isForCard: Bool) async throws {
    let bench = try await PackageBench()
    let files = try PythonModule.files(of: bench.kernel.manifest, isForCard: isForCard)
    let names = Set(files.map(\.name) + [isForCard ? "autograd.py" : "cuda.py"])
    for (name, text) in files {
      for match in text.matches(of: /from \.(\w+) import/) {
        #expect(names.contains("\(match.1).py"), "\(name) imports \(match.1)")
      }
    }
  }

  @Test func anOlderPackageIsReplaced() async throws {
    let bench = try await PackageBench()
    let first = try await bench.write("gla")
    try Files.write("changed", to: first.library)
    try Files.makeFolder("\(first.folder)/__pycache__")
    let second = try await bench.write("gla/")
    #expect(try KernelPackage.open(second.folder) == second)
    #expect(Files.names(in: bench.folder) == ["gla"])
    #expect(!Files.isFolder("\(second.folder)/__pycache__"))
  }

  @Test func anEmptyFolderAndALinkToOneAreFilled() async throws {
    let bench = try await PackageBench()
    try Files.makeFolder("\(bench.folder)/real")
    try FileManager.default.createSymbolicLink(
      atPath: "\(bench.folder)/link", withDestinationPath: "\(bench.folder)/real")
    let package = try await bench.write("link")
    #expect(try KernelPackage.open("\(bench.folder)/real").manifest == package.manifest)
  }

  @Test(arguments: ["notes.txt", "manifest.json"])
  func anotherFolderIsLeftAlone(file: String) async throws {
    let bench = try await PackageBench()
    try Files.makeFolder("\(bench.folder)/home")
    try Files.write("{\"name\": \"mine\"}", to: "\(bench.folder)/home/\(file)")
    let error = await #expect(throws: SluiceError.self) { try await bench.write("home") }
    #expect(error?.kind == .cannotCreate)
    #expect(error?.message.contains("no Sluice package") == true)
    #expect(Files.names(in: "\(bench.folder)/home") == [file])
    #expect(Files.names(in: bench.folder) == ["home"])
  }

  @Test func aPackageWithSomeonesFileIsLeftAlone() async throws {
    let bench = try await PackageBench()
    let package = try await bench.write("gla")
    try Files.write("mine", to: "\(package.folder)/notes.txt")
    let error = await #expect(throws: SluiceError.self) { try await bench.write("gla") }
    #expect(error?.message.contains("notes.txt") == true)
    #expect(try KernelPackage.open(package.folder) == package)
  }

  @Test func failuresLeaveNothing() async throws {
    let bench = try await PackageBench()
    // A file where a folder must be, and where the package itself must be.
    try Files.write("", to: "\(bench.folder)/file")
    for name in ["file/below/gla", "file", ""] {
      await #expect(throws: SluiceError.self, "\(name)") {
        try await KernelPackage.write(
          kernel: bench.kernel, library: bench.library,
          to: name.isEmpty ? "" : "\(bench.folder)/\(name)", toolchain: bench.builder.toolchain)
      }
    }
    // No library.
    let error = await #expect(throws: SluiceError.self) {
      try await KernelPackage.write(
        kernel: bench.kernel, library: "\(bench.folder)/none.so", to: "\(bench.folder)/a/b/gla",
        toolchain: bench.builder.toolchain)
    }
    #expect(error?.message.contains("none.so") == true)
    #expect(Files.names(in: bench.folder) == ["file"])
  }

  @Test func aFailureOnTheWayLeavesTheOldPackage() async throws {
    let bench = try await PackageBench()
    let package = try await bench.write("gla")
    // A name too long for a file stands for every write that fails on the way.
    var kernel = bench.kernel
    kernel.manifest.name = String(repeating: "n", count: 300)
    await #expect(throws: SluiceError.self) {
      try await KernelPackage.write(
        kernel: kernel, library: bench.library, to: package.folder,
        toolchain: bench.builder.toolchain)
    }
    #expect(try KernelPackage.open(package.folder) == package)
    #expect(Files.names(in: bench.folder) == ["gla"])
  }

  @Test func writersSideBySideLeaveOneWhole() async throws {
    let bench = try await PackageBench()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<4 { group.addTask { _ = try await bench.write("gla") } }
      try await group.waitForAll()
    }
    _ = try KernelPackage.open("\(bench.folder)/gla")
    #expect(Files.names(in: bench.folder) == ["gla"])
  }

  @Test func buildingTakesTheCache() async throws {
    let bench = try await PackageBench()
    let cache = KernelCache(folder: "\(bench.folder)/cache")
    let (package, notice) = try await KernelPackage.build(
      kernel: bench.kernel, for: .generic, to: "\(bench.folder)/gla", builder: bench.builder,
      cache: cache)
    #expect(notice == nil)
    #expect(try KernelPackage.open(package.folder) == package)
  }
}
