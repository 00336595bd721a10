/// One token on a state that stays in the caller's memory, in one pass over it. With S the matrix in
/// `source`, zero where the caller gave none:
///
///     T = diag(rowScale) S diag(columnScale) + key^T value;  output = query T
///
/// (`output = query S` when the read-out excludes the present token). Of a group's query heads, the
/// first one writes T to `target` and the others read it there; when the read-out excludes the
/// present token, all read `source` and the last one writes. Source and target may be one memory.
public struct MoveState: Hashable, Codable, Sendable {
  /// One row of the slices' columns, or one number.
  public var output: TileView
  public var target: StateSlice
  public var source: StateSlice
  /// One row along the key axis, as `key` is.
  public var query: TileView
  public var key: TileView
  /// Of the output's shape.
  public var value: TileView
  /// One row along the key axis; nil for no decay.
  public var rowScale: Factor?
  /// One row of the output's columns; nil for no decay.
  public var columnScale: Factor?
  public var readsPrevious: Bool

  public init(
    output: TileView, target: StateSlice, source: StateSlice, query: TileView, key: TileView,
    value: TileView, rowScale: Factor?, columnScale: Factor?, readsPrevious: Bool
  ) {
    self.output = output
    self.target = target
    self.source = source
    self.query = query
    self.key = key
    self.value = value
    self.rowScale = rowScale
    self.columnScale = columnScale
    self.readsPrevious = readsPrevious
  }
}

extension Worker {
  mutating func execute(_ move: MoveState) {
    let (output, query, key) = (window(move.output), window(move.query), window(move.key))
    let value = window(move.value)
    let writes =
      group == (move.readsPrevious ? machine.shape.queryHeads / machine.shape.heads - 1 : 0)
    let reads = writes || move.readsPrevious ? move.source : move.target
    let source = machine.tensors[reads.tensor]
    var target = machine.tensors[move.target.tensor]!
    for column in 0..<move.output.columns {
      var sum = 0.0
      for row in 0..<move.query.columns {
        let before = place(reads, row, column).flatMap { place in source.map { $0[place] } } ?? 0
        var after = before
        if writes {
          after *= move.rowScale.map { factor($0, (0, row)) } ?? 1
          after *= move.columnScale.map { factor($0, (0, column)) } ?? 1
          after += get(key, 0, row) * get(value, 0, column)
          let number = machine.precision == .exact ? after : Double(Float(after))
          if let place = place(move.target, row, column) { target[place] = number }
        }
        sum += get(query, 0, row) * (move.readsPrevious ? before : after)
      }
      set(output, 0, column, sum)
    }
    machine.tensors[move.target.tensor] = target
  }
}
