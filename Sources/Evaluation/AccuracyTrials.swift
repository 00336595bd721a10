import Recurrences
import Reference

/// Trials against the reference.
struct AccuracyTrials: Sendable {
  let subject: Subject
  let options: VerifyOptions

  var all: [Trial] {
    get throws {
      let chunk = max(subject.plan.chunk, 8)
      var segments = 2
      if case .segments(let count) = subject.plan.materialization { segments = count }
      var recipes = ProblemRecipe.essential(chunk: chunk, segments: segments)
      recipes += ProblemRecipe.extremes(chunk: chunk, subject.type)
      if options.effort == .full { recipes += ProblemRecipe.thorough(chunk: chunk) }
      return try recipes.map { try trial(DrawnProblem($0, for: subject, seed: options.seed)) }
    }
  }

  /// The same problem on several thread counts, in both layouts, aligned and against guard pages.
  func calls(_ problem: DrawnProblem) -> [KernelCall] {
    let threads = options.threads
    return [
      KernelCall(problem: problem, threads: threads[0]),
      KernelCall(problem: problem, threads: threads[1 % threads.count], isFlush: true),
      KernelCall(problem: problem, threads: threads[2 % threads.count], layout: 1, isFlush: true),
    ]
  }

  func trial(_ problem: DrawnProblem) -> Trial {
    let calls = calls(problem)
    return Trial(.accuracy, problem.name, calls) { [subject] results in
      let judge = AccuracyJudge(subject: subject, problem: problem)
      return try judge.checks(results) + [threadCheck(problem, calls, results)]
    }
  }

  /// A few tokens after so many empty sequences that their states begin beyond 2^31 elements.
  func farOffsets() throws -> Trial {
    let recipe = ProblemRecipe("offsets beyond 32 bits", [3], isPacked: true).with {
      $0.hasInitialState = true
      $0.wantsFinalState = false
      $0.heads = 4
    }
    let problem = try DrawnProblem(recipe, for: subject, seed: options.seed)
    var call = KernelCall(problem: problem, threads: options.threads[0])
    call.emptySequences = (1 << 31) / (recipe.heads * subject.key * subject.stateColumns) + 1
    return Trial(.accuracy, problem.name, [call]) { [subject] results in
      try AccuracyJudge(subject: subject, problem: problem).checks(results)
    }
  }

  private func threadCheck(
    _ problem: DrawnProblem, _ calls: [KernelCall], _ results: [CallResult]
  ) -> Assessment.Check {
    let isEqual =
      results[0].output == results[1].output && results[0].finalState == results[1].finalState
    return Assessment.Check(
      .law, problem.name, "equal bits on \(calls[0].threads) and \(calls[1].threads) threads",
      holds: isEqual, detail: "outputs differ")
  }
}

/// Compares what calls of one problem gave with what the reference gives.
struct AccuracyJudge {
  let subject: Subject
  let problem: DrawnProblem

  func checks(_ results: [CallResult]) throws -> [Assessment.Check] {
    let expected = try problem.expected(subject)
    return checks(results, output: expected.output, finalState: expected.finalState)
  }

  func checks(
    _ results: [CallResult], output: [Double], finalState: [Double],
    group: Assessment.Check.Group = .accuracy, name: String? = nil
  ) -> [Assessment.Check] {
    let bounds = Bounds(subject.type)
    let name = name ?? problem.name
    let groups = problem.shape.outputGroups
    let errors = unique(results.map(\.output)).map {
      TensorError(subject.type.unpacked($0), output, groups: groups)
    }
    let error = errors.max { $0.rank < $1.rank }!
    var checks = [
      Assessment.Check(
        group, name, "o", error.whole, atMost: bounds.output,
        floor: roundingFloor(of: output, as: subject.type), detail: error.detail),
      Assessment.Check(
        group, name, "o, worst head", error.worst, atMost: bounds.worstOutput,
        detail: error.detail),
    ]
    guard problem.wantsFinalState else { return checks }
    let stateGroups = problem.shape.stateGroups(columns: subject.stateColumns)
    let stateErrors = unique(results.map { $0.finalState ?? [] }).map {
      TensorError(subject.type.sums.unpacked($0), finalState, groups: stateGroups)
    }
    let state = stateErrors.max { $0.rank < $1.rank }!
    checks += [
      Assessment.Check(
        group, name, "state", state.whole, atMost: bounds.state,
        floor: roundingFloor(of: finalState, as: subject.type.sums), detail: state.detail),
      Assessment.Check(
        group, name, "state, worst head", state.worst, atMost: bounds.worstState,
        detail: state.detail),
    ]
    return checks
  }

  /// Equal answers are compared with the reference once.
  private func unique(_ answers: [[UInt8]]) -> [[UInt8]] {
    answers.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }
}

extension TensorError {
  /// Orders errors, with what is broken last.
  var rank: Double { max(whole, worst) }

  var detail: String {
    (broken > 0 ? "\(broken) numbers unwritten or not finite, " : "") + place
  }
}
