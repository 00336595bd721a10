import Emission
import Execution
import Targets
import Templates

/// The emitted programs in whose processes kernels run.
public enum RunnerProgram: String, Sendable {
  /// Returns answers, for verification.
  case runner = "runner.c"
  /// Judges and times, for tuning.
  case measure = "measure.c"

  /// The whole source.
  public var source: SourceFile {
    get throws(SluiceError) {
      guard let text = Templates.program(rawValue) else {
        throw SluiceError(.internal, "The program \(rawValue) is not part of this build.")
      }
      return SourceFile(name: rawValue, text: text)
    }
  }

  /// Builds the program for a target's machine, or takes it from the cache; the executable's path.
  public func build(
    for target: Target, builder: Builder, cache: KernelCache,
    sanitizers: Set<BuildJob.Sanitizer> = []
  ) async throws -> String {
    // The target's features are the kernel's business; the program must run to report their lack.
    var plain = Target.generic
    plain.compilerArguments = target.compilerArguments.filter { $0.hasPrefix("--target=") }
    plain.emulator = target.emulator
    let job = builder.job(
      try source, for: plain, output: .executable, openMP: false, sanitizers: sanitizers)
    return try await cache.entry(for: job, description: "runner", builder: builder).product
  }
}
