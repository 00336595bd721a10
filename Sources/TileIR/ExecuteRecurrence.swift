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
    func keys(_ column: Int) -> Range<Int> {
      perKey ? column..<column + 1 : 0..<fold.key.columns
    }
    let columns = 0..<fold.decay.columns
    if let carried = fold.carried, carry(fold, carried, columns) { return }
    for column in columns { execute(fold, column, keys: keys(column)) }
  }

  /// A block's decays of one column, after what came before: the products, and what they took away.
  private func products(_ fold: Fold, _ column: Int, from start: Double) -> (
    running: [Double], gone: Double
  ) {
    let (decay, taken) = (window(fold.decay), window(fold.taken))
    var (running, product, gone): ([Double], Double, Double) = ([], start, 0)
    for token in 0..<fold.key.rows {
      gone += get(taken, token, column) * product
      product *= get(decay, token, column)
      running.append(product)
    }
    return (running, gone)
  }

  private func folds(_ fold: Fold, _ running: [Double], keys: Range<Int>) -> Bool {
    let key = window(fold.key)
    return running.last! > Fold.smallestDecay
      && keys.allSatisfy { place in
        running.indices.allSatisfy { abs(get(key, $0, place) / running[$0]) < Fold.largestKey }
      }
  }

  /// Folds the block on from the carried products and returns true, if all of its keys fold so;
  /// else has the state scaled by them first.
  private mutating func carry(_ fold: Fold, _ carried: Fold.Carried, _ columns: Range<Int>) -> Bool
  {
    let (past, begin, total) = (
      windows(carried.past), windows(carried.begin), windows(fold.total)
    )
    let starts = columns.map { factor(carried.past, ($0, 0)) }
    let blocks = columns.map { products(fold, $0, from: starts[$0]) }
    let goesOn = columns.allSatisfy { folds(fold, blocks[$0].running, keys: $0..<$0 + 1) }
    let scales = columns.contains { blocks[$0].running.last! < Fold.Carried.scaledBelow }
    for column in columns {
      let (start, end) = (starts[column], blocks[column].running.last!)
      // In doubles what is gone needs no sum of its own.
      set(begin, 0, column, product: goesOn ? 1 : start, taken: goesOn ? 0 : 1 - start)
      if goesOn {
        write(fold, column, keys: column..<column + 1, blocks[column].running, start)
        set(total, 0, column, product: scales ? end : 1, taken: scales ? 1 - end : 0)
      }
      let isCarried = goesOn && !scales
      set(past, column, 0, product: isCarried ? end : 1, taken: isCarried ? 1 - end : 0)
    }
    return goesOn
  }

  /// Keys, readings and steps of a column that folds.
  private mutating func write(
    _ fold: Fold, _ column: Int, keys: Range<Int>, _ running: [Double], _ start: Double
  ) {
    let (key, folded) = (window(fold.key), window(fold.folded))
    let (reading, step) = (window(fold.reading), window(fold.step))
    for token in running.indices {
      let before = token == 0 ? start : running[token - 1]
      set(reading, token, column, fold.readsPrevious ? before : running[token])
      set(step, token, column, 1)
      for place in keys {
        set(folded, token, place, get(key, token, place) / running[token])
      }
    }
    set(window(fold.exact), 0, column, 0)
  }

  /// One column of the decays, with the keys that it decays.
  private mutating func execute(_ fold: Fold, _ column: Int, keys: Range<Int>) {
    let total = windows(fold.total)
    let (running, gone) = products(fold, column, from: 1)
    if folds(fold, running, keys: keys) {
      write(fold, column, keys: keys, running, 1)
      return set(total, 0, column, product: running.last!, taken: gone)
    }
    let (key, folded, decay) = (window(fold.key), window(fold.folded), window(fold.decay))
    let (reading, step) = (window(fold.reading), window(fold.step))
    for token in running.indices {
      set(reading, token, column, 1)
      set(step, token, column, get(decay, token, column))
      for place in keys { set(folded, token, place, get(key, token, place)) }
    }
    set(total, 0, column, product: 1, taken: 0)
    set(window(fold.exact), 0, column, 1)
  }

  mutating func execute(_ recur: Recur) {
    let (output, query, key) = (window(recur.output), window(recur.query), window(recur.key))
    let (value, matrix) = (window(recur.value), window(recur.state))
    let decay = recur.decay.map(window)
    let (keys, columns) = (recur.state.rows, recur.state.columns)
    var state = (0..<keys * columns).map { place in
      (recur.beginScale.map { factor($0, (0, place / columns)) } ?? 1)
        * get(matrix, place / columns, place % columns)
    }
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
