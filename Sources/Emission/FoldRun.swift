import Recurrences
import TileIR

/// A block's keys, its decays and the fold of both, as one pass over the rows.
///
/// The three operations write keys, decays and what these take away to tiles, and read them once. One
/// pass needs none of these tiles as long as every key folds, which mild decays do; the first vector
/// of keys that does not ends it, and the three operations are done as they stand. Both ways give the
/// same bits.
struct FoldRun {
  let keys: Map
  let decays: Map
  let fold: Fold
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
    out.block("") {
      $0.lines(fast)
      $0.block("if (!whole)") { $0.lines(slow) }
    }
  }

  /// One vector of keys over all tokens of the block, or the `count` keys that are left.
  private mutating func column(of run: FoldRun, _ column: String, _ count: String?) -> [String] {
    let fold = run.fold
    let token = tokenLines(of: run, column, count)
    let tail = pastLines(of: run, column)
    let outside = out
    out = CWriter(depth: 0)
    let lanes = count ?? "SL_LANES"
    let past = fold.carried == nil ? nil : "past, \(column)"
    let start = past.map { "sl_fold_start(\($0), \(lanes))" } ?? "sl_set(1.0f)"
    out.line("sl_folding fold = sl_fold_begin(\(start));")
    boundedRows(from: run.keys.tail!.start, fold.key.rows) { emitter, bound in
      emitter.out.block("for (int64_t row = 0; row < \(bound); ++row)") { $0.lines(token) }
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

  /// A token of the sequence.
  private func tokenLines(of run: FoldRun, _ column: String, _ count: String?) -> [String] {
    var writer = CWriter()
    for map in [run.keys, run.decays] {
      for name in map.expression.inputNames {
        if let line = setup(map.operands[name]!, name, "row"), !writer.lines.contains(line) {
          writer.line(line)
        }
      }
    }
    writer.lines(
      pair(run.decays.expression) { value(run.decays, $0, "row", column, count) })
    let key = value(run.keys, run.keys.expression, "row", column, count)
    foldToken(run.fold, column, [key, "kept", "taken"], &writer)
    return writer.lines
  }

  /// A token past the sequence's end, where nothing is written and nothing decays.
  private func pastLines(of run: FoldRun, _ column: String) -> [String] {
    let (key, decay) = (run.keys.tail!.fill, run.decays.tail!.fill)
    let values = [key, decay, 1 - decay].map { number in
      CExpression(isVector: true) { $0 }.text(.constant(number))
    }
    var writer = CWriter()
    foldToken(run.fold, column, values, &writer)
    return writer.lines
  }

  private func foldToken(
    _ fold: Fold, _ column: String, _ values: [String], _ writer: inout CWriter
  ) {
    let places = [fold.folded, fold.reading].map { "\(at($0, "row")) + \(column)" }
    writer.call("sl_fold_token", ["&fold", flag(fold.readsPrevious)] + places + values)
  }
}
