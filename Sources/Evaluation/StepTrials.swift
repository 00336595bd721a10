import Recurrences
import Reference

/// Trials of the `step` entry: against the reference, against the whole sequence, the same bits on
/// any number of threads, in place and not, in company and alone, and bad arguments.
struct StepTrials: Sendable {
  let subject: Subject
  let options: VerifyOptions

  var all: [Trial] {
    get throws { try recipes.map { try accuracy($0) } + [try company(), try walk()] + mistakes() }
  }

  private var recipes: [ProblemRecipe] {
    let large = subject.type == .f16 ? 2.0 : 1e12
    var all = [
      ProblemRecipe("step: mild", [1]).with {
        $0.batch = 3
        $0.heads = 3
        $0.hasInitialState = true
      },
      ProblemRecipe("step: grouped heads", [1]).with {
        $0.batch = 2
        $0.group = 3
        $0.gates = .mixed
        $0.hasInitialState = true
        $0.scale = 0.7
      },
      ProblemRecipe("step: from zero", [1]).with { $0.group = 2 },
      ProblemRecipe("step: large values", [1]).with {
        $0.magnitudes.value = large
        $0.gates = .mixed
        $0.hasInitialState = true
      },
    ]
    for gates in GateRegime.allCases {
      all.append(
        ProblemRecipe("step: gates \(gates.rawValue)", [1]).with {
          $0.gates = gates
          $0.hasInitialState = true
        })
    }
    return all
  }

  private func draw(_ recipe: ProblemRecipe) throws -> DrawnProblem {
    try DrawnProblem(recipe, for: subject, seed: options.seed)
  }

  private func call(_ problem: DrawnProblem) -> KernelCall {
    KernelCall(problem: problem, step: .inPlace, threads: options.threads.last!)
  }

  private func accuracy(_ recipe: ProblemRecipe) throws -> Trial {
    let problem = try draw(recipe)
    let threads = options.threads
    var calls = [
      KernelCall(problem: problem, step: .inPlace, threads: threads[0]),
      KernelCall(
        problem: problem, step: .inPlace, threads: threads[1 % threads.count], isFlush: true),
      KernelCall(problem: problem, step: .inPlace, threads: 0, layout: 1, isFlush: true),
    ]
    if problem.initialState != nil {
      calls.append(KernelCall(problem: problem, step: .apart, threads: threads[0]))
    }
    let (subject, count) = (subject, calls.count)
    return Trial(.accuracy, recipe.name, calls) { results in
      try AccuracyJudge(subject: subject, problem: problem).checks(results) + [
        Assessment.Check(
          .law, recipe.name, "equal bits in place and not, on any number of threads",
          holds: (1..<count).allSatisfy {
            results[$0].output == results[0].output
              && results[$0].finalState == results[0].finalState
          }, detail: "bits differ")
      ]
    }
  }

  /// A row and a head give the same bits alone as among others.
  private func company() throws -> Trial {
    let whole = try draw(
      ProblemRecipe("step: in company", [1]).with {
        $0.batch = 3
        $0.group = 2
        $0.gates = .mixed
        $0.hasInitialState = true
      })
    let subject = subject
    let parts = try [whole.sequence(1, subject), whole.head(1, subject)]
    return Trial(.law, whole.name, ([whole] + parts).map(call)) { results in
      let owners = [[(1, 0), (1, 1)], [(0, 1), (1, 1), (2, 1)]]
      return zip(["a row", "a head"], owners).enumerated().map { index, what in
        var (output, states): ([UInt8], [UInt8]) = ([], [])
        for (sequence, head) in what.1 {
          for bytes in whole.outputBytes(
            ofSequence: sequence, head: head, tokens: 0..<1, elementSize: subject.type.size)
          { output += results[0].output[bytes] }
          states +=
            results[0].finalState![
              whole.stateBytes(
                ofSequence: sequence, head: head, subject)]
        }
        let part = results[index + 1]
        return Assessment.Check(
          .law, whole.name, "\(what.0) alone and among others, bit for bit",
          holds: output == part.output && states == part.finalState, detail: "bits differ")
      }
    }
  }

  /// Token after token gives what the forward entry gives for all of them.
  private func walk() throws -> Trial {
    let whole = try draw(
      ProblemRecipe("step by step", [6]).with {
        $0.batch = 2
        $0.group = 2
        $0.gates = .mixed
        $0.hasInitialState = true
      })
    let forward = KernelCall(problem: whole, threads: options.threads.last!)
    return Trial(.law, whole.name, [forward]) { _ in
      []
    } next: { [self] results in
      try walk(whole, from: 0, whole.initialState!, [], results[0])
    }
  }

  private func walk(
    _ whole: DrawnProblem, from token: Int, _ state: [Double], _ outputs: [[Double]],
    _ forward: CallResult
  ) throws -> Trial {
    var problem = try whole.tokens(token..<token + 1, subject)
    problem.initialState = state
    let (subject, bounds) = (subject, Bounds(subject.type))
    guard token + 1 == whole.shape.length else {
      return Trial(.law, whole.name, [call(problem)]) { _ in
        []
      } next: { [self] results in
        try walk(
          whole, from: token + 1, results[0].finalStateNumbers(subject.type)!,
          outputs + [results[0].outputNumbers(subject.type)], forward)
      }
    }
    return Trial(.law, whole.name, [call(problem)]) { results in
      let shape = whole.shape
      let row = shape.queryHeads * shape.value
      var joined: [Double] = []
      for batch in 0..<shape.batch {
        for token in outputs + [results[0].outputNumbers(subject.type)] {
          joined += token[batch * row..<(batch + 1) * row]
        }
      }
      let output = TensorError(
        joined, forward.outputNumbers(subject.type), groups: shape.outputGroups)
      let state = TensorError(
        results[0].finalStateNumbers(subject.type) ?? [],
        forward.finalStateNumbers(subject.type) ?? [],
        groups: shape.stateGroups(columns: subject.stateColumns))
      // Both sides have the kernel's error.
      return [
        Assessment.Check(
          .law, whole.name, "steps give what the sequence gives: o", output.rank,
          atMost: 1.5 * bounds.worstOutput, detail: output.detail),
        Assessment.Check(
          .law, whole.name, "steps give what the sequence gives: state", state.rank,
          atMost: 1.5 * bounds.worstState, detail: state.detail),
      ]
    }
  }

  private func mistakes() throws -> [Trial] {
    let problem = try draw(ProblemRecipe("step: arguments", [1]).with { $0.hasInitialState = true })
    let cases: [(String, Int32, @Sendable (inout ArgumentBlock) -> Void)] = [
      ("another struct size", 1, { $0.size += 8 }),
      ("no row", 0, { $0.batch = 0 }),
      ("no states", 2, { $0.missing = ["final_state"] }),
      ("no output", 2, { $0.missing = ["o"] }),
      ("no workspace", 2, { $0.missing = ["workspace"] }),
      ("two tokens", 3, { $0.length = 2 }),
      ("no token", 3, { $0.length = 0 }),
      ("query heads that are no multiple", 3, { $0.queryHeads = 3 }),
      ("packed sequences", 4, { $0.cumulativeLengths = [0, 1] }),
      ("a workspace too small", 5, { $0.workspaceSize -= 1 }),
      ("misaligned states", 6, { $0.misaligned = ["final_state"] }),
      ("negative threads", 7, { $0.threads = -1 }),
    ]
    return cases.map { name, code, damage in
      .mistake("step: \(name)", call(problem), code, damage)
    }
  }
}
