import Recurrences
import Targets
import TileIR

/// The gradient on a card that has products of warpgroups, where all keys decay alike, or not at all: three
/// walks over chunks of 64, one for each of dq, dk and dv, side by side and each with a state of its own.
///
/// The tile program says what is computed, and is `ChunkGradient`'s at chunks of 64. How blocks do it is
/// written in `templates/cuda/alike_gradient*.cuh`. Decays stand outside of every product, so every decay
/// takes the same time, and no state goes through memory for a chunk's adjoints. With `.segments` each walk
/// is cut into as many, side by side, for which a kernel before them finds what each adds to the state.
public struct AlikeGradient: ChunkAdjoints {
  public let name = "alike-gradient"
  public let summary = "gradient in three walks, one decay a token or none (H100, H200)"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = WarpgroupFused.obstacleToProducts(of: specification) { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    if form.keyGate?.axes == .key || form.valueGate != nil {
      return "It takes one decay a token for all keys and values, or none."
    }
    if let obstacle = WarpgroupFused.obstacleToRows(of: specification)
      ?? WarpgroupFused.obstacleToReadOut(of: form)
    {
      return obstacle
    }
    if specification.recurrence.inputs.contains(where: { $0.role == .parameter }) {
      return "It takes no parameters of a head."
    }
    guard Self.query(of: specification, form) != nil, WalkedGradient.tensor(form.key) != nil,
      WalkedGradient.tensor(form.value) != nil
    else { return "k and v must be tensors as they are, and q one with the scale." }
    guard let gate = form.keyGate else { return nil }
    guard Self.gate(of: specification, gate) != nil else {
      return "A decay must be the exponential of a map of one gate a token."
    }
    return specification.gateType == .f32 ? nil : "A gate must be of f32."
  }

  /// The tensor of q, and what it is multiplied with: a constant, or the caller's scale.
  public static func query(
    of specification: KernelSpecification, _ form: DiagonalForm
  ) -> (name: String, weight: Expression)? {
    guard let query = WarpgroupAlike.operand(.query, in: form.query, specification),
      query.weight.inputNames.allSatisfy({ $0 == Symbol.scale })
    else { return nil }
    return query
  }

  /// The tensor of a gate a token, and the map from it to the log decay.
  public static func gate(
    of specification: KernelSpecification, _ gate: Gate
  ) -> (name: String, logarithm: Expression)? {
    guard case .unary(.exp, let logarithm) = gate.decay else { return nil }
    let names = Set(logarithm.inputNames)
    guard names.count == 1, let name = names.first,
      let input = specification.recurrence.input(name), input.role == .gate,
      input.axes == .scalar
    else { return nil }
    return (name, logarithm)
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    return [.chunks, .segments(2), .segments(4), .segments(8), .segments(16)].map {
      Plan(
        schedule: name, chunk: Self.chunk, subBlock: 16, keyTile: specification.key,
        valueTile: specification.value, materialization: $0, products: .bf16)
    }
  }
}
