import Emission
import Execution
import Foundation
import Targets

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
    let source = try measuringSource("probe.c", [target.vocabulary, "common.h", "probe.c"])
    let job = builder.job(source, for: target, output: .executable)
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
