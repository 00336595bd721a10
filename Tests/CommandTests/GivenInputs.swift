import Execution
import Recurrences
import Reference
import Sluice
import TestSupport

/// Drawn inputs of GLA as tensors of a file, with what the reference says of them.
struct GivenInputs {
  var tensors: [String: SafeTensor] = [:]
  private let output: [Double]
  private let finalState: [Double]
  private let type: ElementType

  init(_ manifest: KernelManifest, _ shape: ProblemShape) throws {
    var random = Seeded(seed: 7)
    var arguments = Arguments.drawn(.gla, shape, &random)
    arguments.initialStates = [:]
    for input in manifest.inputs {
      let numbers = arguments.inputs[input.name]!.map(input.type.rounded)
      arguments.inputs[input.name] = numbers
      let heads = input.role == .query ? shape.queryHeads : shape.heads
      tensors[input.name] = SafeTensor(
        type: .init(input.type), shape: [shape.batch, shape.length, heads, input.size],
        bytes: input.type.packed(numbers))
    }
    type = manifest.type
    let result = try Reference(.gla, shape: shape).forward(arguments)
    output = result.output
    finalState = result.finalStates["S"]!
  }

  /// RMS of the difference over RMS of the reference.
  func outputError(_ tensor: SafeTensor) -> Double {
    rmsRatio(type.unpacked(tensor.bytes), output)
  }
  func stateError(_ tensor: SafeTensor) -> Double {
    rmsRatio(ElementType.f32.unpacked(tensor.bytes), finalState)
  }
}
