import Recurrences

/// How a kernel is computed: every choice that does not change what it computes.
public struct Plan: Hashable, Codable, Sendable {
  /// The schedule's name.
  public var schedule: String
  /// Tokens between two updates of the state.
  public var chunk: Int
  /// Tokens of one diagonal piece of the score matrix; divides `chunk`.
  public var subBlock: Int
  /// Rows of the state that one product works on; divides K.
  public var keyTile: Int
  /// Columns of the state that one worker holds.
  public var valueTile: Int
  /// Adjacent heads whose states one worker holds, and walks together.
  public var headTile: Int
  public var materialization: Materialization
  /// Threads when the caller does not say.
  public var threads: Int
  /// What products multiply: f32, or bf16 pairs summed in f32.
  public var products: ElementType
  /// How the innermost loops are written.
  public var inner: InnerLoops

  public init(
    schedule: String, chunk: Int, subBlock: Int, keyTile: Int, valueTile: Int,
    headTile: Int = 1, materialization: Materialization = .none, threads: Int = 1,
    products: ElementType = .f32, inner: InnerLoops = InnerLoops()
  ) {
    self.schedule = schedule
    self.chunk = chunk
    self.subBlock = subBlock
    self.keyTile = keyTile
    self.valueTile = valueTile
    self.headTile = headTile
    self.materialization = materialization
    self.threads = threads
    self.products = products
    self.inner = inner
  }
}

/// Which states are written to memory: the paper's trade of traffic against parallelism.
public enum Materialization: Hashable, Codable, Sendable, CustomStringConvertible {
  /// The state stays on chip for the whole sequence.
  case none
  /// The states between this many segments of a sequence.
  case segments(Int)
  /// The state before every chunk.
  case chunks
  /// Of a gradient: none, where the call brings the states that the forward call wrote out between
  /// chunks, which keeps batch * heads * tokens / chunk * K * V * 4 bytes from one to the other; where
  /// it does not, as `chunks`.
  case saved

  /// Reads `none`, `segments:N`, `chunks` or `saved`; nil for anything else.
  public init?(_ text: String) {
    switch text {
    case "none": self = .none
    case "chunks": self = .chunks
    case "saved": self = .saved
    default:
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count == 2, parts[0] == "segments", let count = Int(parts[1]),
        (1...4096).contains(count)
      else { return nil }
      self = .segments(count)
    }
  }

  public var description: String {
    switch self {
    case .none: "none"
    case .segments(let count): "segments:\(count)"
    case .chunks: "chunks"
    case .saved: "saved"
    }
  }
}

extension Plan {
  /// Of a gradient's plan, the tokens between the states that it takes of the forward call; nil where
  /// it takes none.
  public var savedEvery: Int? { materialization == .saved ? chunk : nil }
}

/// The parts of a plan that a user pins; the planner chooses the rest.
public struct PlanRequest: Hashable, Codable, Sendable {
  public var schedule: String?
  public var chunk: Int?
  public var subBlock: Int?
  public var keyTile: Int?
  public var valueTile: Int?
  public var headTile: Int?
  public var materialization: Materialization?
  public var threads: Int?
  public var products: ElementType?
  public var inner: InnerLoops

  public init(
    schedule: String? = nil, chunk: Int? = nil, subBlock: Int? = nil, keyTile: Int? = nil,
    valueTile: Int? = nil, headTile: Int? = nil, materialization: Materialization? = nil,
    threads: Int? = nil, products: ElementType? = nil, inner: InnerLoops = InnerLoops()
  ) {
    self.schedule = schedule
    self.chunk = chunk
    self.subBlock = subBlock
    self.keyTile = keyTile
    self.valueTile = valueTile
    self.headTile = headTile
    self.materialization = materialization
    self.threads = threads
    self.products = products
    self.inner = inner
  }

