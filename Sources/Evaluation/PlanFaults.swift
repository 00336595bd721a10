import Emission
import Schedules
import TileIR

extension PlantedFault {
  /// Faults in plans: what happens when a plan that `objections` refuses is lowered all the same, or
  /// when two stages hold different plans.
  static let planFaults: [PlantedFault] = [
    plan("key tiles that leave a rest") { $0.keyTile = 12 },
    plan("sub-blocks that leave a rest") { $0.subBlock = 6 },
    program("value tiles that the grid does not cover", .faultyFused) { $0.valueTile = 24 },
    program("value tiles that overlap", .faultyFused) { $0.valueTile = 13 },
    program("chunks longer than the walk's", .faultyFused) { $0.chunk = 32 },
  ]

  /// Lowers a plan without asking whether it is legal; the manifest keeps the right one.
  private static func plan(_ name: String, _ change: @escaping @Sendable (inout Plan) -> Void)
    -> PlantedFault
  {
    PlantedFault(name: name, layer: .plan, recurrence: "gla", plan: .faultyFused) {
      specification, plan in
      var wrong = plan
      change(&wrong)
      guard let schedule = Schedules.named(plan.schedule),
        !schedule.objections(to: wrong, for: specification).isEmpty
      else { throw missing(name) }
      return try Emitter.emit(
        specification, plan, program: schedule.lower(specification, wrong))
    }
  }

  /// The walk of one plan under the grid of another.
  private static func program(
    _ name: String, _ plan: Plan, _ change: @escaping @Sendable (inout TileProgram) -> Void
  ) -> PlantedFault {
    PlantedFault(name: name, layer: .plan, recurrence: "gla", plan: plan) { specification, plan in
      let right = try Emitter.lower(specification, plan)
      var wrong = right
      change(&wrong)
      guard wrong != right else { throw missing(name) }
      return try Emitter.emit(specification, plan, program: wrong)
    }
  }
}
