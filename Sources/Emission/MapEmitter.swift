import Recurrences
import TileIR

extension PhaseEmitter {
  /// An elementwise map: rows, then whole vectors of columns, then what is left of a vector.
  mutating func write(_ map: Map) {
    if let copy = map.operands.values.first, movesPairs(map, copy) {
      return writeCopy(to: map.target, from: copy)
    }
    if !map.operands.isEmpty {
      let complement = map.complement.map { ", \($0.tile) = 1 - \(map.target.tile)" } ?? ""
      out.comment("\(map.target.tile) = \(written(map))\(complement)")
    }
    guard let tail = map.tail else {
      rows(of: map, to: String(map.target.rows))
      return
    }
    boundedRows(from: tail.start, map.target.rows) { emitter, bound in
      emitter.rows(of: map, to: bound)
      emitter.fill(map.target, from: bound, with: tail.fill)
      if let complement = map.complement {
        emitter.fill(complement, from: bound, with: 1 - tail.fill)
      }
    }
  }

  /// Whether a map copies to pairs, or from them.
  private func movesPairs(_ map: Map, _ operand: Map.Operand) -> Bool {
    if case .tile(let source, .none) = operand, layoutOf(source) == .pairs { return true }
    return layoutOf(map.target) == .pairs
  }

  private mutating func writeCopy(to target: TileView, from operand: Map.Operand) {
    switch operand {
    case .tile(let source, _):
      let word =
        layoutOf(source) == .pairs
        ? "sl_unzip_rows" : typeOf(source) == .bf16 ? "sl_zip_rows" : "sl_to_pairs"
      out.call(word, size(target) + self.operand(target) + self.operand(source))
    case .tokens(let slice):
      let columns = min(slice.columns, program.tensor(slice.tensor)!.columns)
      out.call(
        "sl_zip_tokens",
        [remaining(slice.start, slice.rows)] + size(target) + self.operand(target)
          + [tokenAddress(slice), "\(slice.tensor)_token", valid(slice.column, columns)])
    case .parameter, .scale: break
    }
  }

  /// Writes what runs over the first of `count` rows from token `start` on, as many as the sequence
  /// has left; `write` is told how many those are called.
  mutating func boundedRows(
    from start: Index, _ count: Int, _ write: (inout PhaseEmitter, String) -> Void
  ) {
    let outside = out
    out = CWriter(depth: 0)
    var bound = "tokens"
    if !isChunkStart(start) || count != program.chunk {
      out.line("const int64_t rows = sl_greatest(0, \(remaining(start, count)));")
      bound = "rows"
    }
    write(&self, bound)
    let lines = out.lines
    out = outside
    if bound == "rows" {
      out.block("") { $0.lines(lines) }
    } else {
      out.lines(lines)
    }
  }

  /// The map as mathematics, in which a tensor bears the name of its pointer.
  func written(_ map: Map) -> Expression {
    var expression = map.expression
    for (name, operand) in map.operands {
      switch operand {
      case .tokens(let slice):
        expression = expression.substituting(name, by: .input("\(slice.tensor)_in", .scalar))
      case .parameter(let parameter, _):
        expression = expression.substituting(name, by: .input("\(parameter)_in", .scalar))
      case .tile, .scale: break
      }
    }
    return expression
  }

  /// Rows past the sequence's end, from row `from` on.
  private mutating func fill(_ view: TileView, from: String, with value: Double) {
    let literal = CExpression(isVector: false) { $0 }.text(.constant(value))
    out.call("sl_fill_rows", [from] + size(view) + operand(view) + [literal])
  }

  private mutating func rows(of map: Map, to bound: String) {
    let single = bound == "1"
    let row = single ? "0" : "row"
    var writer = CWriter()
    let tile = layout.places[map.target.tile]!.tile
    if map.target.columns == 1, tile.layout == .column || tile.columns > 1 {
      scalarRow(map, row, &writer)
    } else {
      vectorRow(map, row, &writer)
    }
    // One row's declarations stay its own.
    let head = single ? "" : "for (int64_t row = 0; row < \(bound); ++row)"
    out.block(head) { $0.lines(writer.lines) }
  }

