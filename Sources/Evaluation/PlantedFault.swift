import Emission
import Recurrences
import Schedules
import Targets
import TileIR

/// A mistake put into a right kernel on purpose: a verifier is judged by the faults that it catches.
public struct PlantedFault: Sendable {
  public enum Layer: String, Hashable, Codable, Sendable, CaseIterable {
    case source
    case plan
    case tileProgram = "tile program"
  }

  public var name: String
  public var layer: Layer
  /// The variant and plan that it is planted into.
  public var recurrence: String
  /// The map of its queries and keys, if any.
  public var map: FeatureMap?
  public var plan: Plan
  /// The gradient's plan, where the fault is in the gradient: its trials alone must find it.
  public var backward: Plan?
  public var key = 20
  public var value = 24
  /// The checks that must find it, where others cannot; nil where any may.
  public var caughtBy: Assessment.Check.Group?
  /// Whether it shows beyond 32 bits only.
  public var needsFarOffsets = false
  let plant: @Sendable (KernelSpecification, Plan) throws -> EmittedKernel

  /// The kernel with the fault in it.
  ///
  /// - Throws: `SluiceError` of kind `.internal` when there is nothing left to which the fault could
  ///   be done: then it must be written anew.
  public func emit(for target: Target) throws -> EmittedKernel {
    try plant(try specification(for: target), plan)
  }

  /// The same kernel without the fault.
  public func control(for target: Target) throws -> EmittedKernel {
    try Emitter.emit(try specification(for: target), plan, backward: backward)
  }

  private func specification(for target: Target) throws -> KernelSpecification {
    let plain = try Recurrence.named(recurrence)
    return try KernelSpecification(
      normalForm: try (map.map(plain.mapping) ?? plain).normalForm(), key: key, value: value,
      type: .f32, gateType: .f32, target: target)
  }

  /// Every fault.
  public static let all: [PlantedFault] =
    sourceFaults + planFaults + tileFaults + gradientFaults + monomialFaults

  static func missing(_ name: String) -> SluiceError {
    SluiceError(.internal, "The fault '\(name)' does not apply: what it changes is not there.")
  }
}

extension Plan {
  /// Sub-blocks, key tiles and value tiles that leave a rest: everything that can be forgotten.
  static let faultyFused = Plan(
    schedule: "chunk-fused", chunk: 16, subBlock: 4, keyTile: 10, valueTile: 16)
  static let faultyRegister = Plan(
    schedule: "register-recurrent", chunk: 16, subBlock: 16, keyTile: 20, valueTile: 16)
  static let faultyHeads = Plan(
    schedule: "register-recurrent", chunk: 16, subBlock: 16, keyTile: 20, valueTile: 16,
    headTile: 2)
  static let faultySegmented = Plan(
    schedule: "segmented", chunk: 8, subBlock: 8, keyTile: 20, valueTile: 16,
    materialization: .segments(3))
}

/// A pattern over emitted C: `#` stands for any number, `$1`, `$2`, ... for these in the replacement,
/// and a space for any white space, as lines may be broken anywhere.
struct SourceMutation: Sendable {
  var pattern: String
  var replacement: String

  init(_ pattern: String, _ replacement: String) {
    self.pattern = pattern
    self.replacement = replacement
  }

  /// The text with every occurrence replaced; nil when there is none.
  func applied(to text: String) throws -> String? {
    var expression = ""
    for character in pattern {
      switch character {
      case "#": expression += "([0-9]+)"
      case " ": expression += "\\s+"
      case _ where character.isLetter || character.isNumber || character == "_":
        expression.append(character)
      default: expression += "\\\(character)"
      }
    }
    let regex = try Regex(expression)
    guard text.firstMatch(of: regex) != nil else { return nil }
    return text.replacing(regex) { match in
      var result = replacement
      for index in (1..<max(1, match.output.count)).reversed() {
        result = result.replacing("$\(index)", with: match.output[index].substring ?? "")
      }
      return result
    }
  }
}

extension TileProgram {
  /// The program with statements replaced where `change` gives something; nil when it never does.
  func replacing(_ change: (Statement) -> [Statement]?) -> TileProgram? {
    var count = 0
    func walk(_ body: [Statement]) -> [Statement] {
      body.flatMap { statement -> [Statement] in
        if let other = change(statement) {
          count += 1
          return other
        }
        switch statement {
        case .loop(let loop, let inner): return [.loop(loop, walk(inner))]
        case .firstValueTile(let inner): return [.firstValueTile(walk(inner))]
        case .when(let condition, let first, let second):
          return [.when(condition, walk(first), otherwise: walk(second))]
        case .operation, .note: return [statement]
        }
      }
    }
    var program = self
    for index in program.phases.indices {
      program.phases[index].body = walk(program.phases[index].body)
    }
    return count > 0 ? program : nil
  }

  /// The same for operations.
  func replacingOperations(_ change: (Operation) -> [Operation]?) -> TileProgram? {
    replacing { statement in
      guard case .operation(let operation) = statement else { return nil }
      return change(operation)?.map { .operation($0) }
    }
  }
}
