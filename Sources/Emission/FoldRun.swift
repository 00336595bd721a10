import Recurrences
import TileIR

/// A block's keys, its decays and the fold of both, as one pass over the rows.
///
/// The three operations write keys, decays and what these take away to tiles, and read them once. One
/// pass needs none of these tiles as long as every key folds, which mild decays do; the first vector
/// of keys that does not ends it, and the three operations are done as they stand.
///
/// Two things make it short where all is mild. Exponentials that are 1/2 or more need no power of two
/// split off (`sl_fold_near`); a vector of keys with one below has its pass anew, and those after it
/// do without. And where one query head reads the keys, its queries are scaled in passing, by products
/// that no tile need hold. What comes of that differs from the operations by roundings.
struct FoldRun {
  let keys: Map
  let decays: Map
  let fold: Fold
  /// What a query head that reads these keys has made of its queries first.
  let queries: Map?
  let statements: ArraySlice<Statement>

  /// The run that begins with the first of these statements.
  init?(_ body: ArraySlice<Statement>, _ emitter: PhaseEmitter) {
    var operations: [TileIR.Operation] = []
    var count = 0
    for statement in body {
      count += 1
      if case .note = statement, !operations.isEmpty { continue }
      guard case .operation(let operation) = statement else { return nil }
      operations.append(operation)
      if operations.count == 3 { break }
    }
    guard operations.count == 3, case .map(let keys) = operations[0],
      case .map(let decays) = operations[1], case .fold(let fold) = operations[2],
      fold.key == keys.target, fold.decay == decays.target, fold.taken == decays.complement,
      fold.decay.columns == fold.key.columns, fold.key.columns > 1, keys.complement == nil,
      let tail = keys.tail, tail.start == decays.tail?.start,
      !decays.operands.values.contains(where: { $0.reads(keys.target.tile) })
    else { return nil }
    (self.keys, self.decays, self.fold) = (keys, decays, fold)
    statements = body.prefix(count)
    queries = FoldRun.queries(of: fold, tail, body.dropFirst(count).first)
  }

  /// The map that follows in a loop over query heads and is alone to read the fold's products.
  private static func queries(of fold: Fold, _ tail: Map.Tail, _ next: Statement?) -> Map? {
    guard case .loop(.queryHeads, let inner)? = next else { return nil }
    let statements = inner.drop { if case .note = $0 { true } else { false } }
    guard case .operation(.map(let map))? = statements.first, map.complement == nil,
      map.tail?.start == tail.start, map.target.columns == fold.reading.columns,
      map.operands.values.contains(where: { $0.reads(fold.reading.tile) }),
      !statements.dropFirst().contains(where: {
        $0.reads.contains { $0.tile == fold.reading.tile }
      })
    else { return nil }
    return map
  }

  /// The decays' logarithms, where the decays are exponentials.
  var logarithms: Expression? {
    if case .unary(.exp, let x) = decays.expression { x } else { nil }
  }
}

extension Map.Operand {
  fileprivate func reads(_ tile: String) -> Bool {
    if case .tile(let view, _) = self { view.tile == tile } else { false }
  }
}

extension PhaseEmitter {
  mutating func write(_ run: FoldRun) {
    out.comment(
      "\(run.fold.folded.tile) = k / E with k = \(written(run.keys)), and E the products of "
        + "\(written(run.decays)), while every key folds")
    let outside = out
    out = CWriter(depth: 0)
    let columns = run.fold.key.columns
    let whole = columns / target.lanes * target.lanes
    out.line("int whole = 1;")
    if let logarithms = run.logarithms { peek(run, logarithms) }
    if let carried = run.fold.carried {
      out.longLine("const sl_carried past = \(initializer(carried));")
      out.line("sl_f32 due = sl_zero();")
    }
    if whole > 0 {
      let lines = column(of: run, "column", nil)
      out.block("for (int64_t column = 0; whole && column < \(whole); column += SL_LANES)") {
        $0.lines(lines)
      }
    }
    if whole < columns {
      let lines = column(of: run, String(whole), String(columns - whole))
      out.block("if (whole)") { $0.lines(lines) }
    }
    if run.fold.carried != nil {
      let places = run.fold.total.views.map(address).joined(separator: ", ")
      out.line("if (whole) sl_fold_carry(\(columns), past, \(places), due);")
    }
    if run.queries != nil { out.line("folded_queries = whole && group == 1;") }
    let fast = out.lines
    out = CWriter(depth: 0)
    for statement in run.statements {
      switch statement {
      case .operation(let operation): write(operation)
      case .note(let text): out.comment(text)
      default: break
      }
    }
    let slow = out.lines
    out = outside
    if let queries = run.queries {
      let text = "\(queries.target.tile) = \(written(queries)) with it, where one query head reads"
      out.comment(text)
      out.line("int folded_queries = 0;")
      foldedQueries = queries.target.tile
    }
    out.block("") {
      $0.lines(fast)
      $0.block("if (!whole)") { $0.lines(slow) }
    }
  }

  /// Declares `near`: whether the first decays of a block are, after which the others mostly take.
  private mutating func peek(_ run: FoldRun, _ logarithms: Expression) {
    let columns = run.fold.key.columns
    let count = columns < target.lanes ? String(columns) : nil
    let setups = logarithms.inputNames.compactMap { setup(run.decays.operands[$0]!, $0, "0") }
    let first = value(run.decays, logarithms, "0", "0", count)
    out.line("int near;")
    out.block("") {
      for line in setups { $0.longLine(line) }
      $0.longLine("const sl_f32 first = \(first);")
      $0.line("near = sl_fold_is_near(sl_mul(first, first));")
    }
  }

