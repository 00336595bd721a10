import Recurrences
import TileIR

/// One token of a state whose entries move on their own: the update as it is written, entry by
/// entry, over the K x V state.
struct TokenScan {
  let specification: KernelSpecification
  let plan: Plan
  /// Whether there is one token only.
  var isStep = false

  private var recurrence: Recurrence { specification.recurrence }
  private var start: Index { isStep ? 0 : Index("c") }

  var pseudoCode: [String] {
    ["for each token:"]
      + recurrence.states.map { "  \($0.name) = \($0.update)" } + ["  o = \(recurrence.output)"]
  }

  func write(_ b: inout ProgramBuilder) {
    let K = specification.key
    let V = plan.valueTile
    let column = Index.valueTile(times: V)
    let state = b.tile("S", K, V, "state of one head")
    let readsPrevious = recurrence.output.contains {
      if case .state(_, _, previous: true) = $0 { true } else { false }
    }
    b.add(
      .loadState(
        LoadState(state.all, StateSlice(TensorName.initialState, column: column, columns: V))))
    if isStep {
      token(state, readsPrevious, &b)
    } else {
      b.loop(.chunks("c")) { b in
        token(state, readsPrevious, &b)
        guard specification.snapshotEvery != nil else { return }
        b.add(
          .storeState(
            StoreState(
              StateSlice(
                TensorName.snapshots, column: column, columns: V, segment: Index("c")), state.all)))
      }
    }
    b.add(
      .storeState(
        StoreState(StateSlice(TensorName.finalState, column: column, columns: V), state.all)))
  }

  private func token(_ state: Tile, _ readsPrevious: Bool, _ b: inout ProgramBuilder) {
    let (K, V) = (specification.key, plan.valueTile)
    let next = readsPrevious ? b.tile("S_next", K, V, "state after the token") : state
    var operands: [String: Map.Operand] = [:]
    let update = matrixMap(recurrence.states[0].update, state, next, &operands, &b)
    b.note("S = \(recurrence.states[0].update)")
    b.add(.map(Map(next.all, update, operands)))
    b.loop(.queryHeads("g")) { b in read(state, next, &b) }
    if readsPrevious {
      b.add(.map(Map(state.all, .input(next.name, .scalar), [next.name: .tile(next.all, .none)])))
    }
  }

  /// Rewrites an expression over key and value into a map over the state's tile: everything that
  /// has one axis is computed first, as a row.
  private func matrixMap(
    _ expression: Expression, _ state: Tile, _ next: Tile, _ operands: inout [String: Map.Operand],
    _ b: inout ProgramBuilder
  ) -> Expression {
    if case .state(_, _, let previous) = expression {
      let name = previous ? "S" : "S_next"
      operands[name] = .tile(previous ? state.all : next.all, .none)
      return .input(name, .keyValue)
    }
    if case .input(let name, .keyValue) = expression {
      operands[name] = b.operand(name, tokens: start, rows: specification.key)
      return expression
    }
    if case .constant = expression { return expression }
    guard !expression.readsState, expression.axes != .keyValue else {
      return expression.mapChildren { matrixMap($0, state, next, &operands, &b) }
    }
    let text = expression.description
    let name = "x\(operands.count)"
    let columns =
      switch expression.axes {
      case .key: specification.key
      case .value: plan.valueTile
      default: 1
      }
    let row = b.tile("\(name)_\(columns)", 1, columns, text)
    b.map(row.all, expression, tokens: start, fill: 0)
    operands[name] =
      .tile(
        row.all, expression.axes == .key ? .rowAsColumn : .overRows)
    return .input(name, expression.axes)
  }

  private func read(_ state: Tile, _ next: Tile, _ b: inout ProgramBuilder) {
    let V = plan.valueTile
    let output = b.tile("O", 1, V, "output of the token")
    var operands: [String: Map.Operand] = [:]
    let lowered = rowMap(recurrence.output, state, next, &operands, &b)
    b.note("o = \(recurrence.output)")
    b.add(.map(Map(output.all, lowered, operands)))
    b.add(
      .storeTokens(
        StoreTokens(
          TokenSlice(
            TensorName.output, start: start, rows: 1, column: .valueTile(times: V), columns: V),
          output.all, streams: !isStep)))
  }

  /// Rewrites the output into a map over one row of values; sums over the state are computed first.
  private func rowMap(
    _ expression: Expression, _ state: Tile, _ next: Tile, _ operands: inout [String: Map.Operand],
    _ b: inout ProgramBuilder
  ) -> Expression {
    if case .constant = expression { return expression }
    if case .sum(.key, let inner) = expression, inner.readsState {
      var parts: [String: Map.Operand] = [:]
      let terms = b.tile("terms", specification.key, plan.valueTile, "terms of a sum over the keys")
      let number = operands.count
      let sums = b.tile("read\(number)", 1, plan.valueTile, "sum over the keys")
      let map = matrixMap(inner, state, next, &parts, &b)
      b.add(.map(Map(terms.all, map, parts)))
      b.add(.reduce(Reduce(sumOf: terms.all, to: sums.all)))
      operands["read\(number)"] = .tile(sums.all, .none)
      return .input("read\(number)", .value)
    }
    guard !expression.readsState else {
      return expression.mapChildren { rowMap($0, state, next, &operands, &b) }
    }
    let number = operands.count
    let row = b.tile(
      "row\(number)", 1, expression.axes == .value ? plan.valueTile : 1, expression.description)
    b.map(row.all, expression, tokens: start, fill: 0)
    operands["row\(number)"] = .tile(row.all, expression.axes == .value ? .none : .overColumns)
    return .input("row\(number)", expression.axes)
  }
}
