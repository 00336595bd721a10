import Recurrences
import TileIR

/// One chunk of the walk by products of a matrix unit.
struct MatrixChunk {
  let walk: ChunkWalk
  let state: ChunkWalk.State

  private var form: DiagonalForm { walk.form }
  private var chunk: Int { walk.chunk }
  private var K: Int { walk.specification.key }
  private var V: Int { walk.plan.valueTile }

  /// A matrix in two bf16 numbers an entry, a close one and the nearest to what that leaves.
  ///
  /// Queries, keys and scores are split; only the state is rounded once where queries read it. Keys
  /// rounded once would leave the final state at its bound: under one decay for many keys, or keys
  /// that resemble each other, all roundings go the same way.
  struct Split {
    var high: Tile
    var low: Tile
    var parts: [Tile] { [high, low] }
  }

  /// Values as the right operand of P v and k^T v; `low` is what rounding left of values that a map
  /// made, and nil where they are bf16 already.
  struct Values {
    var high: Tile
    var low: Tile?
  }

  /// What the chunk's tokens bring to all query heads.
  struct Operands {
    /// The right operands of the scores, K x C.
    var keys: Split
    var values: Values
    /// What queries are multiplied with before they read the state and, in the folded form, the keys.
    var reading: TileView?
    /// What scores are weighed with.
    var weights: Tile
  }

  static func pseudoCode(_ walk: ChunkWalk) -> [String] {
    var lines = [
      "S = the state before the whole sequence", "for each chunk of \(walk.chunk) tokens:",
    ]
    if walk.hasKeyVectorGate {
      lines += [
        "  G_i = d_1 ... d_i, the decays since the chunk's start",
        "  if G stays far from zero, for each query head of the group:",
        "      Q = q G;  P = Q (k / G)^T below the diagonal;  O = Q S + P v",
        "    S = diag(G_C) (S + (k / G)^T v)",
        "  otherwise:",
      ]
      return lines + walk.pseudoCode(of: "").dropFirst(2).map { "  " + $0 }
    }
    return lines + walk.pseudoCode(of: "").dropFirst(2)
  }

  /// What all chunks share.
  func writeMask(_ b: inout ProgramBuilder) {
    if walk.hasScalarGate { return }
    b.add(
      .decayMatrix(DecayMatrix(mask(&b).all, decay: nil, readsPrevious: form.readsPrevious)))
  }

  func write(_ b: inout ProgramBuilder) {
    b.note("the chunk's values; past the sequence's end k = v = 0 and nothing decays")
    let values = values(&b)
    if walk.hasKeyVectorGate {
      writeFolded(values, &b)
    } else {
      writeScalar(values, &b)
    }
  }

  private func values(_ b: inout ProgramBuilder) -> Values {
    func pairs(_ name: String) -> Tile {
      b.tile(name, chunk, V, type: .bf16, layout: .pairs, "values as the right operand of k^T v")
    }
    func pairs(_ name: String, _ source: Tile) -> Tile {
      let pairs = pairs(name)
      walk.convert(pairs.all, source.all, &b)
      return pairs
    }
    if case .input = form.value {
      let exact = pairs("v_pairs")
      b.map(exact.all, form.value, tokens: walk.start, fill: 0)
      return Values(high: exact)
    }
    let value = b.tile("v", chunk, V, "values of the chunk")
    b.map(value.all, form.value, tokens: walk.start, fill: 0)
    let rounded = b.tile("v_bf16", chunk, V, type: .bf16, "values as bf16 has them")
    let rest = b.tile("v_rest", chunk, V, "what that leaves")
    walk.convert(rounded.all, value.all, &b)
    walk.subtract(rest.all, value.all, [rounded.all], &b)
    return Values(high: pairs("v_pairs", value), low: pairs("v_low_pairs", rest))
  }

  // MARK: A gate along the key