  /// One vector of keys over all tokens of the block, or the `count` keys that are left.
  private mutating func column(of run: FoldRun, _ column: String, _ count: String?) -> [String] {
    let fold = run.fold
    let tokens = tokenLines(of: run, column, count, nil)
    let near = run.logarithms.map { tokenLines(of: run, column, count, $0) }
    let tail = pastLines(of: run, column, count)
    let outside = out
    out = CWriter(depth: 0)
    let lanes = count ?? "SL_LANES"
    let past = fold.carried == nil ? nil : "past, \(column)"
    let start = past.map { "sl_fold_start(\($0), \(lanes))" } ?? "sl_set(1.0f)"
    if near == nil {
      out.line("sl_folding fold = sl_fold_begin(\(start));")
    } else {
      out.line("const sl_f32 start = \(start);")
      out.line("sl_folding fold = sl_fold_begin(start);")
    }
    boundedRows(from: run.keys.tail!.start, fold.key.rows) { emitter, bound in
      let rows = "for (int64_t row = 0; row < \(bound); ++row)"
      if let near {
        emitter.out.block("if (near)") {
          $0.block(rows) { $0.lines(near) }
          $0.line("near = sl_fold_is_near(fold.squares);")
        }
        emitter.out.block("if (!near)") {
          $0.line("fold = sl_fold_begin(start);")
          $0.block(rows) { $0.lines(tokens) }
        }
      } else {
        emitter.out.block(rows) { $0.lines(tokens) }
      }
      emitter.out.block("for (int64_t row = \(bound); row < \(fold.key.rows); ++row)") {
        $0.lines(tail)
      }
    }
    let ends = (fold.total.views + [fold.exact]).map(address)
    let arguments =
      past.map { ends + [$0, "&due", lanes] } ?? ends.map { "\($0) + \(column)" } + [lanes]
    out.call(
      "const sl_f32 failures = sl_fold_end\(past == nil ? "" : "_carried")", ["fold"] + arguments)
    out.line("whole = sl_sum(failures) == 0.0f;")
    let lines = out.lines
    out = outside
    return lines
  }

  /// A token of the sequence; its decay is that of the logarithm, where there is one.
  private func tokenLines(
    of run: FoldRun, _ column: String, _ count: String?, _ logarithm: Expression?
  ) -> [String] {
    var writer = CWriter()
    for map in [run.keys, run.decays] {
      for name in map.expression.inputNames {
        if let line = setup(map.operands[name]!, name, "row"), !writer.lines.contains(line) {
          writer.line(line)
        }
      }
    }
    let key = value(run.keys, run.keys.expression, "row", column, count)
    if let logarithm {
      let log = value(run.decays, logarithm, "row", column, count)
      foldToken(run.fold, "sl_fold_near", column, [key, log], &writer)
    } else {
      writer.lines(
        pair(run.decays.expression) { value(run.decays, $0, "row", column, count) })
      foldToken(run.fold, "sl_fold_token", column, [key, "kept", "taken"], &writer)
    }
    let query = run.queries.map { map in
      CExpression(isVector: true, isDouble: isDouble) { name in
        let operand = map.operands[name]!
        return operand.reads(run.fold.reading.tile)
          ? "reading" : vector(operand, name, "row", column, count)
      }.text(map.expression)
    }
    keepReading(run, column, count, query, &writer)
    return writer.lines
  }

  /// A token past the sequence's end, where nothing is written and nothing decays.
  private func pastLines(of run: FoldRun, _ column: String, _ count: String?) -> [String] {
    func text(_ number: Double) -> String {
      CExpression(isVector: true) { $0 }.text(.constant(number))
    }
    let decay = run.decays.tail!.fill
    var writer = CWriter()
    foldToken(
      run.fold, "sl_fold_token", column, [run.keys.tail!.fill, decay, 1 - decay].map(text), &writer)
    keepReading(run, column, count, run.queries.map { text($0.tail!.fill) }, &writer)
    return writer.lines
  }

  private func foldToken(
    _ fold: Fold, _ word: String, _ column: String, _ values: [String], _ writer: inout CWriter
  ) {
    writer.call(
      "const sl_f32 reading = \(word)",
      ["&fold", flag(fold.readsPrevious), "\(at(fold.folded, "row")) + \(column)"] + values)
  }

  /// Stores the product by which the token's query reads, or the query of the one head that does.
  private func keepReading(
    _ run: FoldRun, _ column: String, _ count: String?, _ query: String?, _ writer: inout CWriter
  ) {
    let place = "\(at(run.fold.reading, "row")) + \(column)"
    guard let map = run.queries, let query else {
      return writer.call("sl_store", [place, "reading"])
    }
    let setups = map.expression.inputNames.filter { query.contains("\($0)_") }
      .compactMap { setup(map.operands[$0]!, $0, "row") }
    writer.block("if (group == 1)") {
      if setups.contains(where: { $0.contains(" g * ") }) { $0.line("const int64_t g = 0;") }
      for line in setups { $0.longLine(line) }
      let own = "\(at(map.target, "row")) + \(column)"
      $0.call(
        count == nil ? "sl_store" : "sl_store_n", [own, query] + (count.map { [$0] } ?? []))
    }
    writer.block("} else") { $0.call("sl_store", [place, "reading"]) }
  }
}
