import Recurrences
import TileIR

/// Consecutive maps, forward scans and sums over the rows of the same rows and columns, as one loop: what one writes the
/// next finds in a register. Where a matrix unit does the products this is most of what is left to do,
/// and memory is asked for rows of the next chunk all the while.
struct RowRun {
  var operations: [TileIR.Operation]
  let rows: Int
  let columns: Int
  /// The token of the first row; nil where no row stands for a token.
  private(set) var start: Index?
  /// The tiles that are read after the run, before they are written anew.
  private(set) var awaited: Set<String> = []

  /// The run that begins with the first of these statements; nil when there is none, or one map
  /// that reads no tokens.
  init?(_ body: ArraySlice<Statement>, _ emitter: PhaseEmitter) {
    guard emitter.fusesRows, let first = body.first?.written,
      first.columns > 1
    else { return nil }
    (rows, columns) = (first.rows, first.columns)
    operations = []
    for statement in body {
      guard case .operation(let operation) = statement, fits(operation, emitter) else { break }
      operations.append(operation)
    }
    if operations.isEmpty || operations.count == 1 && !hasTail { return nil }
    let rest = body.dropFirst(operations.count)
    for view in operations.compactMap({ Statement.operation($0).written })
    where emitter.inherited.contains(view.tile) || RowRun.isRead(view, by: rest) {
      awaited.insert(view.tile)
    }
  }

  /// Whether some of the statements reads the view's tile before one writes the view anew.
  private static func isRead(_ view: TileView, by body: ArraySlice<Statement>) -> Bool {
    for statement in body {
      if statement.reads.contains(where: { $0.tile == view.tile }) { return true }
      if statement.written == view { return false }
    }
    return false
  }

  /// How many rows ahead memory is asked: enough for its latency, and few enough to stay in the cache.
  static let ahead = 8

  private mutating func fits(_ operation: TileIR.Operation, _ emitter: PhaseEmitter) -> Bool {
    func isWhole(_ view: TileView) -> Bool {
      view.column == 0 && view.rows == rows && view.columns == columns
        && emitter.layoutOf(view) == .rows
    }
    switch operation {
    case .map(let map):
      guard isWhole(map.target), map.complement == nil, !map.operands.isEmpty,
        !writes(map.target.tile)
      else {
        return false
      }
      if let tail = map.tail {
        if let start, start != tail.start { return false }
        start = tail.start
      }
      return map.operands.values.allSatisfy {
        guard case .tile(let view, let how) = $0 else { return true }
        return how == .none ? isWhole(view) : !writes(view.tile)
      }
    case .scan(let scan): return !scan.backward && isWhole(scan.target) && isWhole(scan.source)
    // What is summed must be at hand. A matrix unit's runs leave sums to their own word.
    case .reduce(let reduce):
      return !emitter.usesMatrixUnit && writes(reduce.source.tile) && isWhole(reduce.source)
        && reduce.target.rows == 1 && reduce.target.columns == columns && rows > 1
        && !operations.contains { $0.reads.contains { $0.tile == reduce.target.tile } }
    default: return false
    }
  }

  private func writes(_ tile: String) -> Bool {
    operations.contains {
      if case .reduce(let reduce) = $0, reduce.target.tile == tile { return true }
      return Statement.operation($0).written?.tile == tile
    }
  }

  var hasTail: Bool { start != nil }

  /// The run without maps that nobody reads.
  func live(_ read: Set<String>) -> RowRun {
    var run = self
    run.operations.removeAll {
      guard case .map(let map) = $0 else { return false }
      return !read.contains(map.target.tile)
    }
    return run
  }

  /// Whether an operation after the one at `place` reads what that one writes.
  func isReadLater(_ place: Int) -> Bool {
    guard let tile = Statement.operation(operations[place]).written?.tile else { return false }
    return operations[(place + 1)...].contains { $0.reads.contains { $0.tile == tile } }
  }

  /// The tiles of the run that must lie in memory: what others read, what scans look back at, and what
  /// the run reads before it writes it, as its next turn does.
  var stored: Set<String> {
    var stored = awaited
    var written: Set<String> = []
    for operation in operations {
      if case .reduce(let reduce) = operation { stored.insert(reduce.target.tile) }
      stored.formUnion(operation.reads.map(\.tile).filter { !written.contains($0) })
      if let target = Statement.operation(operation).written { written.insert(target.tile) }
      guard case .scan(let scan) = operation else { continue }
      stored.insert(scan.target.tile)
      if scan.exclusive { stored.insert(scan.source.tile) }
    }
    return stored
  }

  /// Whether the operation at `place` divides by what a scan of the run multiplies up.
  func dividesByProduct(_ map: Map) -> Bool {
    guard case .binary(.divide, _, .input(let name, _)) = map.expression else { return false }
    return operations.contains {
      if case .scan(let scan) = $0 { scan.target.tile == name } else { false }
    }
  }
}

extension PhaseEmitter {
  /// One loop over the rows that tokens fill, one over those past the sequence's end.
  mutating func write(_ run: RowRun) {
    let run = run.live(read)
    for operation in run.operations {
      switch operation {
      case .map(let map): out.comment("\(map.target.tile) = \(written(map))")
      case .scan(let scan):
        let exclusive = scan.exclusive ? ", each row without its own" : ""
        out.comment("\(scan.target.tile) = running products of \(scan.source.tile)\(exclusive)")
      case .reduce(let reduce):
        out.comment("\(reduce.target.tile) = the sum of the rows of \(reduce.source.tile)")
      default: break
      }
    }
    guard let start = run.start else {
      return loop(over: run, "int64_t row = 0", to: String(run.rows), isTail: false)
    }
    boundedRows(from: start, run.rows) { emitter, bound in
      emitter.loop(over: run, "int64_t row = 0", to: bound, isTail: false)
      emitter.loop(over: run, "int64_t row = \(bound)", to: String(run.rows), isTail: true)
    }
  }

