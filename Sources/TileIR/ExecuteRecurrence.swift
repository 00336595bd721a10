import Recurrences

/// What decays take, and the recurrence under them.
extension Worker {
  /// A factor at one place, to the precision of both its parts.
  func factor(_ factor: Factor, _ place: (row: Int, column: Int)) -> Double {
    factor.views.reduce(0) { $0 + get(window($1), place.row, place.column) }
  }

  /// What is left of `product` when it is rounded to a tile's type, from what it takes away.
  private func rest(of product: Double, taken: Double) -> Double {
    product >= 0.5 ? (1 - product) - taken : 0
  }

  mutating func execute(_ total: DecayTotal) {
    let (target, decay) = (window(total.target), window(total.decay))
    let (rest, taken) = (total.rest.map(window), total.taken.map(window))
    for column in 0..<total.decay.columns {
      var product = 1.0
      var gone = 0.0
      for row in 0..<total.decay.rows {
        if let taken { gone += get(taken, row, column) * product }
        product *= get(decay, row, column)
      }
      set(target, 0, column, product)
      if let rest {
        set(rest, 0, column, self.rest(of: get(target, 0, column), taken: gone))
      }
    }
  }

  mutating func execute(_ rest: DecayRest) {
    let (target, decay, taken) = (window(rest.target), window(rest.decay), window(rest.taken))
    for row in 0..<rest.target.rows {
      for column in 0..<rest.target.columns {
        set(
          target, row, column,
          self.rest(of: get(decay, row, column), taken: get(taken, row, column)))
      }
    }
  }

  mutating func execute(_ fold: Fold) {
    let perKey = fold.decay.columns > 1
    for column in 0..<fold.decay.columns {
      execute(fold, column, keys: perKey ? column..<column + 1 : 0..<fold.key.columns)
    }
  }

  /// One column of the decays, with the keys that it decays.
  private mutating func execute(_ fold: Fold, _ column: Int, keys: Range<Int>) {
    let (key, decay, taken) = (window(fold.key), window(fold.decay), window(fold.taken))
    let (folded, reading, step) = (window(fold.folded), window(fold.reading), window(fold.step))
    let (total, rest, exact) = (window(fold.total), window(fold.rest), window(fold.exact))
    let tokens = fold.key.rows
    var running: [Double] = []
    var product = 1.0
    var gone = 0.0
    for token in 0..<tokens {
      gone += get(taken, token, column) * product
      product *= get(decay, token, column)
      running.append(product)
    }
    let folds =
      product > Fold.smallestDecay
      && keys.allSatisfy { place in
        (0..<tokens).allSatisfy { abs(get(key, $0, place) / running[$0]) < Fold.largestKey }
      }
    for token in 0..<tokens {
      let read = fold.readsPrevious ? (token == 0 ? 1 : running[token - 1]) : running[token]
      set(reading, token, column, folds ? read : 1)
      set(step, token, column, folds ? 1 : get(decay, token, column))
      for place in keys {
        let value = get(key, token, place)
        set(folded, token, place, folds ? value / running[token] : value)
      }
    }
    set(total, 0, column, folds ? product : 1)
    set(rest, 0, column, folds ? self.rest(of: get(total, 0, column), taken: gone) : 0)
    set(exact, 0, column, folds ? 0 : 1)
  }

  mutating func execute(_ recur: Recur) {
    let (output, query, key) = (window(recur.output), window(recur.query), window(recur.key))
    let (value, matrix) = (window(recur.value), window(recur.state))
    let decay = recur.decay.map(window)
    let (keys, columns) = (recur.state.rows, recur.state.columns)
    var state = (0..<keys * columns).map { get(matrix, $0 / columns, $0 % columns) }
    for token in 0..<recur.output.rows {
      var sums = Array(repeating: 0.0, count: columns)
      let columnFactors = recur.valueDecay.map { scale in
        (0..<columns).map { factor(scale, (token, $0)) }
      }
      for k in 0..<keys {
        let shrink = decay.map { get($0, token, recur.decay!.columns == 1 ? 0 : k) } ?? 1
        for v in 0..<columns {
          let before = state[k * columns + v]
          let after =
            shrink * before * (columnFactors?[v] ?? 1)
            + get(key, token, k) * get(value, token, v)
          sums[v] += get(query, token, k) * (recur.readsPrevious ? before : after)
          state[k * columns + v] = after
        }
      }
      for v in 0..<columns { set(output, token, v, sums[v]) }
    }
    guard group == machine.shape.queryHeads / machine.shape.heads - 1 else { return }
    for k in 0..<keys {
      let scale =
        recur.endScale.map { factor($0, (0, $0.value.columns == 1 ? 0 : k)) } ?? 1
      for v in 0..<columns { set(matrix, k, v, scale * state[k * columns + v]) }
    }
  }
}
