import Emission
import Execution
import Planning
import Recurrences
import Reference
import Schedules
import Targets

/// What every candidate of one search is judged and timed on, as the CASES file of
/// `templates/c/measure.c`: small problems held to the reference in full, and the timed one, of which
/// rows of one head are.
///
/// No candidate's name, chunk or workspace is in it: one file serves all. Of gradients it serves those
/// that take the forward call's states after the same number of tokens: each of its problems is a forward
/// call, and a backward call that takes these states of it.
public struct MeasurementCases: Hashable, Sendable {
  /// The file's content.
  public var bytes: [UInt8]
  /// Which case is timed.
  public var timed: Int

  /// Tokens after which the timed problem's numbers repeat.
  static let period = 256

  /// - Parameter gradient: of gradients, one of the plans that are measured.
  /// - Throws: `SluiceError` of kind `.unsupported` for f64, `ShapeError` for sizes that no call can have,
  ///   `ReferenceError` when the recurrence
  ///   cannot be interpreted.
  public init(
    _ specification: KernelSpecification, _ workload: Workload, gradient: Plan? = nil,
    seed: UInt64 = 1
  ) throws {
    guard specification.type != .f64 else {
      throw SluiceError(
        .unsupported,
        "Kernels of f64 are for checking gradients and are not tuned: 'sluice build' "
          + "takes the model's plan.")
    }
    let subject = Subject(specification, Self.anyPlan)
    // Inputs and types are the same whatever the plan.
    let manifest = KernelManifest(
      specification.writingStates(for: gradient), Self.anyPlan, backward: gradient)
    // Several chunks, tails, resets: as long as the reference takes well under a second.
    let length = max(67, min(299, 6_000_000 / (specification.key * specification.value)))
    let group = max(1, workload.queryHeads / max(1, workload.heads))
    let recipes = [
      ProblemRecipe("resets", [length]).with { $0.gates = .resets },
      ProblemRecipe("mixed gates", [length / 2 + 1]).with {
        $0.gates = .mixed
        $0.heads = 1
        $0.group = min(group, 2)
      },
    ]
    var cases: [RunnerCase] = []
    for recipe in recipes {
      let problem = try DrawnProblem(
        recipe.with { $0.hasInitialState = true }, for: subject, seed: seed)
      cases.append(
        try Self.judged(
          UInt32(cases.count), problem, subject, manifest, threads: workload.threads))
      if gradient != nil {
        let drawn = DrawnGradient(problem, subject, seed: seed)
        cases.append(
          try Self.judged(
            UInt32(cases.count), drawn, subject, manifest, after: cases.last!,
            threads: workload.threads))
      }
    }
    cases.append(try Self.timed(UInt32(cases.count), subject, manifest, workload, seed))
    if gradient != nil {
      cases.append(
        try Self.timedGradient(
          UInt32(cases.count), subject, manifest, after: cases.last!, workload, seed))
    }
    timed = cases.count - 1
    bytes = CaseFile.bytes(cases)
  }

  private static let anyPlan = Plan(
    schedule: "", chunk: 1, subBlock: 1, keyTile: 1, valueTile: 1)

  /// A small problem: every row of the output and of the final state is compared.
  private static func judged(
    _ id: UInt32, _ problem: DrawnProblem, _ subject: Subject, _ manifest: KernelManifest,
    threads: Int
  ) throws -> RunnerCase {
    let expected = try problem.expected(subject)
    let bounds = Bounds(subject.type)
    let shape = problem.shape
    var call = KernelCall(problem: problem, threads: threads, isFlush: true)
    call.snapshotEvery = manifest.snapshotEvery ?? 0
    var item = call.runnerCase(id, manifest, workspaceSize: 0)
    let output = ReferenceRows(
      type: subject.type, width: shape.value, groups: shape.queryHeads,
      bound: bounds.output, groupBound: bounds.worstOutput,
      rows: (0..<shape.outputCount / shape.value).map { ($0, $0 % shape.queryHeads) },
      numbers: expected.output)
    let state = ReferenceRows(
      type: subject.type.sums, width: subject.stateColumns, groups: shape.heads,
      bound: bounds.state, groupBound: bounds.worstState,
      rows: (0..<shape.sequences.count * shape.heads * shape.key).map {
        ($0, $0 / shape.key % shape.heads)
      },
      numbers: expected.finalState)
    item.adapt(checks: ["o": output, "final_state": state])
    return item
  }

