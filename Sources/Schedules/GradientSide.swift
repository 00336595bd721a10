import Recurrences
import TileIR

/// One axis of the state in a gradient. The two are mirror images: along the key, queries read what
/// keys wrote; along the value, the output's adjoint reads what values wrote. Of a side, `reader` is
/// q or dO, `writer` k or v, and with the other side's scores M, strictly below the diagonal,
///
///     d reader_i = D(1..i) (state read by the other side) + sum_{j<i} M_ij D(j+1..i) writer_j
///     d writer_j = D(j+1..C) (adjoint read likewise)      + sum_{i>j} M_ij D(j+1..i) reader_i
///
/// Decays stay factors in [0, 1] (docs/numerics.md): both sums go from sub-block to sub-block, each
/// step one product behind one decay of columns.
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
  /// The writer decayed to the end of its sub-block.
  private func writerEnd(_ b: inout ProgramBuilder) -> Tile {
    rowsTile(writerName + "F", "\(writerName) decayed to the end of its sub-block", &b)
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
    if forScores {
      walk.convert(writerEnd(&b).all, full.all, &b)
      transpose(full, &b)
    }
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

  /// Scores of reader and writer under this side's decays, strictly below the diagonal where
  /// `weights` are not zero, and the reader under the decay since the chunk's start.
  func scores(into scores: Tile, weights: Tile, _ b: inout ProgramBuilder) {
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
    b.add(.weigh(Weigh(scores.all, by: weights.all)))
  }

  /// From `target` = what the other side read of the state: the reader's adjoint.
  func readerAdjoint(_ target: Tile, _ scores: Tile, _ b: inout ProgramBuilder) {
    guard hasVectorGate else {
      if hasScalarGate {
        walk.scale(target.all, target.all, by: entering(&b).all, .overColumns, &b)
      }
      b.add(.multiply(Multiply(target.all, scores.all, writer(&b).all, accumulates: true)))
      return
    }
    let row = Index("r", times: block)
    b.range("r", 0, Index(blocks)) { b in
      let here = target.rows(row, block)
      b.range("s", 0, Index("r")) { b in
        let column = Index("s", times: block)
        b.add(
          .multiply(
            Multiply(
              here, scores.part(row, block, column, block),
              writerEnd(&b).rows(column, block), accumulates: true,
              columnScale: Factor(totals(&b).rows(Index("s"), 1)))))
      }
      b.add(
        .decayedValues(
          DecayedValues(
            here, scores: scores.part(row, block, row, block), value: writer(&b).rows(row, block),
            decay: decay(&b).rows(row, block), readsPrevious: before)))
    }
  }

  /// Adds to the writer's adjoint what this query head read of it.
  func addWriterAdjoint(_ target: Tile, _ scores: Tile, _ b: inout ProgramBuilder) {
    let reader = reader(&b)
    guard hasVectorGate else {
      b.add(
        .multiply(
          Multiply(
            target.all, scores.all, reader.all, leftIsTransposed: true, accumulates: true)))
      return
    }
    let own = b.tile(
      "read\(mark)", block, size, "what one head read of a sub-block's \(writerName)")
    let column = Index("s", times: block)
    b.range("s", 0, Index(blocks)) { b in
      walk.fill(own.all, 0, &b)
      b.range("r", Index("s", plus: 1), Index(blocks), descending: true) { b in
        let row = Index("r", times: block)
        b.add(
          .multiply(
            Multiply(
              own.all, scores.part(row, block, column, block),
              readerStart(&b).rows(row, block), leftIsTransposed: true, accumulates: true,
              columnScale: Factor(totals(&b).rows(Index("r"), 1)))))
      }
      b.add(
        .decayedAdjoints(
          DecayedAdjoints(
            own.all, scores: scores.part(column, block, column, block),
            value: reader.rows(column, block), decay: decay(&b).rows(column, block),
            readsPrevious: before)))
      let here = target.rows(column, block)
      walk.add(here, here, own.all, &b)
    }
  }
}
