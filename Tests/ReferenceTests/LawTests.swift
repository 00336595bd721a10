import Recurrences
import Reference
import TestSupport
import Testing

/// Laws that hold for every recurrence of the family, whatever its formula.
@Suite struct LawTests {
  static let all = Recurrence.variants

  @Test(arguments: all)
  func linearInValues(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shape = try ProblemShape(batch: 2, length: 9, heads: 2, key: 3, value: 4)
    var (first, second) = (Arguments.drawn(recurrence, shape, &random), Arguments(inputs: [:]))
    // A normalizer's own state stays as it is; all that values flow through is combined.
    second = first
    second.inputs["v"] = first.inputs["v"]?.map { _ in Double.random(in: -1...1, using: &random) }
    second.initialStates["S"] = first.initialStates["S"]?.map { _ in
      Double.random(in: -1...1, using: &random)
    }
    var both = first
    func mix(_ a: [Double]?, _ b: [Double]?) -> [Double] {
      zip(a ?? [], b ?? []).map { 2 * $0 - 3 * $1 }
    }
    both.inputs["v"] = mix(first.inputs["v"], second.inputs["v"])
    both.initialStates["S"] = mix(first.initialStates["S"], second.initialStates["S"])
    let reference = Reference(recurrence, shape: shape)
    let want = mix(
      try reference.forward(first).output, try reference.forward(second).output)
    #expect(
      rmsRatio(try reference.forward(both).output, want) < 1e-12, "seed \(random.seed)")
  }

  @Test(arguments: all)
  func splittingGivesTheWhole(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let whole = try ProblemShape(length: 8, queryHeads: 4, heads: 2, key: 3, value: 2)
    let arguments = Arguments.drawn(recurrence, whole, &random)
    let want = try Reference(recurrence, shape: whole).forward(arguments)
    for cut in [0, 1, 3, 8] {
      var output: [Double] = []
      var carried = arguments.initialStates
      for tokens in [0..<cut, cut..<8] {
        var shape = whole
        shape.length = tokens.count
        var part = arguments
        part.initialStates = carried
        for input in recurrence.inputs where input.role != .parameter {
          let row = whole.count(input) / 8
          part.inputs[input.name] = (arguments.inputs[input.name] ?? []).slice(tokens, by: row)
        }
        let result = try Reference(recurrence, shape: shape).forward(part)
        output += result.output
        carried = result.finalStates
      }
      #expect(output == want.output, "cut at \(cut), seed \(random.seed)")
      #expect(carried == want.finalStates, "cut at \(cut), seed \(random.seed)")
    }
  }

  /// The inputs that make a variant's gate one.
  static let open: [(Recurrence, [String: Double])] = [
    (.gla, ["g": 0]), (.glaDecay, ["alpha": 1]), (.simpleGLA, ["g": 0]),
    (.gatedOuter, ["g": 0, "gv": 0]), (.retnet, ["g_gamma": 0]), (.lightning, ["slope": 0]),
  ]

  @Test(arguments: open)
  func openGateIsLinearAttention(_ recurrence: Recurrence, _ gates: [String: Double]) throws {
    var random = Seeded()
    let shape = try ProblemShape(batch: 2, length: 7, queryHeads: 4, heads: 2, key: 3, value: 2)
    let plain = Arguments.drawn(.linearAttention, shape, &random)
    var gated = plain
    for (name, value) in gates {
      let input = try #require(recurrence.input(name))
      gated.inputs[name] = .init(repeating: value, count: shape.count(input))
    }
    #expect(
      try Reference(recurrence, shape: shape).forward(gated)
        == Reference(.linearAttention, shape: shape).forward(plain), "seed \(random.seed)")
  }

  @Test(arguments: all)
  func laterTokensLeaveEarlierOutputsAlone(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shape = try ProblemShape(length: 6, queryHeads: 4, heads: 2, key: 3, value: 2)
    let arguments = Arguments.drawn(recurrence, shape, &random)
    var later = arguments
    for input in recurrence.inputs where input.role != .parameter {
      let row = shape.count(input) / shape.length
      for place in 4 * row..<shape.count(input) {
        later.inputs[input.name]?[place] =
          input.domain.lower == -.infinity && input.role == .gate ? -.infinity : 1e30
      }
    }
    let reference = Reference(recurrence, shape: shape)
    let row = shape.outputCount / shape.length
    #expect(
      try reference.forward(later).output.prefix(4 * row)
        == reference.forward(arguments).output.prefix(4 * row), "seed \(random.seed)")
  }

  @Test(arguments: all)
  func batchRowsAreIndependent(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shape = try ProblemShape(batch: 3, length: 4, heads: 2, key: 3, value: 2)
    try independent(recurrence, shape, parts: 3, &random)
  }

  @Test(arguments: all)
  func packedSequencesAreIndependent(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shape = try ProblemShape(
      length: 12, heads: 2, key: 3, value: 2, cumulativeLengths: [0, 4, 8, 12])
    try independent(recurrence, shape, parts: 3, &random)
  }

  /// Draws the middle one of `parts` equal parts of every tensor of tokens anew, and expects the
  /// others' outputs and final states to keep every bit.
  private func independent(
    _ recurrence: Recurrence, _ shape: ProblemShape, parts: Int, _ random: inout Seeded
  ) throws {
    let arguments = Arguments.drawn(recurrence, shape, &random)
    var other = arguments
    let fresh = Arguments.drawn(recurrence, shape, &random)
    for input in recurrence.inputs where input.role != .parameter {
      let row = shape.count(input) / parts
      other.inputs[input.name]?.replaceSubrange(
        row..<2 * row, with: (fresh.inputs[input.name] ?? [])[row..<2 * row])
    }
    let reference = Reference(recurrence, shape: shape)
    let (want, got) = (try reference.forward(arguments), try reference.forward(other))
    let row = shape.outputCount / parts
    #expect(got.output[..<row] == want.output[..<row], "seed \(random.seed)")
    #expect(got.output[row..<2 * row] != want.output[row..<2 * row], "seed \(random.seed)")
    #expect(got.output[(2 * row)...] == want.output[(2 * row)...], "seed \(random.seed)")
    for state in recurrence.states {
      let row = shape.count(state) / parts
      let (actual, wanted) = (got.finalStates[state.name], want.finalStates[state.name])
      #expect(actual?[..<row] == wanted?[..<row], "seed \(random.seed)")
      #expect(actual?[(2 * row)...] == wanted?[(2 * row)...], "seed \(random.seed)")
    }
  }

  @Test(arguments: all)
  func headsAreIndependent(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shape = try ProblemShape(length: 5, queryHeads: 4, heads: 2, key: 3, value: 2)
    let arguments = Arguments.drawn(recurrence, shape, &random)
    let fresh = Arguments.drawn(recurrence, shape, &random)
    var other = arguments
    // The second head of every tensor, and the query heads that read it, are drawn anew.
    for input in recurrence.inputs {
      for place in 0..<shape.count(input) {
        let heads = input.role == .query ? 4 : 2
        let head = place / shape.count(input.axes) % heads
        if head >= heads / 2 {
          other.inputs[input.name]?[place] = fresh.inputs[input.name]?[place] ?? 0
        }
      }
    }
    let reference = Reference(recurrence, shape: shape)
    let (want, got) = (try reference.forward(arguments), try reference.forward(other))
    for place in 0..<shape.outputCount {
      let isSame = got.output[place] == want.output[place]
      #expect(isSame == (place / shape.value % 4 < 2), "seed \(random.seed)")
    }
  }

  /// A log decay of -inf gives what a walk from that token on gives.
  @Test(arguments: [Recurrence.gla, .simpleGLA, .gatedOuter])
  func resetForgetsEverything(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shape = try ProblemShape(length: 6, key: 3, value: 2)
    var arguments = Arguments.drawn(recurrence, shape, &random)
    let gate = try #require(recurrence.input("g"))
    let row = shape.count(gate.axes)
    for place in 4 * row..<5 * row { arguments.inputs["g"]?[place] = -.infinity }
    let whole = try Reference(recurrence, shape: shape).forward(arguments)
    var shorter = shape
    shorter.length = 2
    var rest = Arguments(inputs: [:], scale: arguments.scale)
    for input in recurrence.inputs {
      rest.inputs[input.name] = (arguments.inputs[input.name] ?? [])
        .slice(4..<6, by: shape.count(input) / 6)
    }
    let want = try Reference(recurrence, shape: shorter).forward(rest)
    #expect(Array(whole.output.suffix(4)) == want.output, "seed \(random.seed)")
    #expect(whole.finalStates == want.finalStates, "seed \(random.seed)")
  }
}

extension [Double] {
  /// The rows in `range` of rows of `size` numbers.
  fileprivate func slice(_ range: Range<Int>, by size: Int) -> [Double] {
    Array(self[range.lowerBound * size..<range.upperBound * size])
  }
}
