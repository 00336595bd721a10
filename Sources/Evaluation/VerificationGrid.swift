import Emission
import Execution
import Foundation
import Planning
import Recurrences
import Schedules
import Targets

/// Kernels of every kind: recurrences x targets x element types x sizes x schedules.
public struct VerificationGrid: Sendable {
  public var recurrences: [Recurrence]
  /// Names of targets; those that this machine cannot run are told apart.
  public var targets = Target.all.map(\.name)
  public var types: [ElementType] = [.f32, .bf16]
  /// Sizes that leave rests, K below and above V, and a head of the paper's smaller layer.
  public var sizes: [(key: Int, value: Int)] = [(60, 100), (64, 64), (100, 60), (128, 256)]
  /// What is pinned of every plan.
  public var plan: PlanRequest

  public init(recurrences: [Recurrence], plan: PlanRequest = PlanRequest()) {
    self.recurrences = recurrences
    self.plan = plan
  }

  /// One kernel of the grid, before it is printed.
  public struct Cell: Sendable {
    public var specification: KernelSpecification
    public var plan: Plan
    /// Whether this machine or an emulator runs it.
    public var canRun: Bool

    /// - Parameters:
    ///   - hasGradient: whether to add the gradient, where there is one.
    ///   - hasStep: whether to add the step of a single token, where there is one.
    public func emit(hasGradient: Bool = false, hasStep: Bool = false) throws -> EmittedKernel {
      let backward =
        hasGradient ? try? Planner().gradientPlan(specification, beside: plan) : nil
      let step = hasStep ? Schedules.stepPlan(specification) : nil
      return try Emitter.emit(
        specification.writingStates(for: backward), plan, backward: backward, step: step)
    }
  }

  /// The planner's choice of each schedule that can run each recurrence.
  public func cells(on host: Execution.Host) throws -> [Cell] {
    var cells: [Cell] = []
    for recurrence in recurrences {
      let form = try recurrence.normalForm()
      for name in targets {
        let target = try host.target(named: name)
        let canRun = host.runs(target) || target.isCross
        for type in types {
          for size in sizes {
            let specification = try KernelSpecification(
              normalForm: form, key: size.key, value: size.value, type: type,
              gateType: type.sums, target: target)
            // Double is for one target.
            guard specification.precisionObstacle == nil else { continue }
            cells += try plans(specification).map {
              Cell(specification: specification, plan: $0, canRun: canRun)
            }
          }
        }
      }
    }
    guard !cells.isEmpty else {
      throw SluiceError(.usage, "No kernel is left: no schedule runs what was asked for.")
    }
    return cells
  }

  private func plans(_ specification: KernelSpecification) throws -> [Plan] {
    if let pinned = plan.schedule, Schedules.named(pinned) == nil {
      // The planner's sentence says which there are.
      return [try Planner().plan(specification, plan)]
    }
    let schedules = Schedules.all.filter { schedule in
      schedule.obstacle(to: specification) == nil
        && (plan.schedule == nil || plan.schedule == schedule.name)
    }
    return try schedules.map { schedule in
      var request = plan
      request.schedule = schedule.name
      return try Planner().plan(specification, request)
    }
  }
}

extension Assessment {
  /// The kernel and its worst errors beside bound and floor, in one line.
  public var line: String {
    let errors = ["o", "state"].compactMap { what in
      let own = checks.filter { $0.group == .accuracy && $0.what == what }
      guard let measured = own.compactMap(\.measured).max(),
        let bound = own.compactMap(\.bound).min()
      else { return nil as String? }
      let floor = own.compactMap(\.floor).max() ?? 0
      return "\(what) \(Self.short(measured)) of \(Self.short(bound)), floor \(Self.short(floor))"
    }
    let head = (passed ? "ok   " : "FAIL ") + kernel
    let reasons = failures.map { "\n     \($0.name): \($0.what) \($0.detail)" }
    return ([head] + errors).joined(separator: "  ") + reasons.joined()
  }

  private static func short(_ number: Double) -> String {
    number == 0 ? "0" : String(format: "%.1e", number)
  }
}
