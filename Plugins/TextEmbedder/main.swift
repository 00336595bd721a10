import Foundation

// TextEmbedder OUTPUT TEXT...: writes Swift that has each text by its file name.

let (output, texts) = (CommandLine.arguments[1], CommandLine.arguments.dropFirst(2))
var lines = [
  "enum Texts {",
  "  static func text(_ name: String) -> String? {",
  "    switch name {",
]
for path in texts {
  let text = try String(contentsOfFile: path, encoding: .utf8)
  // More number signs than any row of them in the text: nothing in it ends the literal or is an
  // interpolation.
  let longest = text.split { $0 != "#" }.map(\.count).max() ?? 0
  let signs = String(repeating: "#", count: longest + 1)
  let name = URL(fileURLWithPath: path).lastPathComponent
  lines += ["    case \"\(name)\":", "\(signs)\"\"\"", text, "\"\"\"\(signs)"]
}
lines += ["    default: nil", "    }", "  }", "}", ""]
try lines.joined(separator: "\n").write(toFile: output, atomically: true, encoding: .utf8)
