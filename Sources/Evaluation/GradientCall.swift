import Emission
import Recurrences
import Reference
import TileIR

extension KernelCall {
  /// The runner's case for a call of the `backward` entry (docs/abi.md has the struct).
  func gradientCase(
    _ id: UInt32, _ gradient: DrawnGradient, _ manifest: KernelManifest, _ block: ArgumentBlock
  ) -> RunnerCase {
    let shape = problem.shape
    var buffers: [RunnerCase.Buffer] = []
    var offset = ArgumentBlock.commonSize
    func add(
      _ name: String, _ kind: RunnerCase.Buffer.Kind, _ size: Int, element: Int,
      _ contents: [UInt8] = []
    ) {
      buffers += buffer(name, kind, size, offset, element: element, contents, block)
      offset += 8
    }
    func addState(_ name: String, _ numbers: [Double]?) {
      guard let numbers else { return offset += 8 }
      let bytes = manifest.type.sums.packed(numbers)
      add(name, .input, bytes.count, element: manifest.type.sums.size, bytes)
    }
    if let ends = block.cumulativeLengths {
      let bytes = ByteWriter.bytes(ends)
      buffers += buffer("cu_seqlens", .input, bytes.count, 48, element: 8, bytes, block)
    }
    buffers += buffer("workspace", .workspace, block.workspaceSize, 72, element: 64, [], block)
    addState("initial_state", problem.initialState)
    addState("d_final_state", gradient.finalState)
    let states = shape.sequences.count * shape.heads * shape.key * manifest.stateColumns
    let size = manifest.type.sums.size
    add("d_initial_state", .output, states * size, element: size)
    func bytes(_ numbers: [Double], heads: Int?, width: Int, _ type: ElementType) -> [UInt8] {
      type.packed(heads.map { transposed(numbers, heads: $0, width: width, shape) } ?? numbers)
    }
    let adjoint = bytes(
      gradient.output, heads: shape.queryHeads, width: shape.value, manifest.type)
    add("d_o", .input, adjoint.count, element: manifest.type.size, adjoint)
    var sizes: [Int] = []
    for input in manifest.inputs {
      let contents = bytes(
        problem.inputs[input.name] ?? [], heads: heads(of: input), width: input.size, input.type)
      sizes.append(contents.count)
      add(input.name, .input, contents.count, element: input.type.size, contents)
    }
    for (input, size) in zip(manifest.inputs, sizes) {
      add(
        TensorName.adjoint(of: input.name), .output, size, element: input.type.size)
    }
    addState(TensorName.states, gradient.states)
    return RunnerCase(
      id: id, entry: "\(manifest.name)_backward", arguments: block.bytes(manifest),
      buffers: buffers)
  }

  /// Heads of a token tensor; nil for a parameter.
  private func heads(of input: KernelManifest.Input) -> Int? {
    switch input.role {
    case .query: problem.shape.queryHeads
    case .operand, .gate: problem.shape.heads
    case .parameter: nil
    }
  }

  /// An adjoint's bytes as [B, T, H, D], whatever the call's layout.
  func canonical(_ bytes: [UInt8], adjoint name: String, _ manifest: KernelManifest) -> [UInt8] {
    guard let input = manifest.inputs.first(where: { $0.name == name }),
      let heads = heads(of: input)
    else { return bytes }
    return canonical(bytes, heads: heads, width: input.size * input.type.size)
  }
}
