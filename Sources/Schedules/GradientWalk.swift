import Recurrences
import TileIR

/// A head's gradient over one sequence: forward to write the states before chunks, where the forward
/// call has not, then back.
///
/// States and their adjoints are held transposed, V x K, so that every product takes them as its
/// right operand or as its left one by rows:
///
///     S = S diag(D) + v^T k            forward, with S stored before each chunk c
///     for each chunk c, last to first, with S before it and dS after it:
///       dk = D(j+1..C) (v dS);  dv = D(j+1..C) (dS k^T)^T;  dS = dS diag(D)
///       for each query head:
///         P = (q k^T) under decays, dP = (dO v^T) under decays, both strictly below the diagonal
///         dq = D(1..i) (dO S) + dP k;   dk += dP^T q;   dv += P^T dO;   dS += dO^T q
///         and the present token:  x = dO.v, w = q.k:  dq += x k, dk += x q, dv += w dO
///
/// The adjoint of a decay is the sum over all paths from a write (or S) before it to a read (or dS)
/// at it or later, each with all its decays but this one. It is built of just these terms: none is
/// added to be taken away again, none is divided by a decay. So it is right beside resets, for
/// decays given as such, and through maps whose slope is steep where the decay is tiny; a gate of
/// -inf, whose decay is 0, has the adjoint 0.
struct GradientWalk {
  let specification: KernelSpecification
  let walk: ChunkWalk
  let key: GradientSide
  let value: GradientSide

  init(_ specification: KernelSpecification, _ plan: Plan) {
    self.specification = specification
    walk = ChunkWalk(specification, plan)
    key = GradientSide(walk: walk, isKey: true)
    value = GradientSide(walk: walk, isKey: false)
  }

  var form: DiagonalForm { walk.form }
  var normalizer: GradientNormalizer? { GradientNormalizer(self) }
  var chunk: Int { walk.chunk }
  /// Whether calls may bring the states that the forward call wrote out.
  private var isSaved: Bool { walk.plan.materialization == .saved }
  private var K: Int { specification.key }
  private var V: Int { specification.value }

  var pseudoCode: [String] {
    var lines = [
      "S, dS, held transposed: the state, and its adjoint"
        + (walk.plan.headTile == 1 ? "" : "; \(walk.plan.headTile) heads together, chunk by chunk"),
      (isSaved ? "unless the forward call wrote the states out:  " : "")
        + "for each chunk of \(chunk) tokens:  store S;  S = S diag(D) + v^T k",
      "for each chunk, last to first, with D(..) the products of decays:",
      "  dk = D(j+1..C) (v dS);  dv = D(j+1..C) (dS k^T)^T;  dS = dS diag(D)",
      "  for each query head of the group:",
      "    P = q k^T, dP = dO v^T, under decays and strictly below the diagonal",
      "    dq = D(1..i) (dO S) + dP k;  dk += dP^T q;  dv += P^T dO;  dS += dO^T q",
    ]
    if !form.readsPrevious { lines.append("    dq += (dO.v) k;  dk += (dO.v) q;  dv += (q.k) dO") }
    if key.hasGate || value.hasGate {
      lines.append("  past_t = what passes t's decay from writes to reads, without that decay")
    }
    return lines + ["  adjoints of the inputs by the chain rule through their maps"]
  }

  // MARK: Tiles

  func state(_ b: inout ProgramBuilder) -> TileView {
    ofHead(V) { b.tile("S", $0, K, "state of \(heads), transposed") }
  }
  func stateAdjoint(_ b: inout ProgramBuilder) -> TileView {
    ofHead(V) { b.tile("dS", $0, K, "adjoint of the state of \(heads), transposed") }
  }
  private var heads: String {
    walk.plan.headTile == 1 ? "one head" : "each of \(walk.plan.headTile) heads"
  }
  /// The present head's rows of a tile that holds as many of every head that the worker walks.
  func ofHead(_ rows: Int, _ tile: (Int) -> Tile) -> TileView {
    let own: Index = walk.plan.headTile == 1 ? 0 : Index(ChunkWalk.ownHead, times: rows)
    return tile(rows * walk.plan.headTile).rows(own, rows)
  }
  /// Writes what is done for each of the worker's heads.
  private func eachHead(
    _ b: inout ProgramBuilder, _ write: (inout ProgramBuilder) -> Void
  ) {
    if walk.plan.headTile == 1 { write(&b) } else { b.loop(.heads(ChunkWalk.ownHead), write) }
  }
  private func matrix(_ b: inout ProgramBuilder) -> Tile {
    b.tile("matrix", K, V, "a state as it lies in memory")
  }
  /// The output's adjoint as the caller gives it, before an epilogue's share is taken.
  private func given(_ b: inout ProgramBuilder) -> Tile {
    form.epilogue == nil
      ? value.reader(&b) : value.rowsTile("dO_given", "the output's adjoint as it came", &b)
  }
  /// The adjoint of what goes past the state, which no normalizer divides.
  func skipAdjoint(_ b: inout ProgramBuilder) -> Tile {
    normalizer == nil || form.skip == nil
      ? value.reader(&b) : value.rowsTile("dO_skip", "the output's adjoint, not divided", &b)
  }
  private func mask(_ b: inout ProgramBuilder) -> Tile {
    b.tile("below", chunk, chunk, "ones strictly below the diagonal")
  }
  // MARK: The program

