import Recurrences

/// One step of a tile program. Sizes are static; each case states its scalar meaning.
public enum Operation: Hashable, Codable, Sendable {
  case map(Map)
  case scan(Scan)
  case mantissas(Mantissas)
  case reduce(Reduce)
  case transpose(Transpose)
  case multiply(Multiply)
  case decayMatrix(DecayMatrix)
  case weigh(Weigh)
  case decayedScores(DecayedScores)
  case decayedValues(DecayedValues)
  case decayedPaths(DecayedPaths)
  case decayTotal(DecayTotal)
  case decayFactor(DecayFactor)
  case fold(Fold)
  case recur(Recur)
  case moveState(MoveState)
  case loadState(LoadState)
  case storeState(StoreState)
  case storeTokens(StoreTokens)
  case sumSequences(SumSequences)
  case monomials(MonomialRows)
  case monomialAdjoint(MonomialAdjoint)
}

/// `target[i][j] = expression` of the operands at (i, j); with a `tail`, rows that stand for tokens
/// past the end of the sequence get its `fill` instead. Columns past a tensor's are read as zero.
///
/// The target's type and layout may differ from the operands': a map is also a conversion.
public struct Map: Hashable, Codable, Sendable {
  public var target: TileView
  /// Gets 1 - expression, without the loss of a subtraction where the expression is close to one:
  /// what a decay takes away. Of the target's shape.
  public var complement: TileView?
  public var expression: Expression
  public var operands: [String: Operand]
  /// Needed when an operand is a token tensor.
  public var tail: Tail?

