import Recurrences
import TileIR

/// Collects the tiles and statements of one phase, and turns maps of a recurrence into operations.
struct ProgramBuilder {
  let specification: KernelSpecification
  let valueTile: Int
  var tiles: [Tile] = []
  /// Statements of the block that is being written.
  var body: [Statement] = []
  private var temporaries = 0

  init(_ specification: KernelSpecification, valueTile: Int) {
    self.specification = specification
    self.valueTile = valueTile
  }

  /// Declares a tile.
  mutating func tile(
    _ name: String, _ rows: Int, _ columns: Int, type: ElementType = .f32,
    layout: Tile.Layout = .rows, place: Tile.Place = .scratch, _ meaning: String
  ) -> Tile {
    // Interleaved rows come in pairs; the odd one out is paired with zeros.
    let whole = layout == .pairs ? rows + rows % 2 : rows
    let tile = Tile(name, whole, columns, type: type, layout: layout, place: place, meaning)
    if !tiles.contains(where: { $0.name == name }) { tiles.append(tile) }
    return tile
  }

  mutating func note(_ text: String) { body.append(.note(text)) }
  mutating func add(_ operation: TileIR.Operation) { body.append(.operation(operation)) }

  /// Writes a loop whose body `write` fills in.
  mutating func loop(_ loop: Loop, _ write: (inout ProgramBuilder) -> Void) {
    let outside = body
    body = []
    write(&self)
    body = outside + [.loop(loop, body)]
  }

  /// Writes what only the first value tile's worker does.
  mutating func onFirstValueTile(_ write: (inout ProgramBuilder) -> Void) {
    let outside = body
    body = []
    write(&self)
    body = outside + [.firstValueTile(body)]
  }

  /// Writes what is done where the call brings a tensor, and what is done where it does not.
  mutating func whenGiven(
    _ tensor: String, _ write: (inout ProgramBuilder) -> Void = { _ in },
    otherwise: (inout ProgramBuilder) -> Void
  ) {
    let outside = body
    body = []
    write(&self)
    let given = body
    body = []
    otherwise(&self)
    body = outside + [.when(Condition(given: tensor), given, otherwise: body)]
  }

  /// Writes `body` unless there is nothing to write.
  mutating func range(
    _ variable: String, _ from: Index, _ to: Index, descending: Bool = false,
    _ write: (inout ProgramBuilder) -> Void
  ) {
    loop(.range(variable, from: from, to: to, descending: descending), write)
  }

  /// Fills rows of `target` with a map of the recurrence at the tokens from `start` on.
  ///
  /// - Parameters:
  ///   - factor: a tile that multiplies the map, or a column of one number a row.
  ///   - complement: gets one minus the map.
  ///   - fill: what rows past the end of the sequence hold.
  ///   - tiles: inputs of the expression that are tiles, by name.
  mutating func map(
    _ target: TileView, _ expression: Expression,
    times factor: (tile: TileView, isColumn: Bool)? = nil, complement: TileView? = nil,
    tokens start: Index, fill: Double, tiles: [String: TileView] = [:]
  ) {
    let rows = target.rows
    let sized = expression.sized(key: specification.key, value: specification.value)
    var lowered = hoistingSums(sized, rows: rows, tokens: start, tiles)
    if let (tile, isColumn) = factor {
      lowered.expression = lowered.expression * .input(tile.tile, .scalar)
      lowered.operands[tile.tile] = .tile(tile, isColumn ? .overColumns : .none)
    }
    var operands = lowered.operands
    for (name, tile) in tiles where lowered.expression.inputNames.contains(name) {
      operands[name] = .tile(tile, .none)
    }
    for name in lowered.expression.inputNames where operands[name] == nil {
      operands[name] = operand(name, tokens: start, rows: rows)
    }
    add(
      .map(
        Map(
          target, lowered.expression, operands, complement: complement,
          tail: Map.Tail(start: start, fill: fill))))
  }

