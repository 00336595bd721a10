import Recurrences
import TileIR

/// The gradient token by token, for a state that has no chunk form: states before blocks are
/// reloaded, those within a block computed again.
public struct TokenGradient: Schedule {
  public let name = "token-gradient"
  public let summary = "gradient token by token, states of a block computed again, any gate"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if specification.target.device != nil {
      return "There is no gradient token by token for \(specification.target.name) yet."
    }
    return specification.normalForm.diagonal == nil
      ? ScanGradient.obstacle(to: specification.recurrence)
      : "A recurrence with a chunk form takes its gradient chunk by chunk."
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    return [Materialization.saved, .chunks].flatMap { states in
      [16, 8, 32].map {
        Plan(
          schedule: name, chunk: $0, subBlock: $0, keyTile: specification.key,
          valueTile: specification.value, materialization: states)
      }
    }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found: [String] = []
    if !(2...512).contains(plan.chunk) {
      found.append("chunk must be from 2 to 512, not \(plan.chunk).")
    }
    if plan.subBlock != plan.chunk {
      found.append("\(name) has no sub-blocks; sub-block must be the chunk, \(plan.chunk).")
    }
    found += ChunkWalk.objectionToHeadTile(plan)
    found += ChunkGradient.objections(toGradient: plan, name, for: specification)
    if plan.threads < 1 { found.append("threads must be at least 1, not \(plan.threads).") }
    return found
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    let scan = ScanGradient(
      specification: specification, block: plan.chunk, isSaved: plan.materialization == .saved)
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    scan.write(&b)
    return ChunkGradient.program(specification, plan, b, scan.pseudoCode, isTransposed: false)
  }
}
