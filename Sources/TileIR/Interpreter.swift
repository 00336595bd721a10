import Recurrences

/// Runs a tile program in Double: the living definition of every operation.
///
/// With `.exact` nothing is rounded, so a disagreement with the reference is a wrong derivation.
/// With `.declared` every tile and output is rounded to its type, which predicts a kernel's error.
public struct Interpreter {
  public enum Precision: Sendable { case exact, declared }

  public var program: TileProgram
  public var shape: ProblemShape
  public var precision: Precision
  public var scale: Double
  /// Tokens between two states that are written out; 0 for none.
  public var snapshotEvery = 0
  /// Tensors by name: inputs, and after `run` the outputs. Layouts are `Tensor.Kind`'s.
  public var tensors: [String: [Double]]

  public init(
    _ program: TileProgram, shape: ProblemShape, scale: Double, tensors: [String: [Double]],
    precision: Precision = .exact
  ) {
    self.program = program
    self.shape = shape
    self.scale = scale
    self.tensors = tensors
    self.precision = precision
  }

  /// Runs all phases; outputs appear in `tensors`, where unwritten elements are NaN.
  public mutating func run() {
    let grid = Grid(program: program, shape: shape, snapshotEvery: snapshotEvery)
    let written = program.written
    for tensor in program.tensors where tensors[tensor.name] == nil {
      if written.contains(tensor.name) || tensor.kind == .segment || tensor.kind == .finalState {
        tensors[tensor.name] = Array(repeating: .nan, count: grid.size(of: tensor))
      }
    }
    for phase in program.phases {
      for place in grid.places(of: phase) {
        // The tensors move to the worker and back: a copy for each would take longer than the work.
        var taken: [String: [Double]] = [:]
        swap(&taken, &tensors)
        var worker = Worker(machine: self, grid: grid, phase: phase, place: place)
        swap(&taken, &worker.machine.tensors)
        worker.run(phase.body)
        swap(&tensors, &worker.machine.tensors)
      }
    }
  }
}

/// Names of the tensors that every kernel has.
public enum TensorName {
  public static let output = "o"
  public static let initialState = "initial_state"
  public static let finalState = "final_state"
  public static let snapshots = "snapshots"
  public static let segmentState = "segment_state"
  public static let segmentDecay = "segment_decay"
  public static let segmentValueDecay = "segment_value_decay"
  /// The states after chunks that a forward call wrote out, and a gradient's caller brings.
  public static let states = "states"
  /// The states before each chunk, transposed, that a gradient writes and reads again.
  public static let chunkState = "chunk_state"
  /// The same of a normalizer's state.
  public static let chunkNormalizer = "chunk_normalizer"

  /// The adjoint of a tensor: of the output and the final state it is read, of the others written.
  public static func adjoint(of tensor: String) -> String { "d_\(tensor)" }
  /// What one sequence adds to the adjoint of a head's parameter.
  public static func partial(of parameter: String) -> String { "partial_\(parameter)" }
}

/// The workers of a program on a shape, and where their tensors lie.
public struct Grid {
  var program: TileProgram
  var shape: ProblemShape
  var snapshotEvery: Int
  var sequences: [ProblemShape.Sequence]

  init(program: TileProgram, shape: ProblemShape, snapshotEvery: Int) {
    self.program = program
    self.shape = shape
    self.snapshotEvery = snapshotEvery
    sequences = shape.sequences
  }

  /// One worker's place: its variables by `GridAxis.variable`.
  ///
  /// A segment that holds no chunk of its sequence has no worker: with one segment a chunk, the slot
  /// that it would write belongs to another sequence.
  func places(of phase: TileProgram.Phase) -> [[String: Int]] {
    var places: [[String: Int]] = [[:]]
    for axis in phase.grid {
      let count = extent(axis)
      places = places.flatMap { place in
        (0..<count).map { place.merging([axis.variable: $0]) { _, new in new } }
      }
    }
    return places.filter { place in
      guard phase.grid.contains(.segment) else { return true }
      let sequence = sequences[place[GridAxis.sequence.variable] ?? 0]
      return place[GridAxis.segment.variable]! < segments(of: sequence)
    }
  }

  func extent(_ axis: GridAxis) -> Int {
    switch axis {
    case .sequence: sequences.count
    case .head: (shape.heads + program.headTile - 1) / program.headTile
    case .valueTile: program.valueTiles
    case .segment:
      switch program.segmentation {
      case .none: 1
      case .fixed(let count): count
      case .perChunk: sequences.map { chunks(of: $0) }.max() ?? 0
      }
    }
  }

  func chunks(of sequence: ProblemShape.Sequence) -> Int {
    (sequence.tokens.count + program.chunk - 1) / program.chunk
  }

  /// Chunks of one segment: the same for all segments of a sequence but the last.
  func segmentLength(of sequence: ProblemShape.Sequence) -> Int {
    switch program.segmentation {
    case .none: chunks(of: sequence)
    case .fixed(let count): (chunks(of: sequence) + count - 1) / count
    case .perChunk: 1
    }
  }

  /// Segments of a sequence that hold a chunk.
  func segments(of sequence: ProblemShape.Sequence) -> Int {
    let length = segmentLength(of: sequence)
    return length == 0 ? 0 : (chunks(of: sequence) + length - 1) / length
  }

  /// The workspace slot of a segment: no two segments share one.
  func slot(sequence: Int, segment: Int) -> Int {
    switch program.segmentation {
    case .none: return sequence
    case .fixed(let count): return sequence * count + segment
    case .perChunk:
      let place = sequences[sequence]
      let begin = place.batch * shape.length + place.tokens.lowerBound
      return begin / program.chunk + sequence + segment
    }
  }

  var slots: Int {
    switch program.segmentation {
    case .none: 0
    case .fixed(let count): sequences.count * count
    case .perChunk: shape.batch * shape.length / program.chunk + sequences.count
    }
  }

  /// The slot of the state after a chunk; nil where none was asked for.
  func snapshot(sequence: Int, after chunk: Int) -> Int? {
    let place = sequences[sequence]
    let tokens = (chunk + 1) * program.chunk
    guard snapshotEvery > 0, tokens % snapshotEvery == 0, tokens <= place.tokens.count else {
      return nil
    }
    return place.batch * (shape.length / snapshotEvery) + place.tokens.lowerBound / snapshotEvery
      + tokens / snapshotEvery - 1
  }

  /// The slot of the state before a chunk, not the first, as the forward call wrote it.
  func chunkState(sequence: Int, before chunk: Int) -> Int {
    let place = sequences[sequence]
    return place.batch * (shape.length / program.chunk)
      + place.tokens.lowerBound / program.chunk + chunk - 1
  }

  /// Elements of a tensor.
  func size(of tensor: Tensor) -> Int {
    let matrix = tensor.rows * tensor.columns
    switch tensor.kind {
    case .queryTokens: return shape.batch * shape.length * shape.queryHeads * matrix
    case .tokens: return shape.batch * shape.length * shape.heads * matrix
    case .parameter: return shape.heads * matrix
    case .initialState, .finalState, .partial: return sequences.count * shape.heads * matrix
    case .snapshot:
      return snapshotEvery == 0
        ? 0 : shape.batch * (shape.length / snapshotEvery) * shape.heads * matrix
    case .chunkStates: return shape.batch * (shape.length / program.chunk) * shape.heads * matrix
    case .segment: return slots * shape.heads * matrix
    }
  }
}
