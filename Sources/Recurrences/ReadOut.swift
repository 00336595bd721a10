extension Analysis {
  /// Reads the output as it stands; where that is no read-out, as a map of the largest part of it
  /// that is one, and that alone reads the state.
  func readOutAndEpilogue(
    _ matrix: Recurrence.StateVariable, keys: Product, values: Product,
    into form: inout DiagonalForm
  ) throws(Obstacle) {
    let obstacle: Obstacle
    do {
      return try readOut(recurrence.output, matrix, keys: keys, values: values, into: &form)
    } catch { obstacle = error }
    var parts: [Expression] = recurrence.output.children
    while !parts.isEmpty {
      let part = parts.removeFirst()
      parts += part.children
      guard part.readsState, part.axes == .value else { continue }
      let epilogue = recurrence.output.replacing(part, by: .input(Symbol.output, .value))
      guard !epilogue.readsState else { continue }
      var inner = form
      do {
        try readOut(part, matrix, keys: keys, values: values, into: &inner)
      } catch { continue }
      form = inner
      form.epilogue = epilogue
      return
    }
    throw obstacle
  }

  /// Reads an output: `[scalars *] sum(key: q * S)`, a bonus, a skip, a normalizer.
  private func readOut(
    _ output: Expression, _ matrix: Recurrence.StateVariable, keys: Product, values: Product,
    into form: inout DiagonalForm
  ) throws(Obstacle) {
    var query: Product?
    var denominator: Expression?
    var skips: [Product] = []
    var presents: [Expression] = []
    for term in output.sumOfProducts(where: { $0.readsState }) {
      let (inverses, factors) = term.split { $0.inverseOfState != nil }
      let (sums, scalars) = factors.split { $0.sumsOverState }
      guard let only = sums.factors.first, sums.factors.count == 1,
        case .sum(.key, let inner) = only, !scalars.factors.contains(where: \.readsState)
      else {
        if let factor = term.factors.first(where: \.readsState) {
          throw Obstacle(
            reason: "The output reads the state other than by a sum over its keys: \(factor).")
        }
        skips.append(term)
        continue
      }
      guard scalars.expression.axes == .scalar else {
        throw Obstacle(reason: "The read-out is scaled by a vector: \(scalars.expression).")
      }
      guard inverses.factors.count < 2 else {
        throw Obstacle(reason: "The output is divided by more than one sum over the state.")
      }
      denominator = inverses.factors.first?.inverseOfState
      for product in inner.sumOfProducts(where: { $0.readsState || $0.axes == .keyValue }) {
        let (states, rest) = product.split(where: \.readsState)
        if states.factors.isEmpty {
          guard let weight = weight(of: rest, on: values) else {
            throw Obstacle(reason: "The output adds \(rest.expression), which is not the value.")
          }
          presents.append(.product(scalars.factors + weight))
          continue
        }
        guard states.factors.count == 1,
          case .state(matrix.name, _, let previous) = states.factors[0]
        else {
          throw Obstacle(reason: "The output is not linear in the state: \(product.expression).")
        }
        guard query == nil else {
          throw Obstacle(reason: "The output reads the state more than once.")
        }
        query = Product(factors: scalars.factors + rest.factors)
        form.readsPrevious = previous
      }
    }
    // A bonus may also be written beside the read-out, as `dot(q * u, k) * v`.
    if form.readsPrevious, denominator == nil {
      skips.removeAll { term in
        guard let bonus = bonus(term, on: values) else { return false }
        presents.append(bonus)
        return true
      }
    }
    guard let query, query.expression.axes == .key else {
      throw Obstacle(reason: "The output does not read the state with a query along the key axis.")
    }
    form.query = query.expression
    if !presents.isEmpty {
      guard form.readsPrevious else {
        throw Obstacle(reason: "A bonus needs a read-out before the write.")
      }
      form.present = .total(presents)
    }
    if !skips.isEmpty { form.skip = .total(skips.map(\.expression)) }
    if let denominator {
      guard form.present == nil else {
        throw Obstacle(reason: "A normalizer does not go with a bonus.")
      }
      form.normalizer = try normalizer(denominator, query: query, keys: keys, form: form)
    }
  }

  /// The factors of `product` other than `values`; nil when it is no multiple of them.
  private func weight(of product: Product, on values: Product) -> [Expression]? {
    let (written, weights) = product.split { $0.axes == .value }
    return written.matches(values) ? weights.factors : nil
  }

  /// For `scalars * sum(key: w) * values`, what the sum over the key axis is of.
  private func bonus(_ term: Product, on values: Product) -> Expression? {
    guard var factors = weight(of: term, on: values),
      let place = factors.firstIndex(where: {
        if case .sum(.key, _) = $0 { true } else { false }
      }),
      case .sum(_, let inner) = factors.remove(at: place)
    else { return nil }
    return Expression.product(factors).axes == .scalar ? .product(factors + inner.factors) : nil
  }

  /// Recognises a normalizer: the sum of `q * z` with a state z that gates as S does and takes k.
  private func normalizer(
    _ denominator: Expression, query: Product, keys: Product, form: DiagonalForm
  ) throws(Obstacle) -> Expression {
    guard let state = recurrence.states.first(where: { $0.axes == .key }) else {
      throw Obstacle(reason: "The output is divided by a state that has no key axis.")
    }
    let update = try linearUpdate(of: state)
    guard update.write.matches(keys) else {
      throw Obstacle(reason: "The normalizer '\(state.name)' adds up something other than the key.")
    }
    guard form.valueGate == nil, gate(update.gate) == form.keyGate else {
      throw Obstacle(reason: "The normalizer '\(state.name)' decays differently from the state.")
    }
    var failure: Obstacle?
    func replace(_ node: Expression) -> Expression {
      guard case .sum(.key, let inner) = node, inner.readsState else {
        return node.mapChildren(replace)
      }
      let (states, own) = Product(factors: inner.factors).split(where: \.readsState)
      guard states.factors == [.state(state.name, .key, previous: form.readsPrevious)] else {
        failure = Obstacle(reason: "The normalizer reads \(inner), not one product with its state.")
        return node
      }
      var extra = query.factors
      for factor in own.factors {
        guard let place = extra.firstIndex(of: factor) else {
          failure = Obstacle(
            reason: "The normalizer's query \(own.expression) is not the output's.")
          return node
        }
        extra.remove(at: place)
      }
      let sum = Expression.input(Symbol.normalizer, .scalar)
      return extra.isEmpty ? sum : sum / .product(extra)
    }
    let map = replace(denominator)
    if let failure { throw failure }
    return map
  }
}
