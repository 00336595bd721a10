import Emission
import Execution
import Foundation
import Targets
import Templates

/// What a machine can do at most: measured, never looked up.
public struct MachinePeaks: Hashable, Codable, Sendable {
  /// Additions and multiplications in f32, a second, on all threads together.
  public var flops: Double
  /// Bytes read and written by a copy that no cache holds, a second.
  public var bytes: Double

  /// Measures this machine with the words of a target, in a process of its own; under a second.
  public static func measure(
    _ target: Target, threads: Int, builder: Builder, cache: KernelCache = KernelCache()
  ) async throws -> MachinePeaks {
    // The clock is POSIX's, which strict C11 hides.
    var text = "#define _POSIX_C_SOURCE 200809L\n"
    for name in [target.vocabulary, "common.h", "probe.c"] {
      guard let part = Templates.text(name) else {
        throw SluiceError(.internal, "The template \(name) is not part of this build.")
      }
      text += part + "\n"
    }
    let job = builder.job(
      SourceFile(name: "probe.c", text: text), for: target, output: .executable)
    let entry = try await cache.entry(for: job, description: "probe", builder: builder)
    let outcome = try await Program.on(target, entry.product, ["\(threads)"]).run(
      limit: .seconds(60))
    guard outcome.succeeded,
      let peaks = try? JSONDecoder().decode(MachinePeaks.self, from: Data(outcome.output.utf8))
    else {
      throw SluiceError(
        .internal, "The machine's peaks could not be measured: \(outcome.description)")
    }
    return peaks
  }
}
