import Recurrences
import Reference
import TileIR

/// Trials of the kernel against itself: what must hold whatever the reference says.
struct LawTrials: Sendable {
  let subject: Subject
  let options: VerifyOptions
  let bounds: Bounds

  init(_ subject: Subject, _ options: VerifyOptions) {
    self.subject = subject
    self.options = options
    bounds = Bounds(subject.type)
  }

  var chunk: Int { max(subject.plan.chunk, 8) }

  var all: [Trial] {
    get throws {
      try causality() + [try notANumber(), try company(), try split()]
        + [try linearity(), try withoutGates()].compactMap { $0 } + threads()
    }
  }

  /// Two rows, two heads, grouped, with a tail: what most laws are tried on.
  func base(
    _ name: String, _ gates: GateRegime = .mixed,
    _ change: (inout ProblemRecipe) -> Void = { _ in }
  ) throws -> DrawnProblem {
    let recipe = ProblemRecipe(name, [2 * chunk + chunk / 2 + 1]).with {
      $0.batch = 2
      $0.group = 2
      $0.gates = gates
      $0.hasInitialState = true
      change(&$0)
    }
    return try DrawnProblem(recipe, for: subject, seed: options.seed)
  }

  func call(_ problem: DrawnProblem) -> KernelCall {
    KernelCall(problem: problem, threads: options.threads.last!)
  }

  // MARK: In company and alone

  /// Rows, packed sequences and heads give the same bits alone as among others.
  func company() throws -> Trial {
    let C = chunk
    let recipe = ProblemRecipe("in company", [C + 3, 0, 1, 2 * C - 1]).with {
      $0.gates = .mixed
      $0.hasInitialState = true
      $0.group = 2
    }
    let packed = try DrawnProblem(recipe, for: subject, seed: options.seed)
    let rows = try base("rows in company")
    let subject = subject
    let alone = try [
      packed.sequence(0, subject), packed.sequence(2, subject), packed.sequence(3, subject),
    ]
    let row = try rows.sequence(1, subject)
    let head = try rows.head(1, subject)
    let size = subject.type.size
    return Trial(.law, "in company", ([packed, rows] + alone + [row, head]).map(call)) { results in
      func check(
        _ what: String, _ whole: Int, _ part: Int, _ owners: [(sequence: Int, head: Int)]
      ) -> Assessment.Check {
        let problem = whole == 0 ? packed : rows
        let own = owners.map { owner in
          problem.outputBytes(
            ofSequence: owner.sequence, head: owner.head, tokens: 0..<Int.max, elementSize: size)
        }
        let bytes = Set(own.flatMap { $0 }).sorted { $0.lowerBound < $1.lowerBound }
          .flatMap { results[whole].output[$0] }
        let states = owners.flatMap { owner in
          results[whole].finalState![
            problem.stateBytes(
              ofSequence: owner.sequence, head: owner.head, subject)]
        }
        let isEqual = bytes == results[part].output && states == results[part].finalState
        return Assessment.Check(
          .law, "in company", "\(what), bit for bit", holds: isEqual, detail: "bits differ")
      }
      func all(_ sequence: Int) -> [(sequence: Int, head: Int)] {
        (0..<packed.shape.heads).map { (sequence, $0) }
      }
      return [
        check("a packed sequence alone and among others", 0, 2, all(0)),
        check("a packed token alone and among others", 0, 3, all(2)),
        check("the last packed sequence alone and among others", 0, 4, all(3)),
        check("a batch row alone and among others", 1, 5, all(1)),
        check(
          "a head alone and among others", 1, 6, [(sequence: 0, head: 1), (sequence: 1, head: 1)]),
      ]
    }
  }

  // MARK: Threads

  /// Enough work that several threads are at it together: what they wrongly share shows here. And long walks,
  /// few enough that threads hand them to each other, with short and empty ones among them.
  func threads() throws -> [Trial] {
    let counts = Set(options.threads).union([4]).subtracting([1]).sorted()
    guard options.threads.contains(where: { $0 > 1 }) else { return [] }
    let (batch, heads) = (4, 8)
    let wanted = Int(1e7) / (batch * heads * subject.key * subject.value)
    let many = ProblemRecipe("many threads", [max(chunk + 1, min(wanted, 1500))]).with {
      $0.batch = batch
      $0.heads = heads
    }
    let long = ProblemRecipe("long walks", [3, 0, 3 * Stretch.sequence + chunk + 1])
    return try [many, long].map { recipe in
      let recipe = recipe.with {
        $0.hasInitialState = true
        $0.gates = .mild
      }
      let problem = try DrawnProblem(recipe, for: subject, seed: options.seed)
      let calls = ([1] + counts).map { KernelCall(problem: problem, threads: $0) }
      return Trial(.law, problem.name, calls) { results in
        zip(counts, results.dropFirst()).map { count, result in
          Assessment.Check(
            .law, problem.name, "the bits of one thread on \(count) threads",
            holds: result.output == results[0].output && result.finalState == results[0].finalState,
            detail: "bits differ")
        }
      }
    }
  }

  // MARK: Splitting

  /// Stopping in the middle of a chunk and going on from the state gives the whole.
  func split() throws -> Trial {
    let whole = try base("split")
    let length = whole.shape.length
    let place = chunk + chunk / 2 - 1
    let first = try whole.tokens(0..<place, subject)
    let second = try whole.tokens(place..<length, subject)
    let (subject, bounds, call) = (subject, bounds, call)
    return Trial(.law, "split", [whole, first].map(call)) { _ in
      []
    } next: { results in
      var rest = second
      rest.initialState = results[1].finalStateNumbers(subject.type)
      return Trial(.law, "split", [call(rest)]) { [rest] continued in
        let type = subject.type
        let shape = whole.shape
        var joined = Array(repeating: 0.0, count: shape.outputCount)
        for (part, numbers, tokens) in [
          (first, results[1].outputNumbers(type), 0..<place),
          (rest, continued[0].outputNumbers(type), place..<length),
        ] {
          let row = shape.queryHeads * shape.value
          for batch in 0..<shape.batch {
            let from = batch * part.shape.length * row
            let to = (batch * length + tokens.lowerBound) * row
            joined.replaceSubrange(
              to..<to + tokens.count * row, with: numbers[from..<from + tokens.count * row])
          }
        }
        let output = TensorError(
          joined, results[0].outputNumbers(type), groups: shape.outputGroups)
        let state = TensorError(
          continued[0].finalStateNumbers(subject.type) ?? [],
          results[0].finalStateNumbers(subject.type) ?? [],
          groups: shape.stateGroups(columns: subject.stateColumns))
        // Both sides have the kernel's error.
        return [
          Assessment.Check(
            .law, "split", "carrying the state over gives the whole: o", output.rank,
            atMost: 1.5 * bounds.worstOutput, detail: output.detail),
          Assessment.Check(
            .law, "split", "carrying the state over gives the whole: state", state.rank,
            atMost: 1.5 * bounds.worstState, detail: state.detail),
        ]
      }
    }
  }
}
