import Recurrences

/// What a call brings: every tensor dense and row-major, in Double.
public struct Arguments: Hashable, Sendable {
  /// By name: queries [B, T, query heads, D], operands and gates [B, T, heads, D], parameters
  /// [heads, D]; D is K, V, K * V, the features or 1, as the input's axes say.
  public var inputs: [String: [Double]]
  /// The factor on the output.
  public var scale: Double
  /// By state variable: [sequences, heads, K, V], or [sequences, heads, K] of a key state; a state
  /// that is missing begins at zero.
  public var initialStates: [String: [Double]]

  public init(
    inputs: [String: [Double]], scale: Double = 1, initialStates: [String: [Double]] = [:]
  ) {
    self.inputs = inputs
    self.scale = scale
    self.initialStates = initialStates
  }
}

/// What the recurrence gives.
public struct Result: Hashable, Sendable {
  /// [B, T, query heads, V].
  public var output: [Double]
  /// By state variable, shaped as the initial states are.
  public var finalStates: [String: [Double]]
}

/// The adjoints of everything that a call brings, shaped as `Arguments` is.
public struct Gradient: Hashable, Sendable {
  public var inputs: [String: [Double]]
  public var scale: Double
  public var initialStates: [String: [Double]]
}

/// Arguments that do not fit, or a recurrence that is wrong: every reason, each a sentence.
public struct ReferenceError: Error, Hashable, Sendable, CustomStringConvertible {
  public var reasons: [String]
  public init(reasons: [String]) { self.reasons = reasons }
  public var description: String { reasons.joined(separator: " ") }
}

extension ProblemShape {
  /// How many numbers a quantity of one token and head has: 1, K, V or K * V, or its features.
  public func count(_ axes: Axes) -> Int { axes.count(key: key, value: value) }

  /// How many numbers the whole tensor of an input has.
  public func count(_ input: Recurrence.Input) -> Int {
    switch input.role {
    case .query: batch * length * queryHeads * count(input.axes)
    case .operand, .gate: batch * length * heads * count(input.axes)
    case .parameter: heads * count(input.axes)
    }
  }

  /// How many numbers all states of one variable have: one state a sequence and head.
  public func count(_ state: Recurrence.StateVariable) -> Int {
    sequences.count * heads * count(state.axes)
  }

  /// How many numbers the output has: [B, T, query heads, V].
  public var outputCount: Int { batch * length * queryHeads * value }
}

extension Arguments {
  /// Everything that keeps these arguments from fitting the recurrence and the sizes.
  func problems(for recurrence: Recurrence, _ shape: ProblemShape) -> [String] {
    var problems = recurrence.problems
    if recurrence.hasFeatures, shape.count(.feature) == 0 {
      problems.append("No features have \(shape.key) monomials, as the key axis has entries.")
    }
    for input in recurrence.inputs {
      guard let given = inputs[input.name] else {
        problems.append("The input '\(input.name)' is missing.")
        continue
      }
      let count = shape.count(input)
      if given.count != count {
        problems.append("The input '\(input.name)' has \(given.count) numbers, and needs \(count).")
      }
    }
    for name in inputs.keys.sorted() where recurrence.input(name) == nil {
      problems.append("There is no input '\(name)'.")
    }
    return problems
      + Self.problems(of: initialStates, called: "initial state", for: recurrence, shape)
  }

  /// Everything that keeps tensors given by state variable from fitting.
  static func problems(
    of states: [String: [Double]], called role: String, for recurrence: Recurrence,
    _ shape: ProblemShape
  ) -> [String] {
    states.keys.sorted().compactMap { name in
      guard let state = recurrence.states.first(where: { $0.name == name }) else {
        return "There is no state '\(name)'."
      }
      let given = states[name]?.count ?? 0, count = shape.count(state)
      return given == count
        ? nil : "The \(role) of '\(name)' has \(given) numbers, and needs \(count)."
    }
  }
}
