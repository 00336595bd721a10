/// A strict reader of JSON: unlike the library's it refuses an object that says a name twice, which
/// is how a file says two things at once.
struct JSONText {
  indirect enum Value: Hashable {
    case object([Member])
    case array([Value])
    case text(String)
    /// As it is written, so that no digit is lost.
    case number(String)
    case boolean(Bool)
    case null
  }
  struct Member: Hashable {
    var name: String
    var value: Value
  }
  /// What is wrong, as the end of a sentence.
  struct Damage: Error, CustomStringConvertible {
    var description: String
  }

  private let bytes: [UInt8]
  private var place = 0
  private var depth = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// The one object that the whole text is.
  mutating func document() throws(Damage) -> [Member] {
    guard bytes.first == UInt8(ascii: "{"), case .object(let members) = try value() else {
      throw Damage(description: "it does not begin with an object")
    }
    skipSpaces()
    guard place == bytes.count else { throw damage("something follows the object") }
    return members
  }

  private mutating func value() throws(Damage) -> Value {
    skipSpaces()
    depth += 1
    defer { depth -= 1 }
    guard depth <= 16 else { throw damage("it is nested too deeply") }
    guard place < bytes.count else { throw damage("it ends too early") }
    switch bytes[place] {
    case UInt8(ascii: "{"): return .object(try object())
    case UInt8(ascii: "["): return .array(try array())
    case UInt8(ascii: "\""): return .text(try text())
    default: return try word()
    }
  }

  private mutating func object() throws(Damage) -> [Member] {
    var members: [Member] = []
    var names: Set<String> = []
    place += 1
    if accept("}") { return members }
    repeat {
      skipSpaces()
      let name = try text()
      guard names.insert(name).inserted else { throw damage("the name '\(name)' stands twice") }
      try expect(":")
      members.append(Member(name: name, value: try value()))
    } while accept(",")
    try expect("}")
    return members
  }

  private mutating func array() throws(Damage) -> [Value] {
    var values: [Value] = []
    place += 1
    if accept("]") { return values }
    repeat { values.append(try value()) } while accept(",")
    try expect("]")
    return values
  }

  private mutating func word() throws(Damage) -> Value {
    let start = place
    while place < bytes.count, bytes[place] > 32, !",:{}[]\"".utf8.contains(bytes[place]) {
      place += 1
    }
    let word = String(decoding: bytes[start..<place], as: UTF8.self)
    switch word {
    case "true", "false": return .boolean(word == "true")
    case "null": return .null
    default:
      guard let last = word.last, last.isNumber, Double(word) != nil,
        word.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) })
      else { throw damage("'\(word.prefix(20))' has no meaning") }
      return .number(word)
    }
  }

  private mutating func text() throws(Damage) -> String {
    guard place < bytes.count, bytes[place] == UInt8(ascii: "\"") else {
      throw damage("a name or text is missing")
    }
    place += 1
    var content: [UInt8] = []
    while place < bytes.count, bytes[place] != UInt8(ascii: "\"") {
      if bytes[place] < 32 { throw damage("a text has a control character in it") }
      if bytes[place] == UInt8(ascii: "\\") {
        content += String(try escape()).utf8
      } else {
        content.append(bytes[place])
        place += 1
      }
    }
    guard place < bytes.count else { throw damage("a text does not end") }
    place += 1
    guard let text = String(validating: content, as: UTF8.self) else {
      throw damage("a text is not UTF-8")
    }
    return text
  }

  private mutating func escape() throws(Damage) -> Unicode.Scalar {
    guard place + 1 < bytes.count else { throw damage("a text does not end") }
    let letter = bytes[place + 1]
    place += 2
    let plain: [UInt8: Unicode.Scalar] = [
      UInt8(ascii: "n"): "\n", UInt8(ascii: "t"): "\t", UInt8(ascii: "r"): "\r",
      UInt8(ascii: "b"): "\u{8}", UInt8(ascii: "f"): "\u{c}", UInt8(ascii: "\""): "\"",
      UInt8(ascii: "\\"): "\\", UInt8(ascii: "/"): "/",
    ]
    if let scalar = plain[letter] { return scalar }
    guard letter == UInt8(ascii: "u") else { throw damage("a text has an unknown escape") }
    var code = try fourDigits()
    if 0xd800..<0xdc00 ~= code, place + 1 < bytes.count, bytes[place] == UInt8(ascii: "\\"),
      bytes[place + 1] == UInt8(ascii: "u")
    {
      place += 2
      let low = try fourDigits()
      guard 0xdc00..<0xe000 ~= low else { throw damage("a text has half a character") }
      code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
    }
    guard let scalar = Unicode.Scalar(code) else { throw damage("a text has half a character") }
    return scalar
  }

  private mutating func fourDigits() throws(Damage) -> UInt32 {
    guard place + 4 <= bytes.count, bytes[place] != UInt8(ascii: "+"),
      let code = UInt32(String(decoding: bytes[place..<place + 4], as: UTF8.self), radix: 16)
    else { throw damage("a text has an unknown escape") }
    place += 4
    return code
  }

  private mutating func skipSpaces() {
    while place < bytes.count, [32, 9, 10, 13].contains(bytes[place]) { place += 1 }
  }

  private mutating func accept(_ character: Unicode.Scalar) -> Bool {
    skipSpaces()
    guard place < bytes.count, bytes[place] == UInt8(ascii: character) else { return false }
    place += 1
    return true
  }

  private mutating func expect(_ character: Unicode.Scalar) throws(Damage) {
    guard accept(character) else { throw damage("a '\(character)' is missing") }
  }

  private func damage(_ what: String) -> Damage {
    Damage(description: "\(what) (byte \(place))")
  }
}
