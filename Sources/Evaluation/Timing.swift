import Emission
import Execution
import Foundation
import Recurrences
import Targets

/// How long a kernel takes on a shape, beside what the machine allows at best.
public struct Timing: Hashable, Codable, Sendable {
  public var kernel: String
  public var shape: ProblemShape
  public var threads: Int
  /// Seconds of one call: the median, the quartiles about it, and the least.
  public var median: Double
  public var lowerQuartile: Double
  public var upperQuartile: Double
  public var least: Double
  public var calls: Int
  /// Useful operations: 4 K V a token and query head.
  public var flops: Double
  /// Each input read once and each output written once.
  public var bytes: Double
  /// The larger of the two over the machine's measured peaks, in seconds; nil under an emulator.
  public var floor: Double?

  /// Time over floor: one is perfect.
  public var ratio: Double? { floor.map { median / $0 } }
}

/// Times a verified kernel in a process of its own, on buffers that take turns.
///
/// Nothing here looks at the answers: callers verify first.
public func time(
  library: String, manifest: KernelManifest, target: Target, shape: ProblemShape, threads: [Int],
  calls: Int = 15, builder: Builder, cache: KernelCache = KernelCache()
) async throws -> [Timing] {
  try checkMemory(manifest, shape)
  let subject = try Subject(manifest)
  var recipe = ProblemRecipe("timing", [shape.length])
  recipe.batch = shape.batch
  recipe.heads = shape.heads
  recipe.group = shape.queryHeads / shape.heads
  let problem = try DrawnProblem(recipe, for: subject, seed: 1)
  let folder = try Files.makeUniqueFolder(in: temporaryFolder, prefix: "sluice-bench-")
  defer { Files.remove(folder) }
  let runner = CallRunner(
    library: library, manifest: manifest, target: target,
    runner: try await RunnerProgram.runner.build(for: target, builder: builder, cache: cache),
    folder: folder, limit: .seconds(600))
  var timings: [Timing] = []
  for count in threads {
    let results = try await runner.run(
      [KernelCall(problem: problem, threads: count)], repeats: 0,
      timings: CallRunner.Timings(count: calls + 2, copies: 2))
    guard let result = results.first, case .returned(0) = result.ending,
      result.nanoseconds.count > 2
    else {
      throw SluiceError(
        .verification, "\(manifest.name) did not run to its end while it was timed.")
    }
    // The first calls warm the code and the pages.
    let sorted = result.nanoseconds.dropFirst(2).map { Double($0) * 1e-9 }.sorted()
    func quantile(_ part: Double) -> Double {
      sorted[min(sorted.count - 1, Int(part * Double(sorted.count)))]
    }
    let (flops, bytes) = usefulWork(manifest, shape, wantsState: problem.wantsFinalState)
    var floor: Double?
    if !target.isCross {
      let peaks = try await MachinePeaks.measure(
        target, threads: count, builder: builder, cache: cache)
      floor = max(flops / peaks.flops, bytes / peaks.bytes)
    }
    timings.append(
      Timing(
        kernel: manifest.name, shape: shape, threads: count, median: quantile(0.5),
        lowerQuartile: quantile(0.25), upperQuartile: quantile(0.75), least: sorted[0],
        calls: sorted.count, flops: flops, bytes: bytes, floor: floor))
  }
  return timings
}

/// Refuses what would end in the middle for want of memory.
private func checkMemory(_ manifest: KernelManifest, _ shape: ProblemShape) throws {
  // The numbers as drawn, in the kernel's types, in a file, and twice in the runner.
  let needed = 12 * usefulWork(manifest, shape, wantsState: true).bytes
  let present = Double(ProcessInfo.processInfo.physicalMemory)
  guard needed <= present else {
    throw SluiceError(
      .unsupported,
      "Timing this takes about \(gibibytes(needed)) of memory, and this machine has "
        + "\(gibibytes(present)); choose a smaller --batch, --length or --heads.")
  }
}

private func gibibytes(_ bytes: Double) -> String { String(format: "%.0f GiB", bytes / 0x1p30) }

/// Operations and bytes that no schedule can do without.
private func usefulWork(
  _ manifest: KernelManifest, _ shape: ProblemShape, wantsState: Bool
) -> (flops: Double, bytes: Double) {
  let tokens = Double(shape.batch * shape.length)
  var bytes = tokens * Double(shape.queryHeads * shape.value * manifest.type.size)
  for input in manifest.inputs {
    let rows =
      switch input.role {
      case .query: tokens * Double(shape.queryHeads)
      case .operand, .gate: tokens * Double(shape.heads)
      case .parameter: Double(shape.heads)
      }
    bytes += rows * Double(input.size * input.type.size)
  }
  if wantsState {
    bytes += Double(shape.sequences.count * shape.heads * shape.key * manifest.stateColumns * 4)
  }
  return (4 * tokens * Double(shape.queryHeads * shape.key * shape.value), bytes)
}
