import Recurrences
import Reference
import TileIR

/// Trials of the `backward` entry: against the reference's gradient, with the forward call's states
/// and without, the same bits on any number of threads, other heads' numbers left alone, and bad
/// arguments.
struct GradientTrials: Sendable {
  let subject: Subject
  let options: VerifyOptions

  var all: [Trial] {
    get throws {
      // Around the gradient's own chunk: that of the forward plan may be another.
      let chunk = max(subject.backward?.chunk ?? subject.plan.chunk, 8)
      var recipes = ProblemRecipe.essential(chunk: chunk)
      if options.effort == .full { recipes += ProblemRecipe.thorough(chunk: chunk) }
      return try recipes.map { try accuracy($0) } + [try independence(chunk)] + (try mistakes)
    }
  }

  /// Tokens between the states that a forward call brings the gradient; nil where it takes none.
  private var statesEvery: Int? { subject.backward?.savedEvery }

  private func draw(_ recipe: ProblemRecipe) throws -> DrawnGradient {
    let problem = try DrawnProblem(recipe, for: subject, seed: options.seed)
    return DrawnGradient(problem, subject, seed: options.seed)
  }

  private func call(
    _ drawn: DrawnGradient, threads: Int = 0, isFlush: Bool = false, layout: Int = 0
  )
    -> KernelCall
  {
    KernelCall(
      problem: drawn.problem, gradient: drawn,
      threads: options.threads[threads % options.threads.count], layout: layout, isFlush: isFlush)
  }

  private func accuracy(_ recipe: ProblemRecipe) throws -> Trial {
    let drawn = try draw(recipe)
    var calls = [
      call(drawn), call(drawn, threads: 1, isFlush: true),
      call(drawn, threads: 2, isFlush: true, layout: 1),
    ]
    let alone = calls.count
    if let statesEvery {
      let bringing = try drawn.bringingStates(every: statesEvery, subject)
      calls += [
        call(bringing), call(bringing, threads: 1, isFlush: true),
        call(bringing, threads: 2, layout: 1),
      ]
    }
    let name = "gradient: \(recipe.name)"
    return Trial(.accuracy, name, calls) { [subject, calls] results in
      // Below the normal numbers of its sums a kernel may have zeros (docs/numerics.md).
      let smallest = subject.type.sums.smallest
      let expected = try drawn.expected(subject).mapValues { numbers in
        numbers.map { abs($0) < smallest ? 0 : $0 }
      }
      // docs/numerics.md says why what stands behind a norm is measured so.
      let terms =
        subject.recurrence.hasNorm ? try drawn.expected(subject, holdsNorms: true) : [:]
      var checks = expected.keys.sorted().map { input in
        Self.check(
          name, input, expected[input]!, terms[input] ?? [], results, drawn.problem.shape, subject)
      }
      for first in stride(from: 0, to: calls.count, by: alone) {
        checks.append(
          Assessment.Check(
            .law, name, "equal bits on \(calls[0].threads) and \(calls[1].threads) threads",
            holds: results[first].adjoints == results[first + 1].adjoints,
            detail: first == 0 ? "adjoints differ" : "adjoints from given states differ"))
      }
      return checks
    }
  }

  /// The worst error of one adjoint over the calls, as a whole and of one sequence and head.
  private static func check(
    _ name: String, _ input: String, _ expected: [Double], _ terms: [Double],
    _ results: [CallResult], _ shape: ProblemShape, _ subject: Subject
  ) -> Assessment.Check {
    let bounds = Bounds(subject.type)
    let own = subject.recurrence.input(input)
    let type = own.map(subject.elementType) ?? subject.type.sums
    let isGate = own.map { $0.role == .gate || $0.role == .parameter } ?? false
    let groups = shape.groups(of: own, count: expected.count)
    let errors = results.map {
      TensorError(
        type.unpacked($0.adjoints[input] ?? []), expected, groups: groups, terms: terms)
    }
    let error = errors.max { $0.rank < $1.rank }!
    return Assessment.Check(
      .accuracy, name, "d \(input)", error.rank,
      atMost: isGate ? bounds.gateGradient : bounds.gradient,
      floor: roundingFloor(of: expected, as: type), detail: error.detail)
  }

