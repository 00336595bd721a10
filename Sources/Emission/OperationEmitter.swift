import Recurrences
import Schedules
import TileIR

extension PhaseEmitter {
  /// One operation: a call of the tile vocabulary, or a loop for a map.
  mutating func write(_ operation: TileIR.Operation) {
    switch operation {
    case .map(let map): if target.device == nil { write(map) } else { writeDevice([map]) }
    case .scan(let scan): write(scan)
    case .mantissas(let product):
      out.call(
        "sl_running_mantissas",
        size(product.decays) + operand(product.mantissas) + operand(product.powers)
          + operand(product.decays))
    case .reduce(let reduce): write(reduce)
    case .decayTotal(let total): write(total)
    case .decayFactor(let factor):
      out.call(
        "sl_decay_factor",
        size(factor.decay) + [address(factor.factor.slope)]
          + [factor.factor.base.map(address) ?? "NULL", String(strideOf(factor.factor.slope))]
          + operand(factor.decay) + operand(factor.taken))
    case .fold(let fold): write(fold)
    case .multiply(let product): write(product)
    case .transpose(let transpose):
      write(transpose)
    case .decayMatrix(let matrix):
      out.call(
        "sl_decay_matrix",
        [String(matrix.target.rows), flag(matrix.readsPrevious)] + operand(matrix.target)
          + [matrix.decay.map(address) ?? "NULL"])
    case .weigh(let weigh):
      out.call("sl_weigh", size(weigh.target) + operand(weigh.target) + operand(weigh.weights))
    case .decayedScores(let scores):
      out.call(
        "sl_decayed_scores",
        [String(scores.target.rows), String(scores.query.columns), flag(scores.readsPrevious)]
          + operand(scores.target) + operand(scores.query) + operand(scores.key)
          + operand(scores.decay))
    case .decayedValues(let values):
      out.call(
        "sl_decayed_values",
        size(values.target) + [flag(values.readsPrevious)] + operand(values.target)
          + operand(values.scores) + operand(values.value) + operand(values.decay))
    case .decayedPaths(let paths): write(paths)
    case .sumSequences(let sum): write(sum)
    case .monomials(let rows):
      out.call("sl_monomials", size(rows.source) + operand(rows.target) + operand(rows.source))
    case .monomialAdjoint(let adjoint):
      out.call(
        "sl_monomial_adjoint",
        size(adjoint.source) + operand(adjoint.target) + operand(adjoint.given)
          + operand(adjoint.source))
    case .recur(let recur): write(recur)
    case .moveState(let move): write(move)
    case .loadState(let load): write(load)
    case .storeState(let store): write(store)
    case .storeTokens(let store): write(store)
    }
  }

  private mutating func write(_ scan: Scan) {
    let flags = [flag(scan.backward), flag(scan.exclusive)]
    if layoutOf(scan.target) == .column {
      out.call(
        "sl_scan_column",
        [String(scan.target.rows)] + flags + [address(scan.target), address(scan.source)])
    } else {
      out.call("sl_scan", size(scan.target) + flags + operand(scan.target) + operand(scan.source))
    }
  }

  private mutating func write(_ transpose: Transpose) {
    let source = transpose.source
    let operands = operand(transpose.target) + operand(source)
    if typeOf(source) == .bf16 {
      // Two numbers that lie side by side move as one word.
      let words =
        layoutOf(source) == .pairs
        ? [source.rows / 2, source.columns] : [source.rows, (source.columns + 1) / 2]
      out.call("sl_transpose_words", words.map(String.init) + operands)
    } else {
      let word = layoutOf(transpose.target) == .pairs ? "sl_transpose_pairs" : "sl_transpose_tile"
      out.call(word, size(source) + operands)
    }
  }

  private mutating func write(_ reduce: Reduce) {
    let source = reduce.source
    if layoutOf(source) == .column {
      out.line(
        "*(\(address(reduce.target))) = sl_sum_column(\(source.rows), \(address(source)));")
      if target.device != nil { out.line("sl_sync();") }
    } else {
      let word = layoutOf(reduce.target) == .column ? "sl_sum_columns" : "sl_sum_rows_of"
      out.call(word, size(source) + [address(reduce.target)] + operand(source))
    }
  }

