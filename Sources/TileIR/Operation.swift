import Recurrences

/// One step of a tile program. Sizes are static; each case states its scalar meaning.
public enum Operation: Hashable, Codable, Sendable {
  case map(Map)
  case scan(Scan)
  case reduce(Reduce)
  case transpose(Transpose)
  case multiply(Multiply)
  case decayMatrix(DecayMatrix)
  case weigh(Weigh)
  case decayedScores(DecayedScores)
  case decayedValues(DecayedValues)
  case recur(Recur)
  case loadState(LoadState)
  case storeState(StoreState)
  case storeTokens(StoreTokens)
}

/// `target[i][j] = expression` of the operands at (i, j); with a `tail`, rows that stand for tokens
/// past the end of the sequence get its `fill` instead. Columns past a tensor's are read as zero.
///
/// The target's type and layout may differ from the operands': a map is also a conversion.
public struct Map: Hashable, Codable, Sendable {
  public var target: TileView
  public var expression: Expression
  public var operands: [String: Operand]
  /// Needed when an operand is a token tensor.
  public var tail: Tail?

  public init(
    _ target: TileView, _ expression: Expression, _ operands: [String: Operand],
    tail: Tail? = nil
  ) {
    self.target = target
    self.expression = expression
    self.operands = operands
    self.tail = tail
  }

  /// Row i of the target stands for token `start + i` of the sequence.
  public struct Tail: Hashable, Codable, Sendable {
    public var start: Index
    public var fill: Double

    public init(start: Index, fill: Double) {
      self.start = start
      self.fill = fill
    }
  }

  public enum Operand: Hashable, Codable, Sendable {
    /// A view of the target's shape; or of one row, one column, or one row that is used as a
    /// column, repeated over the target.
    case tile(TileView, Repeat)
    case tokens(TokenSlice)
    /// A head's parameter, from `column` on; a row vector, a matrix, or a scalar.
    case parameter(String, column: Index)
    /// The caller's scale.
    case scale

    public enum Repeat: String, Hashable, Codable, Sendable {
      case none, overRows, overColumns, rowAsColumn
    }
  }
}

/// Running products down the rows of each column.
///
/// Forward: `target[i] = source[0] * ... * source[i]`; backward: `source[i] * ... * source[last]`.
/// Exclusive leaves `source[i]` itself out, so the first (backward: last) row is one.
public struct Scan: Hashable, Codable, Sendable {
  public var target: TileView
  public var source: TileView
  public var backward: Bool
  public var exclusive: Bool

  public init(_ target: TileView, _ source: TileView, backward: Bool, exclusive: Bool) {
    self.target = target
    self.source = source
    self.backward = backward
    self.exclusive = exclusive
  }
}

/// The sum or product of each column (to one row) or of each row (to one column).
public struct Reduce: Hashable, Codable, Sendable {
  public var target: TileView
  public var source: TileView
  public var function: Function

  public enum Function: String, Hashable, Codable, Sendable { case sum, product }

  public init(_ target: TileView, _ source: TileView, _ function: Function) {
    self.target = target
    self.source = source
    self.function = function
  }
}

/// `target[j][i] = source[i][j]`, with a change of type and layout where they differ.
public struct Transpose: Hashable, Codable, Sendable {
  public var target: TileView
  public var source: TileView

  public init(_ target: TileView, _ source: TileView) {
    self.target = target
    self.source = source
  }
}

/// `target = rowScale[i] * columnScale[j] * target[i][j] + sum_p left[i][p] right[p][j]`, or without
/// the first term when `accumulates` is false.
///
/// `left` is stored as [p][i] when `leftIsTransposed`. Operands are both f32 or both bf16; sums f32.
public struct Multiply: Hashable, Codable, Sendable {
  public var target: TileView
  public var left: TileView
  public var right: TileView
  public var leftIsTransposed: Bool
  public var accumulates: Bool
  /// A column of the target's rows, or one row of that many columns.
  public var rowScale: TileView?
  /// A row of the target's columns.
  public var columnScale: TileView?
  /// How many p are summed; at most the operands' size.
  public var depth: Index

  public init(
    _ target: TileView, _ left: TileView, _ right: TileView, leftIsTransposed: Bool = false,
    accumulates: Bool, rowScale: TileView? = nil, columnScale: TileView? = nil,
    depth: Index? = nil
  ) {
    self.target = target
    self.left = left
    self.right = right
    self.leftIsTransposed = leftIsTransposed
    self.accumulates = accumulates
    self.rowScale = rowScale
    self.columnScale = columnScale
    self.depth = depth ?? Index(right.rows)
  }
}

