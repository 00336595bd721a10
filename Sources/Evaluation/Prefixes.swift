import Recurrences
import Reference

/// The beginnings of a problem's sequences after which a call writes the state out: what the states in
/// its slots are held to.
struct Prefixes: Sendable {
  let subject: Subject
  /// Elements of the tensor that the slots make up.
  private let count: Int
  private let all: [Prefix]

  private struct Prefix: Sendable {
    var problem: DrawnProblem
    var sequence: Int
    var tokens: Int
    /// Where the state after it lies.
    var slot: Int
  }

  /// - Parameter every: tokens between two states.
  init(_ problem: DrawnProblem, _ subject: Subject, every: Int) throws {
    self.subject = subject
    let shape = problem.shape
    count =
      shape.batch * (shape.length / every) * shape.heads * subject.key * subject.stateColumns
    all = try problem.shape.sequences.enumerated().flatMap { index, sequence in
      let alone = try problem.sequence(index, subject)
      let first =
        sequence.batch * (problem.shape.length / every) + sequence.tokens.lowerBound / every
      return try (0..<sequence.tokens.count / every).map { place in
        let tokens = (place + 1) * every
        return Prefix(
          problem: try alone.tokens(0..<tokens, subject), sequence: index, tokens: tokens,
          slot: first + place)
      }
    }
  }

  var isEmpty: Bool { all.isEmpty }

  /// The reference's states in their slots, and NaN in those that hold none.
  var numbers: [Double] {
    get throws {
      var numbers = [Double](repeating: .nan, count: count)
      for prefix in all {
        let state = try prefix.problem.expected(subject).finalState
        let place = prefix.slot * state.count
        numbers.replaceSubrange(place..<place + state.count, with: state)
      }
      return numbers
    }
  }

  /// The error of the states that lie in the slots, beside the reference's final states of the prefixes.
  func error(of states: [Double]) throws -> TensorError {
    let size = subject.key * subject.stateColumns
    var (found, expected, groups) = ([Double](), [Double](), [Group]())
    for prefix in all {
      let heads = prefix.problem.shape.heads
      for head in 0..<heads {
        let start = expected.count + head * size
        groups.append(
          Group(
            name: "after \(prefix.tokens) tokens of sequence \(prefix.sequence), head \(head)",
            ranges: [start..<start + size]))
      }
      let place = prefix.slot * heads * size
      found += states[place..<place + heads * size]
      expected += try prefix.problem.expected(subject).finalState
    }
    return TensorError(found, expected, groups: groups)
  }
}
