import Emission
import Planning
import Recurrences
import Reference
import TileIR

/// Calls of the `backward` entry, each behind the forward call whose states it takes.
extension MeasurementCases {
  /// A small problem: every adjoint is compared.
  static func judged(
    _ id: UInt32, _ drawn: DrawnGradient, _ subject: Subject, _ manifest: KernelManifest,
    after forward: RunnerCase, threads: Int
  ) throws -> RunnerCase {
    let expected = try drawn.expected(subject)
    let bounds = Bounds(subject.type)
    let shape = drawn.problem.shape
    var item = KernelCall(
      problem: drawn.problem, gradient: drawn, threads: threads, isFlush: true
    ).runnerCase(id, manifest, workspaceSize: 0)
    var checks: [String: ReferenceRows] = [:]
    for input in manifest.inputs {
      let numbers = expected[input.name]!
      let isGate = input.role == .gate || input.role == .parameter
      let bound = isGate ? bounds.gateGradient : bounds.gradient
      let heads = input.role == .query ? shape.queryHeads : shape.heads
      checks[TensorName.adjoint(of: input.name)] = ReferenceRows(
        type: input.type, width: input.size, groups: heads, bound: bound, groupBound: bound,
        rows: (0..<numbers.count / input.size).map { ($0, $0 % heads) }, numbers: numbers)
    }
    checks[TensorName.adjoint(of: TensorName.initialState)] = ReferenceRows(
      type: .f32, width: subject.stateColumns, groups: shape.heads, bound: bounds.gradient,
      groupBound: bounds.gradient,
      rows: (0..<shape.sequences.count * shape.heads * shape.key).map {
        ($0, $0 / shape.key % shape.heads)
      }, numbers: expected[TensorName.initialState]!)
    item.takeStates(of: forward, manifest)
    item.adapt(checks: checks, entry: "backward")
    return item
  }

  /// The timed problem: rows of its last head's adjoint of the queries are compared, which hang on
  /// no later token.
  static func timedGradient(
    _ id: UInt32, _ subject: Subject, _ manifest: KernelManifest, after forward: RunnerCase,
    _ workload: Workload, _ seed: UInt64
  ) throws -> RunnerCase {
    let (drawn, whole) = try timedProblem(subject, workload, seed)
    let period = DrawnGradient(drawn, subject, seed: seed)
    var timed = period
    timed.problem = whole
    var item = KernelCall(problem: whole, gradient: timed, threads: workload.threads)
      .runnerCase(id, manifest, workspaceSize: 0)
    item.repeatInputs(manifest, workload)
    let tokens = workload.batch * workload.length
    item.repeatContents(
      of: TensorName.adjoint(of: TensorName.output),
      size: tokens * workload.queryHeads * subject.value * subject.type.size)
    for index in item.buffers.indices {
      for input in manifest.inputs where input.role != .parameter {
        guard item.buffers[index].name == TensorName.adjoint(of: input.name) else { continue }
        let heads = input.role == .query ? workload.queryHeads : workload.heads
        item.buffers[index].size = tokens * heads * input.size * input.type.size
      }
    }

    let bounds = Bounds(subject.type)
    let own = try lastHead(of: drawn, subject, workload, entries: 4_000_000)
    var head = DrawnGradient(own, subject, seed: seed)
    let last = workload.queryHeads - workload.queryHeads / workload.heads
    head.output = (0..<own.shape.length).flatMap { token in
      let row = ((workload.batch - 1) * workload.length + token) % max(1, drawn.shape.length)
      let start = (row * workload.queryHeads + last) * subject.value
      return period.output[start..<start + subject.value]
    }
    head.finalState = nil
    let expected = try head.expected(subject)
    var checks: [String: ReferenceRows] = [:]
    for input in manifest.inputs where input.role == .query {
      checks[TensorName.adjoint(of: input.name)] = ReferenceRows(
        type: input.type, width: input.size, groups: 1, bound: 10 * bounds.gradient,
        groupBound: 10 * bounds.gradient,
        rows: (0..<own.shape.length).map { token in
          let row = (workload.batch - 1) * workload.length + token
          return (row * workload.queryHeads + last, 0)
        }, numbers: expected[input.name]!)
    }
    item.takeStates(of: forward, manifest)
    item.adapt(checks: checks, entry: "backward")
    return item
  }
}

extension RunnerCase {
  /// Takes the states that the forward call writes out, where the gradient takes any.
  fileprivate mutating func takeStates(of forward: RunnerCase, _ manifest: KernelManifest) {
    guard manifest.backward?.savedEvery != nil,
      let index = forward.buffers.firstIndex(where: { $0.name == TensorName.snapshots })
    else { return }
    // The states are the struct's last pointer.
    buffers.append(
      Buffer(
        name: TensorName.states, kind: .handed, size: forward.buffers[index].size,
        offset: arguments.count - 8, contents: ByteWriter.bytes([UInt32(index)])))
  }
}
