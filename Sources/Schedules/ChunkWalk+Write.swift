import Recurrences
import TileIR

/// What a chunk's tokens bring, prepared once for all query heads.
struct ChunkOperands {
  /// k, and k decayed to the end of its sub-block (to the end of the chunk after `carry`).
  var key: Tile
  var keyOut: Tile
  var value: Tile
  /// v decayed to the end of its sub-block by the value gate; v itself without one.
  var valueOut: Tile
  /// Decays of the key gate: a row a token, or one column for a scalar gate.
  var decay: Tile?
  /// E: running products of `decay` within a sub-block (within the chunk for a scalar gate).
  var entering: Tile?
  /// What the key gate takes away, 1 - decay.
  var taken: Tile?
  /// T: the product over each sub-block, a row each.
  var totals: Tile?
  /// W: the decays between any two tokens of the chunk, for scalar gates and none.
  var matrix: Tile?
  var valueDecay: Tile?
  var valueTaken: Tile?
  var valueTotals: Tile?
  /// The right operand of q k^T: (decayed) keys, transposed.
  var keyTransposed: Tile?
}

extension ChunkWalk {
  /// Loads k, v and the gates of a chunk and forms what does not depend on the query head.
  ///
  /// - Parameter forScores: also what only the read-out needs.
  func prepare(_ b: inout ProgramBuilder, forScores: Bool) -> ChunkOperands {
    let K = specification.key
    let V = plan.valueTile
    let key = b.tile("k", chunk, K, "keys of the chunk")
    let value = b.tile("v", chunk, V, "values of the chunk")
    b.note("the chunk's keys and values; past the sequence's end k = v = 0 and nothing decays")
    b.map(key.all, form.key, tokens: start, fill: 0)
    b.map(value.all, form.value, tokens: start, fill: 0)
    var operands = ChunkOperands(
      key: key, keyOut: key, value: value, valueOut: value)
    if hasKeyVectorGate {
      prepareKeyGate(&operands, &b, forScores: forScores)
    } else {
      prepareScalarGate(&operands, &b, forScores: forScores)
    }
    if hasValueGate { prepareValueGate(&operands, &b) }
    return operands
  }

  private func prepareKeyGate(
    _ operands: inout ChunkOperands, _ b: inout ProgramBuilder, forScores: Bool
  ) {
    let decay = b.tile("d", chunk, specification.key, "decays of the chunk")
    b.note("decays as factors in [0, 1]")
    let taken = b.tile("m", chunk, specification.key, "what they take away, 1 - d")
    b.map(decay.all, form.keyGate!.decay, complement: taken.all, tokens: start, fill: 1)
    operands.taken = taken
    self.decay(&operands, by: decay, &b, forScores: forScores)
  }

  /// Decays keys, a factor each, to the ends of their sub-blocks, and forms what queries need.
  func decay(
    _ operands: inout ChunkOperands, by decay: Tile, _ b: inout ProgramBuilder, forScores: Bool
  ) {
    let K = specification.key
    let keyOut = b.tile("kF", chunk, K, "keys decayed to the end of their sub-block")
    let totals = b.tile("T", blocks, K, "product of the decays of each sub-block")
    let row = Index("r", times: block)
    let entering =
      forScores ? b.tile("E", chunk, K, "running products from a sub-block's start") : nil
    b.range("r", 0, Index(blocks)) { b in
      let here = decay.rows(row, block)
      if let entering {
        b.add(
          .scan(
            Scan(entering.rows(row, block), here, backward: false, exclusive: form.readsPrevious)))
      }
      b.add(.scan(Scan(keyOut.rows(row, block), here, backward: true, exclusive: true)))
      b.add(.decayTotal(DecayTotal(totals.rows(Index("r"), 1), here)))
    }
    scale(keyOut.all, keyOut.all, by: operands.key.all, &b)
    operands.decay = decay
    operands.entering = entering
    operands.totals = totals
    operands.keyOut = keyOut
    if forScores, blocks > 1 { transposeKeys(keyOut, &operands, &b) }
  }

