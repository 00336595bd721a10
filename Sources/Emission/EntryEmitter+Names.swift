/// Names beside the entry's own: those of further entries, the manifest's, and aliases.
extension EntryEmitter {
  /// The text of a further entry: what every entry has under one name gets the entry's own.
  static func renamed(_ text: String, _ entry: String) -> String {
    var text = text.replacing("scratch_bytes", with: "\(entry)_scratch_bytes")
    for name in [
      "sequences_of", "threads_of", "most_segments", "slots_of", "streams_output", "check_sizes",
      "check_pointers", "tiles_of",
    ] {
      text = text.replacing("\(name)(", with: "\(entry)_\(name)(")
    }
    return text.replacing(" run(", with: " run_\(entry)(")
  }

  /// The manifest as a string, and the names for programs that load one library at a time.
  func tail(
    manifestJSON: String, further: [(String, String, String)] = []
  ) -> String {
    var out = CWriter()
    out.block("SL_EXPORT const char *\(kernel)_manifest(void)") { out in
      out.line("return")
      var line = ""
      // An escape is not cut in two.
      for character in escaped(manifestJSON) {
        if line.count + character.count > 92 {
          out.line("    \"\(line)\"")
          line = ""
        }
        line += character
      }
      out.line("    \"\(line)\";")
    }
    out.line()
    out.line("// For programs that load one library at a time.")
    for (result, name, parameters) in [
      ("int32_t", "forward", "const arguments *args"),
      ("int64_t", "workspace_size", "const arguments *args"),
      ("const char *", "manifest", "void"),
    ] + further {
      out.line(
        "SL_EXPORT \(result)\(result.hasSuffix("*") ? "" : " ")sluice_\(name)(\(parameters))")
      out.line("    __attribute__((weak, alias(\"\(kernel)_\(name)\")));")
    }
    return out.text
  }

  /// The text's bytes as C writes them in a string.
  private func escaped(_ text: String) -> [String] {
    text.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "?"):
        "\\" + String(UnicodeScalar(byte))
      case 32..<127: String(UnicodeScalar(byte))
      // Three octal digits always: a digit that follows is not taken for one more.
      default: "\\" + String(512 + Int(byte), radix: 8).suffix(3)
      }
    }
  }
}
