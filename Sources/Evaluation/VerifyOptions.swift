import Execution
import Recurrences

/// How much a verification tries, and with what.
public struct VerifyOptions: Sendable {
  public enum Effort: String, Hashable, Codable, Sendable, CaseIterable {
    /// Every kind of problem and every law, at sizes that take seconds.
    case quick
    /// All lengths under all gate regimes too.
    case full
  }

  public var effort: Effort
  /// Draws the problems; printed, so that a failure can be had again.
  public var seed: UInt64
  /// Thread counts that calls take turns on.
  public var threads: [Int]
  /// The longest that one call may take before it counts as hung.
  public var limit: Duration
  /// Multiply-adds of the useful work of all calls together; what goes beyond is left out, and said.
  public var maximalCost: Double
  /// Whether states beyond 2^31 elements are tried too: a few seconds on this machine, and addresses
  /// for 8 GiB that hardly need memory.
  public var farOffsets: Bool
  /// Whether to end with the first group of trials in which something failed.
  public var stopsEarly = false
  /// Whether to try the gradient alone, and leave out what concerns the forward entry.
  public var gradientOnly = false
  /// Safetensors files whose numbers are tried before the drawn ones.
  public var inputs: [String] = []
  public var sanitizers: Set<BuildJob.Sanitizer>
  public var builder: Builder
  public var cache: KernelCache

  public init(
    effort: Effort = .quick, seed: UInt64 = 1, threads: [Int] = [1, 2, 3],
    limit: Duration = .seconds(120), maximalCost: Double? = nil, farOffsets: Bool? = nil,
    sanitizers: Set<BuildJob.Sanitizer> = [], builder: Builder, cache: KernelCache = KernelCache()
  ) {
    self.effort = effort
    self.seed = seed
    self.threads = threads.isEmpty ? [1] : threads
    self.limit = limit
    self.maximalCost = maximalCost ?? (effort == .quick ? 1e10 : 2e11)
    self.farOffsets = farOffsets ?? (effort == .full)
    self.sanitizers = sanitizers
    self.builder = builder
    self.cache = cache
  }
}

/// What errors a kernel of these types may have: RMS of the difference over RMS of the reference.
public struct Bounds: Hashable, Codable, Sendable {
  public var output: Double
  public var state: Double
  /// Of one sequence and head alone: fewer numbers, so a little more room where rounding dominates.
  public var worstOutput: Double
  public var worstState: Double
  /// Of adjoints of queries, keys, values and states; and of gates and parameters, which sum what
  /// partly cancels.
  public var gradient: Double
  public var gateGradient: Double
  /// How far a change to later tokens may move earlier outputs: by rounding at most.
  public var causality: Double

  /// f32: sums of thousands of terms. bf16: the design's bounds, which the best peer just meets.
  /// f16: four roundings' worth of its own, as its operands are not rounded again. f64: what the
  /// reference loses itself, which multiplies by a rounded decay as often as there are tokens: 4096
  /// roundings are 4.5e-13.
  public init(_ type: ElementType) {
    switch type {
    case .f32:
      self.init(output: 1e-5, state: 1e-5, slack: 1, causality: 2e-6)
    case .bf16:
      self.init(output: 3.4e-3, state: 2e-3, slack: 2, causality: 5e-4)
    case .f16:
      self.init(output: 5e-4, state: 5e-4, slack: 2, causality: 6e-5)
    case .f64:
      self.init(output: 1e-12, state: 1e-12, slack: 1, causality: 1e-14)
    }
  }

  private init(output: Double, state: Double, slack: Double, causality: Double) {
    self.output = output
    self.state = state
    worstOutput = slack * output
    worstState = slack * state
    gradient = output < 1e-3 ? output : 3e-3
    gateGradient = slack == 1 ? 10 * output : gradient
    self.causality = causality
  }
}