  private func prepareScalarGate(
    _ operands: inout ChunkOperands, _ b: inout ProgramBuilder, forScores: Bool
  ) {
    var decay: Tile?
    if let gate = form.keyGate {
      let K = specification.key
      let column = b.tile("d", chunk, 1, layout: .column, "decay of each token of the chunk")
      let leaving = b.tile(
        "F", chunk, 1, layout: .column, "products of the decays from a token to the chunk's end")
      let keyOut = b.tile("kF", chunk, K, "keys decayed to the end of the chunk")
      let taken = b.tile("m", chunk, 1, layout: .column, "what they take away, 1 - d")
      b.note("decays as factors in [0, 1]")
      b.map(column.all, gate.decay, complement: taken.all, tokens: start, fill: 1)
      b.add(.scan(Scan(leaving.all, column.all, backward: true, exclusive: true)))
      scale(keyOut.all, operands.key.all, by: leaving.all, .overColumns, &b)
      operands.decay = column
      operands.keyOut = keyOut
      operands.taken = taken
      decay = column
      if forScores {
        let entering = b.tile(
          "E", chunk, 1, layout: .column, "running products of the decays from the chunk's start")
        b.add(
          .scan(Scan(entering.all, column.all, backward: false, exclusive: form.readsPrevious)))
        operands.entering = entering
      }
    }
    guard forScores else { return }
    let matrix = b.tile("W", chunk, chunk, "decays from token j to token i")
    b.add(
      .decayMatrix(
        DecayMatrix(matrix.all, decay: decay?.all, readsPrevious: form.readsPrevious)))
    operands.matrix = matrix
    transposeKeys(operands.key, &operands, &b)
  }

  private func transposeKeys(
    _ source: Tile, _ operands: inout ChunkOperands, _ b: inout ProgramBuilder
  ) {
    let K = specification.key
    let transposed = b.tile(
      "kT", K, chunk, "the same keys, transposed: the right operand of the scores")
    b.add(.transpose(Transpose(transposed.rows(0, K), source.all)))
    operands.keyTransposed = transposed
  }

  private func prepareValueGate(_ operands: inout ChunkOperands, _ b: inout ProgramBuilder) {
    let V = plan.valueTile
    let decay = b.tile("dv", chunk, V, "decays of the value gate")
    let valueOut = b.tile("vF", chunk, V, "values decayed to the end of their sub-block")
    let totals = b.tile("Tv", blocks, V, "product of the value decays of each sub-block")
    let taken = b.tile("mv", chunk, V, "what they take away, 1 - dv")
    b.map(decay.all, form.valueGate!.decay, complement: taken.all, tokens: start, fill: 1)
    let row = Index("r", times: block)
    b.range("r", 0, Index(blocks)) { b in
      let here = decay.rows(row, block)
      b.add(.scan(Scan(valueOut.rows(row, block), here, backward: true, exclusive: true)))
      b.add(.decayTotal(DecayTotal(totals.rows(Index("r"), 1), here)))
    }
    scale(valueOut.all, valueOut.all, by: operands.value.all, &b)
    operands.valueDecay = decay
    operands.valueTaken = taken
    operands.valueOut = valueOut
    operands.valueTotals = totals
  }

  /// Carries the state over the chunk: `S = decay S + k^T v`, with k and v decayed to its end.
  ///
  /// - Parameter total: if given, is multiplied by the chunk's decays as the state is.
  func carry(
    _ state: State, _ operands: ChunkOperands, total: WalkTotals?, _ b: inout ProgramBuilder
  ) {
    b.note("S = diag(decay of the chunk) S + k^T v")
    var rowScale: Factor?
    if let decay = operands.decay, let taken = operands.taken {
      if hasKeyVectorGate { carryToEnd(operands.keyOut, operands.totals!, running: "w", &b) }
      rowScale = chunkDecay("T_chunk", decay, taken, specification.key, &b)
    }
    var columnScale: Factor?
    if let decay = operands.valueDecay, let taken = operands.valueTaken {
      carryToEnd(operands.valueOut, operands.valueTotals!, running: "wv", &b)
      columnScale = chunkDecay("Tv_chunk", decay, taken, plan.valueTile, &b)
    }
    if let z = state.normalizer, let ones = state.ones {
      b.add(
        .multiply(
          Multiply(
            z, operands.keyOut.all, ones.all, leftIsTransposed: true, accumulates: true,
            rowScale: rowScale)))
    }
    forKeyTiles(&b) { b, place, rows in
      b.add(
        .multiply(
          Multiply(
            state.matrix.rows(place, rows), operands.keyOut.part(0, chunk, place, rows),
            operands.valueOut.all,
            leftIsTransposed: true, accumulates: true,
            rowScale: rowScale.map { part(of: $0, place, rows) }, columnScale: columnScale)))
    }
    if let total { accumulate(total, rowScale: rowScale, columnScale: columnScale, &b) }
  }

