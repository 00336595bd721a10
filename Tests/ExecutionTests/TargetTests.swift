import Execution
import Targets
import Testing

@Suite struct TargetTests {
  @Test func namesAreUniqueAndFindTheirTargets() throws {
    #expect(Set(Target.all.map(\.name)).count == Target.all.count)
    for target in Target.all {
      #expect(try Target.named(target.name) == target)
      #expect(target.vectorRegisters >= 16 && target.lanes >= 4)
    }
    #expect(
      Target.all.map(\.name) == [
        "generic", "avx2", "avx512", "avx512bf16", "amx", "neon", "sm_80", "sm_90a",
      ])
  }

  @Test func anUnknownNameIsAnsweredWithTheList() {
    #expect {
      try Target.named("sse9")
    } throws: { error in
      let error = error as? SluiceError
      return error?.kind == .usage && error!.message.contains("sse9")
        && error!.message.contains("native, generic, avx2, avx512, avx512bf16, amx, neon")
    }
  }

  @Test(arguments: [
    ([String](), "generic"),
    (["avx2", "fma", "f16c"], "avx2"),
    (["avx2", "fma"], "generic"),
    (["avx2", "fma", "f16c", "avx512f"], "avx2"),
    (["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"], "avx512"),
    (
      ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16"],
      "avx512bf16"
    ),
    (
      [
        "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16",
        "amx-tile", "amx-bf16",
      ],
      "amx"
    ),
  ])
  func nativeIsTheBestThatTheFeaturesAllow(features: [String], name: String) throws {
    let host = Host(
      cpuName: "znver5", architecture: .x86, features: Set(features), cores: 2,
      cacheSizes: [1: 48 << 10, 2: 1 << 20])
    let native = try host.target(named: "native")
    #expect(native.name == name)
    #expect(native.firstLevelCache == 48 << 10 && native.secondLevelCache == 1 << 20)
    #expect(native.compilerArguments.last == "-mtune=znver5")
    #expect(try host.target(named: "neon") == .neon)
    #expect(try !host.target(named: "avx2").compilerArguments.contains("-mtune=znver5"))
  }

  @Test func anArmHostRunsNEONItself() throws {
    let host = Host(
      cpuName: "neoverse-v2", architecture: .aarch64, features: [], cores: 64,
      cacheSizes: [1: 64 << 10])
    #expect(host.bestTarget.name == "neon")
    #expect(!host.bestTarget.isCross)
    #expect(host.bestTarget.compilerArguments == ["-mtune=neoverse-v2"])
    #expect(!host.runs(.avx2) && host.runs(.generic))
  }

  @Test func thisHostIsDescribed() {
    let host = Host.detect()
    #expect(!host.cpuName.isEmpty && host.cores >= 1)
    #expect(host.runs(host.bestTarget))
    #expect(host.description.contains(host.bestTarget.name))
  }
}