  private mutating func loop(over run: RowRun, _ start: String, to bound: String, isTail: Bool) {
    var writer = CWriter()
    var lines: [String] = []
    for case .map(let map) in run.operations where !(isTail && map.tail != nil) {
      for name in map.expression.inputNames {
        if let line = setup(map.operands[name]!, name, "row"), !lines.contains(line) {
          lines.append(line)
        }
      }
    }
    writer.lines(lines)
    if usesMatrixUnit, !isTail { ask(run, &writer) }
    let whole = run.columns / target.lanes * target.lanes
    let stored = run.stored
    if whole > 0 {
      writer.block("for (int64_t column = 0; column < \(whole); column += SL_LANES)") {
        column(of: run, "column", nil, stored, isTail: isTail, &$0)
      }
    }
    if whole < run.columns {
      writer.block("") {
        column(of: run, String(whole), String(run.columns - whole), stored, isTail: isTail, &$0)
      }
    }
    let text = writer.lines
    out.block("for (\(start); row < \(bound); ++row)") { $0.lines(text) }
  }

  /// Asks for the rows that come some thousand cycles later.
  private func ask(_ run: RowRun, _ writer: inout CWriter) {
    var asked: [String] = []
    for case .map(let map) in run.operations {
      for (_, operand) in map.operands.sorted(by: { $0.key < $1.key }) {
        guard case .tokens(let slice) = operand, let tensor = program.tensor(slice.tensor),
          tensor.columns > 1, !asked.contains(slice.tensor)
        else { continue }
        asked.append(slice.tensor)
        let bytes = min(slice.columns, tensor.columns) * tensor.type.size
        writer.call(
          "sl_request",
          ["\(slice.tensor)_row + \(RowRun.ahead) * \(slice.tensor)_token", "\(bytes)"])
      }
    }
  }

  /// All operations of the run on one vector of columns, or on the `count` columns that are left;
  /// f32 tiles go to memory only where they are among the `stored` ones.
  private func column(
    of run: RowRun, _ column: String, _ count: String?, _ stored: Set<String>, isTail: Bool,
    _ writer: inout CWriter
  ) {
    var known: Set<String> = []
    func place(_ view: TileView, _ row: String = "row") -> String {
      "\(at(view, row)) + \(column)"
    }
    func keep(_ view: TileView, _ value: String, isReadLater: Bool, isCopy: Bool = false) {
      let name = "\(view.tile)_now"
      known.insert(view.tile)
      if typeOf(view) == .bf16 {
        guard isReadLater else {
          return writer.call(
            count == nil ? "sl_store_bf16" : "sl_store_bf16_n",
            [place(view), value] + (count.map { [$0] } ?? []))
        }
        // A copy is split for what it leaves, which may as well be half a step more.
        let word = isCopy ? "sl_keep_high_bf16" : "sl_keep_bf16"
        return writer.longLine(
          "const sl_f32 \(name) = \(word)(\(place(view)), \(value), \(count ?? "SL_LANES"));"
        )
      }
      writer.longLine("const sl_f32 \(name) = \(value);")
      guard stored.contains(view.tile) else { return }
      writer.call(
        count == nil ? "sl_store" : "sl_store_n",
        [place(view), name] + (count.map { [$0] } ?? []))
    }
    func past(_ view: TileView) -> String { "sl_load(\(place(view, "(row - 1)")))" }
    for (number, operation) in run.operations.enumerated() {
      let isRead = run.isReadLater(number)
      switch operation {
      case .map(let map):
        if isTail, let tail = map.tail {
          let fill = CExpression(isVector: true) { $0 }.text(.constant(tail.fill))
          keep(map.target, fill, isReadLater: isRead)
          continue
        }
        let printer = CExpression(
          isVector: true, isDouble: isDouble,
          quotient: run.dividesByProduct(map) ? "sl_quotient" : "sl_div"
        ) { name in
          if case .tile(let view, .none) = map.operands[name]!, known.contains(view.tile) {
            return "\(view.tile)_now"
          }
          return vector(map.operands[name]!, name, "row", column, count)
        }
        let isCopy = if case .input = map.expression { true } else { false }
        keep(map.target, printer.text(map.expression), isReadLater: isRead, isCopy: isCopy)
      case .scan(let scan):
        let own =
          known.contains(scan.source.tile)
          ? "\(scan.source.tile)_now" : "sl_load(\(place(scan.source)))"
        let product =
          scan.exclusive
          ? "row > 0 ? sl_mul(\(past(scan.target)), \(past(scan.source))) : sl_set(1.0f)"
          : "row > 0 ? sl_mul(\(past(scan.target)), \(own)) : \(own)"
        keep(scan.target, product, isReadLater: isRead)
      case .reduce(let reduce):
        let (sum, own) = ("\(address(reduce.target)) + \(column)", "\(reduce.source.tile)_now")
        writer.call(
          count == nil ? "sl_store" : "sl_store_n",
          [sum, "row > 0 ? sl_add(sl_load(\(sum)), \(own)) : \(own)"] + (count.map { [$0] } ?? []))
      default: break
      }
    }
  }
}
