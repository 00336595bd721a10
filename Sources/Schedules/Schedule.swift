import Recurrences
import TileIR

/// A strategy: when it applies, which plans it offers, and how a plan becomes a tile program.
public protocol Schedule: Sendable {
  var name: String { get }
  /// One line for lists and help.
  var summary: String { get }
  /// Why the schedule cannot run this recurrence at all; nil when it can.
  func obstacle(to specification: KernelSpecification) -> String?
  /// The schedule's share of the joint space, most promising first; some may have objections.
  func candidates(for specification: KernelSpecification) -> [Plan]
  /// Why this plan is illegal; empty when it may be lowered.
  func objections(to plan: Plan, for specification: KernelSpecification) -> [String]
  /// The tile program of a plan without objections.
  func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram
}

/// Every schedule; adding one is a file beside this one and a line here.
public enum Schedules {
  public static let all: [any Schedule] = [
    RegisterRecurrent(), ChunkFused(), MatrixFused(), Segmented(), WarpgroupAlike(),
    WarpgroupFused(), WarpgroupPrepared(), TokenRecurrent(),
  ]

  public static func named(_ name: String) -> (any Schedule)? {
    all.first { $0.name == name }
  }
}
