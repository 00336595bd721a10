import Recurrences

/// A kernel as tiles, loops and operations: what is computed where, with every size static but the
/// number of tokens, heads and sequences.
public struct TileProgram: Hashable, Codable, Sendable {
  public var name: String
  /// The sizes that the kernel is made for.
  public var key: Int
  public var value: Int
  /// Tokens of one step of the walk.
  public var chunk: Int
  /// Columns of the state that one worker holds.
  public var valueTile: Int
  /// Adjacent heads that one worker holds; more than one are walked in a loop over `heads`.
  public var headTile: Int
  public var segmentation: Segmentation
  public var tensors: [Tensor]
  /// Run one after the other; workers of one phase do not see each other.
  public var phases: [Phase]

  public init(
    name: String, key: Int, value: Int, chunk: Int, valueTile: Int, segmentation: Segmentation,
    headTile: Int = 1, tensors: [Tensor], phases: [Phase]
  ) {
    self.name = name
    self.key = key
    self.value = value
    self.chunk = chunk
    self.valueTile = valueTile
    self.headTile = headTile
    self.segmentation = segmentation
    self.tensors = tensors
    self.phases = phases
  }

  /// How a sequence's chunks are dealt to segments.
  public enum Segmentation: Hashable, Codable, Sendable {
    case none
    /// This many segments a sequence, the last ones shorter or empty.
    case fixed(Int)
    /// One segment a chunk.
    case perChunk
  }

  public struct Phase: Hashable, Codable, Sendable {
    public var name: String
    /// The algorithm in the paper's letters: stands above the emitted function.
    public var pseudoCode: [String]
    public var grid: [GridAxis]
    public var tiles: [Tile]
    public var body: [Statement]

    public init(
      name: String, pseudoCode: [String], grid: [GridAxis], tiles: [Tile], body: [Statement]
    ) {
      self.name = name
      self.pseudoCode = pseudoCode
      self.grid = grid
      self.tiles = tiles
      self.body = body
    }
  }

  /// Names of the tensors that some operation writes.
  public var written: Set<String> {
    func visit(_ body: [Statement]) -> Set<String> {
      body.reduce(into: []) { found, statement in
        switch statement {
        case .operation(.storeTokens(let store)): found.insert(store.target.tensor)
        case .operation(.storeState(let store)): found.insert(store.target.tensor)
        case .operation(.sumSequences(let sum)): found.insert(sum.target)
        case .operation, .note: break
        case .loop(_, let inner), .firstValueTile(let inner): found.formUnion(visit(inner))
        case .when(_, let inner, let otherwise): found.formUnion(visit(inner + otherwise))
        }
      }
    }
    return phases.reduce(into: []) { $0.formUnion(visit($1.body)) }
  }

  public var valueTiles: Int { (value + valueTile - 1) / valueTile }
  public func tensor(_ name: String) -> Tensor? { tensors.first { $0.name == name } }
}

public indirect enum Statement: Hashable, Codable, Sendable {
  case operation(Operation)
  /// What follows, for readers of the printed program and of the emitted code.
  case note(String)
  case loop(Loop, [Statement])
  /// The first body if the condition holds, the second otherwise: one test for all of a tile.
  case when(Condition, [Statement], otherwise: [Statement])
  /// Run by the first worker along the value axis only: what all of them would write alike.
  case firstValueTile([Statement])
}

/// A test at run time; what is not a number fails it.
public struct Condition: Hashable, Codable, Sendable {
  /// The call must bring this tensor, which is optional.
  public var given: String?
  /// All of these tiles' entries must be above so much.
  public var above: [Bound]
  /// The absolute values of all of these tiles' entries must be below so much.
  public var magnitudeBelow: [Bound]

  public struct Bound: Hashable, Codable, Sendable {
    public var view: TileView
    public var limit: Double

    public init(_ view: TileView, _ limit: Double) {
      self.view = view
      self.limit = limit
    }
  }

  public init(given: String? = nil, above: [Bound] = [], magnitudeBelow: [Bound] = []) {
    self.given = given
    self.above = above
    self.magnitudeBelow = magnitudeBelow
  }
}

public enum Loop: Hashable, Codable, Sendable {
  /// The chunks of the worker's segment, or of the whole sequence; first to last.
  case chunks(String)
  /// The same from the last to the first.
  case chunksBackward(String)
  /// The heads that the worker holds, counted from 0: `headTile`, or what is left of them.
  case heads(String)
  /// The tokens of the present chunk that the sequence has, counted from its first; first to last, or
  /// last to first.
  case tokens(String, descending: Bool)
  /// The query heads that share the worker's key/value head.
  case queryHeads(String)
  /// The segments of the worker's sequence that hold chunks, first to last.
  case segments(String)
  /// `from ..< to`, upwards or downwards.
  case range(String, from: Index, to: Index, descending: Bool)

  /// Whether it walks chunks, in either direction.
  var isOverChunks: Bool {
    switch self {
    case .chunks, .chunksBackward: true
    default: false
    }
  }

  public var variable: String {
    switch self {
    case .chunks(let name), .chunksBackward(let name), .heads(let name), .queryHeads(let name),
      .segments(let name), .tokens(let name, _):
      name
    case .range(let name, _, _, _): name
    }
  }
}