  /// What one head is given changes no bit of another's adjoints.
  private func independence(_ chunk: Int) throws -> Trial {
    let drawn = try draw(
      ProblemRecipe("gradient, one head alone", [chunk + chunk / 2]).with {
        $0.heads = 2
        $0.hasInitialState = true
      })
    var changed = drawn
    changed.problem = drawn.problem.changing(head: 1, ofSequence: 0, from: 0, subject) { input in
      input.role == .operand ? 3 : nil
    }
    let shape = drawn.problem.shape
    return Trial(.law, "gradient", [call(drawn), call(changed, threads: 1)]) { [subject] results in
      let holds = subject.recurrence.inputs.allSatisfy { input in
        let groups = shape.groups(of: input, count: shape.count(input))
        let size = subject.elementType(of: input).size
        let own = groups.filter { $0.name.hasSuffix("head 0") }.flatMap(\.ranges)
        return own.allSatisfy { range in
          let bytes = range.lowerBound * size..<range.upperBound * size
          return results[0].adjoints[input.name]?[bytes] == results[1].adjoints[input.name]?[bytes]
        }
      }
      return [
        Assessment.Check(
          .law, "gradient", "another head's keys and values move no bit of a head", holds: holds,
          detail: "head 0 changed with head 1")
      ]
    }
  }

  /// Bad arguments, one at a time, and the code that each must give.
  private var mistakes: [Trial] {
    get throws {
      let drawn = try draw(
        ProblemRecipe("gradient's arguments", [5]).with { $0.hasInitialState = true })
      let first = subject.recurrence.inputs.first { $0.role != .parameter }!.name
      let damages: [(String, Int32, @Sendable (inout ArgumentBlock) -> Void)] = [
        ("another ABI", 1, { $0.abi = 2 }),
        ("another struct size", 1, { $0.size -= 8 }),
        ("no \(first)", 2, { $0.missing = [first] }),
        ("no adjoint of o", 2, { $0.missing = ["d_o"] }),
        ("no place for the adjoint of \(first)", 2, { $0.missing = ["d_\(first)"] }),
        ("query heads that are no multiple", 3, { $0.queryHeads = 3 }),
        ("a workspace too small", 5, { $0.workspaceSize -= 1 }),
        ("a misaligned adjoint of o", 6, { $0.misaligned = ["d_o"] }),
        ("a misaligned adjoint of the final state", 6, { $0.misaligned = ["d_final_state"] }),
        ("an unknown layout", 7, { $0.layout = 2 }),
      ]
      let trials: [Trial] = damages.map { name, code, damage in
        .mistake("gradient: \(name)", call(drawn), code, damage)
      }
      guard let statesEvery else { return trials }
      let bringing = try drawn.bringingStates(every: statesEvery, subject)
      return trials + [
        .mistake("gradient: misaligned states", call(bringing), 6) {
          $0.misaligned = [TensorName.states]
        }
      ]
    }
  }
}

extension ProblemShape {
  /// An adjoint's elements by sequence and head; of a parameter by head; of the initial state by both.
  fileprivate func groups(of input: Recurrence.Input?, count: Int) -> [Group] {
    guard let input, input.role != .parameter else {
      let owners = input == nil ? sequences.count * heads : heads
      let size = count / max(1, owners)
      return (0..<owners).map {
        Group(name: "head \($0 % heads)", ranges: [$0 * size..<($0 + 1) * size])
      }
    }
    let own = input.role == .query ? queryHeads : heads
    let width = self.count(input.axes)
    return sequences.enumerated().flatMap { index, sequence in
      (0..<own).map { head in
        Group(
          name: "sequence \(index), head \(head)",
          ranges: sequence.tokens.map { token in
            let start = ((sequence.batch * length + token) * own + head) * width
            return start..<start + width
          })
      }
    }
  }
}

extension Recurrence {
  /// Whether something is divided by its own length.
  fileprivate var hasNorm: Bool {
    ([output] + states.map(\.update)).contains { map in
      map.contains { if case .unary(.sqrt, _) = $0 { true } else { false } }
    }
  }
}
