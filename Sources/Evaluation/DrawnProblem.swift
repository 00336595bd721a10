import Foundation
import Recurrences
import Reference

/// One call with all its numbers, each already rounded to the type that it has in memory, so that
/// the reference and the kernel see the same.
public struct DrawnProblem: Hashable, Sendable {
  public var name: String
  public var shape: ProblemShape
  /// By name, in the reference's order: [B, T, heads, D], parameters [heads, D].
  public var inputs: [String: [Double]]
  public var scale: Double
  /// [sequences, heads, K, state columns].
  public var initialState: [Double]?
  public var wantsFinalState: Bool

  /// Draws the problem that a recipe and a seed describe.
  public init(_ recipe: ProblemRecipe, for subject: Subject, seed: UInt64) throws(ShapeError) {
    name = recipe.name
    let shape = try recipe.shape(subject)
    self.shape = shape
    wantsFinalState = recipe.wantsFinalState
    scale = subject.type.sums.rounded(recipe.scale ?? subject.defaultScale)
    inputs = [:]
    for input in subject.recurrence.inputs {
      var random = Random(seed: seed, "\(recipe.name)/\(input.name)")
      let type = subject.elementType(of: input)
      inputs[input.name] = Self.draw(input, recipe, shape, subject, &random).map(type.rounded)
    }
    guard recipe.hasInitialState else { return }
    var random = Random(seed: seed, "\(recipe.name)/initial state")
    let count = shape.sequences.count * shape.heads * shape.key * subject.stateColumns
    let size = recipe.magnitudes.key * recipe.magnitudes.value
    initialState = (0..<count).map { place in
      let x = random.normal()
      // A normalizer's column is a sum of keys, and these have no sign in any domain that divides.
      let isNormalizer = place % subject.stateColumns >= shape.value
      return subject.type.sums.rounded(isNormalizer ? abs(x) * recipe.magnitudes.key : x * size)
    }
    if subject.recurrence.hasFeatures { drawMonomials(recipe, subject, &random) }
  }

  /// Makes a normalizer's column of the initial state a key's monomials: they have signs, and of any
  /// others the sum of scores may be nothing to divide by.
  private mutating func drawMonomials(
    _ recipe: ProblemRecipe, _ subject: Subject, _ random: inout Random
  ) {
    let columns = subject.stateColumns
    guard var state = initialState, columns > shape.value else { return }
    for first in stride(from: 0, to: state.count, by: shape.key * columns) {
      let features = (0..<shape.count(.feature)).map { _ in
        random.normal() * recipe.magnitudes.key.squareRoot()
      }
      for (row, monomial) in Monomials.apply(features).enumerated() {
        state[first + row * columns + shape.value] = subject.type.sums.rounded(monomial)
      }
    }
    initialState = state
  }

  private static func draw(
    _ input: Recurrence.Input, _ recipe: ProblemRecipe, _ shape: ProblemShape, _ subject: Subject,
    _ random: inout Random
  ) -> [Double] {
    let width = shape.count(input.axes)
    switch input.role {
    case .parameter:
      return (0..<shape.heads).flatMap { head in
        (0..<width).map { _ in parameter(input, recipe.gates, head, &random) }
      }
    case .gate: return gate(input, recipe, shape, subject, &random)
    case .query, .operand:
      var factor =
        input.role == .query
        ? recipe.magnitudes.query
        : input.axes == .value ? recipe.magnitudes.value : recipe.magnitudes.key
      // Features are multiplied with each other.
      if input.axes == .feature { factor.formSquareRoot() }
      return (0..<shape.count(input)).map { _ in
        inside(input.domain, inside(input.domain, random.normal()) * factor)
      }
    }
  }

  private static func gate(
    _ input: Recurrence.Input, _ recipe: ProblemRecipe, _ shape: ProblemShape, _ subject: Subject,
    _ random: inout Random
  ) -> [Double] {
    let width = shape.count(input.axes)
    let sampler = GateSampler(subject)
    var numbers = Array(repeating: 0.0, count: shape.count(input))
    for sequence in shape.sequences {
      for head in 0..<shape.heads {
        let own = sampler.values(
          input, tokens: sequence.tokens.count, width: width, recipe.gates, &random)
        for (row, token) in sequence.tokens.enumerated() {
          let place = ((sequence.batch * shape.length + token) * shape.heads + head) * width
          numbers.replaceSubrange(place..<place + width, with: own[row * width..<(row + 1) * width])
        }
      }
    }
    return numbers
  }

  /// A parameter of a head: as strong as the regime wants where it is a decay, else near one.
  private static func parameter(
    _ input: Recurrence.Input, _ regime: GateRegime, _ head: Int, _ random: inout Random
  ) -> Double {
    let x = random.normal()
    guard input.domain.upper <= 0 || input.domain.lower == 0 else {
      return inside(input.domain, 0.5 * x)
    }
    let size: Double =
      switch regime {
      case .none: 0
      case .strong: 5 * random.uniform(0.8, 1.2)
      case .veryStrong: 40 * random.uniform(0.8, 1.2)
      // One head that forgets at every token, beside heads that do not.
      case .resets where head % 2 == 1: input.domain.lower == -.infinity ? .infinity : 1e4
      default: exp2(-random.uniform(1, 8))
      }
    if input.domain.upper == 1 { return exp(-size) }
    return max(input.domain.lower, min(input.domain.upper, input.domain.upper <= 0 ? -size : size))
  }

  private static func inside(_ domain: Interval, _ x: Double) -> Double {
    max(domain.lower, min(domain.upper, domain.lower == 0 ? abs(x) : x))
  }

  /// What the reference gives: the output, and the final states packed as a kernel packs them.
  public func expected(
    _ subject: Subject
  ) throws(ReferenceError) -> (output: [Double], finalState: [Double]) {
    let arguments = Arguments(
      inputs: inputs, scale: scale,
      initialStates: initialState.map { subject.unpackStates($0, shape) } ?? [:])
    let result = try Reference(subject.recurrence, shape: shape).forward(arguments)
    return (result.output, subject.packStates(result.finalStates, shape))
  }
}
