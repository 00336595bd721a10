import Recurrences
import TileIR

/// The recurrence as it stands, one token after the other: what remains for a state that has no
/// chunk form, and the least work for one token.
public struct TokenRecurrent: Schedule {
  public let name = "token-recurrent"
  public let summary = "one token after the other, any gate"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    guard specification.normalForm.diagonal == nil else { return nil }
    let states = specification.recurrence.states
    return states.count == 1 && states[0].axes == .keyValue
      ? nil : "A scan carries one key x value state, and this recurrence has other states too."
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    let value = specification.value
    let tiles = ChunkWalk.readsAllValues(specification) ? [] : [64, 128].filter { $0 < value }
    return (tiles + [value]).map {
      Plan(
        schedule: name, chunk: 1, subBlock: 1, keyTile: specification.key, valueTile: $0,
        materialization: .none)
    }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found: [String] = []
    if plan.chunk != 1 || plan.subBlock != 1 {
      found.append(
        "\(name) has no chunks; chunk and sub-block must be 1, not \(plan.chunk) and "
          + "\(plan.subBlock).")
    }
    if plan.keyTile != specification.key {
      found.append("\(name) takes the whole key; key-tile must be K = \(specification.key).")
    }
    if plan.valueTile < 1 || plan.valueTile > specification.value {
      found.append(
        "value-tile must be from 1 to V = \(specification.value), not \(plan.valueTile).")
    } else if plan.valueTile < specification.value, ChunkWalk.readsAllValues(specification) {
      found.append("value-tile must be V = \(specification.value): a map sums over the values.")
    }
    if plan.materialization != .none {
      found.append("\(name) keeps the state on chip; materialization must be none.")
    }
    found += ChunkWalk.objectionToHeadTile(plan)
    if plan.products != .f32 { found.append("\(name) multiplies in f32.") }
    if plan.threads < 1 { found.append("threads must be at least 1, not \(plan.threads).") }
    return found + plan.innerObjections([], specification)
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    let pseudoCode: [String]
    switch specification.normalForm.structure {
    case .diagonal(let form):
      let step = TokenStep(
        walk: ChunkWalk(specification: specification, form: form, plan: plan), form: form)
      step.write(&b)
      pseudoCode = step.pseudoCode
    case .elementwise:
      let scan = TokenScan(specification: specification, plan: plan)
      scan.write(&b)
      pseudoCode = scan.pseudoCode
    }
    return b.programOfTokens(phase: "walk", pseudoCode)
  }
}
