import Recurrences
import TileIR

/// One axis of the state in a gradient. The two are mirror images: along the key, queries read what
/// keys wrote; along the value, the output's adjoint reads what values wrote. Of a side, `reader` is
/// q or dO, `writer` k or v, and with the other side's scores M, strictly below the diagonal,
///
///     d reader_i = D(1..i) (state read by the other side) + sum_{j<i} M_ij D(j+1..i) writer_j
///     d writer_j = D(j+1..C) (adjoint read likewise)      + sum_{i>j} M_ij D(j+1..i) reader_i
///
/// Decays stay factors in [0, 1] (docs/numerics.md). Under a gate of the axis the sums run pair by
/// pair, as the adjoint of the decay itself does, which no product of matrices gives without terms
/// that cancel; under a scalar gate they are two products, and pairs of tokens are single numbers.
struct GradientSide {
  let walk: ChunkWalk
  let isKey: Bool

  var size: Int { isKey ? walk.specification.key : walk.specification.value }
  private var mark: String { isKey ? "" : "_v" }
  private var readerName: String { isKey ? "q" : "dO" }
  private var writerName: String { isKey ? "k" : "v" }
  private var gate: Gate? { isKey ? walk.form.keyGate : walk.form.valueGate }
  var hasGate: Bool { gate != nil }
  var hasVectorGate: Bool { isKey ? walk.hasKeyVectorGate : walk.hasValueGate }
  var hasScalarGate: Bool { isKey && walk.hasScalarGate }
  private var chunk: Int { walk.chunk }
  private var block: Int { walk.block }
  private var blocks: Int { walk.blocks }
  private var before: Bool { walk.form.readsPrevious }

  func rowsTile(_ name: String, _ meaning: String, _ b: inout ProgramBuilder) -> Tile {
    b.tile(name, chunk, size, meaning)
  }
  func writer(_ b: inout ProgramBuilder) -> Tile {
    rowsTile(writerName, isKey ? "keys of the chunk" : "values of the chunk", &b)
  }
  func reader(_ b: inout ProgramBuilder) -> Tile {
    rowsTile(
      readerName, isKey ? "queries of the chunk, scaled" : "the output's adjoint", &b)
  }
  private func sideTile(
    _ name: String, _ rows: Int, _ meaning: String, _ b: inout ProgramBuilder
  ) -> Tile {
    hasVectorGate
      ? b.tile(name + mark, rows, size, meaning)
      : b.tile(name + mark, rows, 1, layout: .column, meaning)
  }
  func decay(_ b: inout ProgramBuilder) -> Tile {
    sideTile("d", chunk, "decays of the chunk", &b)
  }
  private func taken(_ b: inout ProgramBuilder) -> Tile {
    sideTile("m", chunk, "what they take away, 1 - d", &b)
  }
  private func entering(_ b: inout ProgramBuilder) -> Tile {
    sideTile("E", chunk, "products of the decays up to a token", &b)
  }
  private func leaving(_ b: inout ProgramBuilder) -> Tile {
    sideTile("F", chunk, "products of the decays after a token", &b)
  }
  private func totals(_ b: inout ProgramBuilder) -> Tile {
    b.tile("T" + mark, blocks, size, "product of the decays of each sub-block")
  }
  /// The writer decayed to the end of the chunk.
  func writerFull(_ b: inout ProgramBuilder) -> Tile {
    guard hasGate else { return writer(&b) }
    return rowsTile(writerName + "C", "\(writerName) decayed to the end of the chunk", &b)
  }
  private func writerTransposed(_ b: inout ProgramBuilder) -> Tile {
    b.tile(writerName + "T", size, chunk, "the right operand of the scores")
  }
  /// The reader under the decay since its sub-block's start.
  private func readerStart(_ b: inout ProgramBuilder) -> Tile {
    rowsTile(readerName + "E", "\(readerName) under the decay since its sub-block's start", &b)
  }
  /// The reader under the decay since the chunk's start.
  func readerFull(_ b: inout ProgramBuilder) -> Tile {
    guard hasGate else { return reader(&b) }
    return rowsTile(readerName + "C", "\(readerName) under the decay since the chunk's start", &b)
  }

