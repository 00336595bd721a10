import Recurrences
import Reference

extension LawTrials {
  /// A later token or gate, however extreme, moves earlier outputs by rounding at most, and other
  /// heads, rows and sequences not by a bit.
  func causality() throws -> [Trial] {
    let C = chunk
    let recipe = ProblemRecipe("causality", [2 * C + C / 2 + 1, C, 3]).with {
      $0.gates = .mild
      $0.hasInitialState = true
      $0.group = 2
    }
    let packed = try DrawnProblem(recipe, for: subject, seed: options.seed)
    // Earlier queries so large that their scores on a later key of 1e30 overflow: these are masked,
    // and must not come back as 0 * inf.
    let rows = try base("causality in rows", .mild) {
      $0.magnitudes.query = subject.type == .f16 ? 1 : 1e10
    }
    let huge = subject.type == .f16 ? 6e4 : 1e30
    let gates = Dictionary(
      uniqueKeysWithValues: subject.recurrence.inputs.filter { $0.role == .gate }.map {
        ($0.name, GateProbe(subject, $0).reset(isInfinite: true))
      })
    var list: [(String, @Sendable (Recurrence.Input) -> Double?)] = [
      (
        "q, k and v at \(huge)",
        { input in input.role == .query || input.role == .operand ? huge : nil }
      )
    ]
    if !gates.isEmpty {
      list.insert(("gates that forget everything", { gates[$0.name] }), at: 0)
      list.append(("all at once", { gates[$0.name] ?? ($0.role == .parameter ? nil : huge) }))
    }
    let changes = list
    return [(packed, 0, 1), (rows, 1, 1)].map { problem, sequence, head in
      let places = [C + C / 2, C + 1, 2]
      let subject = subject
      let changed = zip(changes, places).map { change, place in
        problem.changing(
          head: head, ofSequence: sequence, from: place, subject, change.1)
      }
      return Trial(.law, problem.name, ([problem] + changed).map(alone)) { [bounds] results in
        let judge = ReachJudge(
          subject: subject, problem: problem, sequence: sequence, head: head)
        return zip(zip(changes, places), results.dropFirst()).flatMap { change, result in
          judge.checks(
            "later \(change.0.0)", results[0], result, before: change.1,
            atMost: bounds.causality)
        }
      }
    }
  }

  /// On one thread, where every head's work comes after another's in the same memory: what is left
  /// there must not matter.
  private func alone(_ problem: DrawnProblem) -> KernelCall {
    KernelCall(problem: problem, threads: 1)
  }

  /// NaN in an input of one head reaches no other head, row or sequence, nor earlier chunks.
  func notANumber() throws -> Trial {
    let recipe = ProblemRecipe("NaN", [3 * chunk - 2, 2 * chunk]).with {
      $0.gates = .mild
      $0.hasInitialState = true
      $0.group = 2
    }
    let problem = try DrawnProblem(recipe, for: subject, seed: options.seed)
    let names = subject.recurrence.inputs.filter { $0.role != .parameter }.map(\.name)
    // Inside the second chunk; the judge takes that chunk's own tokens out.
    let place = chunk + chunk / 2
    let subject = subject
    let chunkStart = place / subject.plan.chunk * subject.plan.chunk
    // The first of all heads, before which nothing runs, and the last, after which the next phase's
    // first comes.
    let changes = names.flatMap { name in [(name, 0, 0), (name, 1, 1)] }
    let changed = changes.map { name, sequence, head in
      problem.changing(head: head, ofSequence: sequence, from: place, count: 1, subject) {
        $0.name == name ? .nan : nil
      }
    }
    return Trial(.law, "NaN", ([problem] + changed).map(alone)) { results in
      zip(changes, results.dropFirst()).flatMap { change, result in
        ReachJudge(subject: subject, problem: problem, sequence: change.1, head: change.2).checks(
          "NaN in \(change.0) of the \(change.1 == 0 ? "first" : "last") head", results[0], result,
          before: chunkStart, atMost: 0)
      }
    }
  }
}

/// How far a change in one head of one sequence reaches.
struct ReachJudge {
  let subject: Subject
  let problem: DrawnProblem
  let sequence: Int
  let head: Int

  func checks(
    _ what: String, _ before: CallResult, _ after: CallResult, before token: Int,
    atMost bound: Double
  ) -> [Assessment.Check] {
    var earlier: [Double] = []
    var earlierChanged: [Double] = []
    var strangers = 0
    let size = subject.type.size
    for index in problem.shape.sequences.indices {
      for other in 0..<problem.shape.heads {
        let isOwn = index == sequence && other == head
        let ranges = problem.outputBytes(
          ofSequence: index, head: other, tokens: 0..<(isOwn ? token : Int.max), elementSize: size)
        for range in ranges {
          if isOwn {
            earlier += subject.type.unpacked(Array(before.output[range]))
            earlierChanged += subject.type.unpacked(Array(after.output[range]))
          } else if before.output[range] != after.output[range] {
            strangers += 1
          }
        }
        guard !isOwn else { continue }
        let state = problem.stateBytes(
          ofSequence: index, head: other, subject)
        if before.finalState?[state] != after.finalState?[state] { strangers += 1 }
      }
    }
    return [
      Assessment.Check(
        .law, problem.name, "\(what): earlier outputs of the head",
        rmsRatio(earlierChanged, earlier),
        atMost: bound, detail: "they moved"),
      Assessment.Check(
        .law, problem.name, "\(what): other heads, rows and sequences, bit for bit",
        holds: strangers == 0, detail: "\(strangers) rows of others changed"),
    ]
  }
}
