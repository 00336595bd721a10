import Recurrences

/// What decays take, and the recurrence under them.
extension Worker {
  /// A factor at one place, to the precision of both its parts.
  func factor(_ factor: Factor, _ place: (row: Int, column: Int)) -> Double {
    factor.views.reduce(0) { $0 + get(window($1), place.row, place.column) }
  }

  /// Writes a product and what it takes away as a factor.
  private mutating func set(
    _ factor: (slope: Window, base: Window?), _ row: Int, _ column: Int, product: Double,
    taken: Double
  ) {
    let isNear = product >= 0.5
    guard let base = factor.base else { return set(factor.slope, row, column, product) }
    set(factor.slope, row, column, isNear ? -taken : product)
    set(base, row, column, isNear ? 1 : 0)
  }

  private func windows(_ factor: Factor) -> (slope: Window, base: Window?) {
    (window(factor.slope), factor.base.map(window))
  }

  mutating func execute(_ total: DecayTotal) {
    let target = windows(Factor(total.target, base: total.base))
    let (decay, taken) = (window(total.decay), total.taken.map(window))
    for column in 0..<total.decay.columns {
      var product = 1.0
      var gone = 0.0
      for row in 0..<total.decay.rows {
        if let taken { gone += get(taken, row, column) * product }
        product *= get(decay, row, column)
      }
      set(target, 0, column, product: product, taken: gone)
    }
  }

  mutating func execute(_ factor: DecayFactor) {
    let target = windows(factor.factor)
    let (decay, taken) = (window(factor.decay), window(factor.taken))
    for row in 0..<factor.decay.rows {
      for column in 0..<factor.decay.columns {
        set(
          target, row, column, product: get(decay, row, column), taken: get(taken, row, column))
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
    let (total, exact) = (windows(fold.total), window(fold.exact))
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
    set(total, 0, column, product: folds ? product : 1, taken: folds ? gone : 0)
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
        recur.endScale.map { factor($0, (0, $0.slope.columns == 1 ? 0 : k)) } ?? 1
      for v in 0..<columns { set(matrix, k, v, scale * state[k * columns + v]) }
    }
  }
}
