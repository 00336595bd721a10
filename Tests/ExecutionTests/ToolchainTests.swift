import Execution
import Targets
import Testing

@Suite struct ToolchainTests {
  @Test(
    arguments: [
      ("Debian clang version 22.1.8 (1~deb12u1)\nTarget: x86_64-pc-linux-gnu\n", "22.1.8"),
      ("Ubuntu clang version 18.1.3 (1ubuntu1)\n", "18.1.3"),
      ("clang version 17.0.0 (https://github.com/llvm/llvm-project 0123)\n", "17.0.0"),
      ("clang version 23.0.0git (commit)\n", "23.0.0"),
      ("a warning first\nclang version 19.1.7\n", "19.1.7"),
      ("gcc (Debian 12.2.0-14) 12.2.0\n", nil),
      ("clang version unknown\n", nil),
      ("", nil),
    ] as [(String, String?)])
  func versionsAreParsed(text: String, version: String?) {
    #expect(CompilerVersion(parsing: text)?.description == version)
  }

  @Test func versionsAreOrdered() throws {
    let old = try #require(CompilerVersion(parsing: "clang version 9.0.1"))
    let new = try #require(CompilerVersion(parsing: "clang version 17.0.0"))
    #expect(old < new)
  }

  @Test func preferredThenNewestThenPlain() async throws {
    let folder = try fakes(["clang-18": "18.1.0", "clang-23": "23.0.0", "clang": "17.0.1"])
    defer { Files.remove(folder) }
    #expect(try await Toolchain.find(searchPath: folder).version.major == 23)
    try fake("clang-22", "22.1.8", in: folder)
    #expect(try await Toolchain.find(searchPath: folder).version.major == 22)
    #expect(
      try await Toolchain.find(clang: "clang-18", searchPath: folder).version.major == 18)
    for name in ["clang-18", "clang-22", "clang-23"] { Files.remove("\(folder)/\(name)") }
    #expect(try await Toolchain.find(searchPath: folder).version.major == 17)
  }

  @Test func noClangSaysHowToInstallOne() async throws {
    let folder = try fakes([:])
    defer { Files.remove(folder) }
    await #expect { try await Toolchain.find(searchPath: folder) } throws: {
      ($0 as? SluiceError)?.kind == .toolchain && "\($0)".contains("apt-get install clang-22")
    }
    await #expect { try await Toolchain.find(clang: "clang-99", searchPath: folder) } throws: {
      ($0 as? SluiceError)?.kind == .toolchain && "\($0)".contains("clang-99")
    }
  }

  @Test func tooOldNamesBothNumbers() async throws {
    let folder = try fakes(["clang": "14.0.6"])
    defer { Files.remove(folder) }
    await #expect { try await Toolchain.find(searchPath: folder) } throws: {
      "\($0)".contains("14.0.6") && "\($0)".contains("17")
    }
  }

  @Test func anotherCompilerIsNoClang() async throws {
    let folder = try fakes(["clang": "none"])
    defer { Files.remove(folder) }
    try Files.write("#!/bin/sh\necho 'gcc 12.2.0'\n", to: "\(folder)/clang")
    await #expect { try await Toolchain.find(searchPath: folder) } throws: {
      "\($0)".contains("does not answer as clang does")
    }
  }

  /// A folder of programs that only know their version.
  private func fakes(_ versions: [String: String]) throws -> String {
    let folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-test-")
    for (name, version) in versions { try fake(name, version, in: folder) }
    return folder
  }

  private func fake(_ name: String, _ version: String, in folder: String) throws {
    let path = "\(folder)/\(name)"
    try Files.write("#!/bin/sh\necho 'clang version \(version)'\n", to: path)
    try Files.makeExecutable(path)
  }
}
