/// Texts that hold no decision: instruction vocabularies, the runner, the Python module.
///
/// They are compiled into the program, so that a moved binary needs no folder beside it.
public enum Templates {
  /// The vocabularies: what each word is on a machine.
  public static let vocabularies = ["generic.h", "avx2.h", "avx512.h", "neon.h", "amx.h"]

  /// What is written on the words of any vocabulary, in the order in which it is pasted: tiles
  /// always, the others where a kernel has use for them.
  public static let tileWords = [
    "common.h", "tiles.h", "recurrence.h", "gradients.h", "step.h", "monomials.h",
  ]

  /// The vocabularies of CUDA devices, in the order in which they are pasted.
  public static let deviceVocabularies = ["words.cuh", "block.cuh"]

  /// Every text that kernels for cards can be made of.
  public static let deviceTexts = Texts.names["cuda"] ?? []

  /// The text of a template by its file name; nil when there is none.
  public static func text(_ name: String) -> String? {
    Texts.text(name)
  }

  /// The text of a program, with the templates that it includes pasted in: one file to compile.
  public static func program(_ name: String) -> String? {
    guard let text = text(name) else { return nil }
    var lines: [String] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      guard line.hasPrefix("#include \"") else {
        lines.append(String(line))
        continue
      }
      guard let included = self.text(String(line.dropFirst(10).dropLast())) else { return nil }
      lines.append(included)
    }
    return lines.joined(separator: "\n")
  }
}
