import Recurrences
import TileIR

/// How a phase is printed for a card: a worker is a block of threads, its tiles lie in shared memory,
/// and every operation is dealt to the block's threads.
extension PhaseEmitter {
  /// The kernel's text, its comment included.
  mutating func deviceFunction() -> String {
    if phase.grid.contains(.segment) {
      out.line("// A segment without chunks has no work, and no slot of its own.")
      out.line("if (segment >= segments) return;")
    }
    write(phase.body)
    var body = out.lines
    if let landing { body = landingLines(landing, for: body) + [""] + body }
    var text = CWriter()
    text.line("// \(phase.name): one block's share.")
    text.line("//")
    for line in phase.pseudoCode { text.line("//   " + line) }
    text.block(
      "SL_KERNEL SL_BOUNDS void \(kernel)_\(phase.name)("
        + "SL_CONSTANT_ARGUMENT arguments given)"
    ) { text in
      text.line("const arguments *const args = &given;")
      if layout.bytes > 0 { text.line("SL_SHARED scratch[];") }
      text.line("const int64_t item = SL_BLOCK;")
      if layout.bytesInMemory > 0 {
        text.line("char *const memory = tiles_of(args) + item * \(layout.bytesInMemory);")
      }
      declare(&text, for: body)
    }
    var lines = text.lines
    lines.removeLast()
    return (lines + [""] + body + ["}"]).joined(separator: "\n") + "\n"
  }

  /// The maps of tokens alone at the front of a body, into tiles of their own: threads take their entries
  /// side by side, so that what all of them load is on its way at once, and meet after the last one.
  static func independentMaps(_ body: ArraySlice<Statement>) -> [Map] {
    var maps: [Map] = []
    var written: Set<String> = []
    for statement in body {
      guard case .operation(.map(let map)) = statement else { break }
      let readsTiles = map.operands.values.contains {
        if case .tile = $0 { true } else { false }
      }
      let tiles = [map.target.tile] + (map.complement.map { [$0.tile] } ?? [])
      guard !readsTiles, written.isDisjoint(with: tiles) else { break }
      written.formUnion(tiles)
      maps.append(map)
    }
    return maps
  }

  mutating func writeDevice(_ maps: [Map]) {
    let threads = target.device?.threads ?? 1
    var first = 0
    for map in maps {
      writeDevice(map, from: first)
      first = (first + map.target.rows * map.target.columns) % threads
    }
    out.line("sl_sync();")
  }

  /// A map: every thread from `first` on takes its share of the entries. Rows past the sequence's end are
  /// filled.
  private mutating func writeDevice(_ map: Map, from first: Int) {
    if !map.operands.isEmpty {
      let complement = map.complement.map { ", \($0.tile) = 1 - \(map.target.tile)" } ?? ""
      out.comment("\(map.target.tile) = \(written(map))\(complement)")
    }
    let shape = "row, column, \(map.target.rows), \(map.target.columns)"
    let each = first == 0 ? "SL_EACH(\(shape))" : "SL_EACH_FROM(\(first), \(shape))"
    guard let tail = map.tail else {
      let own = self
      out.block(each) { own.deviceEntry(map, &$0) }
      return
    }
    boundedRows(from: tail.start, map.target.rows) { emitter, bound in
      let own = emitter
      emitter.out.block(each) { out in
        out.block("if (row < \(bound))") { own.deviceEntry(map, &$0) }
        out.block("} else") { out in
          let literal = CExpression(isVector: false) { $0 }
          out.line("\(own.devicePlace(map.target)) = \(literal.text(.constant(tail.fill)));")
          if let complement = map.complement {
            out.line("\(own.devicePlace(complement)) = \(literal.text(.constant(1 - tail.fill)));")
          }
        }
      }
    }
  }

  private func deviceEntry(_ map: Map, _ out: inout CWriter) {
    func value(_ expression: Expression) -> String {
      CExpression(isVector: true) { deviceOperand(map.operands[$0]!) }.text(expression)
    }
    let place = devicePlace(map.target)
    guard let complement = map.complement else {
      out.longLine("\(place) = \(value(map.expression));")
      return
    }
    out.lines(pair(map.expression, value))
    out.line("\(place) = kept;")
    out.line("\(devicePlace(complement)) = taken;")
  }

  /// The entry of a view at `row` and `column`.
  private func devicePlace(_ view: TileView) -> String {
    let stride = strideOf(view)
    var parts = [String]()
    if view.row != 0 {
      parts.append(stride == 1 ? factor(view.row) : "\(factor(view.row)) * \(stride)")
    }
    if view.column != 0 { parts.append(c(view.column)) }
    if view.rows > 1 { parts.append(stride == 1 ? "row" : "row * \(stride)") }
    if view.columns > 1 { parts.append("column") }
    return "\(view.tile)[\(parts.isEmpty ? "0" : parts.joined(separator: " + "))]"
  }

  private func deviceOperand(_ operand: Map.Operand) -> String {
    switch operand {
    case .scale: return "scale"
    case .tile(let view, .rowAsColumn): return "(\(address(view)))[row]"
    case .tile(let view, _): return devicePlace(view)
    case .tokens(let slice):
      let tensor = program.tensor(slice.tensor)!
      guard tensor.columns > 1 else { return scalar(operand, "row") }
      let word = tensor.type == .f32 ? "sl_load" : "sl_load_\(tensor.type.rawValue)"
      let load = "\(word)(\(tokenAddress(slice, row: "row")) + column)"
      return guarded(load, slice.column, min(slice.columns, tensor.columns))
    case .parameter(let parameter, let begin):
      let tensor = program.tensor(parameter)!
      guard tensor.columns > 1 else { return scalar(operand, "row") }
      let start = begins(begin) ? " + \(columnBegin(begin))" : ""
      let own = tensor.rows > 1 ? " + row * \(tensor.columns)" : ""
      let width = begin == 0 ? tensor.columns : program.valueTile
      return guarded("sl_load(\(parameter)_in\(own)\(start) + column)", begin, width)
    }
  }

  /// Columns past the tensor's are zero, and not touched.
  private func guarded(_ load: String, _ begin: Index, _ columns: Int) -> String {
    valid(begin, columns) == "value_columns" ? "(column < value_columns ? \(load) : 0.0f)" : load
  }
}
