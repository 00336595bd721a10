import Emission
import Recurrences
import Targets

/// Reads the sizes of a call off its tensors.
enum RunShape {
  /// A size of an axis: known, or to be learned from the first tensor that has it.
  private enum Axis {
    case fixed(Int)
    case free(String)
  }

  /// The sizes in which all tensors agree.
  ///
  /// - Throws: a sentence that names the tensor and the size that it does not share.
  static func infer(
    _ tensors: [String: SafeTensor], _ manifest: KernelManifest, _ file: String
  ) throws(SluiceError) -> ProblemShape {
    var learned: [String: (size: Int, from: String)] = [:]
    for input in manifest.inputs {
      let axes = axes(of: input, manifest)
      let shape = tensors[input.name]!.shape
      let wanted = "[" + axes.map(text).joined(separator: ", ") + "]"
      guard shape.count == axes.count else {
        throw refusal(file, input.name, "has shape \(shape), and must be \(wanted)")
      }
      for (size, axis) in zip(shape, axes) {
        switch axis {
        case .fixed(let known) where known != size:
          throw refusal(file, input.name, "has shape \(shape), and must be \(wanted)")
        case .fixed: break
        case .free(let name):
          let first = learned[name, default: (size, input.name)]
          guard first.size == size else {
            throw refusal(
              file, input.name,
              "has shape \(shape), where \(wanted) has \(name) = \(first.size) as "
                + "'\(first.from)' has it")
          }
          learned[name] = first
        }
      }
    }
    let ends = try cumulativeLengths(tensors[RunFiles.lengths], file)
    let queryHeads = learned["query heads"]?.size ?? learned["heads"]?.size ?? 0
    let shape: ProblemShape
    do {
      shape = try ProblemShape(
        batch: learned["B"]?.size ?? 0, length: learned["T"]?.size ?? 0, queryHeads: queryHeads,
        heads: learned["heads"]?.size ?? queryHeads, key: manifest.key, value: manifest.value,
        cumulativeLengths: ends)
    } catch {
      throw SluiceError(.badInput, "The sizes in \(file) cannot be: \(error)")
    }
    if let given = tensors[RunFiles.initialState]?.shape, given != state(shape, manifest) {
      throw refusal(
        file, RunFiles.initialState, "has shape \(given), and must be \(state(shape, manifest))")
    }
    return shape
  }

  /// The shape of the initial and the final state.
  static func state(_ shape: ProblemShape, _ manifest: KernelManifest) -> [Int] {
    [
      shape.cumulativeLengths.map { $0.count - 1 } ?? shape.batch, shape.heads, manifest.key,
      manifest.stateColumns,
    ]
  }

  private static func axes(
    of input: KernelManifest.Input, _ manifest: KernelManifest
  ) -> [Axis] {
    let axes: [Axis] =
      switch input.role {
      case .query: [.free("B"), .free("T"), .free("query heads")]
      case .operand, .gate: [.free("B"), .free("T"), .free("heads")]
      case .parameter: [.free("heads")]
      }
    return axes + manifest.row(of: input).map { .fixed($0) }
  }

  private static func cumulativeLengths(
    _ tensor: SafeTensor?, _ file: String
  ) throws(SluiceError) -> [Int]? {
    guard let tensor else { return nil }
    guard let numbers = tensor.integers else {
      throw refusal(
        file, RunFiles.lengths, "is of type \(tensor.type.rawValue), and must be I64 or I32")
    }
    guard tensor.shape.count == 1 else {
      throw refusal(file, RunFiles.lengths, "has shape \(tensor.shape), and must have one axis")
    }
    return numbers
  }

  private static func text(_ axis: Axis) -> String {
    switch axis {
    case .fixed(let size): String(size)
    case .free(let name): name
    }
  }

  private static func refusal(_ file: String, _ name: String, _ what: String) -> SluiceError {
    SluiceError(.badInput, "The tensor '\(name)' of \(file) \(what).")
  }
}