  func write(_ b: inout ProgramBuilder) {
    let terms = GradientTerms(walk: self)
    b.note("forward: the states before chunks")
    if isSaved { b.whenGiven(TensorName.states, otherwise: walkForward) } else { walkForward(&b) }
    b.note("back: the adjoints")
    eachHead(&b) { b in
      load(stateAdjoint(&b), from: TensorName.adjoint(of: TensorName.finalState), &b)
      normalizer?.loadAdjoint(from: TensorName.adjoint(of: TensorName.finalState), &b)
      terms.begin(&b)
    }
    b.add(.decayMatrix(DecayMatrix(mask(&b).all, decay: nil, readsPrevious: true)))
    b.loop(.chunksBackward("c")) { b in eachHead(&b) { b in back(terms, &b) } }
    eachHead(&b) { b in
      let matrix = matrix(&b)
      b.add(.transpose(Transpose(matrix.all, stateAdjoint(&b))))
      b.add(
        .storeState(
          StoreState(
            StateSlice(TensorName.adjoint(of: TensorName.initialState), columns: V), matrix.all)))
      normalizer?.storeAdjoint(to: TensorName.adjoint(of: TensorName.initialState), &b)
      terms.end(&b)
    }
  }

  private func walkForward(_ b: inout ProgramBuilder) {
    eachHead(&b) { b in
      load(state(&b), from: TensorName.initialState, &b)
      normalizer?.load(from: TensorName.initialState, &b)
    }
    b.loop(.chunks("c")) { b in eachHead(&b, forward) }
  }

  /// Stores the state before a chunk, and carries it over.
  private func forward(_ b: inout ProgramBuilder) {
    let state = state(&b)
    b.add(.storeState(StoreState(chunkState, state)))
    key.prepare(&b, forScores: false)
    value.prepare(&b, forScores: false)
    let (rows, columns) = (value.chunkDecay(&b), key.chunkDecay(&b))
    b.add(
      .multiply(
        Multiply(
          state, value.writerFull(&b).all, key.writerFull(&b).all, leftIsTransposed: true,
          accumulates: true, rowScale: rows, columnScale: columns)))
    normalizer?.carry(decay: columns, &b)
  }

  private var chunkState: StateSlice {
    StateSlice(TensorName.chunkState, columns: K, segment: Index("c"))
  }

  private func load(
    _ state: TileView, from tensor: String, segment: Index? = nil, _ b: inout ProgramBuilder
  ) {
    let matrix = matrix(&b)
    b.add(.loadState(LoadState(matrix.all, StateSlice(tensor, columns: V, segment: segment))))
    b.add(.transpose(Transpose(state, matrix.all)))
  }

  /// Reads the state before the chunk.
  private func reload(_ state: TileView, _ b: inout ProgramBuilder) {
    func own(_ b: inout ProgramBuilder) {
      b.add(.loadState(LoadState(state, chunkState)))
      normalizer?.reload(&b)
    }
    guard isSaved else { return own(&b) }
    b.whenGiven(TensorName.states) { b in
      load(state, from: TensorName.states, segment: Index("c"), &b)
      normalizer?.load(from: TensorName.states, segment: Index("c"), &b)
    } otherwise: {
      own(&$0)
    }
  }

