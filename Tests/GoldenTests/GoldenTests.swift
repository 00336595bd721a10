import Emission
import Execution
import Targets
import Testing

/// A change that should not alter kernels proves it here; one that should shows itself in `generated/`.
@Suite struct GoldenTests {
  @Test(arguments: Shelf.kernels)
  func theSameBytesAgain(name: String) throws {
    let kernel = try Shelf.emit(name)
    #expect(kernel.name.description == name)
    for file in [kernel.source, kernel.header] {
      let path = "\(Shelf.folder)/\(file.name)"
      if Shelf.isUpdated {
        try Files.makeFolder(Shelf.folder)
        try Files.write(file.text, to: path)
      }
      let shelved = try String(decoding: Files.read(path), as: UTF8.self)
      guard shelved != file.text else { continue }
      Issue.record("\(file.name) differs: \(Self.difference(shelved, file.text)); make generated")
    }
  }

  @Test func nothingElseIsOnTheShelf() {
    let expected = Shelf.kernels.flatMap { ["\($0).c", "\($0).h"] }
    if Shelf.isUpdated {
      let stale = Files.names(in: Shelf.folder).filter { name in
        [".c", ".h"].contains { name.hasSuffix($0) } && !expected.contains(name)
      }
      for name in stale { Files.remove("\(Shelf.folder)/\(name)") }
    }
    let found = Files.names(in: Shelf.folder).filter { $0.hasSuffix(".c") || $0.hasSuffix(".h") }
    // While the shelf is updated its files may not all be there yet.
    #expect(Shelf.isUpdated || Set(found) == Set(expected))
  }

  @Test(arguments: Shelf.kernels)
  func itCompilesWithoutAWarning(name: String) async throws {
    let kernel = try Shelf.emit(name)
    let target = try Target.named(kernel.name.target)
    let builder = Builder(toolchain: try await Toolchain.find())
    let folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-golden-")
    defer { Files.remove(folder) }
    try await builder.build(builder.job(kernel.source, for: target), to: "\(folder)/kernel.so")
    let report = try ObjectReader.report(on: "\(folder)/kernel.so")
    #expect(!report.functions.isEmpty)
    // Its header stands alone, and may be read twice.
    let header = kernel.header.text
    let user = SourceFile(
      name: "user.c", text: header + "int use(void);\nint use(void) { return 0; }\n" + header)
    try await builder.build(
      builder.job(user, for: target, output: .object, openMP: false), to: "\(folder)/user.o")
  }

  /// The first line in which two texts differ.
  private static func difference(_ old: String, _ new: String) -> String {
    let (old, new) = (old.split(separator: "\n"), new.split(separator: "\n"))
    let line = zip(old, new).enumerated().first { $0.element.0 != $0.element.1 }
    guard let line else { return "one has \(old.count) lines, the other \(new.count)" }
    return "'\(line.element.0)' became '\(line.element.1)'"
  }
}
