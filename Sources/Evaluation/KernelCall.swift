import Emission
import Recurrences
import Reference

/// One call of a kernel: a problem, and how it is brought to the kernel.
struct KernelCall: Sendable {
  var problem: DrawnProblem
  /// For a call of the `backward` entry: the adjoints that it brings.
  var gradient: DrawnGradient?
  /// For a call of the `step` entry, where its states lie.
  var step: StepStates?
  var threads = 1
  /// 0: [B, T, H, D]; 1: [B, H, T, D].
  var layout = 0
  /// Whether buffers end flush against an inaccessible page, or begin at a 64-byte boundary.
  var isFlush = false
  /// Empty sequences packed before the problem's own, with states of zeros: far offsets for little
  /// memory.
  var emptySequences = 0
  /// Tokens between two states that are written out; 0 for none.
  var snapshotEvery = 0
  /// What the entry is to return.
  var expectedCode: Int32 = 0
  /// What a caller does wrong, to the arguments of an otherwise right call.
  var damage: (@Sendable (inout ArgumentBlock) -> Void)?
}

/// Where a step begins from: the states that it writes, or others.
enum StepStates: Hashable, Sendable {
  case inPlace, apart
}

/// The argument struct of `docs/abi.md` before it becomes bytes.
struct ArgumentBlock: Sendable {
  var abi = UInt32(KernelManifest.currentABI)
  var size: UInt32
  var batch: Int
  var length: Int
  var queryHeads: Int
  var heads: Int
  var sequences: Int
  var cumulativeLengths: [Int64]?
  var threads: Int
  var layout: Int
  /// A float, or in a kernel in double all eight bytes.
  var scale: Double
  var workspaceSize: Int
  /// Of kernels that can write states out: tokens between two of them.
  var snapshotEvery: Int?
  /// Pointers that are NULL, and pointers that are off their element's alignment.
  var missing: Set<String> = []
  var misaligned: Set<String> = []

  static let headerSize = 112
  /// Bytes before the first pointer to a tensor.
  static let commonSize = 88
  /// How many pointers to tensors there are.
  private var pointers: Int

  init(_ call: KernelCall, _ manifest: KernelManifest, workspaceSize: Int) {
    let shape = call.problem.shape
    pointers =
      call.gradient == nil
      ? 3 + manifest.inputs.count
      : 4 + 2 * manifest.inputs.count + (manifest.backward?.savedEvery == nil ? 0 : 1)
    let hasSnapshots = manifest.snapshotEvery != nil && call.gradient == nil
    snapshotEvery = hasSnapshots ? call.snapshotEvery : nil
    size = UInt32(Self.commonSize + 8 * pointers + (hasSnapshots ? 16 : 0))
    batch = shape.batch
    length = shape.length
    queryHeads = shape.queryHeads
    heads = shape.heads
    cumulativeLengths = shape.cumulativeLengths.map { ends in
      Array(repeating: 0, count: call.emptySequences) + ends.map(Int64.init)
    }
    sequences = cumulativeLengths.map { $0.count - 1 } ?? 0
    threads = call.threads
    layout = call.layout
    scale = call.problem.scale
    self.workspaceSize = workspaceSize
  }

  /// The struct's bytes, all pointers NULL: the runner fills them in.
  func bytes(_ manifest: KernelManifest) -> [UInt8] {
    var out = ByteWriter()
    out.put(abi)
    out.put(size)
    for word in [batch, length, queryHeads, heads, sequences, 0] { out.put(Int64(word)) }
    out.put(Int32(threads))
    out.put(Int32(layout))
    if manifest.type.sums == .f64 {
      out.put(scale)
    } else {
      out.put(Float(scale))
      out.put(UInt32(0))
    }
    out.put(UInt64(0))
    out.put(UInt64(workspaceSize))
    for _ in 0..<pointers { out.put(UInt64(0)) }
    if let snapshotEvery {
      out.put(Int64(snapshotEvery))
      out.put(UInt64(0))
    }
    return out.bytes
  }
}