  private func part(of row: Factor, _ place: Index, _ columns: Int) -> Factor {
    func part(_ view: TileView) -> TileView {
      var part = view
      part.column = place
      part.columns = columns
      return part
    }
    return Factor(part(row.slope), base: row.base.map(part))
  }

  /// What the whole chunk leaves of the state.
  func chunkDecay(
    _ name: String, _ decay: Tile, _ taken: Tile, _ columns: Int, _ b: inout ProgramBuilder
  ) -> Factor {
    let isColumn = decay.layout == .column
    let layout = isColumn ? Tile.Layout.column : .rows
    let slope = b.tile(
      "\(name)_slope", 1, decay.columns, layout: layout,
      "product of the chunk's decays, or that less 1 where base is 1")
    let base = b.tile(
      "\(name)_base", 1, decay.columns, layout: layout,
      "1 where that product is 1/2 or more, else 0")
    b.add(.decayTotal(DecayTotal(slope.all, decay.all, base: base.all, taken: taken.all)))
    guard isColumn else { return Factor(slope.all, base: base.all) }
    func repeated(_ tile: Tile) -> TileView {
      let row = b.tile("\(tile.name)_row", 1, columns, "\(tile.name), for every key")
      b.add(
        .map(
          Map(
            row.all, .input(tile.name, .scalar), [tile.name: .tile(tile.all, .overColumns)])))
      return row.all
    }
    return Factor(repeated(slope), base: repeated(base))
  }

  /// Decays sub-blocks from their own end to the chunk's, last to first. Returns the product of all.
  @discardableResult
  func carryToEnd(
    _ tile: Tile, _ totals: Tile, running: String, _ b: inout ProgramBuilder
  ) -> TileView {
    if blocks == 1 { return totals.all }
    let w = b.tile(running, 1, totals.columns, "decay from a sub-block's end to the chunk's")
    convert(w.all, totals.rows(Index(blocks - 1), 1), &b)
    b.range("s", 0, Index(blocks - 1), descending: true) { b in
      let rows = tile.rows(Index("s", times: block), block)
      scale(rows, rows, by: w.all, .overRows, &b)
      scale(w.all, w.all, by: totals.rows(Index("s"), 1), &b)
    }
    return w.all
  }

  /// Runs `write` for each key tile of the state.
  func forKeyTiles(
    _ b: inout ProgramBuilder, _ write: (inout ProgramBuilder, Index, Int) -> Void
  ) {
    if plan.keyTile == specification.key {
      write(&b, 0, plan.keyTile)
    } else {
      b.range("p", 0, Index(specification.key / plan.keyTile)) { b in
        write(&b, Index("p", times: plan.keyTile), plan.keyTile)
      }
    }
  }
}

/// The decay of everything walked so far, for the summary of a segment.
struct WalkTotals {
  /// One row of K numbers; nil without a key gate.
  var keys: Tile?
  /// One row of the value tile's columns; nil without a value gate.
  var values: Tile?
}

extension ChunkWalk {
  private func accumulate(
    _ total: WalkTotals, rowScale: Factor?, columnScale: Factor?, _ b: inout ProgramBuilder
  ) {
    if let keys = total.keys, let rowScale { scale(keys.all, by: rowScale, &b) }
    if let values = total.values, let columnScale { scale(values.all, by: columnScale, &b) }
  }

  /// `row = factor row`.
  private func scale(_ row: TileView, by factor: Factor, _ b: inout ProgramBuilder) {
    let own = Expression.input(row.tile, .scalar)
    var operands = [row.tile: Map.Operand.tile(row, .none)]
    for view in factor.views { operands[view.tile] = .tile(view, .none) }
    let terms = factor.views.reversed().map { own * .input($0.tile, .scalar) }
    b.add(.map(Map(row, .total(terms), operands)))
  }
}
