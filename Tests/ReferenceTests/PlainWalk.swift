import Recurrences
import Reference
import TestSupport

/// The recurrence by the plainest recursion, with no program and no slots: what the reference's
/// machine is held to. Slow, for small problems.
struct PlainWalk {
  var recurrence: Recurrence
  var shape: ProblemShape
  var arguments: Arguments

  /// Where an expression is evaluated, and the states that it sees.
  private struct Place {
    var sequence: Int
    var batch: Int
    var token: Int
    var head: Int
    var queryHead: Int
    var before: [String: [Double]]
    var after: [String: [Double]]
  }

  /// The output, [B, T, query heads, V], and the final states.
  func run() -> (output: [Double], finalStates: [String: [Double]]) {
    var output = [Double](repeating: 0, count: shape.outputCount)
    var states: [String: [Double]] = [:]
    for state in recurrence.states {
      states[state.name] =
        arguments.initialStates[state.name] ?? .init(repeating: 0, count: shape.count(state))
    }
    for (index, sequence) in shape.sequences.enumerated() {
      for (head, token) in (0..<shape.heads).flatMap({ head in sequence.tokens.map { (head, $0) } })
      {
        var place = Place(
          sequence: index, batch: sequence.batch, token: token, head: head, queryHead: -1,
          before: states, after: [:])
        for state in recurrence.states {
          // An update may read new values of states that were declared before its own.
          place.after = states
          let first = (index * shape.heads + head) * shape.count(state.axes)
          for row in 0..<(state.axes.contains(.key) ? shape.key : 1) {
            for column in 0..<(state.axes.contains(.value) ? shape.value : 1) {
              states[state.name]?[first + offset(state.axes, row, column)] =
                evaluate(state.update, row, column, place)
            }
          }
        }
        place.after = states
        let group = shape.queryHeads / shape.heads
        for queryHead in head * group..<(head + 1) * group {
          place.queryHead = queryHead
          let row = (sequence.batch * shape.length + token) * shape.queryHeads + queryHead
          for column in 0..<shape.value {
            output[row * shape.value + column] = evaluate(recurrence.output, 0, column, place)
          }
        }
      }
    }
    return (output, states)
  }

  private func evaluate(_ tree: Expression, _ row: Int, _ column: Int, _ place: Place) -> Double {
    tree.value(row, column, key: shape.key, value: shape.value) { node, row, column in
      look(node, row, column, place) ?? .nan
    }
  }

  private func offset(_ axes: Axes, _ row: Int, _ column: Int) -> Int {
    switch axes {
    case .keyValue: row * shape.value + column
    case .key, .feature: row
    case .value: column
    default: 0
    }
  }

  private func look(
    _ node: Expression, _ row: Int, _ column: Int, _ place: Place
  ) -> Double? {
    let token = place.batch * shape.length + place.token
    switch node {
    case .input(Symbol.scale, _): return arguments.scale
    case .input(let name, let axes):
      guard let input = recurrence.input(name) else { return nil }
      let line =
        switch input.role {
        case .parameter: place.head
        case .query: token * shape.queryHeads + place.queryHead
        case .operand, .gate: token * shape.heads + place.head
        }
      return arguments.inputs[name]?[line * shape.count(axes) + offset(axes, row, column)]
    case .state(let name, let axes, let isPrevious):
      let line = place.sequence * shape.heads + place.head
      return (isPrevious ? place.before : place.after)[name]?[
        line * shape.count(axes) + offset(axes, row, column)]
    default: return nil
    }
  }
}
