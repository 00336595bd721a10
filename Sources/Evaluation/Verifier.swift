import Emission
import Execution
import Recurrences
import Targets

/// Tries a built kernel: against the reference, against laws, and against bad arguments.
///
/// Everything runs in child processes: a kernel that crashes or hangs fails the check that it was in.
public func verify(
  library: String, manifest: KernelManifest, target: Target, options: VerifyOptions
) async throws -> Assessment {
  let subject = try Subject(manifest)
  var options = options
  // What is compiled across has no OpenMP.
  if target.isCross { options.threads = [1] }
  let runner = try await RunnerProgram.runner.build(
    for: target, builder: options.builder, cache: options.cache, sanitizers: options.sanitizers)
  let folder = try Files.makeUniqueFolder(in: temporaryFolder, prefix: "sluice-verify-")
  defer { Files.remove(folder) }
  var verifier = Verifier(
    runner: CallRunner(
      library: library, manifest: manifest, target: target, runner: runner, folder: folder,
      limit: options.limit),
    options: options)
  verifier.assessment = Assessment(
    kernel: manifest.name, target: manifest.target, seed: options.seed, effort: options.effort,
    checks: [], leftOut: [], calls: 0)
  if options.gradientOnly {
    verifier.assessment.leftOut.append("The forward entry: the gradient alone was asked for.")
  } else {
    try await verifier.runForward(subject)
  }
  if manifest.backward != nil {
    try await verifier.run(try GradientTrials(subject: subject, options: options).all)
  }
  if manifest.step != nil, !options.gradientOnly {
    try await verifier.run(try StepTrials(subject: subject, options: options).all)
  }
  if !options.gradientOnly { try await verifier.runFarOffsets(subject, target) }
  verifier.finish()
  return verifier.assessment
}

/// Where files that pass between processes lie.
package var temporaryFolder: String { environment("TMPDIR") ?? "/tmp" }

/// One verification under way.
struct Verifier {
  let runner: CallRunner
  let options: VerifyOptions
  var assessment = Assessment(
    kernel: "", target: "", seed: 0, effort: .quick, checks: [], leftOut: [], calls: 0)
  private var cost = 0.0
  private var skipped: [String] = []
  private var misconduct: [CallResult.Misconduct.Kind: String] = [:]

  init(runner: CallRunner, options: VerifyOptions) {
    self.runner = runner
    self.options = options
  }

  /// Given inputs, drawn problems, laws and bad arguments of the forward entry.
  mutating func runForward(_ subject: Subject) async throws {
    let accuracy = AccuracyTrials(subject: subject, options: options)
    try await run(
      try options.inputs.map {
        accuracy.trial(try DrawnProblem(file: $0, for: runner.manifest, subject))
      })
    try await run(try accuracy.all)
    if !isDecided { try await run(try LawTrials(subject, options).all) }
    if !isDecided { try await run(try ABITrials(subject: subject, options: options).all) }
    if let every = runner.manifest.snapshotEvery, !isDecided {
      try await run(try SnapshotTrials(subject: subject, options: options, every: every).all)
    }
  }

  /// Whether nothing is left to find out: drawing problems takes time too.
  private var isDecided: Bool { options.stopsEarly && !assessment.passed }

  /// Runs trials in their order, many in one process, and leaves out what would cost too much.
  mutating func run(_ trials: [Trial], repeats: Int = 1) async throws {
    var batch: [Trial] = []
    for trial in trials {
      guard cost + trial.cost <= options.maximalCost else {
        skipped.append(trial.name)
        continue
      }
      cost += trial.cost
      batch.append(trial)
      if batch.reduce(0, { $0 + $1.bytes }) > 64 << 20 || options.stopsEarly {
        try await runBatch(batch, repeats)
        batch = []
      }
    }
    try await runBatch(batch, repeats)
  }

  private mutating func runBatch(_ trials: [Trial], _ repeats: Int) async throws {
    guard !trials.isEmpty, !isDecided else { return }
    let calls = trials.flatMap(\.calls)
    let results = try await runner.run(calls, repeats: repeats)
    assessment.calls += calls.count
    var following: [Trial] = []
    var place = 0
    for trial in trials {
      let own = Array(results[place..<place + trial.calls.count])
      place += trial.calls.count
      note(own, of: trial)
      if let failure = trial.failure(own) {
        assessment.checks.append(failure)
        continue
      }
      assessment.checks += try trial.judge(own)
      if let next = trial.next { following.append(try next(own)) }
    }
    try await runBatch(following, repeats)
  }

  /// A state beyond 2^31 elements: once, as it takes seconds.
  mutating func runFarOffsets(_ subject: Subject, _ target: Target) async throws {
    let reason: String? =
      if !options.farOffsets {
        "--effort full has them"
      } else if target.isCross {
        "under an emulator they take minutes"
      } else if subject.plan.materialization != .none {
        "states between segments would need the memory"
      } else {
        nil
      }
    if let reason {
      assessment.leftOut.append("Offsets beyond 32 bits: \(reason).")
    } else {
      try await run([AccuracyTrials(subject: subject, options: options).farOffsets()], repeats: 0)
    }
  }

  private mutating func note(_ results: [CallResult], of trial: Trial) {
    for (call, result) in zip(trial.calls, results) {
      for item in result.misconduct where misconduct[item.kind] == nil {
        misconduct[item.kind] = item.detail + Trial.circumstances(call)
      }
    }
  }

  /// Sums up what holds for all calls.
  mutating func finish() {
    // A thread check a problem is one line of the table, unless it failed.
    let isThreads: (Assessment.Check) -> Bool = { $0.group == .law && $0.what.hasSuffix("threads") }
    let threads = assessment.checks.filter(isThreads)
    assessment.checks.removeAll { isThreads($0) && $0.passed }
    if !threads.isEmpty, threads.allSatisfy(\.passed) {
      assessment.checks.append(
        .init(.law, "threads", "equal bits on any number of threads", holds: true))
    }
    let abi = assessment.checks.filter { $0.group == .abi }
    assessment.checks.removeAll { $0.group == .abi && $0.passed }
    if !abi.isEmpty, abi.allSatisfy(\.passed) {
      assessment.checks.append(
        .init(.abi, "bad arguments", "\(abi.count) mistakes give their codes", holds: true))
    }
    for kind in CallResult.Misconduct.Kind.allCases {
      assessment.checks.append(
        .init(
          .conduct, "all calls", kind.promise, holds: misconduct[kind] == nil,
          detail: misconduct[kind] ?? ""))
    }
    if !skipped.isEmpty {
      assessment.leftOut.append(
        "Too costly for \(options.effort.rawValue): \(skipped.joined(separator: "; ")).")
    }
    if options.effort == .quick {
      assessment.leftOut.append("All lengths under all gate regimes: --effort full has them.")
    }
  }
}