  private func writeFolded(_ values: Values, _ b: inout ProgramBuilder) {
    let decay = b.tile("D", chunk, K, "decays of the chunk")
    let running = b.tile("G", chunk, K, "running products of the decays since the chunk's start")
    let folded = b.tile("kG", chunk, K, "k / G")
    b.note("decays as factors in [0, 1]")
    b.map(decay.all, form.keyGate!.decay, tokens: walk.start, fill: 1)
    b.add(.scan(Scan(running.all, decay.all, backward: false, exclusive: false)))
    var reading = running
    if form.readsPrevious {
      reading = b.tile("G_before", chunk, K, "the same, before each token's own")
      b.add(.scan(Scan(reading.all, decay.all, backward: false, exclusive: true)))
    }
    b.map(
      folded.all, form.key / .input(running.name, .scalar), tokens: walk.start, fill: 0,
      tiles: [running.name: running.all])
    let parts = split(folded, chunk, &b)
    let total = running.rows(Index(chunk - 1), 1)
    let outside = b.body
    b.body = []
    let keys = turned(parts, &b)
    readOut(
      Operands(keys: keys.right, values: values, reading: reading.all, weights: mask(&b)), &b)
    b.note("S = diag(decay of the chunk) (S + (k / G)^T v)")
    carry(keys.left, values, rowScale: nil, &b)
    walk.scale(state.matrix, state.matrix, by: total, .rowAsColumn, &b)
    copyState(&b)
    let fast = b.body
    b.body = []
    writeExact(values, &b)
    let slow = b.body
    let condition = Condition(
      above: [Condition.Bound(total, Fold.smallestDecay)],
      magnitudeBelow: [Condition.Bound(parts.high.all, Fold.largestKey)])
    b.body = outside + [.when(condition, fast, otherwise: slow)]
  }

  /// The same chunk with sub-blocks and exact diagonal pieces, as chunk-fused has it.
  ///
  /// Which form a chunk takes may hang on a later token, so earlier outputs must not show it. G is
  /// taken apart, `G_i = M_i 2^(e_i)` with M in [1, 2). The mantissas go to queries and keys, which
  /// are rounded to what the parts of q G and k / G hold; what is left for the decays are powers of
  /// two, and to multiply by those rounds nothing.
  private func writeExact(_ values: Values, _ b: inout ProgramBuilder) {
    let mantissas = b.tile(
      "M", chunk + 1, K, "G without its powers of two, from before the chunk on")
    let powers = b.tile("d", chunk, K, "those powers of two, from each token to the next")
    let key = b.tile("kM", chunk, K, "k / M, as bf16 parts hold it")
    b.note("G = M times powers of two; the powers are the decays from here on")
    b.map(powers.all, form.keyGate!.decay, tokens: walk.start, fill: 1)
    b.add(.mantissas(Mantissas(mantissas.all, powers: powers.all, of: powers.all)))
    b.map(
      key.all, form.key / .input(mantissas.name, .scalar), tokens: walk.start, fill: 0,
      tiles: [mantissas.name: mantissas.rows(1, chunk)])
    round(key, &b)
    var operands = ChunkOperands(
      key: key, keyOut: key, value: values.high, valueOut: values.high)
    walk.decay(&operands, by: powers, &b, forScores: true)
    let reading = mantissas.rows(form.readsPrevious ? 0 : 1, chunk)
    b.loop(.queryHeads("g")) { b in
      let query = b.tile("qM", chunk, K, "q M, as bf16 parts hold it")
      let scores = b.tile("P", chunk, chunk, "scores of the chunk's tokens on each other")
      let decayed = walk.operandQuery(&b)
      b.map(query.all, form.query, times: (reading, false), tokens: walk.start, fill: 0)
      round(query, &b)
      let present = form.present.map { walk.presentWeights($0, &b) }
      walk.scale(decayed.all, query.all, by: operands.entering!.all, &b)
      walk.fill(scores.all, 0, &b)
      b.range("r", 0, Index(walk.blocks)) { b in
        walk.blockScores(query, operands, scores, present, &b)
      }
      // By now every row has been taken back to the chunk's start.
      let read = split(decayed, chunk, &b)
      for row in stride(from: 0, to: chunk, by: Self.panel) {
        let seen = scores.part(Index(row), Self.panel, 0, row + Self.panel)
        outputs(
          row, read.parts.map { $0.rows(Index(row), Self.panel) }, splitScores(seen, &b), values, &b
        )
      }
    }
    b.note("S = diag(M) (the chunk's power of two S + (k F)^T v)")
    let total = walk.carryToEnd(operands.keyOut, operands.totals!, running: "w", &b)
    walk.scale(state.matrix, state.matrix, by: total, .rowAsColumn, &b)
    carry(turned(split(operands.keyOut, chunk, &b), &b).left, values, rowScale: nil, &b)
    walk.scale(state.matrix, state.matrix, by: mantissas.rows(Index(chunk), 1), .rowAsColumn, &b)
    copyState(&b)
  }

  // MARK: A gate of one number, or none