extension KernelCall {
  /// The runner's case for this call.
  func runnerCase(_ id: UInt32, _ manifest: KernelManifest, workspaceSize: Int) -> RunnerCase {
    var block = ArgumentBlock(self, manifest, workspaceSize: workspaceSize)
    damage?(&block)
    if let gradient {
      return gradientCase(id, gradient, manifest, block)
    }
    let shape = problem.shape
    var buffers: [RunnerCase.Buffer] = []
    func add(
      _ name: String, _ kind: RunnerCase.Buffer.Kind, _ size: Int, _ offset: Int, element: Int,
      _ contents: [UInt8] = []
    ) {
      buffers += buffer(name, kind, size, offset, element: element, contents, block)
    }
    if let ends = block.cumulativeLengths {
      let bytes = ByteWriter.bytes(ends)
      add("cu_seqlens", .input, bytes.count, 48, element: 8, bytes)
    }
    add("workspace", .workspace, block.workspaceSize, 72, element: 64)
    let sums = manifest.type.sums
    let states = shape.sequences.count * shape.heads * shape.key * manifest.stateColumns
    if step == .inPlace {
      let numbers = problem.initialState ?? Array(repeating: 0, count: states)
      let bytes = sums.packed(numbers)
      add("final_state", .inOut, bytes.count, 96, element: sums.size, bytes)
    } else if let state = problem.initialState {
      let bytes = sums.packed(state)
      let all = bytes.count / shape.sequences.count * (shape.sequences.count + emptySequences)
      add(
        "initial_state", emptySequences == 0 ? .input : .sparse, all, 88, element: sums.size,
        bytes)
    }
    if problem.wantsFinalState, step != .inPlace {
      add("final_state", .output, states * sums.size, 96, element: sums.size)
    }
    add(
      "o", .output, shape.outputCount * manifest.type.size, 104, element: manifest.type.size)
    for (index, input) in manifest.inputs.enumerated() {
      let numbers = problem.inputs[input.name] ?? []
      let order =
        input.role == .parameter
        ? numbers
        : transposed(
          numbers, heads: input.role == .query ? shape.queryHeads : shape.heads,
          width: input.size, shape)
      let bytes = input.type.packed(order)
      add(
        input.name, .input, bytes.count, ArgumentBlock.headerSize + 8 * index,
        element: input.type.size, bytes)
    }
    if snapshotEvery > 0 {
      let slots = shape.batch * (shape.length / snapshotEvery) * shape.heads
      add(
        "snapshots", .output, slots * shape.key * manifest.stateColumns * sums.size,
        ArgumentBlock.headerSize + 8 * manifest.inputs.count + 8, element: sums.size)
    }
    return RunnerCase(
      id: id, entry: "\(manifest.name)_\(step == nil ? "forward" : "step")",
      arguments: block.bytes(manifest), buffers: buffers)
  }

  /// One buffer of the call as the block wants it; none where the pointer is missing.
  func buffer(
    _ name: String, _ kind: RunnerCase.Buffer.Kind, _ size: Int, _ offset: Int, element: Int,
    _ contents: [UInt8] = [], _ block: ArgumentBlock
  ) -> [RunnerCase.Buffer] {
    guard !block.missing.contains(name) else { return [] }
    var buffer = RunnerCase.Buffer(
      name: name, kind: kind, size: size, offset: offset, contents: contents)
    if isFlush, name != "workspace" { buffer.alignment = buffer.flush }
    if block.misaligned.contains(name) { buffer.alignment = element / 2 }
    return [buffer]
  }

  /// The runner's case that asks how much workspace this call needs.
  func workspaceCase(_ id: UInt32, _ manifest: KernelManifest) -> RunnerCase {
    let further = gradient != nil ? "_backward" : step != nil ? "_step" : ""
    let block = ArgumentBlock(self, manifest, workspaceSize: 0)
    var buffers: [RunnerCase.Buffer] = []
    if let ends = block.cumulativeLengths {
      let bytes = ByteWriter.bytes(ends)
      buffers.append(
        .init(name: "cu_seqlens", kind: .input, size: bytes.count, offset: 48, contents: bytes))
    }
    return RunnerCase(
      id: id, entry: "\(manifest.name)\(further)_workspace_size",
      arguments: block.bytes(manifest),
      buffers: buffers)
  }

  /// From [B, T, H, D] to the call's layout.
  func transposed(
    _ numbers: [Double], heads: Int, width: Int, _ shape: ProblemShape
  ) -> [Double] {
    guard layout == 1 else { return numbers }
    var result: [Double] = []
    result.reserveCapacity(numbers.count)
    for batch in 0..<shape.batch {
      for head in 0..<heads {
        for token in 0..<shape.length {
          let start = ((batch * shape.length + token) * heads + head) * width
          result += numbers[start..<start + width]
        }
      }
    }
    return result
  }

  /// The output's bytes as [B, T, H, D], whatever the call's layout.
  func canonical(_ bytes: [UInt8], elementSize: Int) -> [UInt8] {
    canonical(bytes, heads: problem.shape.queryHeads, width: problem.shape.value * elementSize)
  }

  /// A token tensor's bytes as [B, T, H, D]; `width` is the bytes of one row.
  func canonical(_ bytes: [UInt8], heads: Int, width: Int) -> [UInt8] {
    let shape = problem.shape
    guard layout == 1, bytes.count == shape.batch * shape.length * heads * width else {
      return bytes
    }
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    for batch in 0..<shape.batch {
      for token in 0..<shape.length {
        for head in 0..<heads {
          let start = ((batch * heads + head) * shape.length + token) * width
          result += bytes[start..<start + width]
        }
      }
    }
    return result
  }
}