  private mutating func write(_ total: DecayTotal) {
    let base = total.base.map(address) ?? "NULL"
    let taken = total.taken.map(address) ?? "NULL"
    if layoutOf(total.decay) == .column {
      out.call(
        "sl_decay_total_column",
        [String(total.decay.rows), address(total.target), base, address(total.decay), taken])
    } else {
      out.call(
        "sl_decay_total",
        size(total.decay) + [address(total.target), base] + operand(total.decay) + [taken])
    }
  }

  private mutating func write(_ fold: Fold) {
    let isColumn = layoutOf(fold.decay) == .column
    let carried =
      isColumn
      ? [] : ["(sl_carried)" + (fold.carried.map(initializer) ?? "{NULL, NULL, NULL, NULL}")]
    let results = ([fold.reading, fold.step] + fold.total.views + [fold.exact]).map(address)
    out.call(
      isColumn ? "sl_fold_column" : "sl_fold",
      size(fold.key) + [flag(fold.readsPrevious), address(fold.folded)] + results
        + [address(fold.key), address(fold.decay), address(fold.taken)]
        + [String(strideOf(fold.key))] + carried)
  }

  /// Where decays are carried from block to block, as C.
  func initializer(_ carried: Fold.Carried) -> String {
    "{\((carried.past.views + carried.begin.views).map(address).joined(separator: ", "))}"
  }

  private mutating func write(_ product: Multiply) {
    let left = product.left
    let stride = String(strideOf(left))
    let isPairs = layoutOf(product.right) == .pairs
    let step = isPairs ? "2" : "1"
    let leftOperand =
      [address(left)] + (product.leftIsTransposed ? [step, stride] : [stride, step])
    let tail = [c(product.depth), before(product)]
    if layoutOf(product.target) == .column {
      out.call(
        "sl_multiply_column",
        [String(product.target.rows), address(product.target)] + leftOperand
          + [address(product.right)] + tail)
      return
    }
    // On a card the word itself deals the blocks to warps or threads.
    let block = target.device == nil ? registerBlock(product) : nil
    let blocks = block.map { [String($0.rows), String($0.vectors)] } ?? []
    out.call(
      isPairs ? "sl_multiply_pairs" : "sl_multiply",
      size(product.target) + blocks + operand(product.target)
        + leftOperand + operand(product.right) + tail)
  }

  /// A factor's two rows as C.
  private func factor(_ factor: Factor?) -> String {
    "{\(factor.map { address($0.slope) } ?? "NULL"), \(factor?.base.map(address) ?? "NULL")}"
  }

  /// What happens to a product's target before it is added to.
  func before(_ product: Multiply) -> String {
    if target.device != nil {
      return product.accumulates
        ? "sl_before{1, \(self.factor(product.rowScale)), \(self.factor(product.columnScale))}"
        : "sl_before{}"
    }
    return product.accumulates
      ? "(sl_before){1, \(self.factor(product.rowScale)), \(self.factor(product.columnScale))}"
      : "(sl_before){0}"
  }

  /// Rows and vectors of a product whose sums, one row of the right operand and one number of the
  /// left fit the registers, with the fewest loads a multiplication.
  private func registerBlock(_ product: Multiply) -> (rows: Int, vectors: Int) {
    let vectors = (product.target.columns + target.lanes - 1) / target.lanes
    var best = (rows: 1, vectors: 1)
    var bestCost = Double.infinity
    for width in 1...min(4, vectors) {
      let rows = min(16, (target.vectorRegisters - 1 - width) / width, product.target.rows)
      guard rows >= 1 else { continue }
      // Equal blocks leave no narrow rest.
      let blocks = (product.target.rows + rows - 1) / rows
      let even = (product.target.rows + blocks - 1) / blocks
      let panels = (vectors + width - 1) / width
      let loads = Double(blocks * even * panels + blocks * vectors)
      if loads < bestCost { (best, bestCost) = ((even, width), loads) }
    }
    return best
  }