/// `target[i][j] = product of decay[u], j < u <= i` (`j < u < i` when the read-out excludes the
/// present token), zero above the diagonal; the diagonal is one, or zero when it is excluded.
public struct DecayMatrix: Hashable, Codable, Sendable {
  public var target: TileView
  /// One column of the target's rows; nil for no decay.
  public var decay: TileView?
  public var readsPrevious: Bool

  public init(_ target: TileView, decay: TileView?, readsPrevious: Bool) {
    self.target = target
    self.decay = decay
    self.readsPrevious = readsPrevious
  }
}

/// `target[i][j] = weights[i][j] * target[i][j]`, and zero where the weight is zero, whatever stood
/// there: a score that overflowed beyond the diagonal must not become NaN.
public struct Weigh: Hashable, Codable, Sendable {
  public var target: TileView
  public var weights: TileView

  public init(_ target: TileView, by weights: TileView) {
    self.target = target
    self.weights = weights
  }
}

/// The exact diagonal piece of a score matrix under a gate along the key axis:
/// `target[i][j] = sum_k query[i][k] key[j][k] * product of decay[u][k], j < u <= i`
/// (`j < u < i` when the read-out excludes the present token, and then zero at i = j);
/// zero above the diagonal.
public struct DecayedScores: Hashable, Codable, Sendable {
  public var target: TileView
  public var query: TileView
  public var key: TileView
  public var decay: TileView
  public var readsPrevious: Bool

  public init(
    _ target: TileView, query: TileView, key: TileView, decay: TileView, readsPrevious: Bool
  ) {
    self.target = target
    self.query = query
    self.key = key
    self.decay = decay
    self.readsPrevious = readsPrevious
  }
}

/// The exact diagonal piece of the output under a gate along the value axis. Each row i of the
/// target goes through `x = decay[j] * x + scores[i][j] * value[j]` for j = 0...i in turn
/// (the decay of row i itself is left out when the read-out excludes the present token).
public struct DecayedValues: Hashable, Codable, Sendable {
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

/// The recurrence itself over a block of tokens, with the state in registers piece by piece. From
/// `stateIn`, for each token t in turn:
/// `S = diag(decay[t]) S diag(valueDecay[t]) + key[t] value[t]^T;  output[t] = S^T query[t]`
/// (the two in the other order when the read-out excludes the present token). At the end
/// `stateOut = diag(endScale) S`. `stateIn` and `stateOut` may be the same tile.
public struct Recur: Hashable, Codable, Sendable {
  public var output: TileView
  public var stateIn: TileView
  public var stateOut: TileView
  public var query: TileView
  public var key: TileView
  public var value: TileView
  /// A row a token along the key axis, or one column; nil for no decay.
  public var decay: TileView?
  /// A row a token along the value axis.
  public var valueDecay: TileView?
  /// One row along the key axis, or one number.
  public var endScale: TileView?
  public var readsPrevious: Bool
  /// Rows that are asked for while this runs, as something will soon read them: no meaning.
  public var ahead: [TokenSlice]

  public init(
    output: TileView, stateIn: TileView, stateOut: TileView, query: TileView, key: TileView,
    value: TileView, decay: TileView?, valueDecay: TileView?, endScale: TileView?,
    readsPrevious: Bool, ahead: [TokenSlice]
  ) {
    self.output = output
    self.stateIn = stateIn
    self.stateOut = stateOut
    self.query = query
    self.key = key
    self.value = value
    self.decay = decay
    self.valueDecay = valueDecay
    self.endScale = endScale
    self.readsPrevious = readsPrevious
    self.ahead = ahead
  }
}

/// `target = source`, or zero where an optional tensor is absent; columns past its own are zero.
public struct LoadState: Hashable, Codable, Sendable {
  public var target: TileView
  public var source: StateSlice

  public init(_ target: TileView, _ source: StateSlice) {
    self.target = target
    self.source = source
  }
}

/// `target = source`; nothing where an optional tensor is absent, nor past its columns.
public struct StoreState: Hashable, Codable, Sendable {
  public var target: StateSlice
  public var source: TileView

  public init(_ target: StateSlice, _ source: TileView) {
    self.target = target
    self.source = source
  }
}

/// `target = source`, rounded to the tensor's type; nothing past the sequence's end or its columns.
public struct StoreTokens: Hashable, Codable, Sendable {
  public var target: TokenSlice
  public var source: TileView

  public init(_ target: TokenSlice, _ source: TileView) {
    self.target = target
    self.source = source
  }
}
