import Recurrences
import TileIR

/// A head's gradient over one sequence where every entry of the state moves on its own, S = U(S), and
/// outputs are linear in sums over the keys, o = sum over n of w_n r_n + rest, r_n = sum_k f_n(S).
///
/// States before blocks are written on the way forward; on the way back those within a block are
/// computed again, so that memory holds one state a block and no tensor of T x K x V:
///
///     for each block:  store S;  S = U(S) token by token
///     for each block, last to first:  S_t of its tokens, again
///       for each token t, last to first:
///         for each query head:  dr_n = dO w_n;  dS += dr_n df_n/dS;  dx += dr_n df_n/dx + dO do/dx
///         dx += dS dU/dx;  dS = dS dU/dS          summed over the axes that the input x lacks
///
/// Derivatives are symbolic, entry by entry, so no term is divided by a decay, nor taken away again.
struct ScanGradient {
  let specification: KernelSpecification
  /// Tokens whose states are held at once.
  let block: Int
  /// Whether calls may bring the states that the forward call wrote out.
  let isSaved: Bool

  private var recurrence: Recurrence { specification.recurrence }
  private var inputs: [Recurrence.Input] { recurrence.inputs }
  private var K: Int { specification.key }
  private var V: Int { specification.value }
  private var start: Index { Index("c", times: block) + Index("t") }
  private var update: Expression { ScanGradient.naming(recurrence.states[0].update) }

  /// The state before and after the token as inputs, which derivatives know.
  private static let (before, after) = ("S_before", "S_after")

  private static func naming(_ expression: Expression) -> Expression {
    guard case .state(_, let axes, let previous) = expression else {
      return expression.mapChildren(naming)
    }
    return .input(previous ? before : after, axes)
  }

  /// A sum over the keys that the output reads of the state, and the symbol that stands for it.
  private struct Read {
    var symbol: String
    var inner: Expression
  }

  /// The output with its reads as symbols.
  private static func reads(_ recurrence: Recurrence) -> (output: Expression, reads: [Read]) {
    var found: [Read] = []
    func hold(_ node: Expression) -> Expression {
      guard case .sum(.key, let inner) = node, inner.readsState else {
        return node.mapChildren(hold)
      }
      let read = Read(symbol: "read \(found.count)", inner: naming(inner))
      if let same = found.first(where: { $0.inner == read.inner }) {
        return .input(same.symbol, node.axes)
      }
      found.append(read)
      return .input(read.symbol, node.axes)
    }
    return (hold(recurrence.output), found)
  }

  /// Why there is no such gradient, if so.
  static func obstacle(to recurrence: Recurrence) -> String? {
    guard recurrence.states.count == 1, recurrence.states[0].axes == .keyValue else {
      return "A scan carries one key x value state, and this recurrence has other states too."
    }
    let (output, reads) = reads(recurrence)
    let maps = [recurrence.states[0].update, output] + reads.map(\.inner)
    if !maps.allSatisfy(\.isElementwise) {
      return
        "It has no gradient of sums, nor of monomials, in maps where entries of the state move on "
        + "their own."
    }
    if output.readsState {
      return "It has no gradient of an output that reads the state but by sums over the keys."
    }
    for read in reads {
      let weight = output.derivative(of: read.symbol)
      if reads.contains(where: { weight.inputNames.contains($0.symbol) }) {
        return "It has no gradient of an output that is not linear in what it reads of the state."
      }
    }
    return nil
  }

  var pseudoCode: [String] {
    [
      "for each block of \(block) tokens:  store S;  "
        + "token by token S = \(recurrence.states[0].update)",
      "for each block, last to first:  the states S_t before its tokens, again",
      "  for each token, last to first, with dS the adjoint of the state after it:",
      "    for each query head of the group:  dS += dO times the derivative of what it reads of S",
      "    dx += dS times the update's derivative by each input x, over the axes that x lacks",
      "    dS = dS times its derivative by S",
    ]
  }

  // MARK: Tiles

  /// The state before token `t` of the block, and with t + 1 the one after it.
  private func state(_ t: Index, _ b: inout ProgramBuilder) -> TileView {
    b.tile("S", (block + 1) * K, V, "states before the tokens of a block, and after its last")
      .rows(Index(0) + scaled(t), K)
  }
  private func scaled(_ t: Index) -> Index {
    var row = t
    row.constant *= K
    for place in row.terms.indices { row.terms[place].factor *= K }
    return row
  }
  private func stateAdjoint(_ b: inout ProgramBuilder) -> Tile {
    b.tile("dS", K, V, "adjoint of the state")
  }
  /// What the token's adjoint of an input is summed up in; a parameter's is the sequence's.
  private func adjoint(of input: Recurrence.Input, _ b: inout ProgramBuilder) -> Tile {
    let name = "grad_\(input.name)"
    let meaning =
      "adjoint of \(input.name)" + (input.role == .parameter ? " over the sequence" : "")
    switch input.axes {
    case .keyValue: return b.tile(name, K, V, meaning)
    case .key: return b.tile(name, 1, K, meaning)
    case .value: return b.tile(name, 1, V, meaning)
    default: return b.tile(name, 1, 1, layout: .column, meaning)
    }
  }
  private var chunkState: StateSlice {
    StateSlice(TensorName.chunkState, columns: V, segment: Index("c"))
  }

