/// One emitted text: its file name, what it says, and for which machine it was written.
public struct SourceFile: Hashable, Codable, Sendable {
  /// The file's name without a folder, such as `gla_k128_v128_f32_avx512.c`.
  public var name: String
  public var text: String

  public init(name: String, text: String) {
    self.name = name
    self.text = text
  }
}
