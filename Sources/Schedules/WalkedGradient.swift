import Recurrences
import Targets
import TileIR

/// The gradient on a card where keys and values have decays of their own: each head is walked forward and
/// back token by token in f32, with the state and then its adjoint in registers.
///
/// The tile program says what is computed, and is `ChunkGradient`'s at chunks of 64. How blocks do it is
/// written in `templates/cuda/gradient_walks.cuh`. Beside products of warpgroups a walk is slow, but with
/// gates along the values no chunk is a product of matrices that is right for every decay.
public struct WalkedGradient: Schedule {
  public let name = "walked-gradient"
  public let summary = "gradient token by token, states in registers, both gates (H100, H200)"
  static let chunk = 64
  /// Values of a walk.
  public static let tile = 64

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = WarpgroupFused.obstacleToProducts(of: specification) { return obstacle }
    guard let form = specification.normalForm.diagonal else { return nil }
    guard let keyGate = form.keyGate, let valueGate = form.valueGate, keyGate.axes == .key else {
      return "It is for gates along both axes."
    }
    if let obstacle = WarpgroupFused.obstacleToRows(of: specification)
      ?? WarpgroupFused.obstacleToReadOut(of: form)
    {
      return obstacle
    }
    guard Self.tensor(form.key) != nil, Self.tensor(form.value) != nil,
      Self.scaledTensor(form.query) != nil
    else { return "q, k and v must be tensors as they are, q with the scale." }
    guard Self.logarithm(keyGate) != nil, Self.logarithm(valueGate) != nil else {
      return "A decay must be the exponential of a tensor."
    }
    return specification.gateType == .f32 ? nil : "A gate must be of f32."
  }

  /// The tensor that an expression is.
  public static func tensor(_ expression: Expression) -> String? {
    if case .input(let name, _) = expression, name != Symbol.scale { name } else { nil }
  }
  /// The tensor that is multiplied by the caller's scale, and by nothing else.
  public static func scaledTensor(_ expression: Expression) -> String? {
    guard case .binary(.multiply, let left, let right) = expression else { return nil }
    for (scale, other) in [(left, right), (right, left)] {
      if case .input(Symbol.scale, _) = scale, let name = tensor(other) { return name }
    }
    return nil
  }
  /// The tensor of a gate's log decays.
  public static func logarithm(_ gate: Gate) -> String? {
    if case .unary(.exp, let logarithm) = gate.decay { tensor(logarithm) } else { nil }
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    return [
      Plan(
        schedule: name, chunk: Self.chunk, subBlock: 16, keyTile: specification.key,
        valueTile: specification.value, materialization: .chunks)
    ]
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    let found = ChunkGradient().objections(to: plan, for: specification)
    return plan.chunk == Self.chunk
      ? found : found + ["\(name) has chunks of 64, not \(plan.chunk)."]
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    ChunkGradient().lower(specification, plan)
  }
}
