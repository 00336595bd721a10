import Recurrences
import TileIR

extension ChunkWalk {
  /// The outputs of a chunk's tokens, one query head after the other.
  func readOut(_ state: State, _ operands: ChunkOperands, _ b: inout ProgramBuilder) {
    let K = specification.key
    let stateOperand = readableState(state, &b)
    b.loop(.queryHeads("g")) { b in
      let query = b.tile("q", chunk, K, "queries of the chunk, scaled")
      b.map(query.all, form.query, tokens: start, fill: 0)
      let present = form.present.map { presentWeights($0, &b) }
      let scores = b.tile("P", chunk, chunk, "scores of the chunk's tokens on each other")
      if !hasKeyVectorGate { wholeScores(query, operands, scores, present, &b) }
      if hasKeyVectorGate {
        scale(operandQuery(&b).all, query.all, by: operands.entering!.all, &b)
      } else if hasScalarGate {
        scale(query.all, query.all, by: operands.entering!.all, .overColumns, &b)
      }
      let rows = Index("r", times: block)
      b.range("r", 0, Index(blocks)) { b in
        if hasKeyVectorGate { blockScores(query, operands, scores, present, &b) }
        let read = hasKeyVectorGate ? operandQuery(&b).rows(rows, block) : query.rows(rows, block)
        let output = b.tile("O", block, plan.valueTile, "outputs of a sub-block")
        outputs(output, read, scores, operands, stateOperand, &b)
        if form.normalizer != nil { normalize(output, read, scores, state, &b) }
        writeOut(output, from: start + rows, &b)
      }
    }
  }

  /// Queries decayed from the start of their sub-block on; they decay further as the walk over
  /// earlier sub-blocks goes back.
  func operandQuery(_ b: inout ProgramBuilder) -> Tile {
    b.tile("qE", chunk, specification.key, "queries under the decay since their sub-block's start")
  }

  /// The state as the right operand of a product.
  private func readableState(_ state: State, _ b: inout ProgramBuilder) -> TileView {
    guard usesPairs else { return state.matrix }
    let pairs = b.tile(
      "S_pairs", specification.key, plan.valueTile, type: .bf16, layout: .pairs,
      "the state as the right operand of q S")
    convert(pairs.rows(0, specification.key), state.matrix, &b)
    return pairs.all
  }

  /// The present token's own weight where the read-out excludes it.
  func presentWeights(_ present: Expression, _ b: inout ProgramBuilder) -> Tile {
    let terms = b.tile("bonus_terms", chunk, specification.key, "summands of the bonus")
    let weights = b.tile("bonus", chunk, 1, layout: .column, "weight of each token's own value")
    b.map(terms.all, present, tokens: start, fill: 0)
    b.add(.reduce(Reduce(sumOf: terms.all, to: weights.all)))
    return weights
  }

  /// P = (q k^T) * W for the whole chunk.
  private func wholeScores(
    _ query: Tile, _ operands: ChunkOperands, _ scores: Tile, _ present: Tile?,
    _ b: inout ProgramBuilder
  ) {
    b.note("P = (q k^T) * W")
    b.add(
      .multiply(
        Multiply(
          scores.all, query.all, operands.keyTransposed!.rows(0, specification.key),
          accumulates: false)))
    b.add(.weigh(Weigh(scores.all, by: operands.matrix!.all)))
    if let present {
      b.range("i", 0, Index(chunk)) { b in
        convert(scores.part(Index("i"), 1, Index("i"), 1), present.rows(Index("i"), 1), &b)
      }
    }
  }

  /// Row r of the score matrix in pieces: exact on the diagonal, products to the left of it.
  func blockScores(
    _ query: Tile, _ operands: ChunkOperands, _ scores: Tile, _ present: Tile?,
    _ b: inout ProgramBuilder
  ) {
    let row = Index("r", times: block)
    b.add(
      .decayedScores(
        DecayedScores(
          scores.part(row, block, row, block), query: query.rows(row, block),
          key: operands.key.rows(row, block), decay: operands.decay!.rows(row, block),
          readsPrevious: form.readsPrevious)))
    if let present {
      b.range("i", 0, Index(block)) { b in
        let place = row + Index("i")
        convert(scores.part(place, 1, place, 1), present.rows(place, 1), &b)
      }
    }
    guard blocks > 1, let keyTransposed = operands.keyTransposed else { return }
    let decayed = operandQuery(&b).rows(row, block)
    b.range("s", 0, Index("r"), descending: true) { b in
      let column = Index("s", times: block)
      b.add(
        .multiply(
          Multiply(
            scores.part(row, block, column, block), decayed,
            keyTransposed.part(0, specification.key, column, block), accumulates: false)))
      scale(decayed, decayed, by: operands.totals!.rows(Index("s"), 1), .overRows, &b)
    }
  }