  /// The timed problem: its numbers repeat along the tokens, and rows of its last head are compared.
  private static func timed(
    _ id: UInt32, _ subject: Subject, _ manifest: KernelManifest, _ workload: Workload,
    _ seed: UInt64
  ) throws -> RunnerCase {
    let group = workload.queryHeads / workload.heads
    let (drawn, whole) = try timedProblem(subject, workload, seed)
    var call = KernelCall(problem: whole, threads: workload.threads)
    call.snapshotEvery = manifest.snapshotEvery ?? 0
    var item = call.runnerCase(id, manifest, workspaceSize: 0)
    item.repeatInputs(manifest, workload)

    let bounds = Bounds(subject.type)
    let head = try lastHead(of: drawn, subject, workload)
    let expected = try head.expected(subject).output
    let stride = max(1, head.shape.length / 128)
    let places = Swift.stride(from: head.shape.length - 1, through: 0, by: -stride).reversed()
    // These many tokens' rounding is the verifier's business; here the right answer is told from a
    // wrong one.
    let slack = 10.0
    item.adapt(checks: [
      "o": ReferenceRows(
        type: subject.type, width: subject.value, groups: 1, bound: slack * bounds.output,
        groupBound: slack * bounds.output,
        rows: places.map { token in
          let row = (workload.batch - 1) * workload.length + token
          return (row * workload.queryHeads + workload.queryHeads - group, 0)
        },
        numbers: places.flatMap {
          expected[$0 * subject.value..<($0 + 1) * subject.value]
        })
    ])
    return item
  }

  /// One period of the timed problem, and the same with the whole problem's shape.
  static func timedProblem(
    _ subject: Subject, _ workload: Workload, _ seed: UInt64
  ) throws -> (drawn: DrawnProblem, whole: DrawnProblem) {
    let recipe = ProblemRecipe("timed", [min(workload.length, period)]).with {
      $0.heads = workload.heads
      $0.group = workload.queryHeads / workload.heads
    }
    let drawn = try DrawnProblem(recipe, for: subject, seed: seed)
    var whole = drawn
    whole.shape = try ProblemShape(
      batch: workload.batch, length: workload.length, queryHeads: workload.queryHeads,
      heads: workload.heads, key: subject.key, value: subject.value)
    return (drawn, whole)
  }

  /// The last batch row's last head alone, its first tokens: heads do not know of each other.
  ///
  /// - Parameter entries: about how many entries of the state the tokens may move.
  static func lastHead(
    of drawn: DrawnProblem, _ subject: Subject, _ workload: Workload, entries: Int = 20_000_000
  ) throws -> DrawnProblem {
    let length = min(workload.length, max(64, entries / (subject.key * subject.value)))
    var own = drawn
    own.shape = try ProblemShape(length: length, key: subject.key, value: subject.value)
    let period = drawn.shape.length
    for input in subject.recurrence.inputs {
      guard let numbers = drawn.inputs[input.name] else { continue }
      let width = drawn.shape.count(input.axes)
      guard input.role != .parameter else {
        own.inputs[input.name] = Array(numbers.suffix(width))
        continue
      }
      let isQuery = input.role == .query
      let heads = isQuery ? workload.queryHeads : workload.heads
      let head = isQuery ? heads - workload.queryHeads / workload.heads : heads - 1
      own.inputs[input.name] = (0..<length).flatMap { token in
        let row = ((workload.batch - 1) * workload.length + token) % max(1, period)
        let start = (row * heads + head) * width
        return numbers[start..<start + width]
      }
    }
    return own
  }
}

/// The reference's numbers that a checked output is held to.
struct ReferenceRows {
  var type: ElementType
  var width: Int
  var groups: Int
  /// RMS of the difference over RMS of the reference: over all rows, and over those of a group.
  var bound: Double
  var groupBound: Double
  /// Each row's place in the buffer, and its group.
  var rows: [(place: Int, group: Int)]
  /// [rows, width].
  var numbers: [Double]

  var bytes: [UInt8] {
    var out = ByteWriter()
    out.put(UInt32([ElementType.f32, .bf16, .f16].firstIndex(of: type)!))
    out.put(UInt32(width))
    out.put(UInt32(rows.count))
    out.put(UInt32(groups))
    out.put(bound)
    out.put(groupBound)
    for row in rows {
      out.put(UInt64(row.place))
      out.put(UInt32(row.group))
    }
    for number in numbers { out.put(number) }
    return out.bytes
  }
}

extension RunnerCase {
  /// Turns a verifier's case into one for any kernel: no name, a workspace of the kernel's own size,
  /// and outputs that are held to numbers.
  mutating func adapt(checks: [String: ReferenceRows], entry name: String = "forward") {
    entry = "*_\(name)"
    for index in buffers.indices {
      let name = buffers[index].name
      if name == "workspace" {
        buffers[index].kind = .asked
        var offset = ByteWriter()
        offset.put(UInt32(80))
        buffers[index].contents = offset.bytes
      }
      if let rows = checks[name] {
        buffers[index].kind = .checked
        buffers[index].contents = rows.bytes
      }
    }
  }

  /// The drawn numbers are one period; the buffers have the whole problem's size.
  mutating func repeatInputs(_ manifest: KernelManifest, _ workload: Workload) {
    let tokens = workload.batch * workload.length
    for input in manifest.inputs where input.role != .parameter {
      let heads = input.role == .query ? workload.queryHeads : workload.heads
      repeatContents(of: input.name, size: tokens * heads * input.size * input.type.size)
    }
  }

  /// Makes an input as large as `size` bytes, by repetition of its contents.
  mutating func repeatContents(of name: String, size: Int) {
    for index in buffers.indices where buffers[index].name == name {
      buffers[index].size = size
      buffers[index].kind = .repeated
    }
  }
}
