import Recurrences

extension TileProgram {
  /// Everything that is illegal in the program, each a sentence; empty when it may be emitted.
  public var violations: [String] {
    var found: [String] = []
    let names = tensors.map(\.name)
    for name in Set(names) where names.filter({ $0 == name }).count > 1 {
      found.append("The tensor '\(name)' is declared twice.")
    }
    for phase in phases {
      var verifier = Verifier(program: self, phase: phase)
      verifier.check(phase.body)
      found += verifier.found.map { "Phase \(phase.name): \($0)" }
    }
    return found
  }
}

/// Checks one phase: names, ranges, shapes, and the table of legal element types.
struct Verifier {
  let program: TileProgram
  let tiles: [String: Tile]
  /// Least and greatest value of each variable; an unbounded one has `Int.max`.
  var ranges: [String: ClosedRange<Int>] = [:]
  var found: [String] = []
  /// Whether what is checked runs for each of a worker's heads: tensors hold one head at a time.
  private(set) var isAtHead: Bool
  /// Whether what is checked stands in a loop over chunks.
  private var isInChunk = false

  init(program: TileProgram, phase: TileProgram.Phase) {
    self.program = program
    isAtHead = program.headTile == 1
    tiles = Dictionary(phase.tiles.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    if tiles.count != phase.tiles.count { found.append("A tile is declared twice.") }
    for axis in phase.grid {
      ranges[axis.variable] =
        axis == .valueTile ? 0...max(0, program.valueTiles - 1) : 0...Int.max
    }
    for tile in phase.tiles where tile.rows < 1 || tile.columns < 1 {
      found.append("The tile '\(tile.name)' is empty.")
    }
    for tile in phase.tiles where tile.layout == .column && (tile.columns != 1 || !tile.type.isSums)
    {
      found.append("The tile '\(tile.name)' is a column, so it needs one column of f32.")
    }
    for tile in phase.tiles where tile.layout == .pairs && (tile.rows % 2 != 0 || tile.type.isSums)
    {
      found.append("The tile '\(tile.name)' is in pairs, so it needs bf16 and an even row count.")
    }
  }

  /// What a head has of a tensor can be named only where it is known which head.
  mutating func requireHead(_ tensor: String) {
    require(isAtHead, "'\(tensor)' is used outside the loop over the worker's heads.")
  }

  /// Operations that run over whole vectors need whole rows: a part's neighbours would be touched.
  mutating func requireWholeRows(_ view: TileView) {
    require(
      view.columns == tiles[view.tile]?.columns, "\(view) must be whole rows of its tile here.")
  }

  mutating func check(_ body: [Statement]) {
    for statement in body {
      switch statement {
      case .note: break
      case .firstValueTile(let inner): check(inner)
      case .when(let condition, let inner, let otherwise):
        if let name = condition.given {
          require(
            program.tensor(name)?.isOptional == true, "'\(name)' is no tensor that a call may lack."
          )
        }
        for bound in condition.above + condition.magnitudeBelow { check(bound.view) }
        for bound in condition.above { requirePlain(bound.view) }
        for bound in condition.magnitudeBelow {
          require(layout(bound.view) != .pairs, "\(bound.view) must be row by row here.")
        }
        check(inner)
        check(otherwise)
      case .operation(let operation): check(operation)
      case .loop(let loop, let inner):
        guard ranges[loop.variable] == nil else {
          found.append("The loop variable '\(loop.variable)' is already in use.")
          continue
        }
        ranges[loop.variable] = 0...Int.max
        if case .heads = loop {
          require(!isAtHead, "The loop '\(loop.variable)' has one head only, or stands in another.")
          ranges[loop.variable] = 0...max(0, program.headTile - 1)
          isAtHead = true
        }
        if case .tokens = loop {
          require(isInChunk, "The loop '\(loop.variable)' over tokens stands outside of a chunk.")
          ranges[loop.variable] = 0...max(0, program.chunk - 1)
        }
        let outside = isInChunk
        if loop.isOverChunks { isInChunk = true }
        defer { isInChunk = outside }
        if case .range(_, let from, let to, _) = loop {
          guard let first = bounds(from), let last = bounds(to), last.upperBound < Int.max else {
            found.append("The loop '\(loop.variable)' has no static bounds.")
            continue
          }
          // A loop that never runs has nothing to check.
          if last.upperBound <= first.lowerBound {
            ranges[loop.variable] = nil
            continue
          }
          ranges[loop.variable] = first.lowerBound...last.upperBound - 1
        }
        check(inner)
        ranges[loop.variable] = nil
        if case .heads = loop { isAtHead = program.headTile == 1 }
      }
    }
  }

  /// Least and greatest value of an index; nil, with a report, for an unknown variable.
  mutating func bounds(_ index: Index) -> ClosedRange<Int>? {
    var lower = index.constant
    var upper = index.constant
    for term in index.terms {
      guard let range = ranges[term.variable] else {
        found.append("The variable '\(term.variable)' is not defined here.")
        return nil
      }
      guard range.upperBound < Int.max else {
        upper = Int.max
        continue
      }
      let ends = [range.lowerBound * term.factor, range.upperBound * term.factor]
      lower += ends.min()!
      if upper < Int.max { upper += ends.max()! }
    }
    return lower <= upper ? lower...upper : nil
  }

  mutating func require(_ condition: Bool, _ sentence: @autoclosure () -> String) {
    if !condition { found.append(sentence()) }
  }

  /// A view must name a tile and stay inside it for every value of its variables.
  mutating func check(_ view: TileView) {
    guard let tile = tiles[view.tile] else {
      found.append("The tile '\(view.tile)' is not declared.")
      return
    }
    require(view.rows > 0 && view.columns > 0, "\(view) is empty.")
    guard let row = bounds(view.row), let column = bounds(view.column) else { return }
    require(
      row.lowerBound >= 0 && row.upperBound <= tile.rows - view.rows,
      "\(view) leaves the \(tile.rows) rows of its tile.")
    require(
      column.lowerBound >= 0 && column.upperBound <= tile.columns - view.columns,
      "\(view) leaves the \(tile.columns) columns of its tile.")
  }

  func type(_ view: TileView) -> ElementType { tiles[view.tile]?.type ?? .f32 }
  func layout(_ view: TileView) -> Tile.Layout { tiles[view.tile]?.layout ?? .rows }

  mutating func require(_ view: TileView, is shape: (rows: Int, columns: Int), _ what: String) {
    check(view)
    require(
      view.rows == shape.rows && view.columns == shape.columns,
      "\(what) \(view) should be \(shape.rows) x \(shape.columns).")
  }

  mutating func requirePlain(_ view: TileView) {
    require(
      type(view).isSums && layout(view) != .pairs, "\(view) must be f32 and row by row here.")
  }
}
