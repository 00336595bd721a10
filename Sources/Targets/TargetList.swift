extension Target {
  /// Every target, from the plainest on; a new one is one line here and one file beside this one.
  public static let all: [Target] = [
    .generic,
    .avx2,
    .avx512,
    .avx512bf16,
    .amx,
    .neon,
    .sm80,
    .sm90a,
  ]

  /// The target of that name; otherwise throws a sentence that lists those there are.
  public static func named(_ name: String) throws -> Target {
    if let target = all.first(where: { $0.name == name }) { return target }
    let known = (["native"] + all.map(\.name)).joined(separator: ", ")
    throw SluiceError(
      .usage, "There is no target named \"\(name)\". The targets are \(known).")
  }
}
