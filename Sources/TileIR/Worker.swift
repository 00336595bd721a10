import Recurrences

/// One worker of the interpreter: its tiles, its loop variables, its place in the grid.
struct Worker {
  var machine: Interpreter
  let grid: Grid
  let tiles: [Tile]
  /// Where in `tiles` and `values` each tile is.
  let numbers: [String: Int]
  var values: [[Double]]
  var variables: [String: Int]
  var group = 0
  /// Which of the worker's heads is being walked.
  private var ownHead = 0
  /// The chunk that is being walked.
  private var chunk = 0

  init(machine: Interpreter, grid: Grid, phase: TileProgram.Phase, place: [String: Int]) {
    self.machine = machine
    self.grid = grid
    tiles = phase.tiles
    numbers = Dictionary(
      phase.tiles.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    // What was never written must not look like a number.
    values = tiles.map { Array(repeating: .nan, count: $0.rows * $0.columns) }
    variables = place
  }

  var sequenceIndex: Int { variables[GridAxis.sequence.variable] ?? 0 }
  var head: Int {
    (variables[GridAxis.head.variable] ?? 0) * machine.program.headTile + ownHead
  }
  var sequence: ProblemShape.Sequence { grid.sequences[sequenceIndex] }

  mutating func run(_ body: [Statement]) {
    for statement in body {
      switch statement {
      case .note: break
      case .operation(let operation): execute(operation)
      case .when(let condition, let inner, let otherwise):
        run(holds(condition) ? inner : otherwise)
      case .firstValueTile(let inner):
        if variables[GridAxis.valueTile.variable] ?? 0 == 0 { run(inner) }
      case .loop(let loop, let inner): run(loop, inner)
      }
    }
  }

  private mutating func run(_ loop: Loop, _ body: [Statement]) {
    var places: [Int]
    switch loop {
    case .chunks: places = ownChunks
    case .chunksBackward: places = ownChunks.reversed()
    case .heads: places = Array(0..<min(machine.program.headTile, machine.shape.heads - head))
    case .tokens(_, let descending):
      let size = machine.program.chunk
      places = Array(0..<max(0, min(size, sequence.tokens.count - size * chunk)))
      if descending { places.reverse() }
    case .queryHeads: places = Array(0..<machine.shape.queryHeads / machine.shape.heads)
    case .segments: places = Array(0..<grid.segments(of: sequence))
    case .range(_, let from, let to, let descending):
      let lower = at(from)
      places = Array(lower..<max(lower, at(to)))
      if descending { places.reverse() }
    }
    for place in places {
      variables[loop.variable] = place
      if case .heads = loop { ownHead = place }
      if case .queryHeads = loop { group = place }
      if loop.isOverChunks { chunk = place }
      run(body)
    }
    variables[loop.variable] = nil
    if case .heads = loop { ownHead = 0 }
    if case .queryHeads = loop { group = 0 }
  }

  /// The chunks of the worker's segment; of the whole sequence where segments are no workers.
  private var ownChunks: [Int] {
    let chunks = grid.chunks(of: sequence)
    guard let segment = variables[GridAxis.segment.variable] else { return Array(0..<chunks) }
    let length = grid.segmentLength(of: sequence)
    let first = segment * length
    return Array(first..<max(first, min(first + length, chunks)))
  }

  private func holds(_ condition: Condition) -> Bool {
    func all(_ bound: Condition.Bound, _ test: (Double) -> Bool) -> Bool {
      let view = window(bound.view)
      return (0..<bound.view.rows).allSatisfy { row in
        (0..<bound.view.columns).allSatisfy { test(get(view, row, $0)) }
      }
    }
    return condition.given.map { machine.tensors[$0] != nil } ?? true
      && condition.above.allSatisfy { bound in all(bound) { $0 > bound.limit } }
      && condition.magnitudeBelow.allSatisfy { bound in all(bound) { abs($0) < bound.limit } }
  }

  func at(_ index: Index) -> Int {
    guard let value = index.value(variables) else {
      preconditionFailure("the verifier admits no unknown variable: \(index)")
    }
    return value
  }

  // MARK: Tiles

  /// A view at the loops' present place: looked up once an operation, not once an element.
  struct Window {
    var tile: Int
    var type: ElementType
    var base: Int
    var stride: Int
  }

  func window(_ view: TileView) -> Window {
    let index = numbers[view.tile]!
    let tile = tiles[index]
    return Window(
      tile: index, type: tile.type, base: at(view.row) * tile.columns + at(view.column),
      stride: tile.columns)
  }

  @inline(__always)
  func get(_ window: Window, _ row: Int, _ column: Int) -> Double {
    values[window.tile][window.base + row * window.stride + column]
  }

  @inline(__always)
  mutating func set(_ window: Window, _ row: Int, _ column: Int, _ value: Double) {
    let rounded = machine.precision == .exact ? value : window.type.rounded(value)
    values[window.tile][window.base + row * window.stride + column] = rounded
  }

  // MARK: Tensors

  /// Where (row, column) of a slice lies, or nil past the sequence's end or the tensor's columns.
  func place(_ slice: TokenSlice, _ row: Int, _ column: Int) -> Int? {
    let tensor = machine.program.tensor(slice.tensor)!
    let token = at(slice.start) + row
    let place = at(slice.column) + column
    guard token < sequence.tokens.count, place < tensor.columns else { return nil }
    let shape = machine.shape
    let isQuery = tensor.kind == .queryTokens
    let heads = isQuery ? shape.queryHeads : shape.heads
    let own = isQuery ? head * (shape.queryHeads / shape.heads) + group : head
    let position = sequence.batch * shape.length + sequence.tokens.lowerBound + token
    return (position * heads + own) * tensor.columns + place
  }

  /// Where a state is read: before a sequence's first chunk it is the initial one.
  func origin(_ slice: StateSlice) -> StateSlice {
    guard machine.program.tensor(slice.tensor)?.kind == .chunkStates, let chunk = slice.segment,
      at(chunk) == 0
    else { return slice }
    return StateSlice(TensorName.initialState, column: slice.column, columns: slice.columns)
  }

  func place(_ slice: StateSlice, _ row: Int, _ column: Int) -> Int? {
    let tensor = machine.program.tensor(slice.tensor)!
    let place = at(slice.column) + column
    // The last value tile may be wider than what is left of V; the normalizer's column comes after.
    let isTiled = slice.column.terms.contains { $0.variable == GridAxis.valueTile.variable }
    guard place < (isTiled ? machine.program.value : tensor.columns) else { return nil }
    var owner = sequenceIndex
    if let segment = slice.segment {
      switch tensor.kind {
      case .snapshot:
        guard let slot = grid.snapshot(sequence: sequenceIndex, after: at(segment)) else {
          return nil
        }
        owner = slot
      case .chunkStates: owner = grid.chunkState(sequence: sequenceIndex, before: at(segment))
      default: owner = grid.slot(sequence: sequenceIndex, segment: at(segment))
      }
    }
    let matrix = (owner * machine.shape.heads + head) * tensor.rows
    return (matrix + row) * tensor.columns + place
  }
}
