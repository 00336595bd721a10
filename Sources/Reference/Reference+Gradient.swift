import Recurrences

extension Reference {
  /// The gradient by reverse mode over the walk: first all tokens with every state kept
  /// (T * K * V numbers for a head at a time), then back through them.
  ///
  /// - Parameters:
  ///   - output: the adjoint of the output, [B, T, query heads, V].
  ///   - finalStates: the adjoints of final states, by state variable; zero where missing.
  ///   - holdsNorms: whether square roots count as constants. The adjoint behind a norm is a difference,
  ///     x / |x| having what moves x and what moves |x|; this is the first of the two.
  /// - Throws: `ReferenceError` when the recurrence is wrong or a tensor does not fit it.
  public func gradient(
    _ arguments: Arguments, output: [Double], finalStates: [String: [Double]] = [:],
    holdsNorms: Bool = false
  ) throws(ReferenceError) -> Gradient {
    var problems = Arguments.problems(
      of: finalStates, called: "final state's adjoint", for: recurrence, shape)
    if output.count != shape.outputCount {
      problems.append(
        "The output's adjoint has \(output.count) numbers, and needs \(shape.outputCount).")
    }
    guard problems.isEmpty else { throw ReferenceError(reasons: problems) }
    let back = BackwardWalk(
      try Walk(recurrence, shape, arguments), recurrence, shape, output: output,
      finalStates: finalStates, holdsNorms: holdsNorms)
    for (index, sequence) in shape.sequences.enumerated() {
      for head in 0..<shape.heads { back.visit(index, sequence, head) }
    }
    return back.gradient()
  }
}

/// A walk, the adjoints that go with it, and where they add up.
private struct BackwardWalk {
  let walk: Walk
  let adjoints: Adjoints
  let recurrence: Recurrence
  let shape: ProblemShape
  let output: UnsafeMutablePointer<Double>
  let finals: [UnsafeMutablePointer<Double>]
  /// What comes out: adjoints of inputs and of initial states.
  let inputs: [UnsafeMutablePointer<Double>]
  let initials: [UnsafeMutablePointer<Double>]
  /// Every state variable before the first token and after each token of one sequence.
  let history: [UnsafeMutablePointer<Double>]
  /// Two places for each state's adjoint: of the value after a token, and before it.
  let carries: [(UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>)]

  init(
    _ walk: Walk, _ recurrence: Recurrence, _ shape: ProblemShape, output: [Double],
    finalStates: [String: [Double]], holdsNorms: Bool
  ) {
    let machine = walk.machine
    self.walk = walk
    self.recurrence = recurrence
    self.shape = shape
    adjoints = Adjoints(machine, holdsNorms: holdsNorms)
    self.output = machine.hold(output)
    finals = recurrence.states.map { state in
      finalStates[state.name].map(machine.hold) ?? machine.allocate(shape.count(state))
    }
    inputs = recurrence.inputs.map { machine.allocate(shape.count($0)) }
    initials = recurrence.states.map { machine.allocate(shape.count($0)) }
    let longest = shape.sequences.map(\.tokens.count).max() ?? 0
    history = walk.stateSizes.map { machine.allocate((longest + 1) * $0) }
    carries = walk.stateSizes.map { (machine.allocate($0), machine.allocate($0)) }
  }

  func visit(_ index: Int, _ sequence: ProblemShape.Sequence, _ head: Int) {
    let (machine, program) = (walk.machine, walk.machine.program)
    walk.point(at: head)
    for leaf in walk.leaves where leaf.role == .parameter {
      adjoints.places[leaf.slot] = inputs[leaf.input] + walk.offset(leaf, 0, 0, head)
    }
    for (state, size) in walk.stateSizes.enumerated() {
      history[state].update(from: walk.initial(state, index, head), count: size)
    }
    for (step, token) in sequence.tokens.enumerated() {
      prepare(step)
      walk.point(at: sequence.batch, token, head)
      machine.run(program.shared)
    }
    var carries = carries
    for (state, size) in walk.stateSizes.enumerated() {
      let final = finals[state] + (index * shape.heads + head) * size
      carries[state].0.update(from: final, count: size)
    }
    for (step, token) in sequence.tokens.enumerated().reversed() {
      prepare(step)
      for (state, size) in walk.stateSizes.enumerated() {
        adjoints.places[program.previousStates[state]] = carries[state].1
        carries[state].1.update(repeating: 0, count: size)
      }
      reverse(sequence.batch, token, head, carries.map(\.0))
      carries = carries.map { ($0.1, $0.0) }
    }
    for (state, size) in walk.stateSizes.enumerated() {
      (initials[state] + (index * shape.heads + head) * size).update(
        from: carries[state].0, count: size)
    }
  }

  /// Points the states' slots into the history, before and after the token at `step`.
  private func prepare(_ step: Int) {
    for (state, size) in walk.stateSizes.enumerated() {
      walk.machine.places[walk.machine.program.previousStates[state]] =
        history[state] + step * size
      walk.machine.places[walk.machine.program.nextStates[state]] =
        history[state] + (step + 1) * size
    }
  }

  private func reverse(
    _ batch: Int, _ token: Int, _ head: Int, _ after: [UnsafeMutablePointer<Double>]
  ) {
    let (machine, program) = (walk.machine, walk.machine.program)
    walk.point(at: batch, token, head)
    for leaf in walk.leaves where leaf.role == .operand || leaf.role == .gate {
      adjoints.places[leaf.slot] = inputs[leaf.input] + walk.offset(leaf, batch, token, head)
    }
    machine.run(program.shared)
    adjoints.clear(program.shared)
    for (state, size) in walk.stateSizes.enumerated() {
      adjoints.places[program.nextStates[state]].update(from: after[state], count: size)
    }
    for queryHead in walk.group(head) {
      walk.point(at: batch, token, queryHead: queryHead)
      for leaf in walk.leaves where leaf.role == .query {
        adjoints.places[leaf.slot] =
          inputs[leaf.input] + walk.offset(leaf, batch, token, queryHead)
      }
      machine.run(program.perQuery)
      adjoints.clear(program.perQuery)
      let given = output + walk.outputOffset(batch, token, queryHead)
      for column in 0..<shape.value { adjoints.places[program.output][column] += given[column] }
      adjoints.run(program.perQuery)
    }
    adjoints.run(program.shared)
  }

  func gradient() -> Gradient {
    let scale = walk.machine.program.slots.indices.filter {
      walk.machine.program.slots[$0].source == .scale
    }
    return Gradient(
      inputs: walk.byName(recurrence.inputs.map { ($0.name, shape.count($0)) }, inputs),
      scale: scale.reduce(0) { $0 + adjoints.places[$1].pointee },
      initialStates: walk.byName(
        recurrence.states.map { ($0.name, shape.count($0)) }, initials))
  }
}