  /// A recurrence, and the store of its outputs that follows: a whole block of them goes past the
  /// caches as the last keys' sums are ready, and through no tile. Returns whether it was such a pair.
  mutating func write(_ recur: Recur, storing store: StoreTokens) -> Bool {
    let slice = store.target
    let count = remaining(slice.start, slice.rows)
    let columns = valid(slice.column, slice.columns)
    guard store.streams, target.device == nil, store.source == recur.output, count == "tokens",
      program.tensor(slice.tensor)!.type == .f32, columns == String(recur.output.columns),
      recur.output.columns % target.lanes == 0
    else { return false }
    out.comment("A whole block's outputs go past the caches as soon as their last keys are in.")
    out.line("const int direct = streams && tokens == \(slice.rows);")
    let place = "direct ? \(tokenAddress(slice)) : NULL"
    write(recur, out: [".out = \(place), .out_row = \(slice.tensor)_token,"])
    let outside = out
    out = CWriter(depth: 0)
    write(store)
    let lines = out.lines
    out = outside
    out.block("if (!direct)") { $0.lines(lines) }
    return true
  }

  private mutating func write(_ recur: Recur, out direct: [String] = []) {
    let outside = out
    out = CWriter(depth: 0)
    out.line("const sl_recurrence recurrence = {")
    var fields: [String] = []
    func field(_ name: String, _ view: TileView) {
      fields.append(".\(name) = \(address(view)), .\(name)_row = \(strideOf(view)),")
    }
    field("o", recur.output)
    fields += direct
    // Heads of one group read the same state, which the last of them carries on.
    fields.append(
      ".s = \(address(recur.state)), .s_row = \(strideOf(recur.state)), .keep = g + 1 == group,")
    field("q", recur.query)
    field("k", recur.key)
    field("v", recur.value)
    if let decay = recur.decay {
      fields.append(
        ".d = \(address(decay)), .d_row = \(strideOf(decay)), .d_step = \(decay.columns == 1 ? 0 : 1),"
      )
    }
    if let decays = recur.decays { fields.append(".decays = \(address(decays)),") }
    if let decay = recur.valueDecay {
      fields.append(
        ".dv = \(self.factor(decay)), .dv_row = \(strideOf(decay.slope)),")
    }
    if let scale = recur.endScale {
      fields.append(
        ".end = \(self.factor(scale)), .end_step = \(scale.slope.columns == 1 ? 0 : 1),")
    }
    if let begin = recur.beginScale { fields.append(".begin = \(self.factor(begin)),") }
    for field in fields { out.line("  " + field) }
    out.line("};")
    if !recur.ahead.isEmpty {
      out.line("const sl_ahead ahead[] = {")
      for slice in recur.ahead {
        let tensor = program.tensor(slice.tensor)!
        let step = String(tensor.type.size)
        out.line("  {(const char *)(\(tokenAddress(slice))), \(slice.tensor)_token * \(step),")
        out.line(
          "   length - (\(c(slice.start))), \(valid(slice.column, min(slice.columns, tensor.columns))) * \(step)},"
        )
      }
      out.line("};")
    }
    let vectors = (recur.state.columns + target.lanes - 1) / target.lanes
    let piece =
      inner.registerBlock
      ?? .fitting(
        recur.state.rows, vectors, hasColumnDecay: recur.valueDecay != nil, in: target)
    out.call(
      "sl_recur",
      [
        String(recur.output.rows), String(recur.state.rows), String(recur.state.columns),
        String(min(piece.rows, recur.state.rows)), String(min(piece.vectors, vectors)),
        String(inner.unroll ?? InnerLoops.ownUnroll(of: recur.output.rows)),
        flag(recur.readsPrevious),
        "recurrence",
        recur.ahead.isEmpty ? "NULL" : "ahead", String(recur.ahead.count),
      ])
    let lines = out.lines
    out = outside
    out.block("") { $0.lines(lines) }
  }

