import TileIR

/// A gradient on a card in chunks of 64 by products of warpgroups, whose tile program is `ChunkGradient`'s.
/// With `.segments` its walks are cut into as many, side by side, of which the program knows nothing.
public protocol ChunkAdjoints: Schedule {}

extension ChunkAdjoints {
  static var chunk: Int { 64 }

  /// The parts that a walk is cut into.
  public static func segments(of plan: Plan) -> Int {
    if case .segments(let count) = plan.materialization { count } else { 1 }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var others = plan
    others.products = .f32
    others.materialization = program(of: plan).materialization
    var found = ChunkGradient().objections(to: others, for: specification)
    if plan.chunk != Self.chunk { found.append("\(name) has chunks of 64, not \(plan.chunk).") }
    if Self.segments(of: plan) > 32 { found.append("\(name) has from 1 to 32 segments.") }
    if plan.products != .bf16 { found.append("\(name) multiplies in bf16.") }
    return found
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    ChunkGradient().lower(specification, program(of: plan))
  }

  /// The plan that the tile program is of, which has its walks in one piece.
  private func program(of plan: Plan) -> Plan {
    guard case .segments = plan.materialization else { return plan }
    var whole = plan
    whole.materialization = .chunks
    return whole
  }
}