  // MARK: What all query heads share

  /// Loads the writer and the decays; forms what the walk forward needs, and with `forScores` also
  /// what the walk back does.
  func prepare(_ b: inout ProgramBuilder, forScores: Bool) {
    let writer = writer(&b)
    b.map(writer.all, isKey ? walk.form.key : walk.form.value, tokens: walk.start, fill: 0)
    guard let gate else {
      if forScores { transpose(writer, &b) }
      return
    }
    let (decay, taken, leaving) = (decay(&b), taken(&b), leaving(&b))
    b.map(decay.all, gate.decay, complement: taken.all, tokens: walk.start, fill: 1)
    let full = writerFull(&b)
    if hasScalarGate {
      b.add(.scan(Scan(leaving.all, decay.all, backward: true, exclusive: true)))
      walk.scale(full.all, writer.all, by: leaving.all, .overColumns, &b)
      guard forScores else { return }
      b.add(.scan(Scan(entering(&b).all, decay.all, backward: false, exclusive: before)))
      transpose(writer, &b)
      return
    }
    let row = Index("r", times: block)
    b.range("r", 0, Index(blocks)) { b in
      let here = decay.rows(row, block)
      b.add(.scan(Scan(leaving.rows(row, block), here, backward: true, exclusive: true)))
      b.add(.decayTotal(DecayTotal(totals(&b).rows(Index("r"), 1), here)))
      guard forScores else { return }
      b.add(.scan(Scan(entering(&b).rows(row, block), here, backward: false, exclusive: before)))
    }
    walk.scale(full.all, writer.all, by: leaving.all, &b)
    if forScores { transpose(full, &b) }
    walk.carryToEnd(full, totals(&b), running: "w" + mark, &b)
  }

  private func transpose(_ source: Tile, _ b: inout ProgramBuilder) {
    b.add(.transpose(Transpose(writerTransposed(&b).all, source.all)))
  }

  /// What the chunk leaves of the state along this axis; after `prepare`.
  func chunkDecay(_ b: inout ProgramBuilder) -> Factor? {
    guard hasGate else { return nil }
    return walk.chunkDecay("T_chunk" + mark, decay(&b), taken(&b), size, &b)
  }

  /// Applies D(j+1..C) to what the adjoint of the state gave each writer.
  func leave(_ adjoint: Tile, _ b: inout ProgramBuilder) {
    guard hasGate else { return }
    if hasScalarGate {
      return walk.scale(adjoint.all, adjoint.all, by: leaving(&b).all, .overColumns, &b)
    }
    walk.carryToEnd(adjoint, totals(&b), running: "w" + mark, &b)
    walk.scale(adjoint.all, adjoint.all, by: leaving(&b).all, &b)
  }

  // MARK: One query head

  /// Scores of reader and writer under this side's decays but a scalar gate's, of use strictly below
  /// the diagonal, and the reader under the decay since the chunk's start.
  func scores(into scores: Tile, _ b: inout ProgramBuilder) {
    let (reader, full) = (reader(&b), readerFull(&b))
    if hasVectorGate {
      let start = readerStart(&b)
      walk.scale(start.all, reader.all, by: entering(&b).all, &b)
      walk.convert(full.all, start.all, &b)
      let row = Index("r", times: block)
      b.range("r", 0, Index(blocks)) { b in
        b.add(
          .decayedScores(
            DecayedScores(
              scores.part(row, block, row, block), query: reader.rows(row, block),
              key: writer(&b).rows(row, block), decay: decay(&b).rows(row, block),
              readsPrevious: before)))
        let here = full.rows(row, block)
        b.range("s", 0, Index("r"), descending: true) { b in
          let column = Index("s", times: block)
          b.add(
            .multiply(
              Multiply(
                scores.part(row, block, column, block), here,
                writerTransposed(&b).part(0, size, column, block), accumulates: false)))
          walk.scale(here, here, by: totals(&b).rows(Index("s"), 1), .overRows, &b)
        }
      }
    } else {
      b.add(
        .multiply(
          Multiply(scores.all, reader.all, writerTransposed(&b).all, accumulates: false)))
      if hasScalarGate {
        walk.scale(full.all, reader.all, by: entering(&b).all, .overColumns, &b)
      }
    }
  }