  private func scalarRow(_ map: Map, _ row: String, _ writer: inout CWriter) {
    let place = entry(map.target, row)
    let printer = CExpression(isVector: false, isDouble: isDouble) { name in
      scalar(map.operands[name]!, row)
    }
    writer.line("\(place) = \(printer.text(map.expression));")
    if let complement = map.complement {
      writer.line("\(entry(complement, row)) = \(printer.text(map.expression.complement));")
    }
  }

  private func vectorRow(_ map: Map, _ row: String, _ writer: inout CWriter) {
    let expression = map.expression
    let names = expression.inputNames
    // What does not change along the row is repeated over a vector once.
    for name in names {
      if let setup = setup(map.operands[name]!, name, row) { writer.line(setup) }
      // Functions of many instructions leave memory no time to bring the rows after this one.
      if fusesRows, !usesMatrixUnit, map.complement != nil,
        case .tokens(let slice) = map.operands[name]!,
        let tensor = program.tensor(slice.tensor), tensor.columns > 1
      {
        let bytes = min(slice.columns, tensor.columns) * tensor.type.size
        writer.call(
          "sl_ask_row", ["\(name)_row + \(RowRun.ahead) * \(slice.tensor)_token", String(bytes)])
      }
    }
    let type = layout.places[map.target.tile]!.tile.type
    let store = type.isSums ? "sl_store" : "sl_store_\(type.rawValue)"
    let columns = map.target.columns
    let whole = columns / target.lanes * target.lanes
    let place = at(map.target, row)
    func value(_ expression: Expression, _ column: String, _ count: String?) -> String {
      self.value(map, expression, row, column, count)
    }
    // Stores one vector from `column` on; `rest` says how many lanes of it there are.
    func storeVector(_ column: String, _ rest: String?, _ writer: inout CWriter) {
      func put(_ place: String, _ value: String) {
        let there = column == "0" ? place : "\(place) + \(column)"
        writer.call(rest == nil ? store : "\(store)_n", [there, value] + (rest.map { [$0] } ?? []))
      }
      guard let complement = map.complement else {
        return put(place, value(expression, column, rest))
      }
      // Both are computed before either is stored, so that they share what they have in common.
      writer.lines(pair(expression) { value($0, column, rest) })
      put(place, "kept")
      put(at(complement, row), "taken")
    }
    if whole > 0 {
      writer.block("for (int64_t column = 0; column < \(whole); column += SL_LANES)") {
        storeVector("column", nil, &$0)
      }
    }
    if whole < columns {
      let rest = String(columns - whole)
      if map.complement == nil {
        storeVector(String(whole), rest, &writer)
      } else {
        writer.block("") { storeVector(String(whole), rest, &$0) }
      }
    }
  }

  /// A vector of an expression of the map's operands.
  func value(
    _ map: Map, _ expression: Expression, _ row: String, _ column: String, _ count: String?
  ) -> String {
    CExpression(isVector: true, isDouble: isDouble) { name in
      vector(map.operands[name]!, name, row, column, count)
    }.text(expression)
  }

  /// Declares an expression's vector and its complement's; an exponential gives both at once.
  func pair(_ expression: Expression, _ value: (Expression) -> String) -> [String] {
    if case .unary(.exp, let x) = expression {
      return ["sl_f32 taken;", "const sl_f32 kept = sl_exp_both(\(value(x)), &taken);"]
    }
    return [
      "const sl_f32 kept = \(value(expression));",
      "const sl_f32 taken = \(value(expression.complement));",
    ]
  }

  /// Where a row of a view begins.
  func at(_ view: TileView, _ row: String) -> String {
    guard row != "0", view.rows > 1 else { return address(view) }
    let stride = strideOf(view)
    return "\(address(view)) + \(stride == 1 ? row : "\(row) * \(stride)")"
  }

