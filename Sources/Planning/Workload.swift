/// The calls that a plan is chosen for: what the kernel learns at run time.
public struct Workload: Hashable, Codable, Sendable {
  public var batch: Int
  /// Heads of q and of the output: a multiple of `heads`.
  public var queryHeads: Int
  /// Heads of k, v, the gates and the state.
  public var heads: Int
  /// Tokens of a sequence.
  public var length: Int
  public var threads: Int

  /// One batch row of four heads, 2048 tokens, on one thread: what is taken when nobody says.
  public init(
    batch: Int = 1, queryHeads: Int? = nil, heads: Int = 4, length: Int = 2048, threads: Int = 1
  ) {
    self.batch = batch
    self.queryHeads = queryHeads ?? heads
    self.heads = heads
    self.length = length
    self.threads = threads
  }
}
