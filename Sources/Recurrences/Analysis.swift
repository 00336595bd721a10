extension Recurrence {
  /// Brings the recurrence to the form that schedules read.
  ///
  /// - Throws: `RecurrenceError` with every reason when the text is wrong, or when no schedule
  ///   here can run it.
  public func normalForm() throws(RecurrenceError) -> NormalForm {
    guard problems.isEmpty else {
      throw RecurrenceError(recurrence: name, reasons: problems)
    }
    switch Analysis(recurrence: self).run() {
    case .diagonal(let form): return NormalForm(recurrence: self, structure: .diagonal(form))
    case .noChunkForm(let reason):
      if let obstacle = obstacleToScan {
        throw RecurrenceError(
          recurrence: name,
          reasons: [reason, obstacle, "No schedule remains for it."])
      }
      return NormalForm(
        recurrence: self, structure: .elementwise(ElementwiseForm(reason: reason)))
    }
  }

  /// Why even a scan over tokens cannot run the recurrence, if so: an entry of the state reads
  /// other entries.
  private var obstacleToScan: String? {
    for state in states where state.update.contains(where: { $0.sumsOverState }) {
      return "The update of '\(state.name)' sums over the state, so one entry reads others."
    }
    for state in states {
      let others = state.update.contains {
        if case .state(let name, _, _) = $0 { name != state.name } else { false }
      }
      if others { return "The update of '\(state.name)' reads another state variable." }
    }
    return nil
  }
}

extension Expression {
  var sumsOverState: Bool {
    if case .sum(_, let operand) = self { operand.readsState } else { false }
  }

  /// For `1 / d` with a `d` that reads a state, that `d`.
  var inverseOfState: Expression? {
    if case .binary(.divide, .constant(1), let below) = self, below.readsState {
      below
    } else {
      nil
    }
  }
}

/// The walk from a recurrence's text to `DiagonalForm`.
struct Analysis {
  var recurrence: Recurrence

  enum Outcome {
    case diagonal(DiagonalForm)
    case noChunkForm(String)
  }

  /// A reason to stop, thrown inside the walk only.
  struct Obstacle: Error { var reason: String }

  func run() -> Outcome {
    do { return .diagonal(try diagonal()) } catch { return .noChunkForm(error.reason) }
  }

  /// `state = gate * state + write`: what each variable's update must be.
  struct Update {
    var gate: Product
    var write: Product
  }

  func diagonal() throws(Obstacle) -> DiagonalForm {
    guard let matrix = recurrence.states.first(where: { $0.axes == .keyValue }) else {
      throw Obstacle(reason: "No state has both a key and a value axis.")
    }
    let update = try linearUpdate(of: matrix)
    let (valueGates, otherGates) = update.gate.split { $0.axes == .value }
    if let full = otherGates.factors.first(where: { $0.axes == .keyValue }) {
      throw Obstacle(
        reason:
          "The gate \(full) has a value of its own for every key and value pair, so chunks have "
          + "no matrix form.")
    }
    let (values, keys) = update.write.split { $0.axes == .value }
    guard !keys.factors.contains(where: { $0.axes == .keyValue }) else {
      throw Obstacle(reason: "What a token writes, \(update.write.expression), has rank above one.")
    }
    guard keys.expression.axes == .key, values.expression.axes == .value else {
      throw Obstacle(
        reason: "A token must write an outer product of a key and a value vector, not "
          + "\(update.write.expression).")
    }
    var form = DiagonalForm(
      query: .constant(1), key: keys.expression, value: values.expression,
      keyGate: gate(otherGates), valueGate: gate(valueGates), readsPrevious: false)
    try readOutAndEpilogue(matrix, keys: keys, values: values, into: &form)
    return form
  }

  func linearUpdate(of state: Recurrence.StateVariable) throws(Obstacle) -> Update {
    let terms = state.update.sumOfProducts { $0.readsState || $0.axes == .keyValue }
    var gate: Product?
    var write: Product?
    for term in terms {
      let (own, rest) = term.split { $0 == .state(state.name, state.axes, previous: true) }
      if own.factors.isEmpty {
        if let factor = term.factors.first(where: \.readsState) {
          throw Obstacle(
            reason: factor.contains(where: \.sumsOverState)
              ? "The update sums over the state (\(factor)): a delta rule, which has no schedule here."
              : "The state stands inside a nonlinearity: \(factor).")
        }
        guard write == nil else {
          throw Obstacle(reason: "A token writes more than one outer product.")
        }
        write = term
      } else {
        guard own.factors.count == 1, !rest.factors.contains(where: \.readsState) else {
          throw Obstacle(reason: "The update is not linear in the state: \(term.expression).")
        }
        guard gate == nil else {
          throw Obstacle(
            reason: "The state appears in more than one term of its update: gates must be one "
              + "product.")
        }
        gate = rest
      }
    }
    guard let gate else {
      throw Obstacle(reason: "The update of '\(state.name)' does not carry the state over.")
    }
    guard let write else { throw Obstacle(reason: "No token writes to '\(state.name)'.") }
    return Update(gate: gate, write: write)
  }

  /// The gate of a product of decays; nil when the product is empty.
  func gate(_ product: Product) -> Gate? {
    let factors = product.factors.filter { $0 != .constant(1) }
    guard !factors.isEmpty else { return nil }
    let logs = factors.map { factor -> Expression? in
      if case .unary(.exp, let exponent) = factor { exponent } else { nil }
    }
    let log = logs.contains(nil) ? nil : Expression.total(logs.compactMap { $0 })
    let decay = log.map { .unary(.exp, $0) } ?? Expression.product(factors)
    let isPerToken = decay.inputNames.contains { name in
      recurrence.input(name).map { $0.role != .parameter } ?? false
    }
    return Gate(decay: decay, logDecay: log, isPerToken: isPerToken)
  }
}
