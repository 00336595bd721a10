import Emission
import Recurrences
import Reference
import Schedules

/// What a kernel computes, as far as problems are drawn and answers are judged.
public struct Subject: Sendable {
  public var normalForm: NormalForm
  public var key: Int
  public var value: Int
  public var type: ElementType
  public var gateType: ElementType
  public var plan: Plan
  /// The gradient's plan, where the kernel has it.
  public var backward: Plan?
  /// The plan of a single token, where the kernel has the step.
  public var step: Plan?

  public var recurrence: Recurrence { normalForm.recurrence }

  public init(_ specification: KernelSpecification, _ plan: Plan) {
    normalForm = specification.normalForm
    key = specification.key
    value = specification.value
    type = specification.type
    gateType = specification.gateType
    self.plan = plan
  }

  /// - Throws: `RecurrenceError` when the manifest's recurrence is no longer understood.
  public init(_ manifest: KernelManifest) throws {
    normalForm = try manifest.recurrence.normalForm()
    key = manifest.key
    value = manifest.value
    type = manifest.type
    gateType = manifest.gateType
    plan = manifest.plan
    backward = manifest.backward
    step = manifest.step
  }

  /// Columns of the state's matrix in memory: V, and one for each further state along the key.
  var stateColumns: Int {
    recurrence.states.reduce(0) { $0 + ($1.axes == .keyValue ? value : 1) }
  }

  /// The type that an input has in memory.
  func elementType(of input: Recurrence.Input) -> ElementType {
    switch input.role {
    case .query, .operand: type
    case .gate: gateType
    case .parameter: type.sums
    }
  }

  /// The factor on the output when the caller gives none.
  var defaultScale: Double {
    recurrence.defaultScale == .one ? 1 : 1 / Double(key).squareRoot()
  }

  /// State variables by name, from the packed matrices [sequences, heads, K, columns] of a kernel.
  func unpackStates(_ packed: [Double], _ shape: ProblemShape) -> [String: [Double]] {
    var states: [String: [Double]] = [:]
    var first = 0
    for state in statesInMemoryOrder {
      let width = state.axes == .keyValue ? value : 1
      var own: [Double] = []
      own.reserveCapacity(shape.count(state))
      for row in 0..<packed.count / stateColumns {
        let start = row * stateColumns + first
        own += packed[start..<start + width]
      }
      states[state.name] = own
      first += width
    }
    return states
  }

  /// The packed matrices of a kernel, from state variables by name.
  func packStates(_ states: [String: [Double]], _ shape: ProblemShape) -> [Double] {
    let rows = shape.sequences.count * shape.heads * key
    var packed: [Double] = []
    packed.reserveCapacity(rows * stateColumns)
    for row in 0..<rows {
      for state in statesInMemoryOrder {
        let width = state.axes == .keyValue ? value : 1
        packed += states[state.name]![row * width..<(row + 1) * width]
      }
    }
    return packed
  }

  /// The matrix first, then what has one entry a key.
  private var statesInMemoryOrder: [Recurrence.StateVariable] {
    recurrence.states.filter { $0.axes == .keyValue }
      + recurrence.states.filter { $0.axes != .keyValue }
  }
}