  private mutating func write(_ move: MoveState) {
    let tensor = program.tensor(move.target.tensor)!
    let outside = out
    out = CWriter(depth: 0)
    // Heads of one group read the same state, which one of them moves.
    out.line("const int moves = \(move.readsPrevious ? "g + 1 == group" : "g == 0");")
    let (source, target) = placesOfState(move)
    out.line("const sl_moved moved = {")
    out.lines([
      "  .o = \(address(move.output)), .t = \(target),",
      move.readsPrevious
        ? "  .s = \(source)," : "  .s = moves ? \(source) : \(target),",
      "  .row = \(tensor.columns),",
      "  .q = \(address(move.query)), .k = \(address(move.key)), .v = \(address(move.value)),",
    ])
    for (name, scale) in [("d", move.rowScale), ("dv", move.columnScale)] where scale != nil {
      out.line("  .\(name) = \(factor(scale)),")
    }
    out.line("};")
    let keys = String(move.query.columns)
    if layoutOf(move.output) == .column {
      out.call("sl_move_column", [keys, flag(move.readsPrevious), "moves", "moved"])
    } else {
      let columns = valid(move.target.column, move.output.columns)
      let further = [columns, flag(move.readsPrevious), "moves"]
      if let landing {
        out.call(
          "sl_move_landed",
          ["sl_address(landing)", String(landing.stateBegin), keys, String(move.output.columns)]
            + further + ["group > 1", "moved"])
      } else {
        out.call("sl_move_state", [keys] + further + ["moved"])
      }
    }
    let lines = out.lines
    out = outside
    out.block("") { $0.lines(lines) }
  }

  /// Where the state is moved from, and to.
  func placesOfState(_ move: MoveState) -> (source: String, target: String) {
    let tensor = program.tensor(move.target.tensor)!
    return (
      place(move.source, tensor, isThere: true), place(move.target, tensor, isThere: true)
    )
  }

  private mutating func write(_ load: LoadState) {
    let tensor = program.tensor(load.source.tensor)!
    let source = place(load.source, tensor)
    if layoutOf(load.target) == .column {
      out.call(
        "sl_load_column",
        [String(load.target.rows), address(load.target), source, String(tensor.columns)])
    } else {
      out.call(
        "sl_load_matrix",
        size(load.target) + operand(load.target)
          + [source, String(tensor.columns), valid(load.source.column, load.source.columns)])
    }
  }

  private mutating func write(_ store: StoreState) {
    let tensor = program.tensor(store.target.tensor)!
    let target = place(store.target, tensor)
    if layoutOf(store.source) == .column {
      out.call(
        "sl_store_column",
        [String(store.source.rows), target, String(tensor.columns), address(store.source)])
    } else {
      out.call(
        "sl_store_matrix",
        size(store.source) + [target, String(tensor.columns)] + operand(store.source)
          + [valid(store.target.column, store.target.columns)])
    }
  }

  private mutating func write(_ paths: DecayedPaths) {
    guard let vectors = paths.vectors else {
      out.call(
        "sl_decayed_paths_column",
        [String(paths.target.rows), flag(paths.readsPrevious), address(paths.target)]
          + operand(paths.scores) + [address(paths.read), address(paths.decay)])
      return
    }
    out.call(
      "sl_decayed_paths",
      size(paths.target) + [flag(paths.readsPrevious)] + operand(paths.target)
        + operand(vectors.written) + operand(paths.read) + operand(paths.scores)
        + operand(vectors.reader) + operand(vectors.writer) + operand(paths.decay))
  }

  private mutating func write(_ sum: SumSequences) {
    let tensor = program.tensor(sum.target)!
    let size = tensor.rows * tensor.columns
    out.call(
      "sl_sum_sequences",
      [
        String(size), "sequences_of(args)", "heads", "\(sum.target)_in",
        "\(sum.source)_of(args) + \(times("head", size))",
      ])
  }

  private mutating func write(_ store: StoreTokens) {
    let tensor = program.tensor(store.target.tensor)!
    let slice = store.target
    let isWide = usesMatrixUnit && tensor.type == .bf16
    // Only a processor's stores can go past its caches.
    let streams = target.device != nil ? [] : [store.streams ? "streams" : "0"]
    out.call(
      isWide ? "sl_matrix_store_rows" : "sl_store_rows_\(tensor.type.rawValue)",
      [
        remaining(slice.start, slice.rows), String(slice.columns), tokenAddress(slice),
        "\(slice.tensor)_token",
      ] + operand(store.source) + [valid(slice.column, slice.columns)] + streams)
  }

  // MARK: Places

