import Emission
import Execution
import Targets
import Testing

@Suite struct NEONTests {
  static let kernel = """
    #include <arm_neon.h>
    \(Source.visible) int scale(void *arguments);
    int scale(void *arguments) {
      float *x = arguments;
      float32x4_t v = vld1q_f32(x);
    #ifdef _OPENMP
    #error "no runtime for threads"
    #endif
      vst1q_f32(x, vfmaq_n_f32(v, v, 2.0f));
      return 7;
    }

    """

  static let runner = """
    #include <dlfcn.h>
    #include <stdio.h>
    int main(int count, char **words) {
      if (count != 2) return 2;
      void *library = dlopen(words[1], RTLD_NOW);
      if (!library) return 3;
      int (*scale)(void *) = (int (*)(void *))dlsym(library, "scale");
      float x[4] = {1, 2, 3, 4};
      if (!scale || scale(x) != 7) return 4;
      printf("%g %g %g %g\\n", x[0], x[1], x[2], x[3]);
      return 0;
    }

    """

  @Test func aCrossBuiltLibraryRunsEmulated() async throws {
    let bench = try await Workbench()
    let (library, program) = ("\(bench.folder)/scale.so", "\(bench.folder)/runner")
    try await bench.builder.build(bench.job(Self.kernel, for: .neon, openMP: true), to: library)
    try await bench.builder.build(
      bench.job(Self.runner, for: .neon, output: .executable), to: program)
    let outcome = try await Program.on(.neon, program, [library]).run()
    #expect(outcome.succeeded, "\(outcome.errors)")
    #expect(outcome.output == "3 6 9 12\n")
  }

  @Test func itIsReadBackAndNotLoadedHere() async throws {
    let bench = try await Workbench()
    let path = "\(bench.folder)/scale.so"
    try await bench.builder.build(bench.job(Self.kernel, for: .neon), to: path)
    let report = try ObjectReader.report(on: path)
    let function = try #require(report.function("scale"))
    #expect(report.architecture == .aarch64)
    #expect(function.widestVector == 128 && function.mix[.fma] == 1)
    #expect(report.register(ofBits: 128) == "q")
    #if arch(x86_64)
      #expect { try LoadedLibrary(path) } throws: { "\($0)".contains("64-bit Arm") }
    #endif
  }
}
