import Emission
import Execution
import Recurrences
import Targets

/// Calls a library in processes of their own: what crashes or hangs costs its own call only.
struct CallRunner: Sendable {
  var library: String
  var manifest: KernelManifest
  var target: Target
  /// The runner's executable, for the target.
  var runner: String
  /// An empty folder for the files that pass between the processes.
  var folder: String
  /// The longest that one process may take.
  var limit: Duration

  /// The results of all calls, in their order; each is called once and then `repeats` times more.
  func run(_ calls: [KernelCall], repeats: Int = 1, timings: Timings? = nil) async throws
    -> [CallResult]
  {
    let sizes = try await workspaceSizes(calls)
    var results: [CallResult] = []
    var group: [RunnerCase] = []
    var start = 0
    func flush() async throws {
      let own = Array(calls[start..<start + group.count])
      results += try await self.results(of: group, own, repeats: repeats, timings: timings)
      start += group.count
      group = []
    }
    var bytes = 0
    for (index, call) in calls.enumerated() {
      let size: Int
      switch sizes[index] {
      case .success(let own): size = own
      case .failure(let failure):
        if !group.isEmpty { try await flush() }
        results.append(failure.result)
        start += 1
        bytes = 0
        continue
      }
      let item = call.runnerCase(UInt32(group.count), manifest, workspaceSize: size)
      group.append(item)
      bytes += item.buffers.reduce(0) { $0 + $1.size }
      // Files of a size that memory holds twice without thinking.
      if bytes > 64 << 20 {
        try await flush()
        bytes = 0
      }
    }
    if !group.isEmpty { try await flush() }
    return results
  }

  struct Timings: Hashable, Sendable {
    var count: Int
    /// Copies of all buffers that calls take turns on.
    var copies: Int
  }

  /// A call whose need of workspace could not be learnt.
  private struct NoWorkspace: Error { var result: CallResult }

  /// Bytes of workspace by call; equal shapes are asked once.
  private func workspaceSizes(
    _ calls: [KernelCall]
  ) async throws -> [Swift.Result<Int, NoWorkspace>] {
    struct Question: Hashable {
      var shape: ProblemShape
      var threads: Int
      var emptySequences: Int
      var isGradient: Bool
      var isStep: Bool

      init(_ call: KernelCall) {
        shape = call.problem.shape
        threads = call.threads
        emptySequences = call.emptySequences
        isGradient = call.gradient != nil
        isStep = call.step != nil
      }
    }
    var numbers: [Question: Int] = [:]
    var asked: [KernelCall] = []
    for call in calls {
      let question = Question(call)
      if numbers[question] == nil {
        numbers[question] = asked.count
        asked.append(call)
      }
    }
    let cases = asked.enumerated().map { $1.workspaceCase(UInt32($0), manifest) }
    let answers = try await results(of: cases, asked, repeats: 0, timings: nil)
    return calls.map { call in
      let question = Question(call)
      let answer = answers[numbers[question]!]
      // The runner's entries return 32 bits: sizes up to 2 GiB, and minus a code.
      if case .returned(let size) = answer.ending, size >= 0 { return .success(Int(size)) }
      return .failure(NoWorkspace(result: answer))
    }
  }

  /// Runs cases whose ids are their places; after a crash or a hang it goes on with the next.
  private func results(
    of cases: [RunnerCase], _ calls: [KernelCall], repeats: Int, timings: Timings?
  ) async throws -> [CallResult] {
    guard !cases.isEmpty else { return [] }
    let (input, output) = ("\(folder)/cases.bin", "\(folder)/results.bin")
    try Files.write(CaseFile.bytes(cases), to: input)
    defer {
      Files.remove(input)
      Files.remove(output)
    }
    var results: [CallResult?] = Array(repeating: nil, count: cases.count)
    var first = 0
    while first < cases.count {
      Files.remove(output)
      let begin = first
      var arguments = [library, input, output, "--first", "\(first)", "--repeat", "\(repeats)"]
      if let timings {
        arguments += ["--time", "\(timings.count)", "--rotate", "\(timings.copies)"]
      }
      let outcome = try await Program.on(target, runner, arguments).run(limit: limit)
      let bytes = (try? Files.read(output)) ?? []
      guard let records = ResultFile.records(bytes) else { throw failure(outcome) }
      var last: Int?
      for record in records {
        switch record {
        case .started(let id): last = Int(id)
        case .finished(let finished):
          let id = Int(finished.id)
          results[id] = CallResult(
            finished, of: cases[id], call: calls[id], manifest)
          last = nil
          first = id + 1
        case .crashed(let crash):
          let id = Int(crash.id)
          results[id] = CallResult(crash, of: cases[id])
          last = nil
          first = id + 1
        case .refused(let id, let why):
          results[Int(id)] = CallResult(ending: .refused(why))
          first = Int(id) + 1
        case .end: first = cases.count
        }
      }
      if outcome.ending == .timedOut, first > begin {
        // The limit is one call's: what was under way gets a process, and the time, of its own.
        continue
      }
      if let last {
        // It began and never told its end.
        let ending: CallResult.Ending =
          outcome.ending == .timedOut ? .hung : .crashed("the process \(outcome.description)")
        results[last] = CallResult(ending: ending)
        first = last + 1
      } else if first < cases.count, !records.contains(where: Self.isCrash) {
        throw failure(outcome)
      }
    }
    return results.map { $0 ?? CallResult(ending: .refused("the runner left it out")) }
  }

  private static func isCrash(_ record: RunnerRecord) -> Bool {
    if case .crashed = record { true } else { false }
  }

  private func failure(_ outcome: Program.Outcome) -> SluiceError {
    let said = outcome.errors.split(separator: "\n").prefix(3).map(String.init)
    return SluiceError(
      .verification, "The library \(library) cannot be run: the runner \(outcome.description).",
      details: said)
  }
}
