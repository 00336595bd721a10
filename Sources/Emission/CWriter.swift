/// Lines of C, indented by two.
struct CWriter {
  private(set) var lines: [String] = []
  private var depth: Int

  init(depth: Int = 0) { self.depth = depth }

  var text: String { lines.joined(separator: "\n") + "\n" }

  mutating func line(_ text: String = "") {
    // The preprocessor's lines stand at the margin.
    let margin = text.isEmpty || text.hasPrefix("#") ? 0 : depth
    lines.append(String(repeating: "  ", count: margin) + text)
  }

  /// A statement that may be broken before an operator.
  mutating func longLine(_ text: String) {
    let room = 100 - 2 * depth
    let code = text[..<(text.firstRange(of: "  //")?.lowerBound ?? text.endIndex)]
    guard code.count > room else { return line(text) }
    // A choice is broken at its branches, a sum at its terms.
    let operators: Set<Substring> = text.contains(" ? ") ? ["?", ":"] : ["+", "&&"]
    var pieces: [String] = [""]
    for word in text.split(separator: " ", omittingEmptySubsequences: false) {
      if operators.contains(word) { pieces.append("") }
      pieces[pieces.count - 1] += (pieces.last!.isEmpty ? "" : " ") + word
    }
    var row = pieces[0]
    var margin = ""
    for piece in pieces.dropFirst() {
      if margin.count + row.count + piece.count + 1 > room {
        line(margin + row)
        margin = "    "
        row = piece
      } else {
        row += " " + piece
      }
    }
    line(margin + row)
  }

  mutating func lines(_ texts: [String]) { texts.forEach { line($0) } }

  /// A comment of as many lines as it needs.
  mutating func comment(_ text: String) {
    for part in wrapped(text, width: 96 - 2 * depth) { line("// " + part) }
  }

  /// `head {`, the body, `}`.
  mutating func block(_ head: String, _ body: (inout CWriter) -> Void) {
    // An `else` closes the block before it.
    if head.hasPrefix("}"), lines.last?.hasSuffix("}") == true { lines.removeLast() }
    longLine(head.isEmpty ? "{" : head + " {")
    depth += 1
    body(&self)
    depth -= 1
    line("}")
  }

  /// A call, broken over lines where it is long.
  mutating func call(_ function: String, _ arguments: [String]) {
    let single = "\(function)(\(arguments.joined(separator: ", ")));"
    if single.count + 2 * depth <= 100 {
      line(single)
      return
    }
    line("\(function)(")
    depth += 2
    var row = ""
    for (place, argument) in arguments.enumerated() {
      let piece = argument + (place + 1 < arguments.count ? "," : ");")
      if !row.isEmpty, row.count + piece.count + 1 + 2 * depth > 100 {
        line(row)
        row = piece
      } else {
        row += row.isEmpty ? piece : " " + piece
      }
    }
    line(row)
    depth -= 2
  }

  private func wrapped(_ text: String, width: Int) -> [String] {
    var rows: [String] = []
    var row = ""
    for word in text.split(separator: " ", omittingEmptySubsequences: false) {
      if !row.isEmpty, row.count + word.count + 1 > width {
        rows.append(row)
        row = String(word)
      } else {
        row += row.isEmpty ? String(word) : " " + word
      }
    }
    rows.append(row)
    return rows
  }
}