  private func writeScalar(_ values: Values, _ b: inout ProgramBuilder) {
    let key = b.tile("k", chunk, K, "keys of the chunk")
    b.map(key.all, form.key, tokens: walk.start, fill: 0)
    guard let gate = form.keyGate else {
      let keys = turned(split(key, chunk, &b), &b)
      readOut(Operands(keys: keys.right, values: values, reading: nil, weights: mask(&b)), &b)
      b.note("S = S + k^T v")
      carry(keys.left, values, rowScale: nil, &b)
      copyState(&b)
      return
    }
    func column(_ name: String, _ meaning: String) -> Tile {
      b.tile(name, chunk, 1, layout: .column, meaning)
    }
    let decay = column("d", "decay of each token of the chunk")
    let entering = column("E", "running products of the decays from the chunk's start")
    let leaving = column("F", "products of the decays from a token to the chunk's end")
    let keyOut = b.tile("kF", chunk, K, "keys decayed to the end of the chunk")
    let taken = column("m", "what they take away, 1 - d")
    let weights = b.tile("W", chunk, chunk, "decays from token j to token i")
    b.note("decays as factors in [0, 1]")
    b.map(decay.all, gate.decay, complement: taken.all, tokens: walk.start, fill: 1)
    b.add(
      .scan(Scan(entering.all, decay.all, backward: false, exclusive: form.readsPrevious)))
    b.add(.scan(Scan(leaving.all, decay.all, backward: true, exclusive: true)))
    walk.scale(keyOut.all, key.all, by: leaving.all, .overColumns, &b)
    b.add(
      .decayMatrix(
        DecayMatrix(weights.all, decay: decay.all, readsPrevious: form.readsPrevious)))
    let parts = split(key, chunk, &b)
    let keys = Split(high: transposed(parts.high, &b), low: transposed(parts.low, &b))
    readOut(
      Operands(keys: keys, values: values, reading: entering.all, weights: weights), &b)
    b.note("S = decay of the chunk * S + k^T v")
    carry(
      turned(split(keyOut, chunk, &b), &b).left, values,
      rowScale: walk.chunkDecay("T_chunk", decay, taken, K, &b), &b)
    copyState(&b)
  }

  private func carry(
    _ keys: Split, _ values: Values, rowScale: Factor?, _ b: inout ProgramBuilder
  ) {
    let products =
      keys.parts.map { ($0, values.high) } + (values.low.map { [(keys.high, $0)] } ?? [])
    for (place, (left, right)) in products.enumerated() {
      b.add(
        .multiply(
          Multiply(
            state.matrix, left.all, right.all, accumulates: true,
            rowScale: place == 0 ? rowScale : nil)))
    }
  }

  // MARK: Operands

  /// Ones on and below the diagonal, or below it alone.
  private func mask(_ b: inout ProgramBuilder) -> Tile {
    b.tile("W", chunk, chunk, "ones where token i sees token j")
  }

  private func split(_ source: Tile, _ rows: Int, _ b: inout ProgramBuilder) -> Split {
    let high = b.tile(source.name + "_high", rows, K, type: .bf16, "the same in bf16")
    let low = b.tile(source.name + "_low", rows, K, type: .bf16, "what that leaves, in bf16")
    walk.convert(high.all, source.all, &b)
    walk.subtract(low.all, source.all, [high.all], &b)
    return Split(high: high, low: low)
  }

  /// What the parts of a chunk's rows hold, sixteen bits, in place of the rows.
  private func round(_ source: Tile, _ b: inout ProgramBuilder) {
    let parts = split(source, chunk, &b)
    walk.add(source.all, parts.high.all, parts.low.all, &b)
  }

  /// A part of the keys as the right operand of the scores.
  private func transposed(_ keys: Tile, _ b: inout ProgramBuilder) -> Tile {
    let pairs = b.tile(
      keys.name + "_pairs", K, chunk, type: .bf16, layout: .pairs,
      "keys as the right operand of the scores")
    b.add(.transpose(Transpose(pairs.all, keys.all)))
    return pairs
  }

  /// Keys as the right operands of the scores, and as the left ones of k^T v: one part after the other,
  /// so that the second form is made of the first while the first-level cache holds it.
  private func turned(_ keys: Split, _ b: inout ProgramBuilder) -> (right: Split, left: Split) {
    func turned(_ part: Tile) -> (right: Tile, left: Tile) {
      let right = transposed(part, &b)
      let left = b.tile(
        right.name + "_out", K, chunk, type: .bf16, "keys as the left operand of k^T v")
      walk.convert(left.all, right.all, &b)
      return (right, left)
    }
    let (high, low) = (turned(keys.high), turned(keys.low))
    return (Split(high: high.right, low: low.right), Split(high: high.left, low: low.left))
  }

  // MARK: The read-out

  /// Rows of a panel: two registers of the matrix unit, so that what is made of a panel's queries
  /// stays in the first cache until it is used.
  private static let panel = 32

