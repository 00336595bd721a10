import Emission
import Execution
import Targets
import Testing

@Suite struct CacheTests {
  @Test func theSecondTimeItIsFound() async throws {
    let bench = try await Workbench()
    let cache = KernelCache(folder: "\(bench.folder)/cache")
    let job = bench.job(Source.answer)
    let first = try await cache.entry(for: job, description: "d", builder: bench.builder)
    let second = try await cache.entry(for: job, description: "d", builder: bench.builder)
    #expect(first.wasBuilt && !second.wasBuilt)
    #expect(first.product == second.product && first.notice == nil)
    #expect(Files.names(in: first.folder) == ["build.json", "kernel.c", "library.so"])
    #expect(first.folder == "\(cache.folder)/\(first.record.key.prefix(2))/\(first.record.key)")
    _ = try LoadedLibrary(first.product)
  }

  /// Whose source is compiled in parts.
  @Test func aCardsSourceOfManyKernelsIsFoundToo() async throws {
    let bench = try await Workbench()
    let cache = KernelCache(folder: "\(bench.folder)/cache")
    let kernels = (0..<4).map { "SL_KERNEL void k\($0)(int *to) {\n  *to = \($0);\n}\n" }
    let text = "#define SL_KERNEL extern \"C\" __attribute__((global))\n" + kernels.joined()
    let job = bench.job(text, for: .sm90a, output: .ptx)
    let first = try await cache.entry(for: job, description: "d", builder: bench.builder)
    #expect(Files.names(in: first.folder) == ["build.json", "kernel.c", "kernel.ptx"])
    let second = try await cache.entry(for: job, description: "d", builder: bench.builder)
    #expect(first.wasBuilt && !second.wasBuilt)
  }

  @Test func manyBuildersOfOneKeyLeaveOneEntry() async throws {
    let bench = try await Workbench()
    let cache = KernelCache(folder: "\(bench.folder)/cache")
    let (job, builder) = (bench.job(Source.answer), bench.builder)
    try await withThrowingTaskGroup(of: String.self) { group in
      for _ in 0..<4 {
        group.addTask {
          try await cache.entry(for: job, description: "d", builder: builder).product
        }
      }
      let products = try await group.reduce(into: Set()) { $0.insert($1) }
      #expect(products.count == 1)
    }
    let prefixes = Files.names(in: cache.folder)
    #expect(prefixes.count == 1 && prefixes[0].count == 2)
    #expect(Files.names(in: "\(cache.folder)/\(prefixes[0])").count == 1)
  }

  @Test(arguments: ["library.so", "kernel.c", "build.json"])
  func aDamagedEntryIsBuiltAnew(file: String) async throws {
    let bench = try await Workbench()
    let cache = KernelCache(folder: "\(bench.folder)/cache")
    let job = bench.job(Source.answer)
    let first = try await cache.entry(for: job, description: "d", builder: bench.builder)
    try Files.write("damaged", to: "\(first.folder)/\(file)")
    let second = try await cache.entry(for: job, description: "d", builder: bench.builder)
    #expect(second.wasBuilt && second.record == first.record)
    #expect(
      try ContentDigest.sha256(ofFile: second.product) == second.record.productDigest)
    let third = try await cache.entry(for: job, description: "d", builder: bench.builder)
    #expect(!third.wasBuilt)
  }

  @Test func aFailedBuildLeavesNothing() async throws {
    let bench = try await Workbench()
    let cache = KernelCache(folder: "\(bench.folder)/cache")
    let job = bench.job("not C at all\n")
    await #expect(throws: SluiceError.self) {
      try await cache.entry(for: job, description: "d", builder: bench.builder)
    }
    let left = Files.names(in: cache.folder).filter { $0.hasPrefix("building-") }
    #expect(left.isEmpty)
    for prefix in Files.names(in: cache.folder) {
      #expect(Files.names(in: "\(cache.folder)/\(prefix)").isEmpty)
    }
  }

  @Test func anUnwritableCacheFallsBackAndSaysSo() async throws {
    let bench = try await Workbench()
    try Files.write("a file, not a folder", to: "\(bench.folder)/file")
    let cache = KernelCache(
      folder: "\(bench.folder)/file/cache", fallback: "\(bench.folder)/other")
    let entry = try await cache.entry(
      for: bench.job(Source.answer), description: bench.folder, builder: bench.builder)
    #expect(entry.folder.hasPrefix("\(bench.folder)/other/"))
    let notice = try #require(entry.notice)
    #expect(notice.contains("not a folder") && notice.contains("other instead"))
    _ = try LoadedLibrary(entry.product)
  }

  @Test func theDefaultFolder() {
    #expect(KernelCache.defaultFolder(["SLUICE_CACHE": "/a", "HOME": "/h"]) == "/a")
    #expect(KernelCache.defaultFolder(["XDG_CACHE_HOME": "/x"]) == "/x/sluice")
    #expect(
      KernelCache.defaultFolder(["SLUICE_CACHE": "", "HOME": "/h"]) == "/h/.cache/sluice")
  }

  @Test func digestsAreSHA256() {
    #expect(
      ContentDigest.sha256("abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }
}
