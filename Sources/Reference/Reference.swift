import Recurrences

/// The independent truth: a recurrence as it is written, token by token, in Double.
///
/// It reads the updates and the output, never the normal form, so that a wrong derivation cannot
/// hide in it. All states of a token are computed from the values before it. A query head reads the
/// key/value head `head / (queryHeads / heads)`.
public struct Reference: Sendable {
  public let recurrence: Recurrence
  public let shape: ProblemShape

  public init(_ recurrence: Recurrence, shape: ProblemShape) {
    self.recurrence = recurrence
    self.shape = shape
  }

  /// Walks all tokens of all sequences and heads.
  ///
  /// - Throws: `ReferenceError` when the recurrence is wrong or the arguments do not fit it.
  public func forward(_ arguments: Arguments) throws(ReferenceError) -> Result {
    let walk = try Walk(recurrence, shape, arguments)
    let machine = walk.machine, program = machine.program
    let output = machine.allocate(shape.outputCount)
    let finals = recurrence.states.map { machine.allocate(shape.count($0)) }
    for (index, sequence) in shape.sequences.enumerated() {
      for head in 0..<shape.heads {
        walk.point(at: head)
        for (state, slot) in program.previousStates.enumerated() {
          let size = walk.stateSizes[state]
          machine.places[slot].update(
            from: walk.initial(state, index, head), count: size)
        }
        for token in sequence.tokens {
          walk.point(at: sequence.batch, token, head)
          machine.run(program.shared)
          for queryHead in walk.group(head) {
            walk.point(at: sequence.batch, token, queryHead: queryHead)
            machine.run(program.perQuery)
            let place = walk.outputOffset(sequence.batch, token, queryHead)
            (output + place).update(
              from: machine.places[program.output], count: shape.value)
          }
          // What was after this token is before the next one.
          for (before, after) in zip(program.previousStates, program.nextStates) {
            machine.places.swapAt(before, after)
          }
        }
        for (state, slot) in program.previousStates.enumerated() {
          let size = walk.stateSizes[state]
          (finals[state] + (index * shape.heads + head) * size).update(
            from: machine.places[slot], count: size)
        }
      }
    }
    return Result(
      output: walk.array(output, shape.outputCount),
      finalStates: walk.byName(recurrence.states.map { ($0.name, shape.count($0)) }, finals))
  }
}

/// A call's memory, and where in it a token's quantities are.
struct Walk {
  let machine: Machine
  let stateSizes: [Int]
  private let shape: ProblemShape
  private let inputs: [UnsafeMutablePointer<Double>]
  private let initials: [UnsafeMutablePointer<Double>]
  /// Slots of inputs, with the input's number, its size for a token and its role.
  let leaves: [Leaf]

  struct Leaf {
    var slot: Int
    var input: Int
    var size: Int
    var role: Recurrence.Input.Role
  }

  init(
    _ recurrence: Recurrence, _ shape: ProblemShape, _ arguments: Arguments
  ) throws(ReferenceError) {
    let problems = arguments.problems(for: recurrence, shape)
    guard problems.isEmpty else { throw ReferenceError(reasons: problems) }
    let program = try Program(recurrence, shape)
    let machine = Machine(program, shape, scale: arguments.scale)
    self.machine = machine
    self.shape = shape
    stateSizes = recurrence.states.map { shape.count($0.axes) }
    inputs = recurrence.inputs.map { machine.hold(arguments.inputs[$0.name] ?? []) }
    initials = recurrence.states.map { state in
      arguments.initialStates[state.name].map(machine.hold)
        ?? machine.allocate(shape.count(state))
    }
    leaves = program.slots.indices.compactMap { slot in
      guard case .input(let input) = program.slots[slot].source else { return nil }
      return Leaf(
        slot: slot, input: input, size: shape.count(program.slots[slot].axes),
        role: recurrence.inputs[input].role)
    }
  }

  /// The query heads that read a head.
  func group(_ head: Int) -> Range<Int> {
    let size = shape.queryHeads / shape.heads
    return head * size..<(head + 1) * size
  }

  /// Where a leaf's numbers for a token begin; `head` counts query heads where the leaf is a query.
  func offset(_ leaf: Leaf, _ batch: Int, _ token: Int, _ head: Int) -> Int {
    switch leaf.role {
    case .parameter: head * leaf.size
    case .query: ((batch * shape.length + token) * shape.queryHeads + head) * leaf.size
    case .operand, .gate: ((batch * shape.length + token) * shape.heads + head) * leaf.size
    }
  }

  func outputOffset(_ batch: Int, _ token: Int, _ queryHead: Int) -> Int {
    ((batch * shape.length + token) * shape.queryHeads + queryHead) * shape.value
  }

  func initial(_ state: Int, _ sequence: Int, _ head: Int) -> UnsafeMutablePointer<Double> {
    initials[state] + (sequence * shape.heads + head) * stateSizes[state]
  }

  /// Points the slots of parameters at a head.
  func point(at head: Int) {
    for leaf in leaves where leaf.role == .parameter {
      machine.places[leaf.slot] = inputs[leaf.input] + offset(leaf, 0, 0, head)
    }
  }

  /// Points the slots of operands and gates at a token.
  func point(at batch: Int, _ token: Int, _ head: Int) {
    for leaf in leaves where leaf.role == .operand || leaf.role == .gate {
      machine.places[leaf.slot] = inputs[leaf.input] + offset(leaf, batch, token, head)
    }
  }

  /// Points the slots of queries at a token.
  func point(at batch: Int, _ token: Int, queryHead: Int) {
    for leaf in leaves where leaf.role == .query {
      machine.places[leaf.slot] = inputs[leaf.input] + offset(leaf, batch, token, queryHead)
    }
  }

  func array(_ place: UnsafeMutablePointer<Double>, _ count: Int) -> [Double] {
    Array(UnsafeBufferPointer(start: place, count: count))
  }

  func byName(
    _ names: [(String, Int)], _ places: [UnsafeMutablePointer<Double>]
  ) -> [String: [Double]] {
    var arrays: [String: [Double]] = [:]
    for ((name, count), place) in zip(names, places) { arrays[name] = array(place, count) }
    return arrays
  }
}
