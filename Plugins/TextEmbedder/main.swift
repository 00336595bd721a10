import Foundation

// TextEmbedder OUTPUT TEXT...: writes Swift that has each text by its file name, and the names by folder.

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
lines += ["    default: nil", "    }", "  }", "", "  static let names: [String: [String]] = ["]
for (folder, own) in Dictionary(
  grouping: texts, by: { URL(fileURLWithPath: $0).deletingLastPathComponent().lastPathComponent }
).sorted(by: { $0.key < $1.key }) {
  lines.append("    \"\(folder)\": [")
  lines += own.map { "      \"\(URL(fileURLWithPath: $0).lastPathComponent)\"," }
  lines.append("    ],")
}
lines += ["  ]", "}", ""]
try lines.joined(separator: "\n").write(toFile: output, atomically: true, encoding: .utf8)
