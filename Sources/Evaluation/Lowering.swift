import Schedules
import Targets
import TileIR

/// The tile program of a plan, by the plan's own schedule.
///
/// - Throws: `SluiceError` of kind `.usage` with every objection.
func lowered(
  _ specification: KernelSpecification, _ plan: Plan
) throws(SluiceError) -> TileProgram {
  guard let schedule = Schedules.named(plan.schedule) else {
    throw SluiceError(.usage, "There is no schedule '\(plan.schedule)'.")
  }
  if let obstacle = schedule.obstacle(to: specification) { throw SluiceError(.usage, obstacle) }
  let objections = schedule.objections(to: plan, for: specification)
  guard objections.isEmpty else {
    throw SluiceError(.usage, "The plan is illegal.", details: objections)
  }
  let program = schedule.lower(specification, plan)
  let violations = program.violations
  guard violations.isEmpty else {
    throw SluiceError(
      .internal, "The schedule \(plan.schedule) made an illegal program.", details: violations)
  }
  return program
}
