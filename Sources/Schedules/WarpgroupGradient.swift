import Recurrences
import Targets
import TileIR

/// The gradient on a card that has products of warpgroups: one kernel walks each head forward and back
/// and leaves the state before each chunk and the adjoint of the state after it; from these another one
/// finds a chunk's adjoints, all chunks side by side. Walks go over tiles of a state, 128 keys by 128 values.
///
/// The tile program says what is computed, and is `ChunkGradient`'s at chunks of 64. How blocks do it
/// (operands scaled about a chunk's middle, and by factors in [0, 1] alone where that range is not
/// enough) is written in `templates/cuda/gradient*.cuh`; calls with grouped heads run the program as it
/// stands. With `.segments` the walks are cut into as many, side by side, for which a kernel before them
/// sums up what each adds; the states before chunks are left all the same.
public struct WarpgroupGradient: ChunkAdjoints {
  public let name = "warpgroup-gradient"
  public let summary = "gradient by products of warpgroups, chunks side by side (H100, H200)"
  /// Keys, and values, of the tiles that a head's state is walked in, each by a block of its own.
  public static let tile = 128

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    let obstacle = WarpgroupFused().obstacle(to: specification) {
      $0.key % Self.tile == 0 && $0.value % Self.tile == 0
        ? nil
        : "It takes K and V of multiples of 128, not K = \($0.key) and V = \($0.value)."
    }
    if let obstacle { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    if specification.recurrence.inputs.contains(where: { $0.role == .parameter }) {
      return "It takes no parameters of a head."
    }
    let expressions = [form.query, form.key, form.value, form.keyGate?.decay].compactMap { $0 }
    let tensors = expressions.flatMap { $0.inputNames.filter { $0 != Symbol.scale } }
    if Set(tensors).count != tensors.count || tensors.count != expressions.count {
      return "q, k, v and the gate must be maps of a tensor each, and of no other's."
    }
    guard let gate = form.keyGate else { return nil }
    // A sum over all keys cancels: with states rounded to bf16 it was seen at 4.8e-3, of 3e-3.
    if gate.axes != .key {
      return "It takes a gate along the key or none: one that all keys share would have an adjoint "
        + "above bf16's bound."
    }
    if specification.gateType != .f32 { return "A gate must be of f32." }
    guard case .unary(.exp, _) = gate.decay else {
      return "A decay must be given by its logarithm: its adjoint is not divided by it."
    }
    return nil
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    // Whole sequences are walked better where all keys decay alike; segments of them may go either way.
    let whole: [Materialization] =
      AlikeGradient().obstacle(to: specification) == nil ? [] : [.chunks]
    let ways = whole + [.segments(2), .segments(4), .segments(8)]
    return ways.map {
      Plan(
        schedule: name, chunk: Self.chunk, subBlock: 16, keyTile: specification.key,
        valueTile: specification.value, materialization: $0, products: .bf16)
    }
  }
}
