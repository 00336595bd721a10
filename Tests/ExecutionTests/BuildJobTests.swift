import Emission
import Execution
import Targets
import Testing

@Suite struct BuildJobTests {
  let source = SourceFile(name: "k.c", text: "int f;\n")
  let clang22 = CompilerVersion(parsing: "clang version 22.1.8")!
  let clang17 = CompilerVersion(parsing: "clang version 17.0.6")!

  @Test func theWholeVector() {
    let job = BuildJob(source: source, target: .avx2, compiler: clang22)
    #expect(
      job.arguments == [
        "-mavx2", "-mfma", "-mf16c", "-std=c11", "-O3", "-fPIC", "-fvisibility=hidden",
        "-ffp-contract=off", "-fno-math-errno", "-g0", "-Wall", "-Wextra", "-Werror",
        "-ferror-limit=8", "-fno-color-diagnostics", "-fopenmp", "-shared",
        "-Wl,--build-id=none", "-Wl,--as-needed", "-Wl,-z,defs", "-Wl,-rpath,$ORIGIN", "-o",
        "library.so", "k.c", "-lm",
      ])
  }

  @Test func acrossThereIsNoOpenMP() {
    let job = BuildJob(source: source, target: .neon, compiler: clang22)
    #expect(!job.isThreaded && job.arguments.first == "--target=aarch64-linux-gnu")
    #expect(!job.arguments.contains("-fopenmp"))
  }

  @Test func sanitizersAreSortedAndFinal() {
    let job = BuildJob(
      source: source, target: .generic, compiler: clang22, sanitizers: [.undefined, .address])
    #expect(job.arguments.contains("-fsanitize=address,undefined"))
    #expect(job.arguments.contains("-fno-sanitize-recover=all"))
    #expect(!job.arguments.contains("-Wl,-z,defs"))
  }

  @Test func outputsDiffer() {
    var job = BuildJob(source: source, target: .generic, compiler: clang22, openMP: false)
    job.output = .assembly
    #expect(job.arguments.contains("-S") && !job.arguments.contains("-shared"))
    job.output = .object
    #expect(job.arguments.contains("-c") && job.arguments.suffix(2) == ["kernel.o", "k.c"])
    job.output = .executable
    #expect(job.arguments.contains("-ldl") && !job.arguments.contains("-shared"))
  }

  @Test func anOlderClangIsNotTunedForWhatItDoesNotKnow() {
    var target = Target.avx512
    target.compilerArguments.append("-mtune=znver5")
    let new = BuildJob(source: source, target: target, compiler: clang22)
    let old = BuildJob(source: source, target: target, compiler: clang17)
    #expect(new.arguments.contains("-mtune=znver5"))
    #expect(!old.arguments.contains("-mtune=znver5"))
    #expect(old.arguments.contains("-mavx512f"))
  }

  @Test func everythingThatDecidesTheBytesIsInTheKey() throws {
    let job = BuildJob(source: source, target: .avx2, compiler: clang22)
    var others = [BuildJob](repeating: job, count: 7)
    others[0].source.text += " "
    others[1].source.name = "l.c"
    others[2].target.firstLevelCache += 1
    others[3].compiler = clang17
    others[4].openMP = false
    others[5].output = .object
    others[6].sanitizers = [.thread]
    let keys = try ([job] + others).map { try KernelCache.key(of: $0, description: "gla") }
    #expect(Set(keys).count == keys.count)
    #expect(try KernelCache.key(of: job, description: "gla") == keys[0])
    #expect(try KernelCache.key(of: job, description: "retnet") != keys[0])
  }
}
