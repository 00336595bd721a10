import Recurrences
import TileIR

/// The state stays on chip for a whole sequence: least traffic, parallel over sequences, heads and
/// value tiles only.
public struct ChunkFused: Schedule {
  public let name = "chunk-fused"
  public let summary = "state on chip for the whole sequence, chunks by matrix products"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    ChunkWalk.obstacle(to: specification)
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    ChunkWalk.candidates(for: specification, schedule: name, materializations: [.none])
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found = ChunkWalk.objections(to: plan, for: specification, choosing: [.stores])
    if plan.materialization != .none {
      found.append(
        "\(name) keeps the state on chip; materialization \(plan.materialization) needs the "
          + "schedule segmented.")
    }
    return found
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    let walk = ChunkWalk(specification, plan)
    return walk.wholeSequence(pseudoCode: walk.pseudoCode(of: "the whole sequence")) { state, b in
      let operands = walk.prepare(&b, forScores: true)
      walk.readOut(state, operands, &b)
      walk.carry(state, operands, total: nil, &b)
    }
  }
}