  /// The outputs of the chunk's tokens, one query head after the other, panel by panel.
  private func readOut(_ operands: Operands, _ b: inout ProgramBuilder) {
    b.loop(.queryHeads("g")) { b in
      for row in stride(from: 0, to: chunk, by: Self.panel) {
        let (read, scores) = scores(operands, row, &b)
        outputs(row, read.parts.map(\.all), scores, operands.values, &b)
      }
    }
  }

  /// The state as the right operand of q S, kept beside it: it is rounded when it changes, while
  /// its entries are at hand.
  private func readableState(_ b: inout ProgramBuilder) -> TileView {
    let heads = walk.plan.headTile
    let tile = b.tile(
      "S_pairs", K * heads, V, type: .bf16, layout: .pairs,
      heads == 1 ? "the state as the right operand of q S" : "the states as right operands of q S")
    return tile.rows(state.matrix.row, K)
  }

  func copyState(_ b: inout ProgramBuilder) {
    walk.convert(readableState(&b), state.matrix, &b)
  }

  /// A panel's scores as left operands of P v, high and low.
  private func splitScores(_ scores: TileView, _ b: inout ProgramBuilder) -> [TileView] {
    let tiles = [
      b.tile("P_high", Self.panel, chunk, type: .bf16, "the left operand of P v"),
      b.tile("P_low", Self.panel, chunk, type: .bf16, "what that leaves of P"),
    ]
    let parts = tiles.map { $0.part(0, scores.rows, 0, scores.columns) }
    walk.convert(parts[0], scores, &b)
    walk.subtract(parts[1], scores, [parts[0]], &b)
    return parts
  }

  /// Queries of a panel that read the state, and the scores on all tokens that it sees, split.
  private func scores(
    _ operands: Operands, _ row: Int, _ b: inout ProgramBuilder
  ) -> (read: Split, scores: [TileView]) {
    let rows = Self.panel
    let isFolded = walk.hasKeyVectorGate
    let query = b.tile("q_panel", rows, K, "queries of a panel, scaled")
    let start = walk.start + row
    let reading = operands.reading
    func part(of reading: TileView) -> TileView {
      var part = reading
      part.row = reading.row + row
      part.rows = rows
      return part
    }
    if isFolded, let reading {
      b.map(
        query.all, form.query, times: (part(of: reading), false), tokens: start, fill: 0)
    } else {
      b.map(query.all, form.query, tokens: start, fill: 0)
    }
    let split = split(query, rows, &b)
    let tile = b.tile("P_panel", rows, chunk, "scores of a panel's tokens")
    let scores = tile.part(0, rows, 0, row + rows)
    b.note("P = q k^T, the operands in two parts")
    let products = split.parts.flatMap { left in operands.keys.parts.map { (left, $0) } }
    for (place, (left, right)) in products.enumerated() {
      b.add(
        .multiply(
          Multiply(scores, left.all, right.part(0, K, 0, row + rows), accumulates: place > 0)))
    }
    // What stands in columns that the panel does not see is weighed with zero.
    b.add(.weigh(Weigh(tile.all, by: operands.weights.rows(Index(row), rows))))
    if let present = form.present {
      let terms = b.tile("bonus_terms_panel", rows, K, "summands of the bonus")
      let own = b.tile("bonus_panel", rows, 1, layout: .column, "weight of each token's own value")
      b.map(terms.all, present, tokens: start, fill: 0)
      b.add(.reduce(Reduce(sumOf: terms.all, to: own.all)))
      b.range("i", 0, Index(rows)) { b in
        walk.convert(tile.part(Index("i"), 1, Index("i") + row, 1), own.rows(Index("i"), 1), &b)
      }
    }
    let left = splitScores(scores, &b)
    guard !isFolded, let reading else { return (split, left) }
    let decayed = b.tile("qE_panel", rows, K, "queries under the decay since the chunk's start")
    walk.scale(decayed.all, query.all, by: part(of: reading), .overColumns, &b)
    return (self.split(decayed, rows, &b), left)
  }

  /// O = q S + P v of a panel.
  private func outputs(
    _ row: Int, _ read: [TileView], _ scores: [TileView], _ values: Values,
    _ b: inout ProgramBuilder
  ) {
    let rows = Self.panel
    let matrix = readableState(&b)
    let output = b.tile("O_panel", rows, V, "outputs of a panel")
    b.note("O = q S + P v")
    func seen(_ values: Tile) -> TileView { values.rows(0, scores[0].columns) }
    let products =
      read.map { ($0, matrix) } + scores.map { ($0, seen(values.high)) }
      + (values.low.map { [(scores[0], seen($0))] } ?? [])
    for (place, (left, right)) in products.enumerated() {
      b.add(.multiply(Multiply(output.all, left, right, accumulates: place > 0)))
    }
    walk.writeOut(output, from: walk.start + row, &b)
  }
}