  func strideOf(_ view: TileView) -> Int { layout.places[view.tile]!.stride }
  func typeOf(_ view: TileView) -> ElementType { layout.places[view.tile]!.tile.type }
  func layoutOf(_ view: TileView) -> Tile.Layout { layout.places[view.tile]!.tile.layout }
  func flag(_ value: Bool) -> String { value ? "1" : "0" }
  func size(_ view: TileView) -> [String] { [String(view.rows), String(view.columns)] }
  /// Address and row stride.
  func operand(_ view: TileView) -> [String] { [address(view), String(strideOf(view))] }

  /// Where a view begins.
  func address(_ view: TileView) -> String {
    let stride = strideOf(view)
    var parts = [view.tile]
    if view.row != 0 {
      let rows = layoutOf(view) == .pairs ? "\(factor(view.row)) / 2" : factor(view.row)
      parts.append(stride == 1 ? rows : scaled(rows, stride))
    }
    if view.column != 0 {
      parts.append(layoutOf(view) == .pairs ? scaled(factor(view.column), 2) : c(view.column))
    }
    return parts.joined(separator: " + ")
  }

  private func scaled(_ text: String, _ factor: Int) -> String { "\(text) * \(factor)" }

  /// Columns of a slice that the tensor has: fewer than asked in the last value tile.
  func valid(_ column: Index, _ columns: Int) -> String {
    let isTiled = column.terms.contains { $0.variable == GridAxis.valueTile.variable }
    return isTiled && program.value % program.valueTile != 0 ? "value_columns" : String(columns)
  }

  /// How many of `rows` rows from token `start` on the sequence still has; may be negative.
  func remaining(_ start: Index, _ rows: Int) -> String {
    if isChunkStart(start), rows == program.chunk { return "tokens" }
    return "sl_least(\(rows), length - (\(c(start))))"
  }

  func isChunkStart(_ start: Index) -> Bool {
    start == Index("c", times: program.chunk)
  }

  /// Where a slice's first row begins, its query head included.
  func tokenAddress(_ slice: TokenSlice, row: String? = nil) -> String {
    let tensor = program.tensor(slice.tensor)!
    let name = slice.tensor
    let token =
      row.map { slice.start == 0 ? $0 : "(\(c(slice.start)) + \($0))" } ?? "(\(c(slice.start)))"
    var parts = ["\(name)_in", "\(token) * \(name)_token"]
    if tensor.kind == .queryTokens { parts.append("g * \(name)_head") }
    if begins(slice.column) { parts.append(columnBegin(slice.column)) }
    return parts.joined(separator: " + ")
  }

  /// Whether a slice begins past its tensor's first column: not where one tile holds all values.
  func begins(_ column: Index) -> Bool {
    column != 0 && !(program.valueTiles == 1 && !column.isConstant)
  }

  func columnBegin(_ column: Index) -> String {
    column == .valueTile(times: program.valueTile) ? "value_begin" : c(column)
  }

  /// Where a slice's first row begins; NULL without its tensor, unless it `isThere` always.
  private func place(_ slice: StateSlice, _ tensor: Tensor, isThere: Bool = false) -> String {
    if tensor.kind == .snapshot, let chunk = slice.segment {
      let column = begins(slice.column) ? columnBegin(slice.column) : "0"
      return "snapshot_after(args, \(slice.tensor)_in, \(factor(chunk)), length, \(column))"
    }
    if tensor.kind == .chunkStates, let chunk = slice.segment {
      var initial = slice
      (initial.tensor, initial.segment) = (TensorName.initialState, nil)
      let first = place(initial, program.tensor(TensorName.initialState)!)
      return "\(c(chunk)) ? \(address(slice, tensor, segment: "(\(c(chunk)) - 1)")) : \(first)"
    }
    let name = "\(slice.tensor)_in"
    let place = address(slice, tensor, segment: slice.segment.map(factor))
    return place != name && tensor.isOptional && !isThere ? "\(name) ? \(place) : NULL" : place
  }

  /// The same of a tensor that is there.
  private func address(_ slice: StateSlice, _ tensor: Tensor, segment: String?) -> String {
    var parts = ["\(slice.tensor)_in"]
    if let segment { parts.append("\(segment) * heads * \(tensor.rows * tensor.columns)") }
    if begins(slice.column) { parts.append(columnBegin(slice.column)) }
    return parts.joined(separator: " + ")
  }
}
