import Emission
import Execution
import Recurrences
import Reference
import TestSupport

/// One call as a file of tensors, and what the reference says of it.
struct RunCase {
  var tensors: [String: SafeTensor] = [:]
  let shape: ProblemShape
  let scale = 0.7
  let output: [Double]
  let finalState: [Double]

  /// Draws the inputs, rounds them to the kernel's types, and asks the reference.
  init(
    _ recurrence: Recurrence, _ manifest: KernelManifest, _ shape: ProblemShape,
    lengthsAs lengths: SafeTensor.ElementKind = .I64
  ) throws {
    self.shape = shape
    var random = Seeded(seed: 1)
    var arguments = Arguments.drawn(recurrence, shape, &random)
    arguments.scale = scale
    for input in manifest.inputs {
      let numbers = arguments.inputs[input.name]!.map(input.type.rounded)
      arguments.inputs[input.name] = numbers
      tensors[input.name] = SafeTensor(
        type: .init(input.type), shape: Self.axes(of: input, shape),
        bytes: input.type.packed(numbers))
    }
    // Recurrences with one state matrix only: its order in memory is its own.
    let state = recurrence.states[0].name
    let initial = arguments.initialStates[state]!.map(ElementType.f32.rounded)
    arguments.initialStates[state] = initial
    tensors["initial_state"] = SafeTensor(
      initial.map(Float.init),
      shape: [shape.sequences.count, shape.heads, shape.key, shape.value])
    if let ends = shape.cumulativeLengths {
      let bytes = ends.flatMap { end in
        (0..<lengths.size).map { UInt8(truncatingIfNeeded: end >> (8 * $0)) }
      }
      tensors["cu_seqlens"] = SafeTensor(type: lengths, shape: [ends.count], bytes: bytes)
    }
    let result = try Reference(recurrence, shape: shape).forward(arguments)
    output = result.output
    finalState = result.finalStates[state]!
  }

  private static func axes(of input: KernelManifest.Input, _ shape: ProblemShape) -> [Int] {
    let rows =
      switch input.role {
      case .query: [shape.batch, shape.length, shape.queryHeads]
      case .operand, .gate: [shape.batch, shape.length, shape.heads]
      case .parameter: [shape.heads]
      }
    return rows + (input.axes.contains(.key) ? [shape.key] : [])
      + (input.axes.contains(.value) ? [shape.value] : [])
  }
}
