import Recurrences
import Reference
import TestSupport
import Testing

/// The forward walk against hand-computed numbers and against a walk with no machinery.
@Suite struct ReferenceTests {
  @Test(arguments: Recurrence.variants + OddRecurrences.all)
  func matchesThePlainWalk(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shapes = [
      try ProblemShape(batch: 2, length: 5, queryHeads: 4, heads: 2, key: 3, value: 2),
      try ProblemShape(length: 7, heads: 2, key: 2, value: 4, cumulativeLengths: [0, 3, 3, 4, 7]),
      try ProblemShape(length: 0, key: 1, value: 1),
      try ProblemShape(length: 1, key: 1, value: 5),
    ]
    for shape in shapes {
      let arguments = Arguments.drawn(recurrence, shape, &random)
      let got = try Reference(recurrence, shape: shape).forward(arguments)
      let want = PlainWalk(recurrence: recurrence, shape: shape, arguments: arguments).run()
      #expect(rmsRatio(got.output, want.output) < 1e-13, "seed \(random.seed)")
      for state in recurrence.states {
        let (actual, wanted) = (got.finalStates[state.name], want.finalStates[state.name])
        #expect(rmsRatio(actual ?? [], wanted ?? []) < 1e-13, "seed \(random.seed)")
      }
    }
  }

  /// The Taylor map against attention by its expansion, a token on all before it: no state, no features.
  @Test func taylorIsQuadraticAttention() throws {
    var random = Seeded()
    let (features, value, length) = (4, 3, 6)
    let shape = try ProblemShape(length: length, key: Monomials.count(of: features), value: value)
    for recurrence in [Recurrence.linearAttention, .linearAttentionNormalized] {
      let mapped = try recurrence.mapping(.taylor2)
      var arguments = Arguments.drawn(mapped, shape, &random)
      arguments.initialStates = [:]
      let got = try Reference(mapped, shape: shape).forward(arguments).output
      func row(_ name: String, _ token: Int, _ size: Int) -> ArraySlice<Double> {
        arguments.inputs[name]![token * size..<(token + 1) * size]
      }
      var want: [Double] = []
      for token in 0..<length {
        var (sum, weights) = (Array(repeating: 0.0, count: value), 0.0)
        for other in 0...token {
          let dot = zip(row("q", token, features), row("k", other, features)).reduce(0) {
            $0 + $1.0 * $1.1
          }
          let s = dot / Double(features).squareRoot()
          let weight = 1 + s + s * s / 2
          weights += weight
          for (place, v) in row("v", other, value).enumerated() { sum[place] += weight * v }
        }
        let isMean = mapped.states.count > 1
        want += sum.map { isMean ? $0 / weights : $0 * arguments.scale }
      }
      #expect(rmsRatio(got, want) < 1e-13, "\(mapped.name), seed \(random.seed)")
    }
  }

  /// More rows than one pass takes, so that sums go on from pass to pass.
  @Test(arguments: [Recurrence.gatedOuter, OddRecurrences.bounded, OddRecurrences.coupled])
  func manyRows(_ recurrence: Recurrence) throws {
    var random = Seeded()
    let shape = try ProblemShape(length: 3, key: 37, value: 150)
    let arguments = Arguments.drawn(recurrence, shape, &random)
    let got = try Reference(recurrence, shape: shape).forward(arguments)
    let want = PlainWalk(recurrence: recurrence, shape: shape, arguments: arguments).run()
    #expect(rmsRatio(got.output, want.output) < 1e-12, "seed \(random.seed)")
  }

  @Test func glaByHand() throws {
    // One key, two values, two tokens: S1 = 2 * [1, 3], S2 = S1 / 2 + 4 * [5, -1] = [21, -1].
    let shape = try ProblemShape(length: 2, key: 1, value: 2)
    let result = try Reference(.glaDecay, shape: shape).forward(
      Arguments(
        inputs: ["q": [1, 3], "k": [2, 4], "v": [1, 3, 5, -1], "alpha": [0.25, 0.5]], scale: 0.5))
    #expect(result.output == [1, 3, 31.5, -1.5])
    #expect(result.finalStates == ["S": [21, -1]])
  }

  @Test func rwkvByHand() throws {
    // Decay exp(-exp(w)) is 1/2; the output takes the state before the token, plus u k v.
    let shape = try ProblemShape(length: 2, key: 1, value: 1)
    let w = Expression.Unary.log.apply(-Expression.Unary.log.apply(0.5))
    let result = try Reference(.rwkv6, shape: shape).forward(
      Arguments(
        inputs: ["q": [1, 2], "k": [3, 5], "v": [7, 11], "w": [w, w], "u": [10]],
        initialStates: ["S": [4]]))
    // o1 = 4 + 10 * 21; S1 = 2 + 21; o2 = 2 * (23 + 10 * 55); S2 = 11.5 + 55.
    #expect(rmsRatio(result.output, [214, 1146]) < 1e-14)
    #expect(rmsRatio(result.finalStates["S"] ?? [], [66.5]) < 1e-14)
  }

  @Test func normalizedOutputIsAMean() throws {
    var random = Seeded()
    let shape = try ProblemShape(length: 6, key: 3, value: 1)
    var arguments = Arguments.drawn(.linearAttentionNormalized, shape, &random)
    arguments.initialStates = [:]
    let output = try Reference(.linearAttentionNormalized, shape: shape).forward(arguments).output
    let values = arguments.inputs["v"] ?? []
    #expect(abs(output[0] - values[0]) < 1e-12, "seed \(random.seed)")
    for value in output {
      #expect((values.min() ?? 0) - 1e-12 <= value && value <= (values.max() ?? 0) + 1e-12)
    }
  }

  @Test func argumentsThatDoNotFit() throws {
    let shape = try ProblemShape(length: 2, key: 2, value: 2)
    let reference = Reference(.gla, shape: shape)
    let arguments = Arguments(
      inputs: ["q": [1], "k": [0, 0, 0, 0], "v": [0, 0, 0, 0], "w": []],
      initialStates: ["S": [1], "z": []])
    #expect(
      throws: ReferenceError(reasons: [
        "The input 'q' has 1 numbers, and needs 4.", "The input 'g' is missing.",
        "There is no input 'w'.", "The initial state of 'S' has 1 numbers, and needs 4.",
        "There is no state 'z'.",
      ])
    ) { try reference.forward(arguments) }
  }
}
