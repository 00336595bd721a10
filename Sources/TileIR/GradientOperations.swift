import Recurrences

/// The exact diagonal piece of an adjoint, from the last token back: the mirror image of
/// `DecayedValues`, without the token itself. Each row j of the target goes through
/// `x = decay[i] * (x + scores[i][j] * value[i])` for i = last ... j + 1 in turn
/// (`x = decay[i] * x + scores[i][j] * value[i]` when the read-out excludes the present token).
public struct DecayedAdjoints: Hashable, Codable, Sendable {
  public var target: TileView
  public var scores: TileView
  public var value: TileView
  public var decay: TileView
  public var readsPrevious: Bool

  public init(
    _ target: TileView, scores: TileView, value: TileView, decay: TileView, readsPrevious: Bool
  ) {
    self.target = target
    self.scores = scores
    self.value = value
    self.decay = decay
    self.readsPrevious = readsPrevious
  }
}

/// `target[head] = source[0][head] + source[1][head] + ...` over the sequences in their order: what
/// workers of several sequences found of one head, added up the same way at any number of threads.
public struct SumSequences: Hashable, Codable, Sendable {
  /// A tensor of kind `.parameter`.
  public var target: String
  /// A tensor of kind `.partial`, of the same shape a head.
  public var source: String

  public init(_ target: String, from source: String) {
    self.target = target
    self.source = source
  }
}

extension Worker {
  mutating func execute(_ adjoints: DecayedAdjoints) {
    let (target, scores) = (window(adjoints.target), window(adjoints.scores))
    let (value, decay) = (window(adjoints.value), window(adjoints.decay))
    let last = adjoints.target.rows - 1
    for row in 0...last {
      for column in 0..<adjoints.target.columns {
        var total = get(target, row, column)
        for step in stride(from: last, to: row, by: -1) {
          let term = get(scores, step, row) * get(value, step, column)
          let kept = get(decay, step, column)
          total = adjoints.readsPrevious ? kept * total + term : kept * (total + term)
        }
        set(target, row, column, total)
      }
    }
  }

  mutating func execute(_ sum: SumSequences) {
    let tensor = machine.program.tensor(sum.target)!
    let size = tensor.rows * tensor.columns
    let heads = machine.shape.heads
    for place in 0..<size {
      var total = 0.0
      for sequence in grid.sequences.indices {
        total += machine.tensors[sum.source]![(sequence * heads + head) * size + place]
      }
      machine.tensors[sum.target]![head * size + place] =
        machine.precision == .exact ? total : tensor.type.rounded(total)
    }
  }
}

extension Verifier {
  mutating func check(_ adjoints: DecayedAdjoints) {
    let (rows, columns) = (adjoints.target.rows, adjoints.target.columns)
    check(adjoints.target)
    require(adjoints.scores, is: (rows, rows), "the scores")
    require(adjoints.value, is: (rows, columns), "the value")
    require(adjoints.decay, is: (rows, columns), "the decay")
    requirePlain(adjoints.scores)
    for view in [adjoints.target, adjoints.value, adjoints.decay] {
      requirePlain(view)
      requireWholeRows(view)
    }
  }

  mutating func check(_ sum: SumSequences) {
    let (target, source) = (program.tensor(sum.target), program.tensor(sum.source))
    require(target?.kind == .parameter, "'\(sum.target)' is no parameter of the program.")
    require(source?.kind == .partial, "'\(sum.source)' holds no sums of sequences.")
    require(
      target?.rows == source?.rows && target?.columns == source?.columns,
      "'\(sum.target)' and '\(sum.source)' differ in shape.")
  }
}
