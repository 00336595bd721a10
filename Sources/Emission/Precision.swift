/// The words of tiles, and what the emitters print around them, are written for float. A kernel in
/// double is the same text with the types' names replaced: its C differs in that, in its vocabulary
/// (`templates/c/double.h`) and in the digits of its constants.
enum Precision {
  private static let names = [
    "float": "double", "sl_f32": "sl_f64", "sl_store_rows_f32": "sl_store_rows_f64",
    "__builtin_fmaf": "__builtin_fma", "__builtin_fabsf": "__builtin_fabs",
    "__builtin_sqrtf": "__builtin_sqrt",
  ]

  /// The text in double: names are replaced, and constants lose their suffix, as `0x1p64f`. Strings
  /// stay as they are.
  static func inDouble(_ text: String) -> String {
    var out: [UInt8] = []
    var rest = Array(text.utf8)[...]
    var isComment = false
    while let first = rest.first {
      var length = 1
      if first == UInt8(ascii: "\n") {
        isComment = false
      } else if rest.starts(with: "//".utf8) {
        isComment = true
      } else if first == UInt8(ascii: "\""), !isComment {
        length = lengthOfString(rest)
      } else if isWord(first) {
        length = isDigit(first) ? lengthOfNumber(rest) : rest.prefix(while: isWord).count
      }
      let token = rest.prefix(length)
      if isDigit(first) {
        out += isFloat(token) ? token.dropLast() : token
      } else if isWord(first), let name = names[String(decoding: token, as: UTF8.self)] {
        out += Array(name.utf8)
      } else {
        out += token
      }
      rest = rest.dropFirst(length)
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// To the closing quotation mark.
  private static func lengthOfString(_ text: ArraySlice<UInt8>) -> Int {
    var isEscaped = false
    let inside = text.dropFirst().prefix { byte in
      if byte == UInt8(ascii: "\""), !isEscaped { return false }
      isEscaped = byte == UInt8(ascii: "\\") && !isEscaped
      return true
    }
    return min(inside.count + 2, text.count)
  }

  /// Digits, letters and points, and a sign after an exponent's letter.
  private static func lengthOfNumber(_ text: ArraySlice<UInt8>) -> Int {
    let exponent = UInt8(ascii: text.starts(with: "0x".utf8) ? "p" : "e")
    var last = UInt8(0)
    return text.prefix { byte in
      defer { last = byte }
      return isWord(byte) || byte == UInt8(ascii: ".")
        || last == exponent && (byte == UInt8(ascii: "-") || byte == UInt8(ascii: "+"))
    }.count
  }

  /// Whether a number is a float: 1.0f, 1e5f and 0x1p64f are, 0x1f is a whole number.
  private static func isFloat(_ number: ArraySlice<UInt8>) -> Bool {
    let isHexadecimal = number.starts(with: "0x".utf8)
    return number.last == UInt8(ascii: "f")
      && (!isHexadecimal || number.contains(UInt8(ascii: "p")))
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    isDigit(byte) || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20
      || byte == UInt8(ascii: "_")
  }
}
