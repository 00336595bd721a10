import Recurrences

/// A matrix that one worker holds in its scratch memory.
///
/// Emitters pad rows to whole vectors; what a program says of `columns` is always the logical size.
public struct Tile: Hashable, Codable, Sendable {
  public var name: String
  public var rows: Int
  public var columns: Int
  /// f32, or bf16 for operands of a product.
  public var type: ElementType
  public var layout: Layout
  public var place: Place
  /// What it holds, in the paper's letters: stands beside it in emitted code.
  public var meaning: String

  public enum Layout: String, Hashable, Codable, Sendable {
    /// Row by row.
    case rows
    /// One column, its entries side by side.
    case column
    /// Rows 2p and 2p+1 interleaved column by column: how `vdpbf16ps` wants its right operand.
    case pairs
  }

  /// What kind of memory a worker holds a tile in.
  public enum Place: String, Hashable, Codable, Sendable {
    /// A processor's caches, a card's shared memory.
    case scratch
    /// Registers of a card's warps, all the while that the tile lives.
    case registers
  }

  public init(
    _ name: String, _ rows: Int, _ columns: Int, type: ElementType = .f32, layout: Layout = .rows,
    place: Place = .scratch, _ meaning: String
  ) {
    self.name = name
    self.rows = rows
    self.columns = columns
    self.type = type
    self.layout = layout
    self.place = place
    self.meaning = meaning
  }

  /// All of it.
  public var all: TileView {
    TileView(tile: name, row: 0, rows: rows, column: 0, columns: columns)
  }
  /// `rows` whole rows from `row` on.
  public func rows(_ row: Index, _ rows: Int) -> TileView {
    TileView(tile: name, row: row, rows: rows, column: 0, columns: columns)
  }
  /// A part of it.
  public func part(_ row: Index, _ rows: Int, _ column: Index, _ columns: Int) -> TileView {
    TileView(tile: name, row: row, rows: rows, column: column, columns: columns)
  }
}

/// A rectangle of a tile.
public struct TileView: Hashable, Codable, Sendable, CustomStringConvertible {
  public var tile: String
  public var row: Index
  public var rows: Int
  public var column: Index
  public var columns: Int

  public var description: String {
    "\(tile)[\(row):+\(rows), \(column):+\(columns)]"
  }

  /// `rows` of its rows from its own row `row` on.
  public func rows(_ row: Index, _ rows: Int) -> TileView {
    var part = self
    part.row = self.row + row
    part.rows = rows
    return part
  }
}

/// A tensor that the caller brings, or the workspace that lives between phases.
public struct Tensor: Hashable, Codable, Sendable {
  public var name: String
  public var kind: Kind
  public var type: ElementType
  /// Row-major sizes of one row (a token's) or one matrix (a state's).
  public var rows: Int
  public var columns: Int
  public var isOptional: Bool

  public enum Kind: String, Hashable, Codable, Sendable {
    /// [B, T, query heads, columns].
    case queryTokens
    /// [B, T, heads, columns].
    case tokens
    /// [heads, rows, columns], f32.
    case parameter
    /// [sequences, heads, rows, columns], f32; read at the start.
    case initialState
    /// [sequences, heads, rows, columns], f32; written at the end.
    case finalState
    /// [slots, heads, rows, columns], f32: one slot a segment of a sequence, in the workspace.
    case segment
    /// [slots, heads, rows, columns], f32: the states after every so many tokens, a number that the
    /// call says. The n-th of a sequence that begins at token b of all has the slot b / number + n.
    case snapshot
    /// [slots, heads, rows, columns], f32: the states before chunks, as a forward call wrote them out
    /// (`snapshot` after every chunk's number of tokens). The one before the first chunk is none of
    /// them, but the initial state.
    case chunkStates
    /// [sequences, heads, rows, columns], f32, in the workspace: what each worker adds to a head.
    case partial
  }

  public init(
    _ name: String, _ kind: Kind, type: ElementType = .f32, rows: Int = 1, columns: Int,
    isOptional: Bool = false
  ) {
    self.name = name
    self.kind = kind
    self.type = type
    self.rows = rows
    self.columns = columns
    self.isOptional = isOptional
  }
}

/// Rows of a token tensor: tokens from `start` on, counted from the sequence's first.
///
/// Rows past the end of the sequence, and columns past the tensor's, are never touched.
public struct TokenSlice: Hashable, Codable, Sendable, CustomStringConvertible {
  public var tensor: String
  public var start: Index
  public var rows: Int
  public var column: Index
  public var columns: Int

  public init(_ tensor: String, start: Index, rows: Int, column: Index = 0, columns: Int) {
    self.tensor = tensor
    self.start = start
    self.rows = rows
    self.column = column
    self.columns = columns
  }

  public var description: String { "\(tensor)<\(start):+\(rows), \(column):+\(columns)>" }
}

/// Columns of a state's matrix, of the worker's sequence and head (and segment, in the workspace).
///
/// Columns past the tensor's are never touched, nor those past V when the value tile's place is in
/// `column`: a normalizer's column is no part of any value tile.
public struct StateSlice: Hashable, Codable, Sendable, CustomStringConvertible {
  public var tensor: String
  public var column: Index
  public var columns: Int
  /// For a tensor of kind `.segment`: which segment of the sequence; of kind `.snapshot`: after which
  /// chunk, and where the call asks for no state after that one, nothing is stored; of kind
  /// `.chunkStates`: before which chunk.
  public var segment: Index?

  public init(_ tensor: String, column: Index = 0, columns: Int, segment: Index? = nil) {
    self.tensor = tensor
    self.column = column
    self.columns = columns
    self.segment = segment
  }

  public var description: String {
    "\(tensor)(\(segment.map { "segment \($0), " } ?? "")\(column):+\(columns))"
  }
}