  /// The adjoints that one query head gives.
  ///
  /// - Parameters:
  ///   - read: what the other side's readers read of the state; ends as the adjoint of the reader.
  ///   - written: gets what this head adds to the writer's adjoint.
  ///   - scores: of the other side, strictly below the diagonal.
  ///   - pairs: the products of both sides' scores without a scalar gate's decays.
  func addAdjoints(
    read: Tile, written: Tile, scores: Tile, pairs: Tile?, _ b: inout ProgramBuilder
  ) {
    if hasVectorGate {
      b.add(
        .decayedPaths(
          DecayedPaths(
            passing(&b).all, scores: scores.all, read: read.all, decay: decay(&b).all,
            vectors: DecayedPaths.Vectors(
              reader: reader(&b).all, writer: writer(&b).all, written: written.all),
            readsPrevious: before)))
      return
    }
    if hasScalarGate, let pairs {
      let number = overAxis(reader(&b), times: read, "read_sum", &b)
      b.add(
        .decayedPaths(
          DecayedPaths(
            passing(&b).all, scores: pairs.all, read: number.all, decay: decay(&b).all,
            vectors: nil, readsPrevious: before)))
      walk.scale(read.all, read.all, by: entering(&b).all, .overColumns, &b)
    }
    b.add(.multiply(Multiply(read.all, scores.all, writer(&b).all, accumulates: true)))
    b.add(
      .multiply(
        Multiply(
          written.all, scores.all, reader(&b).all, leftIsTransposed: true, accumulates: true)))
  }

  // MARK: The decay's adjoint

  /// The adjoint of each decay: what passes it but itself.
  func passing(_ b: inout ProgramBuilder) -> Tile {
    sideTile("past", chunk, "adjoint of the decays: what passes all but the own", &b)
  }

  /// Begins the decays' adjoint with what passes to the chunk's end:
  ///
  ///     w_1 = carried;  past_t = w_t d_{t+1} ... d_C;  w_{t+1} = d_t w_t + (writer * read)_t
  ///
  /// - Parameters:
  ///   - carried: the sum of S * dS along the other axis, S before the chunk and dS after it.
  ///   - read: what each writer read of dS, under no decay.
  func beginPassing(carried: Tile, read: Tile, _ b: inout ProgramBuilder) {
    let (past, decay) = (passing(&b), decay(&b))
    var after = leaving(&b)
    if hasVectorGate {
      after = sideTile("after", chunk, "products of the decays after a token", &b)
      b.add(.scan(Scan(after.all, decay.all, backward: true, exclusive: true)))
    }
    let left: Tile
    if hasScalarGate {
      left = overAxis(writer(&b), times: read, "left_sum", &b)
    } else {
      left = rowsTile("left" + mark, "what each token left for later chunks, undecayed", &b)
      walk.scale(left.all, writer(&b).all, by: read.all, &b)
    }
    let w = sideTile("passes", 1, "what comes from before the token and goes past the chunk", &b)
    walk.convert(w.all, carried.all, &b)
    b.range("t", 0, Index(chunk)) { b in
      let t = Index("t")
      walk.scale(past.rows(t, 1), after.rows(t, 1), by: w.all, &b)
      b.add(
        .map(
          Map(
            w.all,
            .input(w.name, .scalar) * .input(decay.name, .scalar) + .input(left.name, .scalar),
            [
              w.name: .tile(w.all, .none), decay.name: .tile(decay.rows(t, 1), .none),
              left.name: .tile(left.rows(t, 1), .none),
            ])))
    }
  }

  /// The sum of `left * right` over this side's axis: one number a token.
  private func overAxis(
    _ left: Tile, times right: Tile, _ name: String, _ b: inout ProgramBuilder
  ) -> Tile {
    let terms = rowsTile("\(isKey ? "key" : "value")_terms", "terms of a sum over the axis", &b)
    let sums = b.tile(name + mark, chunk, 1, layout: .column, "one sum a token")
    walk.scale(terms.all, left.all, by: right.all, &b)
    b.add(.reduce(Reduce(sumOf: terms.all, to: sums.all)))
    return sums
  }
}
