extension Recurrence {
  /// Every shipped variant; adding one is a file beside this one and a line here.
  public static let variants: [Recurrence] = [
    .linearAttention,
    .linearAttentionNormalized,
    .retnet,
    .lightning,
    .simpleGLA,
    .mamba2,
    .gla,
    .glaLogits,
    .glaDecay,
    .hgrn2,
    .rwkv6,
    .gatedOuter,
    .mamba,
  ]

  /// The variant called `name`.
  ///
  /// - Throws: `RecurrenceError` that lists the known names.
  public static func named(
    _ name: String, among known: [Recurrence] = variants
  ) throws(RecurrenceError) -> Recurrence {
    if let found = known.first(where: { $0.name == name }) { return found }
    throw RecurrenceError(
      recurrence: name,
      reasons: [
        "There is no such variant; known are \(known.map(\.name).joined(separator: ", "))."
      ])
  }
}
