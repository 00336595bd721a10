import Emission
import Execution
import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// ptxas, of which these tests need none: a script answers as it does.
@Suite struct CardAssemblerTests {
  private static let answer = """
    ptxas info    : 0 bytes gmem
    ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized due to \
    insufficient register resources for the function 'gla_walk'
    ptxas info    : Compiling entry function 'gla_summarize' for 'sm_90a'
    ptxas info    : Function properties for gla_summarize
        0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
    ptxas info    : Used 128 registers, used 10 barriers, 664 bytes cmem[0]
    ptxas info    : Compiling entry function 'gla_walk' for 'sm_90a'
    ptxas info    : Function properties for gla_walk
        32 bytes stack frame, 56 bytes spill stores, 40 bytes spill loads
    ptxas info    : Used 128 registers, used 16 barriers, 32 bytes cumulative stack size

    """

  @Test func whatItSaysIsRead() throws {
    let kernels = KernelManifest.CardKernel.parse(Self.answer)
    #expect(kernels.map(\.name) == ["gla_summarize", "gla_walk"])
    #expect(kernels.map(\.registers) == [128, 128])
    #expect(kernels.map(\.stack) == [0, 32])
    #expect(kernels.map(\.spilled) == [0, 56])
    #expect(kernels.map(\.serialized) == [nil, true])
    #expect(KernelManifest.CardKernel.parse("") == [])
  }

  /// A program that answers to --version, and else makes some machine code of anything.
  private func fake(
    in folder: String, fails: Bool = false, release: String = "13.0, V13.0.88"
  ) throws -> String {
    let path = "\(folder)/ptxas"
    try Files.makeFolder(folder)
    try Files.write(
      """
      #!/bin/sh
      case $1 in --version)
        echo 'ptxas: NVIDIA (R) Ptx optimizing assembler'
        echo 'Cuda compilation tools, release \(release)'; exit;;
      esac
      echo "$@" > "$0.asked"
      \(fails ? "echo 'ptxas fatal   : no such thing' >&2; exit 255" : "printf 'machine code of a test' > $6")
      cat >&2 <<'END'
      \(Self.answer)END
      """, to: path)
    try Files.makeExecutable(path)
    return path
  }

  @Test func itIsFoundWhereItLies() async throws {
    let bench = try await Workbench()
    let places = [
      ("PATH", "bin"), ("CUDA_HOME", "toolkit"), ("VIRTUAL_ENV", "env"),
    ]
    for (name, folder) in places {
      let root = "\(bench.folder)/\(folder)"
      let below =
        ["PATH": "", "CUDA_HOME": "/bin"][name]
        ?? "/lib/python3.11/site-packages/nvidia/cu13/bin"
      _ = try fake(in: root + below)
      let found = try #require(try await CardAssembler.find(environment: [name: root]))
      #expect(found.path == "\(root + below)/ptxas")
      #expect(found.version == "release 13.0, V13.0.88")
      #expect(try await CardAssembler.find(ptxas: "none", environment: [name: root]) == nil)
    }
    await #expect { try await CardAssembler.find(ptxas: "/bin/true", environment: [:]) } throws: {
      ($0 as? SluiceError)?.kind == .toolchain && "\($0)".contains("no ptxas at /bin/true")
    }
  }

  @Test(arguments: [("13.0, V13.0.88", true), ("12.8, V12.8.93", false)])
  func coresShareTheWorkWhereTheyCan(release: String, shares: Bool) async throws {
    let bench = try await Workbench()
    var builder = bench.builder
    let path = try fake(in: "\(bench.folder)/bin", release: release)
    builder.assembler = try await CardAssembler.find(ptxas: path)
    let specification = try KernelSpecification(
      normalForm: Recurrence.gla.normalForm(), key: 16, value: 16, type: .f32, gateType: .f32,
      target: .sm80)
    _ = try await KernelPackage.build(
      kernel: try Emitter.emit(specification, try Planner().plan(specification)), for: .sm80,
      to: "\(bench.folder)/package", builder: builder,
      cache: KernelCache(folder: "\(bench.folder)/cache"))
    let asked = String(decoding: try Files.read("\(path).asked"), as: UTF8.self)
    #expect(asked.contains("-split-compile 0") == shares, "\(asked)")
  }

  @Test func aLibraryCarriesWhatItMadeAndThePackageSaysWhatItSaid() async throws {
    let bench = try await Workbench()
    let path = try fake(in: "\(bench.folder)/bin")
    let specification = try KernelSpecification(
      normalForm: Recurrence.gla.normalForm(), key: 16, value: 16, type: .f32, gateType: .f32,
      target: .sm80)
    let kernel = try Emitter.emit(specification, try Planner().plan(specification))
    func build(_ assembler: CardAssembler?, _ name: String) async throws -> KernelPackage {
      var builder = bench.builder
      builder.assembler = assembler
      return try await KernelPackage.build(
        kernel: kernel, for: .sm80, to: "\(bench.folder)/\(name)", builder: builder,
        cache: KernelCache(folder: "\(bench.folder)/cache")
      ).package
    }
    func carries(_ package: KernelPackage) throws -> Bool {
      String(decoding: try Files.read(package.library), as: UTF8.self)
        .contains("machine code of a test")
    }
    let assembler = try #require(try await CardAssembler.find(ptxas: path))
    let with = try await build(assembler, "with"), without = try await build(nil, "without")
    #expect(try carries(with))
    #expect(try !carries(without))
    #expect(with.manifest.cardKernels?.map(\.spilled) == [0, 56])
    #expect(try KernelPackage.open(with.folder).manifest.assembler == "release 13.0, V13.0.88")
    #expect(without.manifest.cardKernels == nil)

    let failing = CardAssembler(
      path: try fake(in: "\(bench.folder)/failing", fails: true), version: "another")
    await #expect { try await build(failing, "failed") } throws: {
      "\($0)".contains("--ptxas none") && "\($0)".contains("no such thing")
    }
  }
}