  /// Whether a plan has everything that is pinned.
  public func admits(_ plan: Plan) -> Bool {
    (schedule == nil || schedule == plan.schedule) && (chunk == nil || chunk == plan.chunk)
      && (subBlock == nil || subBlock == plan.subBlock)
      && (keyTile == nil || keyTile == plan.keyTile)
      && (valueTile == nil || valueTile == plan.valueTile)
      && (headTile == nil || headTile == plan.headTile)
      && (materialization == nil || materialization == plan.materialization)
      && (threads == nil || threads == plan.threads)
      && (products == nil || products == plan.products)
      && plan.inner.pinned(by: inner) == plan.inner
  }
}

extension Plan: CustomStringConvertible {
  public var description: String {
    // One head a worker is what other plans are compared with, and is not said.
    """
    schedule         \(schedule)
    chunk            \(chunk)
    sub-block        \(subBlock)
    key-tile         \(keyTile)
    value-tile       \(valueTile)\(headTile == 1 ? "" : "\nhead-tile        \(headTile)")
    materialization  \(materialization)
    threads          \(threads)
    products         \(products.rawValue)\(innerLines)
    """
  }
}

extension Plan {
  /// The choices of the innermost loops.
  public var innerChoices: [(axis: InnerLoops.Axis, value: String)] {
    InnerLoops.Axis.allCases.compactMap { axis in inner[axis].map { (axis, $0) } }
  }

  /// What an emitter chooses by itself is not said.
  private var innerLines: String {
    innerChoices.map {
      let name = $0.axis.option
      return "\n\(name)" + String(repeating: " ", count: 17 - name.count) + $0.value
    }.joined()
  }
}

/// As JSON: a plan of one head a worker has no `headTile`, and one that leaves its innermost loops to
/// the emitter says nothing of them, as those that were written before there was a choice.
extension Plan {
  private enum CodingKeys: String, CodingKey {
    case schedule, chunk, subBlock, keyTile, valueTile, headTile, materialization, threads, products
    case registerBlock, unroll, ahead, stores
  }

  public init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      schedule: try fields.decode(String.self, forKey: .schedule),
      chunk: try fields.decode(Int.self, forKey: .chunk),
      subBlock: try fields.decode(Int.self, forKey: .subBlock),
      keyTile: try fields.decode(Int.self, forKey: .keyTile),
      valueTile: try fields.decode(Int.self, forKey: .valueTile),
      headTile: try fields.decodeIfPresent(Int.self, forKey: .headTile) ?? 1,
      materialization: try fields.decode(Materialization.self, forKey: .materialization),
      threads: try fields.decode(Int.self, forKey: .threads),
      products: try fields.decode(ElementType.self, forKey: .products),
      inner: InnerLoops(
        registerBlock: try fields.decodeIfPresent(RegisterBlock.self, forKey: .registerBlock),
        unroll: try fields.decodeIfPresent(Int.self, forKey: .unroll),
        ahead: try fields.decodeIfPresent(Int.self, forKey: .ahead),
        stores: try fields.decodeIfPresent(InnerLoops.Stores.self, forKey: .stores)))
  }

  public func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: CodingKeys.self)
    try fields.encode(schedule, forKey: .schedule)
    try fields.encode(chunk, forKey: .chunk)
    try fields.encode(subBlock, forKey: .subBlock)
    try fields.encode(keyTile, forKey: .keyTile)
    try fields.encode(valueTile, forKey: .valueTile)
    if headTile != 1 { try fields.encode(headTile, forKey: .headTile) }
    try fields.encode(materialization, forKey: .materialization)
    try fields.encode(threads, forKey: .threads)
    try fields.encode(products, forKey: .products)
    try fields.encodeIfPresent(inner.registerBlock, forKey: .registerBlock)
    try fields.encodeIfPresent(inner.unroll, forKey: .unroll)
    try fields.encodeIfPresent(inner.ahead, forKey: .ahead)
    try fields.encodeIfPresent(inner.stores, forKey: .stores)
  }
}
