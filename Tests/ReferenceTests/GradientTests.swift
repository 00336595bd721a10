import Recurrences
import Reference
import TestSupport
import Testing

/// The gradient by reverse mode against finite differences of the forward walk.
@Suite struct GradientTests {
  static let shapes = [
    try? ProblemShape(batch: 2, length: 4, queryHeads: 4, heads: 2, key: 3, value: 2),
    try? ProblemShape(length: 6, heads: 2, key: 2, value: 3, cumulativeLengths: [0, 4, 4, 5, 6]),
  ].compactMap(\.self)

  @Test(arguments: Recurrence.variants + OddRecurrences.all, shapes)
  func matchesFiniteDifferences(_ recurrence: Recurrence, _ shape: ProblemShape) throws {
    var random = Seeded()
    let reference = Reference(recurrence, shape: shape)
    let arguments = Arguments.drawn(recurrence, shape, &random)
    func noise(_ count: Int) -> [Double] {
      (0..<count).map { _ in Double.random(in: -1...1, using: &random) }
    }
    let output = noise(shape.outputCount)
    var finals: [String: [Double]] = [:]
    for state in recurrence.states { finals[state.name] = noise(shape.count(state)) }
    func loss(_ arguments: Arguments) throws -> Double {
      let result = try reference.forward(arguments)
      return finals.reduce(product(result.output, output)) {
        $0 + product(result.finalStates[$1.key] ?? [], $1.value)
      }
    }
    /// How fast the loss grows as `change` moves the arguments.
    func slope(_ change: (inout Arguments, Double) -> Void) throws -> Double {
      let step = 1e-5
      var (up, down) = (arguments, arguments)
      change(&up, step)
      change(&down, -step)
      return (try loss(up) - loss(down)) / (2 * step)
    }
    let gradient = try reference.gradient(arguments, output: output, finalStates: finals)
    func compare(_ got: Double, _ want: Double, _ what: String) {
      #expect(
        abs(got - want) <= 1e-6 * (1 + abs(want)),
        "\(what): \(got), not \(want), seed \(random.seed)")
    }
    compare(gradient.scale, try slope { $0.scale += $1 }, "scale")
    for input in recurrence.inputs {
      let direction = noise(shape.count(input))
      let want = try slope { arguments, step in
        arguments.inputs[input.name] = zip(arguments.inputs[input.name] ?? [], direction).map {
          $0 + step * $1
        }
      }
      compare(product(gradient.inputs[input.name] ?? [], direction), want, input.name)
      let place = Int.random(in: 0..<shape.count(input), using: &random)
      compare(
        gradient.inputs[input.name]?[place] ?? .nan,
        try slope { $0.inputs[input.name]?[place] += $1 }, "\(input.name)[\(place)]")
    }
    for state in recurrence.states {
      let place = Int.random(in: 0..<shape.count(state), using: &random)
      compare(
        gradient.initialStates[state.name]?[place] ?? .nan,
        try slope { $0.initialStates[state.name]?[place] += $1 }, "\(state.name)[\(place)]")
    }
  }

  @Test(arguments: FeatureMap.allCases)
  func throughMaps(_ map: FeatureMap) throws {
    let shape = try ProblemShape(length: 4, queryHeads: 2, heads: 1, key: 6, value: 2)
    try matchesFiniteDifferences(Recurrence.gla.mapping(map), shape)
    try matchesFiniteDifferences(Recurrence.linearAttentionNormalized.mapping(map), shape)
  }

  @Test func extremeGatesHaveFiniteGradients() throws {
    let shape = try ProblemShape(length: 3, key: 1, value: 1)
    for (recurrence, name, value) in [
      (Recurrence.gla, "g", -Double.infinity), (.rwkv6, "w", 1000), (.glaLogits, "g", -1e300),
      (.hgrn2, "g", -.infinity), (.mamba2, "dt", 1e300),
    ] {
      var random = Seeded()
      var arguments = Arguments.drawn(recurrence, shape, &random)
      arguments.inputs[name]?[1] = value
      // What Mamba writes grows with its step size, so there the write itself is kept small.
      if name == "dt" { arguments.inputs["k"]?[1] = 0 }
      let gradient = try Reference(recurrence, shape: shape)
        .gradient(arguments, output: [1, 1, 1])
      let numbers = gradient.inputs.values.flatMap(\.self) + gradient.initialStates.flatMap(\.value)
      #expect(numbers.allSatisfy { $0.isFinite }, "\(recurrence.name), seed \(random.seed)")
    }
  }

  /// Of x / |x|, the adjoint y has the two parts y / |x| and -x (x y) / |x|^3.
  @Test func normsThatAreHeld() throws {
    let shape = try ProblemShape(length: 2, key: 1, value: 3)
    let normed = Recurrence("normed", "a norm of the values alone") { r in
      let k = r.key(), v = r.value()
      let S = r.state { $0 + outer(k, v) }
      r.output = rmsNorm(v) + 0 * contract(r.query(), S)
    }
    var random = Seeded()
    let arguments = Arguments.drawn(normed, shape, &random)
    let output = (0..<shape.outputCount).map { _ in Double.random(in: -1...1, using: &random) }
    let reference = Reference(normed, shape: shape)
    let held = try reference.gradient(arguments, output: output, holdsNorms: true)
    let whole = try reference.gradient(arguments, output: output)
    let v = try #require(arguments.inputs["v"])
    for token in [0, 3] {
      let (x, y) = (Array(v[token..<token + 3]), Array(output[token..<token + 3]))
      let length = (product(x, x) / 3 + 1e-5).squareRoot()
      for place in 0..<3 {
        let first = y[place] / length
        let second = x[place] * product(x, y) / (3 * length * length * length)
        let got = [held, whole].map { $0.inputs["v"]?[token + place] ?? .nan }
        #expect(abs(got[0] - first) < 1e-12, "seed \(random.seed)")
        #expect(abs(got[1] - (first - second)) < 1e-12, "seed \(random.seed)")
      }
    }
  }

  @Test func adjointsThatDoNotFit() throws {
    let shape = try ProblemShape(length: 1, key: 1, value: 1)
    let arguments = Arguments(inputs: ["q": [1], "k": [1], "v": [1]])
    #expect(
      throws: ReferenceError(reasons: [
        "The final state's adjoint of 'S' has 0 numbers, and needs 1.",
        "The output's adjoint has 2 numbers, and needs 1.",
      ])
    ) {
      try Reference(.linearAttention, shape: shape)
        .gradient(arguments, output: [1, 1], finalStates: ["S": []])
    }
  }

  private func product(_ left: [Double], _ right: [Double]) -> Double {
    zip(left, right).reduce(0) { $0 + $1.0 * $1.1 }
  }
}
