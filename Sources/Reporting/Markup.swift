/// A piece of HTML or SVG whose text is escaped: what a page is put together from.
struct Markup: CustomStringConvertible {
  let description: String

  /// Text as a reader is to see it.
  init(text: String) { description = Markup.escaped(text) }

  /// Pieces one after the other.
  init(_ parts: [Markup]) { description = parts.map(\.description).joined(separator: "\n") }

  /// An element with its attributes, in their order, and what stands in it.
  init(
    _ name: String, _ attributes: KeyValuePairs<String, String> = [:], _ content: [Markup] = []
  ) {
    let head = attributes.map { " \($0.key)=\"\(Markup.escaped($0.value))\"" }.joined()
    let inner = content.map(\.description).joined()
    description = inner.isEmpty ? "<\(name)\(head)/>" : "<\(name)\(head)>\(inner)</\(name)>"
  }

  /// An element that holds text alone.
  init(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], text: String) {
    self.init(name, attributes, [Markup(text: text)])
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "\n", "\t": result.unicodeScalars.append(scalar)
      // XML has no other control characters.
      case _ where scalar.value < 32 || scalar.value == 0xFFFE || scalar.value == 0xFFFF:
        result += "\u{FFFD}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
