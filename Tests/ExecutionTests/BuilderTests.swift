import Emission
import Execution
import Targets
import Testing

@Suite struct BuilderTests {
  @Test func aBuiltFunctionIsCalled() async throws {
    let bench = try await Workbench()
    let path = "\(bench.folder)/answer.so"
    try await bench.builder.build(bench.job(Source.answer), to: path)
    #expect(Files.names(in: bench.folder) == ["answer.so"])
    let library = try LoadedLibrary(path)
    var values: [Int32] = [21, 0]
    #expect(try library.call("answer", &values) == 42)
    #expect(values == [21, 42])
    #expect(throws: SluiceError.self) { try library.address(of: "question") }
  }

  @Test func equalJobsGiveEqualBytesAndNoPath() async throws {
    let bench = try await Workbench()
    let job = bench.job(Source.answer, openMP: true)
    try await bench.builder.build(job, to: "\(bench.folder)/a/first.so")
    try await bench.builder.build(job, to: "\(bench.folder)/b/c/second.so")
    let first = try Files.read("\(bench.folder)/a/first.so")
    #expect(try first == Files.read("\(bench.folder)/b/c/second.so"))
    #expect(!String(decoding: first, as: UTF8.self).contains(bench.folder))
  }

  @Test func aThreadedLibraryLoads() async throws {
    let bench = try await Workbench()
    let text = """
      #include <omp.h>
      \(Source.visible) int sum(void *arguments);
      int sum(void *arguments) {
        int *n = arguments;
        int total = 0;
      #pragma omp parallel for num_threads(2) reduction(+ : total)
        for (int i = 0; i < *n; i++) total += i;
        return total;
      }

      """
    let path = "\(bench.folder)/sum.so"
    try await bench.builder.build(bench.job(text, openMP: true), to: path)
    let runtime = try await bench.builder.toolchain.openMPRuntime()
    let library = try LoadedLibrary(path, dependencies: runtime.map { [$0] } ?? [])
    var n: Int32 = 10
    #expect(try library.call("sum", &n) == 45)
  }

  @Test func aCompileErrorIsASentenceWithClangsLines() async throws {
    let bench = try await Workbench()
    let job = bench.job("int f(void) { return undeclared; }\n")
    let path = "\(bench.folder)/x.so"
    let error = await #expect(throws: SluiceError.self) {
      try await bench.builder.build(job, to: path)
    }
    #expect(error?.kind == .toolchain)
    #expect(error?.message.contains("exited with 1 on kernel.c") == true)
    #expect(error?.details.first?.contains("undeclared") == true)
    #expect(error?.details.last?.hasPrefix("command: ") == true)
    #expect(Files.names(in: bench.folder).isEmpty)
  }

  @Test func anUndefinedFunctionFailsAtBuildTime() async throws {
    let bench = try await Workbench()
    let job = bench.job(
      "int g(void);\n\(Source.visible) int f(void);\nint f(void) { return g(); }\n")
    let path = "\(bench.folder)/x.so"
    let error = await #expect(throws: SluiceError.self) {
      try await bench.builder.build(job, to: path)
    }
    #expect(error?.details.contains { $0.contains("undefined reference") } == true)
  }

  @Test func aMissingRuntimeAndAFullDiskAreTold() throws {
    let version = try #require(CompilerVersion(parsing: "clang version 19.1.0"))
    let job = BuildJob(
      source: SourceFile(name: "k.c", text: ""), target: .generic, compiler: version)
    func failure(_ text: String) -> SluiceError {
      Builder.failure(
        Program("clang"), Program.Outcome(ending: .exited(1), output: "", errors: text), job)
    }
    #expect(failure("k.c:1: fatal error: 'omp.h' file not found").message.contains("libomp-19-dev"))
    #expect(failure("error: No space left on device").kind == .cannotCreate)
    #expect(throws: SluiceError.self) { try Files.write("text", to: "/dev/full") }
    do {
      try Files.write("text", to: "/dev/full")
    } catch let error as SluiceError {
      #expect(error.kind == .cannotCreate && error.message.contains("the disk is full"))
    }
  }

  @Test(arguments: [BuildJob.Sanitizer.address, .undefined, .thread])
  func aSanitizedProgramStopsAtItsFault(sanitizer: BuildJob.Sanitizer) async throws {
    let bench = try await Workbench()
    let text = """
      #include <pthread.h>
      static int shared;
      static void *raise_it(void *count) {
        for (int i = 0; i < *(int *)count; i++) shared += i;
        return 0;
      }
      int main(int count, char **words) {
        (void)words;
        int large = 2147483647, values[4] = {0}, many = 100000;
        volatile int past = 4, sink;
        pthread_t one, two;
        pthread_create(&one, 0, raise_it, &many);
        pthread_create(&two, 0, raise_it, &many);
        pthread_join(one, 0);
        pthread_join(two, 0);
        sink = large + count;
        sink = values[past];
        return 0 * sink;
      }

      """
    var job = bench.job(text, output: .executable)
    job.optimisation = ["-O1"]
    let path = "\(bench.folder)/program"
    try await bench.builder.build(job, to: path)
    #expect(try await Program(path).run().succeeded)
    job.sanitizers = [sanitizer]
    try await bench.builder.build(job, to: path)
    let outcome = try await Program(path).run()
    #expect(!outcome.succeeded)
    #expect(outcome.errors.contains("anitizer") || outcome.errors.contains("runtime error"))
  }

  @Test func aProgramThatHangsOrCrashesIsReported() async throws {
    let slow = try await Program("sleep", ["60"]).run(limit: .milliseconds(50))
    #expect(slow.ending == .timedOut)
    let crash = try await Program("sh", ["-c", "kill -SEGV $$"]).run()
    #expect(crash.ending == .signalled(11) && crash.description.contains("segmentation fault"))
    await #expect(throws: SluiceError.self) { try await Program("/no/such/program").run() }
  }
}
