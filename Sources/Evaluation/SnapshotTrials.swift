import Recurrences
import Reference

/// Trials of the states that a call writes out on the way: each is the final state of its prefix, and
/// asking for them changes no bit of the answer.
struct SnapshotTrials: Sendable {
  let subject: Subject
  let options: VerifyOptions
  /// Tokens between two states.
  let every: Int

  var all: [Trial] {
    get throws { try recipes.map { try trial($0) } + mistakes() }
  }

  private var recipes: [ProblemRecipe] {
    let n = every
    return [
      ProblemRecipe("snapshots: a tail, resets", [3 * n + n / 2 + 1]).with {
        $0.batch = 2
        $0.gates = .resets
        $0.hasInitialState = true
      },
      ProblemRecipe("snapshots: packed, grouped, mild", [n + 3, 0, 1, 2 * n, max(1, n - 1), n])
        .with {
          $0.group = 2
          $0.hasInitialState = true
        },
      ProblemRecipe("snapshots: mixed gates", [2 * n]).with {
        $0.gates = .mixed
        $0.heads = 3
      },
      ProblemRecipe("snapshots: none is due", [max(1, n - 1)]),
    ]
  }

  private func trial(_ recipe: ProblemRecipe) throws -> Trial {
    let problem = try DrawnProblem(recipe, for: subject, seed: options.seed)
    let threads = options.threads
    var twice = KernelCall(problem: problem, threads: threads[0])
    // Any multiple will do.
    twice.snapshotEvery = 2 * every
    var calls = [
      KernelCall(problem: problem, threads: threads[0]),
      KernelCall(problem: problem, threads: threads[1 % threads.count], isFlush: true),
      KernelCall(problem: problem, threads: threads[0], layout: 1, isFlush: true),
    ]
    for place in calls.indices { calls[place].snapshotEvery = every }
    calls += [twice, KernelCall(problem: problem, threads: threads[0])]
    let prefixes = try Prefixes(problem, subject, every: every)
    let longer = try Prefixes(problem, subject, every: 2 * every)
    let bounds = Bounds(subject.type)
    return Trial(.accuracy, recipe.name, calls) { results in
      let plain = results[4]
      var checks = [
        Assessment.Check(
          .law, recipe.name, "the answer's bits with and without",
          holds: results.dropLast().allSatisfy {
            $0.output == plain.output && $0.finalState == plain.finalState
          }, detail: "bits differ"),
        Assessment.Check(
          .law, recipe.name, "equal states on any number of threads, in both layouts",
          holds: results[1].snapshots == results[0].snapshots
            && results[2].snapshots == results[0].snapshots, detail: "bits differ"),
      ]
      for (found, wanted, what) in [
        (results[0].snapshots, prefixes, "states"),
        (results[3].snapshots, longer, "states after twice as many tokens"),
      ] where !wanted.isEmpty {
        let error = try wanted.error(of: subject.type.sums.unpacked(found ?? []))
        checks += [
          Assessment.Check(
            .accuracy, recipe.name, what, error.whole, atMost: bounds.state,
            detail: error.detail),
          Assessment.Check(
            .accuracy, recipe.name, "\(what), worst head", error.worst, atMost: bounds.worstState,
            detail: error.detail),
        ]
      }
      return checks
    }
  }

  private func mistakes() throws -> [Trial] {
    let problem = try DrawnProblem(
      ProblemRecipe("snapshots: arguments", [every]), for: subject, seed: options.seed)
    var call = KernelCall(problem: problem)
    call.snapshotEvery = every
    var cases: [(String, Int32, @Sendable (inout ArgumentBlock) -> Void)] = [
      ("no place for the states", 2, { $0.missing = ["snapshots"] }),
      ("misaligned states", 6, { $0.misaligned = ["snapshots"] }),
      ("a negative number of tokens", 9, { $0.snapshotEvery = -1 }),
    ]
    let chunk = subject.plan.chunk
    if chunk > 1 {
      cases.append(
        ("a number of tokens that is no multiple of the chunk", 9, { $0.snapshotEvery = chunk + 1 })
      )
    }
    return cases.map { name, code, damage in
      .mistake("snapshots: \(name)", call, code, damage)
    }
  }
}
