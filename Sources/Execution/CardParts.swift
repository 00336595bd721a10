/// A card's source in two parts, which clang compiles side by side: it takes one core for a source, and for a
/// gradient's kernels longer than ptxas does on two. Every kernel is compiled as it would be in the whole, and
/// ptxas makes the same machine code of it.
package enum CardParts {
  /// Sources of fewer kernels are compiled as a whole: what all parts read costs more than that gains.
  private static let fewest = 4

  /// The lines of each part: a kernel is in one of them, and empty lines in the other. Kernels begin with
  /// `SL_KERNEL` and end with a brace, both at a line's begin.
  package static func split(_ source: String) -> [String] {
    let lines = source.split(separator: "\n", omittingEmptySubsequences: false)
    var kernels: [Range<Int>] = []
    var begin: Int?
    for (index, line) in lines.enumerated() {
      if let first = begin, line == "}" {
        kernels.append(first..<index + 1)
        begin = nil
      } else if begin == nil, line.hasPrefix("SL_KERNEL ") {
        begin = index
      }
    }
    guard kernels.count >= fewest else { return [source] }
    let half = (kernels.count + 1) / 2
    return [kernels[half...], kernels[..<half]].map { others in
      var part = lines
      for index in others.joined() { part[index] = "" }
      return part.joined(separator: "\n")
    }
  }

  /// The PTX of all parts as of one source: what it says of the target, and of the shared memory that all
  /// kernels have, stands once. Nil where parts have more in common than that.
  package static func join(_ parts: [[UInt8]]) -> [UInt8]? {
    var whole: [UInt8] = []
    for (number, part) in parts.enumerated() {
      var isHead = true
      for line in part.split(separator: newline, omittingEmptySubsequences: false) {
        if line.first == dot {
          guard !shared.contains(where: line.starts(with:)) else { return nil }
          isHead = isHead && head.contains(where: line.starts(with:))
          if isHead, number > 0 { continue }
        }
        whole += line
        whole.append(newline)
      }
    }
    return whole
  }

  private static let newline = UInt8(ascii: "\n"), dot = UInt8(ascii: ".")
  private static let head = [".version", ".target", ".address_size", ".extern .shared"]
    .map { Array($0.utf8) }
  /// Begins of what two parts must not both say.
  private static let shared = [
    ".global", ".const", ".func", ".visible .global", ".visible .const", ".visible .func",
    ".extern .global", ".extern .const", ".extern .func",
  ].map { Array($0.utf8) }
}
