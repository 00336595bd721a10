import Recurrences
import TileIR

/// A head's gradient over one sequence: forward to write the states before chunks, then back.
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
///       da_t = sum of S * dS + sum_{u<t} (k dk - q dq)_u      before the present token's part
///
/// The last line counts, of all paths from a write to a read, those that begin before t and end at t
/// or later; what it subtracts is what it added of the others. All of its terms have passed a decay, so
/// strong decay leaves no large terms that cancel, no sum runs over more than a chunk, and nothing
/// is divided by a decay. A gate of -inf, whose decay is 0, has the adjoint 0. A read-out before the
/// write passes no decay on its way from the token before, nor from S to the chunk's first token: these
/// paths are kept apart (`near`, and the first row), as the present token's are.
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
  var chunk: Int { walk.chunk }
  private var K: Int { specification.key }
  private var V: Int { specification.value }

  var pseudoCode: [String] {
    var lines = [
      "S, dS, held transposed: the state, and its adjoint",
      "for each chunk of \(chunk) tokens:  store S;  S = S diag(D) + v^T k",
      "for each chunk, last to first, with D(..) the products of decays:",
      "  dk = D(j+1..C) (v dS);  dv = D(j+1..C) (dS k^T)^T;  dS = dS diag(D)",
      "  for each query head of the group:",
      "    P = q k^T, dP = dO v^T, under decays and strictly below the diagonal",
      "    dq = D(1..i) (dO S) + dP k;  dk += dP^T q;  dv += P^T dO;  dS += dO^T q",
    ]
    if !form.readsPrevious { lines.append("    dq += (dO.v) k;  dk += (dO.v) q;  dv += (q.k) dO") }
    for side in [key, value] where side.hasGate {
      lines.append(
        side.isKey
          ? "  da_t = sum_v S dS + sum_{u<t} (k dk - q dq)_u"
          : "  dc_t = sum_k S dS + sum_{u<t} (v dv - o dO)_u")
    }
    return lines + ["  adjoints of the inputs by the chain rule through their maps"]
  }

  // MARK: Tiles

  func state(_ b: inout ProgramBuilder) -> Tile {
    b.tile("S", V, K, "state of one head, transposed")
  }
  func stateAdjoint(_ b: inout ProgramBuilder) -> Tile {
    b.tile("dS", V, K, "adjoint of the state, transposed")
  }
  private func matrix(_ b: inout ProgramBuilder) -> Tile {
    b.tile("matrix", K, V, "a state as it lies in memory")
  }
  private func mask(_ b: inout ProgramBuilder) -> Tile {
    b.tile("below", chunk, chunk, "ones strictly below the diagonal")
  }
  /// Ones on the first subdiagonal, and ones below it.
  private func near(_ b: inout ProgramBuilder) -> Tile {
    b.tile("near", chunk, chunk, "ones from each token to the next")
  }
  private func far(_ b: inout ProgramBuilder) -> Tile {
    b.tile("far", chunk, chunk, "ones from each token to those after the next")
  }
  /// What the chunk's first token read of the state, before any of its decays.
  private func firstRead(_ b: inout ProgramBuilder) -> Tile {
    b.tile("dS_first", V, K, "adjoint of the state, of what the chunk's first token read")
  }
  /// Whether gates need paths without a decay kept apart.
  private var splitsPaths: Bool { form.readsPrevious && (key.hasGate || value.hasGate) }

  private func maskWithDiagonal(_ b: inout ProgramBuilder) -> Tile {
    b.tile("upto", chunk, chunk, "ones up to the diagonal")
  }

  // MARK: The program

  func write(_ b: inout ProgramBuilder) {
    let state = state(&b)
    b.note("forward: the states before chunks")
    load(state, from: TensorName.initialState, &b)
    b.loop(.chunks("c")) { b in
      b.add(.storeState(StoreState(chunkState, state.all)))
      key.prepare(&b, forScores: false)
      value.prepare(&b, forScores: false)
      b.add(
        .multiply(
          Multiply(
            state.all, value.writerFull(&b).all, key.writerFull(&b).all, leftIsTransposed: true,
            accumulates: true, rowScale: value.chunkDecay(&b), columnScale: key.chunkDecay(&b))))
    }
    b.note("back: the adjoints")
    load(stateAdjoint(&b), from: TensorName.adjoint(of: TensorName.finalState), &b)
    let terms = GradientTerms(walk: self)
    terms.begin(&b)
    b.add(
      .decayMatrix(DecayMatrix(mask(&b).all, decay: nil, readsPrevious: true)))
    if splitsPaths {
      b.add(.decayMatrix(DecayMatrix(maskWithDiagonal(&b).all, decay: nil, readsPrevious: false)))
      // How many tokens lie between two: none where one follows the other.
      let (mask, far, near) = (mask(&b), far(&b), near(&b))
      b.add(.multiply(Multiply(far.all, mask.all, mask.all, accumulates: false)))
      b.add(
        .map(
          Map(
            far.all, .binary(.minimum, .input("far", .scalar), .constant(1)),
            ["far": .tile(far.all, .none)])))
      terms.subtract(near, mask, far, &b)
    }
    b.loop(.chunksBackward("c")) { b in back(terms, &b) }
    let matrix = matrix(&b)
    b.add(.transpose(Transpose(matrix.all, stateAdjoint(&b).all)))
    b.add(
      .storeState(
        StoreState(
          StateSlice(TensorName.adjoint(of: TensorName.initialState), columns: V), matrix.all)))
    terms.end(&b)
  }

  private var chunkState: StateSlice {
    StateSlice(TensorName.chunkState, columns: K, segment: Index("c"))
  }

  private func load(_ state: Tile, from tensor: String, _ b: inout ProgramBuilder) {
    let matrix = matrix(&b)
    b.add(.loadState(LoadState(matrix.all, StateSlice(tensor, columns: V))))
    b.add(.transpose(Transpose(state.all, matrix.all)))
  }

  private func back(_ terms: GradientTerms, _ b: inout ProgramBuilder) {
    let (state, adjoint) = (state(&b), stateAdjoint(&b))
    b.note("the chunk's keys, values and decays, and the state before it")
    key.prepare(&b, forScores: true)
    value.prepare(&b, forScores: true)
    b.add(.loadState(LoadState(state.all, chunkState)))
    b.note("what later chunks read of this one's keys and values")
    let (dK, dV) = (terms.keyAdjoint(&b), terms.valueAdjoint(&b))
    b.add(
      .multiply(Multiply(dK.all, value.writerFull(&b).all, adjoint.all, accumulates: false)))
    key.leave(dK, &b)
    readColumns(of: adjoint, key.writerFull(&b), into: dV, &b)
    value.leave(dV, &b)
    let weights = weights(&b)
    b.note("dS = dS diag(decay of the chunk)")
    let (rows, columns) = (value.chunkDecay(&b), key.chunkDecay(&b))
    if rows != nil || columns != nil {
      b.add(
        .multiply(
          Multiply(
            adjoint.all, value.writerFull(&b).all, key.writerFull(&b).all, leftIsTransposed: true,
            accumulates: true, rowScale: rows, columnScale: columns, depth: 0)))
    }
    terms.beginChunk(&b)
    if splitsPaths { walk.fill(firstRead(&b).all, 0, &b) }
    b.loop(.queryHeads("g")) { b in head(terms, weights, &b) }
    for side in [key, value] where side.hasGate { gate(side, terms, &b) }
    if splitsPaths { walk.add(adjoint.all, adjoint.all, firstRead(&b).all, &b) }
    terms.store(&b)
  }

  /// `target = (state rows^T)^T`: what rows along the key read of the state, row by row.
  private func readColumns(
    of state: Tile, _ rows: Tile, into target: Tile, _ b: inout ProgramBuilder
  ) {
    let turned = b.tile("turned", K, chunk, "rows along the key, transposed")
    let read = b.tile("read_turned", V, chunk, "what they read of a state, transposed")
    b.add(.transpose(Transpose(turned.all, rows.all)))
    b.add(.multiply(Multiply(read.all, state.all, turned.all, accumulates: false)))
    b.add(.transpose(Transpose(target.all, read.all)))
  }

  /// The weights of both score matrices: decays of a scalar gate, or ones.
  private func weights(_ b: inout ProgramBuilder) -> Tile {
    guard key.hasScalarGate else { return mask(&b) }
    let weights = b.tile("W", chunk, chunk, "decays from token j to token i")
    b.add(
      .decayMatrix(
        DecayMatrix(weights.all, decay: key.decay(&b).all, readsPrevious: form.readsPrevious)))
    b.add(.weigh(Weigh(weights.all, by: mask(&b).all)))
    return weights
  }

  private func head(_ terms: GradientTerms, _ weights: Tile, _ b: inout ProgramBuilder) {
    let (q, dO) = (key.reader(&b), value.reader(&b))
    b.map(q.all, form.query, tokens: walk.start, fill: 0)
    let output = TokenSlice(
      TensorName.adjoint(of: TensorName.output), start: walk.start, rows: chunk, columns: V)
    b.add(
      .map(
        Map(
          dO.all, .input("dO", .scalar), ["dO": .tokens(output)],
          tail: Map.Tail(start: walk.start, fill: 0))))
    b.note("P = q k^T and dP = dO v^T under decays")
    let P = b.tile("P", chunk, chunk, "scores")
    let dP = b.tile("dP", chunk, chunk, "adjoint of the scores")
    key.scores(into: P, weights: weights, &b)
    value.scores(into: dP, weights: weights, &b)
    let (nearP, nearDP) = splitsPaths ? (split(P, &b), split(dP, &b)) : (nil, nil)
    b.note("dq = D (dO S) + dP k, dk += dP^T q, dv += P^T dO, dS += dO^T q")
    let dQ = terms.queryAdjoint(&b)
    b.add(
      .multiply(
        Multiply(dQ.all, value.readerFull(&b).all, state(&b).all, accumulates: false)))
    key.readerAdjoint(dQ, dP, &b)
    if key.hasGate { addRead(key, q, dQ, terms, &b) }
    key.addWriterAdjoint(terms.keyAdjoint(&b), dP, &b)
    value.addWriterAdjoint(terms.valueAdjoint(&b), P, &b)
    if let nearP, let nearDP {
      b.note("what each token read of the one before it, under no decay")
      b.add(
        .multiply(Multiply(dQ.all, nearDP.all, key.writer(&b).all, accumulates: true)))
      for (target, scores, rows) in [
        (terms.presentKeyAdjoint(&b), nearDP, q), (terms.presentValueAdjoint(&b), nearP, dO),
      ] {
        b.add(
          .multiply(
            Multiply(
              target.all, scores.all, rows.all, leftIsTransposed: true, accumulates: true)))
      }
    }
    if value.hasGate {
      let output = b.tile("O", chunk, V, "outputs, without the present token's part")
      readColumns(of: state(&b), key.readerFull(&b), into: output, &b)
      value.readerAdjoint(output, P, &b)
      addRead(value, dO, output, terms, &b)
    }
    let first = splitsPaths ? 1 : 0
    func addOuter(_ target: Tile, from row: Int, _ rows: Int, _ b: inout ProgramBuilder) {
      b.add(
        .multiply(
          Multiply(
            target.all, value.readerFull(&b).rows(Index(row), rows),
            key.readerFull(&b).rows(Index(row), rows), leftIsTransposed: true, accumulates: true)))
    }
    addOuter(stateAdjoint(&b), from: first, chunk - first, &b)
    if splitsPaths { addOuter(firstRead(&b), from: 0, 1, &b) }
    terms.addPresent(&b)
    terms.addHead(&b)
  }

  /// Takes what reads the token just before out of `scores`, into a tile of its own.
  private func split(_ scores: Tile, _ b: inout ProgramBuilder) -> Tile {
    let own = b.tile(
      "\(scores.name)_near", chunk, chunk, "of \(scores.name), from each token to the next")
    walk.convert(own.all, scores.all, &b)
    b.add(.weigh(Weigh(own.all, by: near(&b).all)))
    b.add(.weigh(Weigh(scores.all, by: far(&b).all)))
    return own
  }

  /// Adds what one head read under the decays of a side.
  private func addRead(
    _ side: GradientSide, _ reader: Tile, _ adjoint: Tile, _ terms: GradientTerms,
    _ b: inout ProgramBuilder
  ) {
    let read = read(side, &b)
    terms.addProduct(to: read, reader, adjoint, &b)
    if splitsPaths { walk.fill(read.rows(0, 1), 0, &b) }
  }

  // MARK: Gates

  /// What all heads read under a gate: q dq, or o dO.
  func read(_ side: GradientSide, _ b: inout ProgramBuilder) -> Tile {
    side.rowsTile(
      side.isKey ? "q_dq" : "o_dO", "what was read under the decays, summed over heads", &b)
  }

  /// The adjoint of the gate's log decay.
  private func gate(_ side: GradientSide, _ terms: GradientTerms, _ b: inout ProgramBuilder) {
    b.note("the gate: S dS + sum_{u<t} (written - read)_u")
    let isScalar = side.hasScalarGate
    let written = side.rowsTile(
      side.isKey ? "k_dk" : "v_dv", "what was written under the decays", &b)
    let own = side.isKey ? terms.keyAdjoint(&b) : terms.valueAdjoint(&b)
    walk.scale(written.all, side.writer(&b).all, by: own.all, &b)
    let read = read(side, &b)
    if !form.readsPrevious { terms.subtract(written, written, read, &b) }
    let log = terms.logAdjoint(side, &b)
    func summed(_ tile: Tile) -> Tile {
      guard isScalar else { return tile }
      let sums = b.tile("\(tile.name)_sum", chunk, 1, layout: .column, "the same, over the keys")
      b.add(.reduce(Reduce(sumOf: tile.all, to: sums.all)))
      return sums
    }
    b.add(
      .multiply(
        Multiply(log.all, mask(&b).all, summed(written).all, accumulates: false)))
    if form.readsPrevious {
      // The token's own decay comes after its read-out.
      terms.negate(read, &b)
      b.add(
        .multiply(
          Multiply(log.all, maskWithDiagonal(&b).all, summed(read).all, accumulates: true)))
    }
    let carried = carried(side, &b)
    b.add(
      .map(
        Map(
          log.all, .input(log.name, .scalar) + .input(carried.name, .scalar),
          [log.name: .tile(log.all, .none), carried.name: .tile(carried.all, .overRows)])))
    terms.forget(log, where: side.decay(&b), &b)
  }

  /// The sum of S * dS over the other axis (over both for a scalar gate): one row, or one number.
  private func carried(_ side: GradientSide, _ b: inout ProgramBuilder) -> Tile {
    let product = b.tile("S_dS", V, K, "the state times its adjoint")
    walk.scale(product.all, state(&b).all, by: stateAdjoint(&b).all, &b)
    let row = b.tile(
      side.isKey ? "carried" : "carried_v", 1, side.size, "its sum over the other axis")
    guard side.isKey else {
      b.add(.transpose(Transpose(matrix(&b).all, product.all)))
      b.add(.reduce(Reduce(sumOf: matrix(&b).all, to: row.all)))
      return row
    }
    b.add(.reduce(Reduce(sumOf: product.all, to: row.all)))
    guard side.hasScalarGate else { return row }
    let number = b.tile("carried_sum", 1, 1, layout: .column, "the same over the keys too")
    b.add(.reduce(Reduce(sumOf: row.all, to: number.all)))
    return number
  }
}
