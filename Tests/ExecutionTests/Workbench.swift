import Emission
import Execution
import Targets
import Testing

/// A folder of its own for one test, removed at its end, with the host's compiler.
final class Workbench: Sendable {
  let folder: String
  let builder: Builder

  init() async throws {
    folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-test-")
    builder = Builder(toolchain: try await Toolchain.find())
  }

  deinit { Files.remove(folder) }

  /// A job for a source of that text.
  func job(
    _ text: String, for target: Target = .generic, output: BuildJob.Output = .library,
    openMP: Bool = false
  ) -> BuildJob {
    builder.job(
      SourceFile(name: "kernel.c", text: text), for: target, output: output, openMP: openMP)
  }

  /// Builds the text and reports on its code.
  func report(_ text: String, for target: Target) async throws -> ObjectReport {
    let path = "\(folder)/\(target.name).so"
    try await builder.build(job(text, for: target), to: path)
    return try ObjectReader.report(on: path)
  }
}

/// Sources that several tests build.
enum Source {
  static let visible = "__attribute__((visibility(\"default\")))"

  /// `answer` stores twice its argument's first value into its second, and returns 42.
  static let answer = """
    \(visible) int answer(void *arguments);
    int answer(void *arguments) {
      int *values = arguments;
      values[1] = 2 * values[0];
      return 42;
    }

    """

  /// A multiply-add over 16-float vectors.
  static let fma512 = """
    #include <immintrin.h>
    #include <stdint.h>
    \(visible) void axpy(float *y, const float *x, float a, int64_t n);
    void axpy(float *y, const float *x, float a, int64_t n) {
      __m512 av = _mm512_set1_ps(a);
      for (int64_t i = 0; i < n; i += 16)
        _mm512_storeu_ps(y + i, _mm512_fmadd_ps(av, _mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
    }

    """

  /// Forty live 16-float accumulators for 32 registers.
  static let spilling: String = {
    let all = 0..<40
    let declarations = all.map { "  __m512 s\($0) = _mm512_loadu_ps(y + \(16 * $0));\n" }
    let steps = all.map {
      "    s\($0) = _mm512_fmadd_ps(_mm512_set1_ps(x[\($0)]), v, s\($0));\n"
    }
    let stores = all.map { "  _mm512_storeu_ps(y + \(16 * $0), s\($0));\n" }
    return """
      #include <immintrin.h>
      #include <stdint.h>
      \(visible) void crowd(float *restrict y, const float *restrict x, int64_t n);
      void crowd(float *restrict y, const float *restrict x, int64_t n) {
      \(declarations.joined())
        for (int64_t i = 0; i < n; i++, x += 56) {
          __m512 v = _mm512_loadu_ps(x + 40);
      \(steps.joined())
        }
      \(stores.joined())
      }

      """
  }()
}