  /// Queries as left operands of q S: themselves, or in two bf16 numbers, the nearest one and the
  /// nearest to what that leaves, whose products add up.
  private func leftOperands(
    _ source: TileView, rows: Int, _ b: inout ProgramBuilder
  ) -> [TileView] {
    guard usesPairs else { return [source] }
    func operand(_ name: String, _ meaning: String) -> Tile {
      b.tile(name, rows, source.columns, type: .bf16, meaning)
    }
    let high = operand("q_high", "queries as the left operand of q S")
    let low = operand("q_low", "what rounding them leaves")
    convert(high.all, source, &b)
    subtract(low.all, source, [high.all], &b)
    return [high.all, low.all]
  }

  /// O = Q S + P V of sub-block r.
  private func outputs(
    _ output: Tile, _ query: TileView, _ scores: Tile, _ operands: ChunkOperands,
    _ state: TileView, _ b: inout ProgramBuilder
  ) {
    b.note("O = q S + P v")
    let row = Index("r", times: block)
    let left = leftOperands(query, rows: block, &b)
    let whole = plan.keyTile == specification.key
    if !whole { fill(output.all, 0, &b) }
    forKeyTiles(&b) { b, place, rows in
      for (number, var part) in left.enumerated() {
        part.column = place
        part.columns = rows
        b.add(
          .multiply(
            Multiply(
              output.all, part, state.rows(place, rows), accumulates: !whole || number > 0)))
      }
    }
    guard hasValueGate else {
      let depth = Index("r", times: block, plus: block)
      b.add(
        .multiply(
          Multiply(
            output.all, scores.rows(row, block), operands.valueOut.all, accumulates: true,
            depth: depth)))
      return
    }
    b.range("s", 0, Index("r")) { b in
      let column = Index("s", times: block)
      b.add(
        .multiply(
          Multiply(
            output.all, scores.part(row, block, column, block),
            operands.valueOut.rows(column, block), accumulates: true,
            columnScale: Factor(operands.valueTotals!.rows(Index("s"), 1)))))
    }
    b.add(
      .decayedValues(
        DecayedValues(
          output.all, scores: scores.part(row, block, row, block),
          value: operands.value.rows(row, block), decay: operands.valueDecay!.rows(row, block),
          readsPrevious: form.readsPrevious)))
  }

  /// O /= normalizer(q z + sum of the scores).
  private func normalize(
    _ output: Tile, _ query: TileView, _ scores: Tile, _ state: State, _ b: inout ProgramBuilder
  ) {
    let sums = b.tile("n", block, 1, layout: .column, "sums of the scores")
    let row = Index("r", times: block)
    b.add(.multiply(Multiply(sums.all, query, state.normalizer!, accumulates: false)))
    b.add(
      .multiply(
        Multiply(
          sums.all, scores.rows(row, block), state.ones!.all, accumulates: true,
          depth: Index("r", times: block, plus: block))))
    b.add(
      .map(
        Map(
          sums.all, form.normalizer!,
          [Symbol.normalizer: .tile(sums.all, .none), Symbol.scale: .scale])))
    b.add(
      .map(
        Map(
          output.all, .input(output.name, .scalar) / .input(sums.name, .scalar),
          [
            output.name: .tile(output.all, .none), sums.name: .tile(sums.all, .overColumns),
          ])))
  }

  /// What follows once a row's own reads are summed: what goes past the state, the epilogue in
  /// place, the store.
  ///
  /// - Parameters:
  ///   - token: the token of the first row.
  ///   - streams: the schedule's own choice, where the plan has none.
  func writeOut(
    _ output: Tile, from token: Index, streams: Bool = true, _ b: inout ProgramBuilder
  ) {
    if let skip = form.skip {
      let added = b.tile("skip", output.rows, output.columns, "what goes past the state")
      b.map(added.all, skip, tokens: token, fill: 0)
      add(output.all, output.all, added.all, &b)
    }
    if let epilogue = form.epilogue {
      b.note("O = \(epilogue)")
      b.map(output.all, epilogue, tokens: token, fill: 0, tiles: [Symbol.output: output.all])
    }
    b.add(
      .storeTokens(
        StoreTokens(
          TokenSlice(
            TensorName.output, start: token, rows: output.rows,
            column: .valueTile(times: output.columns), columns: output.columns),
          output.all, streams: plan.inner.stores.map { $0 == .streaming } ?? streams)))
  }
}