  private func back(_ terms: GradientTerms, _ b: inout ProgramBuilder) {
    let (state, adjoint) = (state(&b), stateAdjoint(&b))
    b.note("the chunk's keys, values and decays, and the state before it")
    key.prepare(&b, forScores: true)
    value.prepare(&b, forScores: true)
    reload(state, &b)
    b.note("what later chunks read of this one's keys and values, and what passes its decays")
    let (dK, dV) = (terms.keyAdjoint(&b), terms.valueAdjoint(&b))
    b.add(
      .multiply(Multiply(dK.all, value.writerFull(&b).all, adjoint, accumulates: false)))
    readColumns(of: adjoint, key.writerFull(&b), into: dV, &b)
    normalizer?.beginChunk(keyAdjoint: dK, &b)
    let (rows, columns) = (value.chunkDecay(&b), key.chunkDecay(&b))
    let gated = [(key, dK), (value, dV)].filter(\.0.hasGate)
    let carried = gated.map { self.carried($0.0, other: $0.0.isKey ? rows : columns, &b) }
    for (decay, how) in [(rows, Map.Operand.Repeat.rowAsColumn), (columns, .overRows)] {
      if let decay { scale(adjoint, by: decay, how, &b) }
    }
    for ((side, read), carried) in zip(gated, carried) {
      side.beginPassing(carried: carried, read: read, &b)
      side.leave(read, &b)
    }
    normalizer?.decayAdjoint(columns, &b)
    let decays = scalarDecays(&b)
    terms.beginChunk(&b)
    b.loop(.queryHeads("g")) { b in head(terms, decays, &b) }
    terms.store(&b)
  }

  /// `target = (state rows^T)^T`: what rows along the key read of the state, row by row.
  func readColumns(
    of state: TileView, _ rows: Tile, into target: Tile, _ b: inout ProgramBuilder
  ) {
    let turned = b.tile("turned", K, chunk, "rows along the key, transposed")
    let read = b.tile("read_turned", V, chunk, "what they read of a state, transposed")
    b.add(.transpose(Transpose(turned.all, rows.all)))
    b.add(.multiply(Multiply(read.all, state, turned.all, accumulates: false)))
    b.add(.transpose(Transpose(target.all, read.all)))
  }

  /// The decays of a scalar gate between any two tokens.
  private func scalarDecays(_ b: inout ProgramBuilder) -> Tile? {
    guard key.hasScalarGate else { return nil }
    let decays = b.tile("W", chunk, chunk, "decays from token j to token i")
    b.add(
      .decayMatrix(
        DecayMatrix(decays.all, decay: key.decay(&b).all, readsPrevious: form.readsPrevious)))
    return decays
  }

  private func head(_ terms: GradientTerms, _ decays: Tile?, _ b: inout ProgramBuilder) {
    let (q, dO) = (key.reader(&b), value.reader(&b))
    b.map(q.all, form.query, tokens: walk.start, fill: 0)
    let output = TokenSlice(
      TensorName.adjoint(of: TensorName.output), start: walk.start, rows: chunk, columns: V)
    b.add(
      .map(
        Map(
          given(&b).all, .input("dO", .scalar), ["dO": .tokens(output)],
          tail: Map.Tail(start: walk.start, fill: 0))))
    let own = terms.presentWeight(&b)
    b.note("P = q k^T and dP = dO v^T under decays")
    let P = b.tile("P", chunk, chunk, "scores")
    let dP = b.tile("dP", chunk, chunk, "adjoint of the scores")
    let pairs = decays.map { _ in
      b.tile("P_dP", chunk, chunk, "both scores of a pair, without their decay")
    }
    /// A scalar gate's decays come last, as its adjoint is formed of the products without them.
    func weigh(_ scores: Tile, _ keep: (Tile, inout ProgramBuilder) -> Void) {
      b.add(.weigh(Weigh(scores.all, by: mask(&b).all)))
      guard let decays, let pairs else { return }
      keep(pairs, &b)
      b.add(.weigh(Weigh(scores.all, by: decays.all)))
    }
    key.scores(into: P, &b)
    weigh(P) { walk.convert($0.all, P.all, &$1) }
    let epilogue = beforeEpilogue(terms, P, own, &b)
    value.scores(into: dP, &b)
    normalizer?.addScores(to: dP, &b)
    weigh(dP) { walk.scale($0.all, $0.all, by: dP.all, &$1) }
    b.note("dq = D (dO S) + dP k, dk += dP^T q, dv += P^T dO, dS += dO^T q")
    let dQ = terms.queryAdjoint(&b)
    b.add(
      .multiply(
        Multiply(dQ.all, value.readerFull(&b).all, state(&b), accumulates: false)))
    normalizer?.addRead(to: dQ, &b)
    key.addAdjoints(read: dQ, written: terms.keyAdjoint(&b), scores: dP, pairs: pairs, &b)
    if value.hasGate {
      let output = b.tile("O", chunk, V, "what was read of the state")
      readColumns(of: state(&b), key.readerFull(&b), into: output, &b)
      value.addAdjoints(read: output, written: terms.valueAdjoint(&b), scores: P, pairs: nil, &b)
    } else {
      b.add(
        .multiply(
          Multiply(
            terms.valueAdjoint(&b).all, P.all, dO.all, leftIsTransposed: true,
            accumulates: true)))
    }
    b.add(
      .multiply(
        Multiply(
          stateAdjoint(&b), value.readerFull(&b).all, key.readerFull(&b).all,
          leftIsTransposed: true, accumulates: true)))
    normalizer?.addStateAdjoint(&b)
    if let own { terms.addPresent(own, &b) }
    terms.addHead(epilogue, &b)
  }

