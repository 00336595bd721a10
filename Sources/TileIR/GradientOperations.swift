import Recurrences

/// Everything that passes the decays of a chunk, from writers (and the state before the chunk, of which
/// reader i reads `read[i]`) to readers, in one walk over all pairs. For each token t in turn and each
/// i from t on (from t + 1 on when the read-out excludes the present token), with G the product of
/// decay[u], t < u <= i (t < u < i then):
///
///     target[t] += reader[i] G read[i]              the adjoint of the decay: all but itself
///     written[t] += scores[i][t] reader[i] G        i > t: the adjoint of the writer
///     read[i] = decay[t] read[i] + scores[i][t] writer[t]
///
/// so that `read` ends as the adjoint of the reader. Scores count below the diagonal only. No term of
/// the decay's adjoint is ever taken away again, and none holds the decay itself: it is right where
/// the decay is tiny, or zero. Without `reader`, `writer` and `written` all are single columns, and
/// readers and writers are one: pairs of tokens under a scalar decay.
public struct DecayedPaths: Hashable, Codable, Sendable {
  public var target: TileView
  public var scores: TileView
  public var read: TileView
  public var decay: TileView
  public var vectors: Vectors?
  public var readsPrevious: Bool

  /// What paths along an axis begin and end with.
  public struct Vectors: Hashable, Codable, Sendable {
    public var reader: TileView
    public var writer: TileView
    public var written: TileView

    public init(reader: TileView, writer: TileView, written: TileView) {
      self.reader = reader
      self.writer = writer
      self.written = written
    }

    var views: [TileView] { [reader, writer, written] }
  }

  public init(
    _ target: TileView, scores: TileView, read: TileView, decay: TileView, vectors: Vectors?,
    readsPrevious: Bool
  ) {
    self.target = target
    self.scores = scores
    self.read = read
    self.decay = decay
    self.vectors = vectors
    self.readsPrevious = readsPrevious
  }

  /// The views whose numbers it reads.
  public var reads: [TileView] { [target, scores, read, decay] + (vectors?.views ?? []) }
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
  mutating func execute(_ paths: DecayedPaths) {
    let (target, scores) = (window(paths.target), window(paths.scores))
    let (read, decay) = (window(paths.read), window(paths.decay))
    let vectors = paths.vectors.map { (window($0.reader), window($0.writer), window($0.written)) }
    let rows = paths.target.rows
    for column in 0..<paths.target.columns {
      for token in 0..<rows {
        let own = get(decay, token, column)
        let writer = vectors.map { get($0.1, token, column) } ?? 1
        var (passing, written, product) = (get(target, token, column), 0.0, 1.0)
        for row in (paths.readsPrevious ? token + 1 : token)..<max(token + 1, rows) {
          if row > token, !paths.readsPrevious { product *= get(decay, row, column) }
          let reading = product * (vectors.map { get($0.0, row, column) } ?? 1)
          let score = row > token ? get(scores, row, token) : 0
          passing += reading * get(read, row, column)
          written += score * reading
          set(read, row, column, own * get(read, row, column) + score * writer)
          if paths.readsPrevious { product *= get(decay, row, column) }
        }
        set(target, token, column, passing)
        if let vectors { set(vectors.2, token, column, get(vectors.2, token, column) + written) }
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
  mutating func check(_ paths: DecayedPaths) {
    let (rows, columns) = (paths.target.rows, paths.target.columns)
    check(paths.target)
    require(paths.scores, is: (rows, rows), "the scores")
    let others = [paths.read, paths.decay] + (paths.vectors?.views ?? [])
    for view in others { require(view, is: (rows, columns), "each of the rows") }
    require(paths.vectors != nil || columns == 1, "Pairs of tokens have one column.")
    for view in others + [paths.target, paths.scores] { requirePlain(view) }
    for view in others + [paths.target] { requireWholeRows(view) }
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
