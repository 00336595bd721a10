import Recurrences

/// A recurrence's trees as flat lists of vector instructions over numbered slots.
///
/// Equal sub-trees share a slot, and what does not depend on the query head stands in `shared`, so
/// that a group of query heads computes it once.
struct Program {
  /// A quantity of one token and head: where it comes from and how it varies.
  struct Slot {
    var axes: Axes
    var source: Source
    var dependsOnQuery = false

    enum Source: Equatable {
      case constant(Double)
      case input(Int)
      case scale
      /// A state variable's value before the token.
      case previous(Int)
      case computed
    }
  }

  struct Instruction {
    var operation: Operation
    var left: Int
    var right: Int?
    var result: Int

    enum Operation: Equatable {
      case unary(Expression.Unary)
      case binary(Expression.Binary)
      /// Over one axis, which the operand has.
      case sum(Axes)
      /// Of a vector of features, along the key axis.
      case monomials
      /// Repeats along the axes that the result has and the operand has not.
      case copy
    }
  }

  /// Instructions that run together: row by row over the state, or once.
  struct Run {
    var instructions: [Instruction]
    var isByRow: Bool
  }

  private(set) var slots: [Slot] = []
  /// Once a token and head.
  private(set) var shared: [Run] = []
  /// Once a token and query head.
  private(set) var perQuery: [Run] = []
  /// The slot of each state variable's value before the token, and after it.
  private(set) var previousStates: [Int] = []
  private(set) var nextStates: [Int] = []
  private(set) var output = 0

  private let recurrence: Recurrence
  private let shape: ProblemShape
  private var known: [Expression: Int] = [:]
  private var instructions: [Instruction] = []
  private var openStates: Set<Int> = []

  init(_ recurrence: Recurrence, _ shape: ProblemShape) throws(ReferenceError) {
    self.recurrence = recurrence
    self.shape = shape
    previousStates = recurrence.states.indices.map { index in
      add(Slot(axes: recurrence.states[index].axes, source: .previous(index)))
    }
    for index in recurrence.states.indices { nextStates.append(try next(index)) }
    output = try compile(recurrence.output)
    shared = schedule(instructions.filter { !slots[$0.result].dependsOnQuery })
    perQuery = schedule(instructions.filter { slots[$0.result].dependsOnQuery })
  }

  private mutating func add(_ slot: Slot) -> Int {
    slots.append(slot)
    return slots.count - 1
  }

  /// The slot of a state variable's value after the token: one that nothing else writes to.
  private mutating func next(_ index: Int) throws(ReferenceError) -> Int {
    let state = recurrence.states[index]
    let current = Expression.state(state.name, state.axes, previous: false)
    if let slot = known[current] { return slot }
    guard openStates.insert(index).inserted else {
      throw ReferenceError(reasons: ["The update of '\(state.name)' needs its own result."])
    }
    var slot = try compile(state.update)
    if slots[slot].source != .computed || slots[slot].axes != state.axes
      || nextStates.contains(slot)
    {
      slot = emit(.copy, slot, nil, state.axes)
    }
    known[current] = slot
    return slot
  }

  private mutating func emit(
    _ operation: Instruction.Operation, _ left: Int, _ right: Int?, _ axes: Axes
  ) -> Int {
    let depends =
      slots[left].dependsOnQuery || (right.map { slots[$0].dependsOnQuery } ?? false)
    let result = add(Slot(axes: axes, source: .computed, dependsOnQuery: depends))
    instructions.append(
      Instruction(operation: operation, left: left, right: right, result: result))
    return result
  }

  private mutating func compile(_ node: Expression) throws(ReferenceError) -> Int {
    if let slot = known[node] { return slot }
    let slot: Int
    switch node {
    case .constant(let value): slot = add(Slot(axes: .scalar, source: .constant(value)))
    case .input(Symbol.scale, _): slot = add(Slot(axes: .scalar, source: .scale))
    case .input(let name, _):
      guard let index = recurrence.inputs.firstIndex(where: { $0.name == name }) else {
        throw ReferenceError(reasons: ["'\(name)' is used and not declared."])
      }
      let depends = recurrence.inputs[index].role == .query
      slot = add(
        Slot(
          axes: recurrence.inputs[index].axes, source: .input(index), dependsOnQuery: depends))
    case .state(let name, _, let isPrevious):
      guard let index = recurrence.states.firstIndex(where: { $0.name == name }) else {
        throw ReferenceError(reasons: ["There is no state '\(name)'."])
      }
      slot = isPrevious ? previousStates[index] : try next(index)
    case .unary(let function, let operand):
      let only = try compile(operand)
      slot = emit(.unary(function), only, nil, slots[only].axes)
    case .binary(let function, let left, let right):
      let (first, second) = (try compile(left), try compile(right))
      let axes = slots[first].axes.union(slots[second].axes)
      slot = emit(.binary(function), first, second, axes)
    case .sum(let axes, let operand):
      var partial = try compile(operand)
      for axis in [Axes.key, .value, .feature] where axes.contains(axis) {
        partial = try sum(partial, over: axis)
      }
      slot = partial
    case .monomials(let operand):
      var features = try compile(operand)
      if slots[features].axes != .feature { features = emit(.copy, features, nil, .feature) }
      slot = emit(.monomials, features, nil, .key)
    }
    known[node] = slot
    return slot
  }

  private mutating func sum(_ operand: Int, over axis: Axes) throws(ReferenceError) -> Int {
    let axes = slots[operand].axes
    guard axes.contains(axis) else {
      // What does not vary along an axis is added up once for each of its places.
      let places = try compile(.constant(Double(shape.count(axis))))
      return emit(.binary(.multiply), operand, places, axes)
    }
    return emit(.sum(axis), operand, nil, axes.subtracting(axis))
  }
}

extension Program {
  /// Groups instructions so that all that touch a K x V quantity run row by row, with the rows in
  /// cache: a stage is even for vectors and odd for rows, and a sum over rows ends its stage.
  private func schedule(_ instructions: [Instruction]) -> [Run] {
    var stages: [Int: (stage: Int, isWhole: Bool)] = [:]
    var runs: [Int: [Instruction]] = [:]
    for instruction in instructions {
      let operands = [instruction.left] + (instruction.right.map { [$0] } ?? [])
      let isByRow = (operands + [instruction.result]).contains { slots[$0].axes == .keyValue }
      var stage = isByRow ? 1 : 0
      for operand in operands {
        guard let ready = stages[operand] else { continue }
        let isOdd = ready.stage % 2 == 1
        if isByRow {
          let wait = isOdd ? (ready.isWhole ? 2 : 0) : 1
          stage = max(stage, ready.stage + wait)
        } else {
          stage = max(stage, ready.stage + (isOdd ? 1 : 0))
        }
      }
      stages[instruction.result] = (stage, isByRow && slots[instruction.result].axes != .keyValue)
      runs[stage, default: []].append(instruction)
    }
    return runs.keys.sorted().map { Run(instructions: runs[$0] ?? [], isByRow: $0 % 2 == 1) }
  }
}
