import Emission
import Execution
import Targets
import Testing

@Suite struct ObjectReaderTests {
  @Test func aMultiplyAddLoopOnAVX512() async throws {
    let report = try await Workbench().report(Source.fma512, for: .avx512)
    let function = try #require(report.function("axpy"))
    #expect(report.architecture == .x86)
    #expect(function.widestVector == 512 && report.register(ofBits: 512) == "zmm")
    #expect(function.mix[.fma, default: 0] >= 1 && function.mix[.store, default: 0] >= 1)
    #expect(function.share(ofBits: 512) > 0.5)
    #expect(function.spillStores == 0 && function.spillReloads == 0)
  }

  @Test func moreLiveVectorsThanRegistersSpill() async throws {
    let report = try await Workbench().report(Source.spilling, for: .avx512)
    let function = try #require(report.function("crowd"))
    #expect(function.spillStores >= 8 && function.spillReloads >= 8)
    #expect(function.frameSize >= 8 * 64)
    #expect(report.spills == function.spillStores + function.spillReloads)
    // What the loop multiplies must come and go in it.
    #expect(function.loopSpills >= 8 && function.loopSpills <= report.spills)
  }

  @Test func aTrivialFunctionHasNoVectorsAndNoSpills() async throws {
    let report = try await Workbench().report(Source.answer, for: .generic)
    let function = try #require(report.function("answer"))
    #expect(function.widestVector == 0 && function.spillStores == 0 && function.frameSize == 0)
    #expect(function.instructions > 0 && function.size > 0)
    #expect(function.mix.values.reduce(0, +) == function.instructions)
  }

  @Test func whatIsNoLibraryIsASentence() async throws {
    let bench = try await Workbench()
    let path = "\(bench.folder)/x.so"
    try await bench.builder.build(bench.job(Source.answer), to: path)
    let whole = try Files.read(path)
    var foreign = whole
    foreign[18] = 243
    let contents: [([UInt8], String)] = [
      ([], "no ELF header"), (Array("text".utf8), "no ELF header"),
      (Array(whole.prefix(whole.count / 2)), "damaged"), (Array(whole.prefix(70)), "damaged"),
      (foreign, "foreign"),
    ]
    for (bytes, word) in contents {
      try Files.write(bytes, to: path)
      #expect { try ObjectReader.report(on: path) } throws: { "\($0)".contains(word) }
      #expect { try LoadedLibrary(path) } throws: {
        ($0 as? SluiceError)?.kind == .badInput && "\($0)".contains(word)
      }
    }
    #expect(throws: SluiceError.self) { try LoadedLibrary("\(bench.folder)/absent.so") }
  }

  @Test(arguments: [
    ("\tvfmadd231ps\tzmm0, zmm1, zmmword ptr [rdi + 64]", InstructionClass.fma, 512),
    ("\tvdpbf16ps\tzmm0, zmm1, dword ptr [rdi]{1to16}", .fma, 512),
    ("\tvmovups\tymm0, ymmword ptr [rsi]", .load, 256),
    ("\tvmovups\tymmword ptr [rsi], ymm0", .store, 256),
    ("\tvmovaps\txmm0, xmm1", .other, 128),
    ("\tvmovss\txmm0, dword ptr [rsi]", .load, 0),
    ("\tvbroadcastss\tzmm0, dword ptr [rsi]", .load, 512),
    ("\tvpermps\tzmm0, zmm1, zmm2", .shuffle, 512),
    ("\tvcvtneps2bf16\tymm0, zmm1", .convert, 512),
    ("\tjne\t-24", .branch, 0),
    ("\tcall\t0x40", .call, 0),
  ])
  func x86Lines(line: String, kind: InstructionClass, bits: Int) {
    let instruction = Instruction(line, .x86)
    #expect(instruction.kind == kind)
    #expect((instruction.width?.rawValue ?? 0) == bits)
  }

  @Test(arguments: [
    ("\tfmla\tv0.4s, v1.4s, v2.s[0]", InstructionClass.fma, 128),
    ("\tldp\tq0, q1, [x0, #32]", .load, 128),
    ("\tst1\t{ v0.4s, v1.4s }, [x0]", .store, 128),
    ("\tfcvtl\tv0.4s, v1.4h", .convert, 128),
    ("\tfadd\tv0.2s, v1.2s, v2.2s", .other, 64),
    ("\tzip1\tv0.4s, v1.4s, v2.4s", .shuffle, 128),
    ("\tfadd\ts0, s1, s2", .other, 0),
    ("\tb.ne\t#-24", .branch, 0),
    ("\tbl\t#64", .call, 0),
    ("\tbic\tx0, x1, x2", .other, 0),
  ])
  func armLines(line: String, kind: InstructionClass, bits: Int) {
    let instruction = Instruction(line, .aarch64)
    #expect(instruction.kind == kind)
    #expect((instruction.width?.rawValue ?? 0) == bits)
  }
}
