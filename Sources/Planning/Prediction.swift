/// What a model thinks a call takes, and of what that time consists.
public struct Prediction: Hashable, Codable, Sendable {
  /// Seconds by term; terms that are nothing are left out.
  public var terms: [Term: Double]

  /// Seconds of one call.
  public var seconds: Double { Term.allCases.reduce(0) { $0 + (terms[$1] ?? 0) } }

  /// What takes time in a kernel.
  public enum Term: String, Hashable, Codable, Sendable, CaseIterable, CodingKeyRepresentable {
    case products, recurrence, scores, maps, functions, caches, rows, states, steps, idle, threads

    /// What the term counts, as a sentence.
    public var meaning: String {
      switch self {
      case .products: "Multiplications with addition of matrix products."
      case .recurrence: "Multiplications with addition of the state held in registers."
      case .scores: "The exact scores within a sub-block, pair by pair."
      case .maps: "Elementwise passes, running products, transposes and copies."
      case .functions: "Exponentials and their kin, and quotients."
      case .caches: "Tiles that the first cache does not hold, read and written again."
      case .rows: "Rows of the caller's tensors, read and written."
      case .states: "States that go to the workspace and come back."
      case .steps: "Beginning an operation on a tile, and its rows."
      case .idle: "Threads without work while others end theirs."
      case .threads: "Beginning and ending the team of threads."
      }
    }
  }
}