  public init(
    _ target: TileView, _ expression: Expression, _ operands: [String: Operand],
    complement: TileView? = nil, tail: Tail? = nil
  ) {
    self.target = target
    self.complement = complement
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

/// Running products of decays down the rows of each column, each as a number of [1, 2) and the powers
/// of two before it: `mantissas[0] = 1`, `mantissas[i + 1] * powers[i] = mantissas[i] * decays[i]`.
///
/// A product below 2^-126 counts as zero: the power is 0, and the next mantissa 1. So nothing
/// underflows but what a power takes away, and multiplying by powers rounds nothing.
public struct Mantissas: Hashable, Codable, Sendable {
  /// A row more than the decays.
  public var mantissas: TileView
  /// May be the decays themselves.
  public var powers: TileView
  public var decays: TileView

  public init(_ mantissas: TileView, powers: TileView, of decays: TileView) {
    self.mantissas = mantissas
    self.powers = powers
    self.decays = decays
  }
}

/// The sum of each column (to one row) or of each row (to one column).
public struct Reduce: Hashable, Codable, Sendable {
  public var target: TileView
  public var source: TileView

  public init(sumOf source: TileView, to target: TileView) {
    self.target = target
    self.source = source
  }
}

/// The product over i of decay[i][k], to one row, or of one column to one number: `target`, or as
/// the factor `target + base` (see `Factor`) from what the decays take away,
/// `1 - product = sum_i taken[i] decay[0] ... decay[i - 1]`, a sum of positive terms.
public struct DecayTotal: Hashable, Codable, Sendable {
  public var target: TileView
  public var decay: TileView
  public var base: TileView?
  /// 1 - decay, of its shape; needed for `base`.
  public var taken: TileView?

  public init(_ target: TileView, _ decay: TileView, base: TileView? = nil, taken: TileView? = nil)
  {
    self.target = target
    self.decay = decay
    self.base = base
    self.taken = taken
  }
}

/// Each decay as a factor: `slope + base = decay`, from its complement `taken`.
public struct DecayFactor: Hashable, Codable, Sendable {
  public var factor: Factor
  public var decay: TileView
  public var taken: TileView

  public init(_ factor: Factor, decay: TileView, taken: TileView) {
    self.factor = factor
    self.decay = decay
    self.taken = taken
  }
}

/// Folds a block's decays into its operands, key by key, where that is safe. With E[t] the product
/// of decay[0] ... decay[t], a key k folds if its last E is above `smallestDecay` and every
/// |key[t] / E[t]| below `largestKey`; then
///
///     folded[t] = key[t] / E[t];  reading[t] = E[t] (E[t - 1] when the read-out excludes the
///     present token);  step[t] = 1;  total = E's last, a factor;  exact = 0
///
/// and otherwise `folded[t] = key[t]; reading[t] = 1; step[t] = decay[t]; total = 1; exact = 1`.
/// A decay of one column folds for all keys or for none.
public struct Fold: Hashable, Codable, Sendable {
  public static let smallestDecay = 0x1p-32
  public static let largestKey = 0x1p64

  public var key: TileView
  public var decay: TileView
  /// 1 - decay.
  public var taken: TileView
  public var folded: TileView
  public var reading: TileView
  public var step: TileView
  public var total: Factor
  public var exact: TileView
  public var carried: Carried?
  public var readsPrevious: Bool

  /// The product of each key's decays since the state was last scaled, from block to block: the true
  /// state is the one in its tile times that. A block in which all keys fold leaves the state as it
  /// is, until a product falls below `scaledBelow`; before a block that has other keys the state is
  /// scaled.
  public struct Carried: Hashable, Codable, Sendable {
    public static let scaledBelow = 0x1p-16

    /// Columns along the key axis, read and written.
    public var past: Factor
    /// Written: rows along the key axis, by which the state is multiplied before the block.
    public var begin: Factor

    public init(past: Factor, begin: Factor) {
      self.past = past
      self.begin = begin
    }
  }

  public init(
    key: TileView, decay: TileView, taken: TileView, folded: TileView, reading: TileView,
    step: TileView, total: Factor, exact: TileView, carried: Carried?, readsPrevious: Bool
  ) {
    self.key = key
    self.decay = decay
    self.taken = taken
    self.folded = folded
    self.reading = reading
    self.step = step
    self.total = total
    self.exact = exact
    self.carried = carried
    self.readsPrevious = readsPrevious
  }
}

/// A factor that multiplies a state again and again, as the sum of two numbers, so that
/// `x times the factor = slope x + base x` is rounded once and by the size of the change: base is 1
/// where the factor is 1/2 or more, and slope what is added to it; elsewhere base is 0.
///
/// A constant decay close to one is rounded the same way at every token, and over thousands of them
/// that would add up. Without `base`, slope is the factor.
public struct Factor: Hashable, Codable, Sendable {
  public var slope: TileView
  public var base: TileView?

  public init(_ slope: TileView, base: TileView? = nil) {
    self.slope = slope
    self.base = base
  }

  /// The tiles that make it up.
  public var views: [TileView] { [slope] + (base.map { [$0] } ?? []) }
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
  public var rowScale: Factor?
  /// A row of the target's columns.
  public var columnScale: Factor?
  /// How many p are summed; at most the operands' size.
  public var depth: Index

  public init(
    _ target: TileView, _ left: TileView, _ right: TileView, leftIsTransposed: Bool = false,
    accumulates: Bool, rowScale: Factor? = nil, columnScale: Factor? = nil,
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
/// `state`, for each token t in turn:
/// `S = diag(decay[t]) S diag(valueDecay[t]) + key[t] value[t]^T;  output[t] = S^T query[t]`
/// (the two in the other order when the read-out excludes the present token). At the end, on the
/// last query head of a group, `state = diag(endScale) S`. Before the first token, on every query head,
/// `S = diag(beginScale) state`.
public struct Recur: Hashable, Codable, Sendable {
  public var output: TileView
  public var state: TileView
  public var query: TileView
  public var key: TileView
  public var value: TileView
  /// A row a token along the key axis, or one column; nil for no decay.
  public var decay: TileView?
  /// One row along the key axis, or one number: 0 where all decays of a key are one.
  public var decays: TileView?
  /// A row a token along the value axis.
  public var valueDecay: Factor?
  /// One row along the key axis, or one number.
  public var endScale: Factor?
  /// One row along the key axis.
  public var beginScale: Factor?
  public var readsPrevious: Bool
  /// Rows that are asked for while this runs, as something will soon read them: no meaning.
  public var ahead: [TokenSlice]

  public init(
    output: TileView, state: TileView, query: TileView, key: TileView, value: TileView,
    decay: TileView?, decays: TileView?, valueDecay: Factor?, endScale: Factor?,
    beginScale: Factor? = nil, readsPrevious: Bool, ahead: [TokenSlice]
  ) {
    self.output = output
    self.state = state
    self.query = query
    self.key = key
    self.value = value
    self.decay = decay
    self.decays = decays
    self.valueDecay = valueDecay
    self.endScale = endScale
    self.beginScale = beginScale
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
  /// Whether large outputs go past the caches; otherwise something asked for the rows before.
  public var streams: Bool

  public init(_ target: TokenSlice, _ source: TileView, streams: Bool = true) {
    self.target = target
    self.source = source
    self.streams = streams
  }
}