  /// Goes back from the output's adjoint through the epilogue, the skip and the normalizer, all of
  /// which need the outputs again; what the epilogue reads besides remains as terms.
  private func beforeEpilogue(
    _ terms: GradientTerms, _ P: Tile, _ own: Tile?, _ b: inout ProgramBuilder
  ) -> [GradientTerms.Term] {
    guard normalizer != nil || form.epilogue != nil else { return [] }
    let u = outputs(P, own, &b)
    normalizer?.findDivisor(scores: P, own: own, &b)
    var rest: [GradientTerms.Term] = []
    if form.epilogue != nil {
      let output = value.rowsTile("O_whole", "outputs before the epilogue", &b)
      walk.convert(output.all, u.all, &b)
      normalizer?.divide(output, &b)
      if let skip = form.skip {
        let added = value.rowsTile("skip", "what goes past the state", &b)
        b.map(added.all, skip, tokens: walk.start, fill: 0)
        walk.add(output.all, output.all, added.all, &b)
      }
      rest = terms.epilogue(given(&b), output, to: value.reader(&b), &b)
    }
    if let normalizer {
      let dO = value.reader(&b)
      if form.skip != nil { walk.convert(skipAdjoint(&b).all, dO.all, &b) }
      normalizer.divide(dO, &b)
      normalizer.findSumAdjoint(outputs: u, &b)
    }
    return rest
  }

  /// The outputs again, as they are read out: S^T q + P v, and the present token's own part.
  private func outputs(_ P: Tile, _ own: Tile?, _ b: inout ProgramBuilder) -> Tile {
    b.note("the outputs again: S^T q + P v")
    let u = value.rowsTile("u", "outputs as they are read out", &b)
    let v = value.writer(&b)
    readColumns(of: state(&b), key.readerFull(&b), into: u, &b)
    if value.hasGate {
      b.add(
        .decayedValues(
          DecayedValues(
            u.all, scores: P.all, value: v.all, decay: value.decay(&b).all,
            readsPrevious: form.readsPrevious)))
    } else {
      b.add(.multiply(Multiply(u.all, P.all, v.all, accumulates: true)))
    }
    if let own { GradientTerms(walk: self).addScaled(u, v, by: own, &b) }
    return u
  }

  /// `target = target * decay`, a row of it for every row or for every column.
  private func scale(
    _ target: TileView, by decay: Factor, _ how: Map.Operand.Repeat, _ b: inout ProgramBuilder
  ) {
    var operands = [target.tile: Map.Operand.tile(target, .none)]
    for view in decay.views { operands[view.tile] = .tile(view, how) }
    let own = Expression.input(target.tile, .scalar)
    b.add(.map(Map(target, .total(decay.views.map { own * .input($0.tile, .scalar) }), operands)))
  }

  /// The sum of S * dS over the other axis (over both for a scalar gate), under what the chunk leaves
  /// along that axis: one row, or one number.
  private func carried(
    _ side: GradientSide, other decay: Factor?, _ b: inout ProgramBuilder
  ) -> Tile {
    let product = b.tile("S_dS", V, K, "the state times its adjoint")
    walk.scale(product.all, state(&b), by: stateAdjoint(&b), &b)
    if let decay { scale(product.all, by: decay, side.isKey ? .rowAsColumn : .overRows, &b) }
    let row = b.tile(
      side.isKey ? "carried" : "carried_v", 1, side.size, "its sum over the other axis")
    guard side.isKey else {
      b.add(.transpose(Transpose(matrix(&b).all, product.all)))
      b.add(.reduce(Reduce(sumOf: matrix(&b).all, to: row.all)))
      return row
    }
    b.add(.reduce(Reduce(sumOf: product.all, to: row.all)))
    normalizer?.addCarried(to: row, &b)
    guard side.hasScalarGate else { return row }
    let number = b.tile("carried_sum", 1, 1, layout: .column, "the same over the keys too")
    b.add(.reduce(Reduce(sumOf: row.all, to: number.all)))
    return number
  }
}