  // MARK: The program

  func write(_ b: inout ProgramBuilder) {
    let (first, dS) = (state(0, &b), stateAdjoint(&b))
    b.note("forward: the states before blocks")
    if isSaved { b.whenGiven(TensorName.states, otherwise: walkForward) } else { walkForward(&b) }
    b.note("back: the adjoints")
    b.add(
      .loadState(
        LoadState(
          dS.all, StateSlice(TensorName.adjoint(of: TensorName.finalState), columns: V))))
    for input in inputs where input.role == .parameter { clear(adjoint(of: input, &b), &b) }
    b.loop(.chunksBackward("c")) { b in
      b.note("the states before the block's tokens, again")
      reload(first, &b)
      b.loop(.tokens("t", descending: false), advance)
      b.loop(.tokens("t", descending: true), back)
    }
    b.add(
      .storeState(
        StoreState(
          StateSlice(TensorName.adjoint(of: TensorName.initialState), columns: V), dS.all)))
    for input in inputs where input.role == .parameter {
      let total = adjoint(of: input, &b)
      b.add(
        .storeState(
          StoreState(
            StateSlice(TensorName.partial(of: input.name), columns: total.columns), total.all)))
    }
  }

  private func walkForward(_ b: inout ProgramBuilder) {
    let first = state(0, &b)
    b.add(.loadState(LoadState(first, StateSlice(TensorName.initialState, columns: V))))
    b.loop(.chunks("c")) { b in
      b.add(.storeState(StoreState(chunkState, first)))
      b.loop(.tokens("t", descending: false), advance)
      b.add(.map(copy(of: state(Index(block), &b), to: first)))
    }
  }

  /// Reads the state before the block.
  private func reload(_ state: TileView, _ b: inout ProgramBuilder) {
    let own = LoadState(state, chunkState)
    guard isSaved else { return b.add(.loadState(own)) }
    var given = own
    given.source.tensor = TensorName.states
    b.whenGiven(TensorName.states) {
      $0.add(.loadState(given))
    } otherwise: {
      $0.add(.loadState(own))
    }
  }

  private func copy(of source: TileView, to target: TileView) -> Map {
    // One tile cannot be two operands; here it is target and source.
    Map(target, .input(source.tile, .scalar), [source.tile: .tile(source, .none)])
  }

  private func clear(_ tile: Tile, _ b: inout ProgramBuilder) {
    b.add(.map(Map(tile.all, .constant(0), [:])))
  }

  /// The entries' maps at the present token.
  private func maps(_ b: inout ProgramBuilder) -> EntryMaps {
    EntryMaps(
      specification, valueTile: V, start: start,
      bound: [
        ScanGradient.before: .tile(state(Index("t"), &b), .none),
        ScanGradient.after: .tile(state(Index("t") + 1, &b), .none),
        "dS": .tile(stateAdjoint(&b).all, .none),
      ])
  }

  private func advance(_ b: inout ProgramBuilder) {
    var maps = maps(&b)
    b.add(maps.map(state(Index("t") + 1, &b), update, &b))
  }

  /// One token on the way back.
  private func back(_ b: inout ProgramBuilder) {
    let dS = stateAdjoint(&b)
    let (output, reads) = ScanGradient.reads(recurrence)
    for input in inputs where input.role != .parameter && input.role != .query {
      clear(adjoint(of: input, &b), &b)
    }
    let early = reads.contains { $0.inner.inputNames.contains(ScanGradient.before) }
    let added =
      early ? b.tile("dS_read", K, V, "adjoint of the state before the token, as read") : dS
    if early { clear(added, &b) }
    b.loop(.queryHeads("g")) { b in head(output, reads, added, &b) }
    b.note("adjoints of what the update reads, and of the state before it")
    var maps = maps(&b)
    var shares: [(input: Recurrence.Input, terms: Tile)] = []
    var operations: [TileIR.Operation] = []
    let carried = Expression.input("dS", .keyValue)
    for input in inputs {
      let factor = update.derivative(of: input.name)
      if factor == .constant(0) { continue }
      let terms = b.tile("d_\(input.name)_terms", K, V, "terms of the adjoint of \(input.name)")
      operations.append(maps.map(terms.all, carried * factor, &b))
      shares.append((input, terms))
    }
    let own = carried * update.derivative(of: ScanGradient.before)
    if early { maps.bound["dS_read"] = .tile(added.all, .none) }
    operations.append(
      maps.map(dS.all, early ? own + .input("dS_read", .keyValue) : own, &b))
    for operation in operations { b.add(operation) }
    for share in shares { add(share.terms, to: share.input, &b) }
    for input in inputs where input.role != .parameter && input.role != .query {
      store(input, &b)
    }
  }

