/// Walks that threads of a processor hand to each other in the middle of a sequence.
///
/// A walk through a sequence is one thread's, and walks are dealt to threads as these come free: at the end some
/// have none left and wait, for half of the time where three heads are on two threads, or one core does a
/// third less than the other. So the last walks, two a thread, go in stretches: whoever is free takes half of
/// what is left of the walk that has most left, from the state that its last stretch ended with. The bits
/// are those of a walk in one piece.
public enum Stretch {
  /// No stretch has fewer tokens, but a walk's last: it begins with rows that nobody asked for ahead.
  public static let tokens = 128
  /// Shorter sequences, their mean, are walked in one piece: each walk in stretches has scratch memory
  /// of its own, which the sequence's own tensors then outweigh.
  public static let sequence = 1024
  /// Walks a thread that go in stretches.
  public static let walks = 2
}

extension TileProgram {
  /// Whether it is one walk over the chunks of each sequence, first to last, with what comes before and after:
  /// what can be walked in stretches.
  public var isOneWalk: Bool {
    guard phases.count == 1, segmentation == .none else { return false }
    let loops = phases[0].body.filter(\.holdsChunks)
    guard loops.count == 1, case .loop(.chunks, _) = loops[0] else { return false }
    return true
  }
}

extension Statement {
  /// Whether it is a loop over chunks, or holds one.
  public var holdsChunks: Bool {
    switch self {
    case .operation, .note: false
    case .loop(let loop, let inner): loop.isOverChunks || inner.contains(where: \.holdsChunks)
    case .firstValueTile(let inner): inner.contains(where: \.holdsChunks)
    case .when(_, let inner, let otherwise): (inner + otherwise).contains(where: \.holdsChunks)
    }
  }
}
