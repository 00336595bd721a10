/// An attention recurrence as it is written: inputs, how the state moves, what is read out.
///
/// Nothing here says how it is computed. `problems` holds what is wrong with the text, each a
/// sentence; `normalForm()` refuses a recurrence that has any.
public struct Recurrence: Hashable, Codable, Sendable {
  /// Lower-case letters, digits and hyphens; it becomes part of file names and symbols.
  public var name: String
  /// One line for lists and help.
  public var summary: String
  public var inputs: [Input]
  public var states: [StateVariable]
  /// The output of one token: axes `.value`.
  public var output: Expression
  /// What `scale` is when the caller gives none.
  public var defaultScale: DefaultScale
  public var problems: [String]

  public enum DefaultScale: String, Hashable, Codable, Sendable {
    /// `1 / sqrt(K)`.
    case inverseSquareRootOfKey
    case one
  }

  /// Something that the caller brings.
  public struct Input: Hashable, Codable, Sendable {
    public var name: String
    public var axes: Axes
    public var role: Role
    /// Where legal values lie; bounds of maps are proved from it.
    public var domain: Interval
    public var summary: String

    public enum Role: String, Hashable, Codable, Sendable {
      /// One row a token and query head, in the problem's dtype: shape [B, T, query heads, D].
      case query
      /// One row a token and key/value head, in the problem's dtype: [B, T, heads, D].
      case operand
      /// One row a token and key/value head, in the gate's dtype: [B, T, heads, D].
      case gate
      /// One row a key/value head, f32, the same for all tokens: [heads, D].
      case parameter
    }
  }

  /// A state variable and its update.
  public struct StateVariable: Hashable, Codable, Sendable {
    public var name: String
    public var axes: Axes
    /// The value after the present token, over inputs and previous values.
    public var update: Expression
  }

  public func input(_ name: String) -> Input? { inputs.first { $0.name == name } }
}

extension Recurrence {
  /// Writes a recurrence.
  ///
  ///     Recurrence("gla", "gated linear attention, a decay per key") { r in
  ///       let q = r.query(), k = r.key(), v = r.value()
  ///       let g = r.logDecay("g", over: KeyAxis.self)
  ///       let S = r.state { previous in exp(g) * previous + outer(k, v) }
  ///       r.output = r.scale * contract(q, S)
  ///     }
  public init(
    _ name: String, _ summary: String, scale: DefaultScale = .inverseSquareRootOfKey,
    _ write: (inout Writer) -> Void
  ) {
    var writer = Writer()
    write(&writer)
    self.name = name
    self.summary = summary
    self.inputs = writer.inputs
    self.states = writer.states
    self.output = writer.output.expression
    self.defaultScale = scale
    self.problems = []
    problems = Recurrence.check(self)
  }

  /// What `init` hands to the person who writes: the words for inputs, states and the output.
  public struct Writer: Sendable {
    var inputs: [Input] = []
    var states: [StateVariable] = []
    /// What a token reads out.
    public var output: ValueVector = 0

    /// The caller's factor on the output.
    public var scale: Scalar { Scalar(.input(Symbol.scale, .scalar)) }

    /// What the output is read with: a row a token and query head.
    public mutating func query(
      _ name: String = "q", domain: Interval = .all, _ summary: String = "what a token asks for"
    ) -> KeyVector {
      declare(name, .query, domain, summary)
    }
    /// What gates the output: a row a token and query head, along the value axis.
    public mutating func outputGate(
      _ name: String = "og", domain: Interval = .all, _ summary: String = "gate of the output"
    ) -> ValueVector {
      declare(name, .query, domain, summary)
    }
    /// Where a token writes: a row a token and head.
    public mutating func key(
      _ name: String = "k", domain: Interval = .all, _ summary: String = "where a token writes"
    ) -> KeyVector {
      declare(name, .operand, domain, summary)
    }
    /// What a feature map makes a query of: a row of features a token and query head.
    public mutating func queryFeatures(
      _ name: String = "q", domain: Interval = .all, _ summary: String = "what a token asks for"
    ) -> FeatureVector {
      declare(name, .query, domain, summary)
    }
    /// What a feature map makes a key of: a row of features a token and head.
    public mutating func keyFeatures(
      _ name: String = "k", domain: Interval = .all, _ summary: String = "where a token writes"
    ) -> FeatureVector {
      declare(name, .operand, domain, summary)
    }
    /// What a token writes: a row a token and head.
    public mutating func value(
      _ name: String = "v", domain: Interval = .all, _ summary: String = "what a token writes"
    ) -> ValueVector {
      declare(name, .operand, domain, summary)
    }
    /// A log decay, <= 0; -inf forgets everything before.
    public mutating func logDecay<A: AxisTag>(
      _ name: String, over axis: A.Type, _ summary: String = "log decay, <= 0"
    ) -> Term<A> {
      declare(name, .gate, .nonPositive, summary)
    }
    /// A decay in [0, 1].
    public mutating func decay<A: AxisTag>(
      _ name: String, over axis: A.Type, _ summary: String = "decay in [0, 1]"
    ) -> Term<A> {
      declare(name, .gate, .unit, summary)
    }
    /// A gate's raw value (a logit, a step size), any real number unless bounded.
    public mutating func gate<A: AxisTag>(
      _ name: String, over axis: A.Type, domain: Interval = .finite, _ summary: String = "gate"
    ) -> Term<A> {
      declare(name, .gate, domain, summary)
    }
    /// A number or vector a head, the same for all tokens.
    public mutating func parameter<A: AxisTag>(
      _ name: String, over axis: A.Type, domain: Interval = .finite,
      _ summary: String = "parameter of a head"
    ) -> Term<A> {
      declare(name, .parameter, domain, summary)
    }

    /// The K x V state; `update` gives its value after a token from the one before.
    public mutating func state(
      _ name: String = "S", _ update: (StateMatrix) -> StateMatrix
    ) -> StateMatrix {
      stateVariable(name, update)
    }
    /// A further state with one entry a key, such as a normalizer.
    public mutating func keyState(
      _ name: String, _ update: (KeyVector) -> KeyVector
    ) -> KeyVector {
      stateVariable(name, update)
    }
    /// The state before the present token, for a read-out that excludes it.
    public func previous<A: AxisTag>(_ state: Term<A>) -> Term<A> {
      guard case .state(let name, let axes, _) = state.expression else { return state }
      return Term(.state(name, axes, previous: true))
    }

    private mutating func stateVariable<A: AxisTag>(
      _ name: String, _ update: (Term<A>) -> Term<A>
    ) -> Term<A> {
      let next = update(Term(.state(name, A.axes, previous: true)))
      states.append(StateVariable(name: name, axes: A.axes, update: next.expression))
      return Term(.state(name, A.axes, previous: false))
    }

    private mutating func declare<A: AxisTag>(
      _ name: String, _ role: Input.Role, _ domain: Interval, _ summary: String
    ) -> Term<A> {
      inputs.append(
        Input(name: name, axes: A.axes, role: role, domain: domain, summary: summary))
      return Term(.input(name, A.axes))
    }
  }
}
