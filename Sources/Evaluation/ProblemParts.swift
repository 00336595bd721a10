import Recurrences
import Reference

/// Parts of a problem, and problems changed in a part: what laws compare.
extension DrawnProblem {
  /// The elements of a token tensor with `width` numbers a token and head, in part: every row of
  /// [B, T, heads] for which `keep` says so.
  private func rows(
    _ numbers: [Double], heads: Int, width: Int,
    _ keep: (_ batch: Int, _ token: Int, _ head: Int) -> Bool
  ) -> [Double] {
    var result: [Double] = []
    for batch in 0..<shape.batch {
      for token in 0..<shape.length {
        for head in 0..<heads where keep(batch, token, head) {
          let start = ((batch * shape.length + token) * heads + head) * width
          result += numbers[start..<start + width]
        }
      }
    }
    return result
  }

  /// The part of a tensor, by where its rows are: `head` counts key/value heads.
  private func part(
    _ input: Recurrence.Input, _ numbers: [Double], _ subject: Subject,
    _ keep: (_ batch: Int, _ token: Int, _ head: Int) -> Bool
  ) -> [Double] {
    let width = shape.count(input.axes)
    switch input.role {
    case .parameter:
      return (0..<shape.heads).filter { keep(0, 0, $0) }
        .flatMap { numbers[$0 * width..<($0 + 1) * width] }
    case .query:
      let group = shape.queryHeads / shape.heads
      return rows(numbers, heads: shape.queryHeads, width: width) { keep($0, $1, $2 / group) }
    case .operand, .gate: return rows(numbers, heads: shape.heads, width: width, keep)
    }
  }

  /// One sequence of the problem as a problem of its own, without packing.
  func sequence(_ index: Int, _ subject: Subject) throws -> DrawnProblem {
    let sequence = shape.sequences[index]
    var alone = try narrowed(to: sequence.tokens, batch: sequence.batch, subject)
    alone.name = "\(name), sequence \(index) alone"
    alone.initialState = initialState.map { state in
      let size = state.count / shape.sequences.count
      return Array(state[index * size..<(index + 1) * size])
    }
    return alone
  }

  /// Tokens of every row; the initial state stays, for the caller to replace.
  func tokens(_ tokens: Range<Int>, _ subject: Subject) throws -> DrawnProblem {
    try narrowed(to: tokens, batch: nil, subject)
  }

  /// One key/value head with its query heads.
  func head(_ head: Int, _ subject: Subject) throws -> DrawnProblem {
    var alone = self
    alone.name = "\(name), head \(head) alone"
    alone.shape = try ProblemShape(
      batch: shape.batch, length: shape.length, queryHeads: shape.queryHeads / shape.heads,
      heads: 1, key: shape.key, value: shape.value, cumulativeLengths: shape.cumulativeLengths)
    for input in subject.recurrence.inputs {
      alone.inputs[input.name] = part(input, inputs[input.name]!, subject) { $2 == head }
    }
    alone.initialState = initialState.map { state in
      let size = shape.key * subject.stateColumns
      return shape.sequences.indices.flatMap { sequence in
        let start = (sequence * shape.heads + head) * size
        return state[start..<start + size]
      }
    }
    return alone
  }

  private func narrowed(
    to tokens: Range<Int>, batch: Int?, _ subject: Subject
  ) throws -> DrawnProblem {
    var other = self
    other.shape = try ProblemShape(
      batch: batch == nil ? shape.batch : 1, length: tokens.count, queryHeads: shape.queryHeads,
      heads: shape.heads, key: shape.key, value: shape.value)
    for input in subject.recurrence.inputs where input.role != .parameter {
      other.inputs[input.name] = part(input, inputs[input.name]!, subject) { row, token, _ in
        (batch == nil || row == batch) && tokens.contains(token)
      }
    }
    return other
  }

  /// The problem with numbers of one head replaced from a token of a sequence on; `change` gets the
  /// input and gives the number to put, or nil to leave it. The head's query heads change alike.
  func changing(
    head: Int, ofSequence index: Int, from token: Int, count: Int = .max, _ subject: Subject,
    _ change: (Recurrence.Input) -> Double?
  ) -> DrawnProblem {
    var other = self
    let sequence = shape.sequences[index]
    let places = sequence.tokens.dropFirst(token).prefix(count)
    let group = shape.queryHeads / shape.heads
    for input in subject.recurrence.inputs where input.role != .parameter {
      guard let value = change(input) else { continue }
      let rounded = subject.elementType(of: input).rounded(value)
      let width = shape.count(input.axes)
      let isQuery = input.role == .query
      let heads = isQuery ? shape.queryHeads : shape.heads
      for place in places {
        for own in isQuery ? head * group..<(head + 1) * group : head..<head + 1 {
          let start = ((sequence.batch * shape.length + place) * heads + own) * width
          for at in start..<start + width { other.inputs[input.name]![at] = rounded }
        }
      }
    }
    return other
  }

  /// Bytes ranges of the output that one head of one sequence owns, from token `from` up to `to`.
  func outputBytes(
    ofSequence index: Int, head: Int, tokens: Range<Int>, elementSize: Int
  ) -> [Range<Int>] {
    let sequence = shape.sequences[index]
    let group = shape.queryHeads / shape.heads
    let width = shape.value * elementSize
    return sequence.tokens.dropFirst(tokens.lowerBound).prefix(tokens.count).flatMap { token in
      (head * group..<(head + 1) * group).map { own in
        let start = ((sequence.batch * shape.length + token) * shape.queryHeads + own) * width
        return start..<start + width
      }
    }
  }

  /// Bytes of the final state that one head of one sequence owns.
  func stateBytes(ofSequence index: Int, head: Int, _ subject: Subject) -> Range<Int> {
    let size = shape.key * subject.stateColumns * subject.type.sums.size
    let start = (index * shape.heads + head) * size
    return start..<start + size
  }
}