  /// The first number of a row of a view.
  private func entry(_ view: TileView, _ row: String) -> String {
    let place = at(view, row)
    return place == view.tile ? "\(place)[0]" : "*(\(place))"
  }

  /// What an operand needs before a row's columns are run over.
  func setup(_ operand: Map.Operand, _ name: String, _ row: String) -> String? {
    switch operand {
    case .tile(let view, .overColumns):
      return "const sl_f32 \(name)_all = sl_set(\(entry(view, row)));"
    case .tile(let view, .rowAsColumn):
      return "const sl_f32 \(name)_all = sl_set((\(address(view)))[\(row)]);"
    case .tile: return nil
    case .scale: return "const sl_f32 \(name)_all = sl_set(scale);"
    case .tokens(let slice):
      let tensor = program.tensor(slice.tensor)!
      guard tensor.columns == 1 else {
        let type = PhaseEmitter.element(tensor.type)
        return "const \(type) *\(name)_row = \(tokenAddress(slice, row: row));"
      }
      return "const sl_f32 \(name)_all = sl_set(\(scalar(operand, row)));"
    case .parameter(let parameter, _):
      let tensor = program.tensor(parameter)!
      guard tensor.columns == 1 else { return nil }
      return "const sl_f32 \(name)_all = sl_set(\(scalar(operand, row)));"
    }
  }

  func vector(
    _ operand: Map.Operand, _ name: String, _ row: String, _ column: String, _ count: String?
  ) -> String {
    func load(_ place: String, _ type: ElementType, _ count: String?) -> String {
      let word = type.isSums ? "sl_load" : "sl_load_\(type.rawValue)"
      let at = column == "0" ? place : "\(place) + \(column)"
      return count.map { "\(word)_n(\(at), \($0))" } ?? "\(word)(\(at))"
    }
    switch operand {
    case .tile(let view, .none): return load(at(view, row), typeOf(view), nil)
    case .tile(let view, .overRows): return load(address(view), typeOf(view), nil)
    case .tile, .scale: return "\(name)_all"
    case .tokens(let slice):
      let tensor = program.tensor(slice.tensor)!
      guard tensor.columns > 1 else { return "\(name)_all" }
      return load(
        "\(name)_row", tensor.type, clipped(slice.column, slice.columns, column, count))
    case .parameter(let parameter, let begin):
      let tensor = program.tensor(parameter)!
      guard tensor.columns > 1 else { return "\(name)_all" }
      let start = begins(begin) ? " + \(columnBegin(begin))" : ""
      let own = tensor.rows > 1 ? " + \(row) * \(tensor.columns)" : ""
      let width = begin == 0 ? tensor.columns : program.valueTile
      return load(
        "\(parameter)_in\(own)\(start)", .f32, clipped(begin, width, column, count))
    }
  }

  /// How many lanes may be read: nil for all of them.
  private func clipped(
    _ begin: Index, _ columns: Int, _ column: String, _ count: String?
  ) -> String? {
    let limit = valid(begin, columns)
    guard limit == "value_columns" else { return count }
    return column == "0" ? limit : "\(limit) - \(column)"
  }

  func scalar(_ operand: Map.Operand, _ row: String) -> String {
    switch operand {
    case .tile(let view, .overRows): return "(\(address(view)))[0]"
    case .tile(let view, .rowAsColumn): return "(\(address(view)))[\(row)]"
    case .tile(let view, _): return entry(view, row)
    case .scale: return "scale"
    case .tokens(let slice):
      let tensor = program.tensor(slice.tensor)!
      let element = "(\(tokenAddress(slice, row: row)))[0]"
      return tensor.type.isSums ? element : "sl_\(tensor.type.rawValue)_to_f32(\(element))"
    case .parameter(let parameter, let begin):
      let tensor = program.tensor(parameter)!
      let own = tensor.rows > 1 ? "\(row) * \(tensor.columns)" : "0"
      let start = tensor.columns > 1 && begins(begin) ? " + \(columnBegin(begin))" : ""
      return "\(parameter)_in[\(own)\(start)]"
    }
  }
}