  /// One query head's share: of the state, of its own inputs, of those that all heads share.
  private func head(
    _ output: Expression, _ reads: [Read], _ added: Tile, _ b: inout ProgramBuilder
  ) {
    let dO = b.tile("dO", 1, V, "the output's adjoint")
    for input in inputs where input.role == .query { clear(adjoint(of: input, &b), &b) }
    b.add(
      .map(
        Map(
          dO.all, .input("dO", .scalar),
          [
            "dO": .tokens(
              TokenSlice(
                TensorName.adjoint(of: TensorName.output), start: start, rows: 1, columns: V))
          ], tail: Map.Tail(start: start, fill: 0))))
    let given = Expression.input(dO.name, .value)
    for read in reads {
      b.note("adjoints of \(read.inner), summed over the keys")
      var maps = maps(&b)
      maps.bound[dO.name] = .tile(dO.all, .overRows)
      let weight = given * output.derivative(of: read.symbol)
      for input in inputs {
        let factor = read.inner.derivative(of: input.name)
        if factor == .constant(0) { continue }
        let terms = b.tile("d_\(input.name)_terms", K, V, "terms of the adjoint of \(input.name)")
        b.add(maps.map(terms.all, weight * factor, &b))
        add(terms, to: input, &b)
      }
      for symbol in [ScanGradient.before, ScanGradient.after] {
        let factor = read.inner.derivative(of: symbol)
        if factor == .constant(0) { continue }
        let target = symbol == ScanGradient.before ? added : stateAdjoint(&b)
        maps.bound[target.name] = .tile(target.all, .none)
        b.add(
          maps.map(target.all, .input(target.name, .keyValue) + weight * factor, &b))
      }
    }
    for input in inputs { direct(output, given, dO, input, &b) }
    for input in inputs where input.role == .query { store(input, &b) }
  }

  /// The adjoint of what goes into the output past the state.
  private func direct(
    _ output: Expression, _ given: Expression, _ dO: Tile, _ input: Recurrence.Input,
    _ b: inout ProgramBuilder
  ) {
    let factor = output.derivative(of: input.name)
    if factor == .constant(0) { return }
    let terms = b.tile("d_\(input.name)_row", 1, V, "terms of the adjoint of \(input.name)")
    b.map(terms.all, given * factor, tokens: start, fill: 0, tiles: [dO.name: dO.all])
    add(terms, to: input, &b)
  }

  /// Adds terms to an input's adjoint, summed over the axes that it lacks.
  private func add(_ terms: Tile, to input: Recurrence.Input, _ b: inout ProgramBuilder) {
    let target = adjoint(of: input, &b)
    var share = terms
    switch input.axes {
    case .keyValue: break
    case .key:
      let turned = b.tile("terms_turned", V, K, "the same, transposed")
      share = b.tile("share_key", 1, K, "their sums over the values")
      b.add(.transpose(Transpose(turned.all, terms.all)))
      b.add(.reduce(Reduce(sumOf: turned.all, to: share.all)))
    default:
      if terms.rows > 1 {
        share = b.tile("share_value", 1, V, "their sums over the keys")
        b.add(.reduce(Reduce(sumOf: terms.all, to: share.all)))
      }
      guard input.axes == .scalar else { break }
      let number = b.tile("share", 1, 1, layout: .column, "their sum")
      b.add(.reduce(Reduce(sumOf: share.all, to: number.all)))
      share = number
    }
    b.add(
      .map(
        Map(
          target.all, .input(target.name, .scalar) + .input(share.name, .scalar),
          [target.name: .tile(target.all, .none), share.name: .tile(share.all, .none)])))
  }

  private func store(_ input: Recurrence.Input, _ b: inout ProgramBuilder) {
    let own = adjoint(of: input, &b)
    b.add(
      .storeTokens(
        StoreTokens(
          TokenSlice(
            TensorName.adjoint(of: input.name), start: start, rows: 1, columns: own.columns),
          own.all)))
  }
}
