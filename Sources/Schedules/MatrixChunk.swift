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

  /// A matrix in two bf16 numbers an entry, a close one and the nearest to what that leaves; `rest`
  /// is the nearest to what both leave, where scores are wanted as exact as f32 has them.
  private struct Split {
    var high: Tile
    var low: Tile
    var rest: Tile?
    var parts: [Tile] { [high, low] + (rest.map { [$0] } ?? []) }
  }

  /// Values as the right operand of P v and k^T v; `low` is what rounding left of values that a map
  /// made, and nil where they are bf16 already.
  private struct Values {
    var high: Tile
    var low: Tile?
  }

  /// What the chunk's tokens bring to all query heads.
  private struct Operands {
    /// The right operands of the scores, K x C.
    var keys: Split
    var values: Values
    /// What queries are multiplied with before they read the state and, in the folded form, the keys.
    var reading: Tile?
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
    let split = split(folded, chunk, hasRest: true, &b)
    let total = running.rows(Index(chunk - 1), 1)
    let outside = b.body
    b.body = []
    let keys = transposed(split, &b)
    let operands = Operands(
      keys: keys, values: values, reading: reading, weights: mask(&b))
    readOut(operands, &b)
    b.note("S = diag(decay of the chunk) (S + (k / G)^T v)")
    carry(leaving(keys, &b), values, rowScale: nil, &b)
    walk.scale(state.matrix, state.matrix, by: total, .rowAsColumn, &b)
    copyState(&b)
    let fast = b.body
    b.body = []
    writeExact(values, &b)
    let slow = b.body
    let condition = Condition(
      above: [Condition.Bound(total, Fold.smallestDecay)],
      magnitudeBelow: [Condition.Bound(folded.all, Fold.largestKey)])
    b.body = outside + [.when(condition, fast, otherwise: slow)]
  }

  /// The same chunk with sub-blocks and exact diagonal pieces, as chunk-fused has it; what is
  /// rounded to bf16 is what the folded form rounds, so that earlier outputs do not show which of
  /// the two forms a later token decides on.
  private func writeExact(_ values: Values, _ b: inout ProgramBuilder) {
    let operands = walk.prepare(&b, forScores: true)
    b.loop(.queryHeads("g")) { b in
      let query = b.tile("q", chunk, K, "queries of the chunk, scaled")
      let scores = b.tile("P", chunk, chunk, "scores of the chunk's tokens on each other")
      let decayed = walk.operandQuery(&b)
      b.map(query.all, form.query, tokens: walk.start, fill: 0)
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
          row, [read.high, read.low].map { $0.rows(Index(row), Self.panel) },
          splitScores(seen, &b), values, &b)
      }
    }
    b.note("S = diag(decay of the chunk) S + (k F)^T v")
    walk.carryToEnd(operands.keyOut, operands.totals!, running: "w", &b)
    carry(
      leaving(transposed(split(operands.keyOut, chunk, &b), &b), &b), values,
      rowScale: walk.chunkDecay("T_chunk", operands.decay!, operands.taken!, K, &b), &b)
    copyState(&b)
  }

  // MARK: A gate of one number, or none

  private func writeScalar(_ values: Values, _ b: inout ProgramBuilder) {
    let key = b.tile("k", chunk, K, "keys of the chunk")
    b.map(key.all, form.key, tokens: walk.start, fill: 0)
    guard let gate = form.keyGate else {
      carryAndRead(key, key, values, weights: mask(&b), reading: nil, rowScale: nil, &b)
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
    carryAndRead(
      key, keyOut, values, weights: weights, reading: entering,
      rowScale: walk.chunkDecay("T_chunk", decay, taken, K, &b), &b)
  }

  private func carryAndRead(
    _ key: Tile, _ keyOut: Tile, _ values: Values, weights: Tile, reading: Tile?,
    rowScale: Factor?, _ b: inout ProgramBuilder
  ) {
    var keys = transposed(split(key, chunk, &b), &b)
    readOut(Operands(keys: keys, values: values, reading: reading, weights: weights), &b)
    b.note("S = decay of the chunk * S + k^T v")
    if keyOut != key { keys = transposed(split(keyOut, chunk, &b), &b) }
    carry(leaving(keys, &b), values, rowScale: rowScale, &b)
    copyState(&b)
  }

  private func carry(
    _ keys: Split, _ values: Values, rowScale: Factor?, _ b: inout ProgramBuilder
  ) {
    var products = [(keys.high, values.high), (keys.low, values.high)]
    if let low = values.low { products.append((keys.high, low)) }
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

  private func split(
    _ source: Tile, _ rows: Int, hasRest: Bool = false, _ b: inout ProgramBuilder
  ) -> Split {
    let high = b.tile(source.name + "_high", rows, K, type: .bf16, "the same in bf16")
    let low = b.tile(source.name + "_low", rows, K, type: .bf16, "what that leaves, in bf16")
    walk.convert(high.all, source.all, &b)
    walk.subtract(low.all, source.all, [high.all], &b)
    guard hasRest else { return Split(high: high, low: low) }
    let rest = b.tile(source.name + "_rest", rows, K, type: .bf16, "what both leave, in bf16")
    walk.subtract(rest.all, source.all, [high.all, low.all], &b)
    return Split(high: high, low: low, rest: rest)
  }

  /// Keys as the right operand of the scores.
  private func transposed(_ keys: Split, _ b: inout ProgramBuilder) -> Split {
    func turned(_ name: String, _ source: Tile) -> Tile {
      let target = b.tile(
        name, K, chunk, type: .bf16, layout: .pairs, "keys as the right operand of the scores")
      b.add(.transpose(Transpose(target.all, source.all)))
      return target
    }
    return Split(
      high: turned("kT_high", keys.high), low: turned("kT_low", keys.low),
      rest: keys.rest.map { turned("kT_rest", $0) })
  }

  /// Transposed keys as the left operand of k^T v.
  private func leaving(_ keys: Split, _ b: inout ProgramBuilder) -> Split {
    func rows(_ name: String, _ pairs: Tile) -> Tile {
      let target = b.tile(name, K, chunk, type: .bf16, "keys as the left operand of k^T v")
      walk.convert(target.all, pairs.all, &b)
      return target
    }
    return Split(high: rows("k_out_high", keys.high), low: rows("k_out_low", keys.low))
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
        outputs(row, [read.high.all, read.low.all], scores, operands.values, &b)
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
    if isFolded, let reading {
      b.map(
        query.all, form.query, times: (reading.rows(Index(row), rows), false), tokens: start,
        fill: 0)
    } else {
      b.map(query.all, form.query, tokens: start, fill: 0)
    }
    let split = split(query, rows, hasRest: isFolded, &b)
    let tile = b.tile("P_panel", rows, chunk, "scores of a panel's tokens")
    let scores = tile.part(0, rows, 0, row + rows)
    func seen(_ keys: Tile) -> TileView { keys.part(0, K, 0, row + rows) }
    b.note("P = q k^T, the operands in parts: all products but the smallest")
    let (lefts, rights) = (split.parts, operands.keys.parts)
    let products = lefts.indices.flatMap { left in
      rights.prefix(lefts.count - left).map { (lefts[left], $0) }
    }
    for (place, (left, right)) in products.enumerated() {
      b.add(.multiply(Multiply(scores, left.all, seen(right), accumulates: place > 0)))
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
    walk.scale(decayed.all, query.all, by: reading.rows(Index(row), rows), .overColumns, &b)
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
    let start = walk.start + row
    if let skip = form.skip {
      let added = b.tile("skip_panel", rows, V, "what goes past the state")
      b.map(added.all, skip, tokens: start, fill: 0)
      walk.add(output.all, output.all, added.all, &b)
    }
    walk.finish(output, from: start, &b)
    b.add(
      .storeTokens(
        StoreTokens(
          TokenSlice(
            TensorName.output, start: start, rows: rows, column: .valueTile(times: V), columns: V),
          output.all)))
  }
}