  /// Where an input of the recurrence is read from.
  func operand(_ name: String, tokens start: Index, rows: Int) -> Map.Operand {
    guard name != Symbol.scale, let input = specification.recurrence.input(name) else {
      return .scale
    }
    let column: Index = input.axes.contains(.value) ? .valueTile(times: valueTile) : 0
    if input.role == .parameter { return .parameter(name, column: column) }
    let columns = input.axes == .value ? valueTile : specification.size(input.axes)
    return .tokens(
      TokenSlice(name, start: start, rows: rows, column: column, columns: columns))
  }

  /// A map is elementwise; sums inside it are computed first, one number a row, and monomials, a row of
  /// them a row.
  private mutating func hoistingSums(
    _ expression: Expression, rows: Int, tokens start: Index, _ tiles: [String: TileView]
  ) -> (expression: Expression, operands: [String: Map.Operand]) {
    var operands: [String: Map.Operand] = [:]
    func walk(_ node: Expression, _ builder: inout ProgramBuilder) -> Expression {
      let number = builder.temporaries
      if case .monomials(let operand) = node {
        builder.temporaries += 1
        let features = builder.tile(
          "features\(number)", rows, builder.specification.size(.feature), "features of the tokens")
        let keys = builder.tile(
          "monomials\(number)", rows, builder.specification.key, "their monomials")
        builder.map(features.all, operand, tokens: start, fill: 0, tiles: tiles)
        builder.add(.monomials(MonomialRows(keys.all, of: features.all)))
        operands[keys.name] = .tile(keys.all, .none)
        return .input(keys.name, .key)
      }
      guard case .sum(let axis, let operand) = node else {
        return node.mapChildren { walk($0, &builder) }
      }
      builder.temporaries += 1
      let width = builder.specification.size(axis)
      let terms = builder.tile("terms\(number)", rows, width, "terms of a sum over a row")
      let sums = builder.tile("sum\(number)", rows, 1, layout: .column, "one sum a row")
      builder.map(terms.all, operand, tokens: start, fill: 0, tiles: tiles)
      builder.add(.reduce(Reduce(sumOf: terms.all, to: sums.all)))
      operands["sum\(number)"] = .tile(sums.all, .overColumns)
      return .input("sum\(number)", .scalar)
    }
    return (walk(expression, &self), operands)
  }

  /// The program whose one phase this is, taking tokens one by one.
  func programOfTokens(phase name: String, _ pseudoCode: [String]) -> TileProgram {
    TileProgram(
      name: specification.recurrence.name, key: specification.key, value: specification.value,
      chunk: 1, valueTile: valueTile, segmentation: .none,
      tensors: ProgramBuilder.tensors(specification),
      phases: [
        TileProgram.Phase(
          name: name, pseudoCode: pseudoCode, grid: [.sequence, .head, .valueTile], tiles: tiles,
          body: body)
      ])
  }

  /// The tensors that the recurrence's inputs are, in their order, and the output.
  static func tensors(_ specification: KernelSpecification) -> [Tensor] {
    var tensors: [Tensor] = []
    for input in specification.recurrence.inputs {
      let columns = specification.size(input.axes.contains(.value) ? .value : input.axes)
      switch input.role {
      case .parameter:
        let rows = input.axes == .keyValue ? specification.key : 1
        tensors.append(Tensor(input.name, .parameter, rows: rows, columns: columns))
      case .query:
        tensors.append(
          Tensor(input.name, .queryTokens, type: specification.type, columns: columns))
      case .operand:
        tensors.append(Tensor(input.name, .tokens, type: specification.type, columns: columns))
      case .gate:
        tensors.append(Tensor(input.name, .tokens, type: specification.gateType, columns: columns))
      }
    }
    tensors.append(
      Tensor(
        TensorName.output, .queryTokens, type: specification.type, columns: specification.value))
    var states = [
      (TensorName.initialState, Tensor.Kind.initialState), (TensorName.finalState, .finalState),
    ]
    if specification.snapshotEvery != nil { states.append((TensorName.snapshots, .snapshot)) }
    for (name, kind) in states {
      tensors.append(
        Tensor(
          name, kind, rows: specification.key, columns: specification.stateColumns,
          isOptional: true))
    }
    return tensors
  }
}
