import Recurrences

extension Verifier {
  /// Shapes and element types that each operation admits.
  mutating func check(_ operation: Operation) {
    switch operation {
    case .map(let map): check(map)
    case .scan(let scan):
      require(scan.target, is: (scan.source.rows, scan.source.columns), "the target")
      check(scan.source)
      [scan.target, scan.source].forEach {
        requirePlain($0)
        requireWholeRows($0)
      }
    case .mantissas(let product):
      let (rows, columns) = (product.decays.rows, product.decays.columns)
      require(product.mantissas, is: (rows + 1, columns), "the mantissas")
      require(product.powers, is: (rows, columns), "the powers")
      check(product.decays)
      [product.mantissas, product.powers, product.decays].forEach {
        requirePlain($0)
        requireWholeRows($0)
      }
    case .reduce(let reduce):
      [reduce.target, reduce.source].forEach {
        check($0)
        requirePlain($0)
        requireWholeRows($0)
      }
      let (target, source) = (reduce.target, reduce.source)
      require(
        (target.rows == 1 && target.columns == source.columns)
          || (target.columns == 1 && target.rows == source.rows),
        "\(target) is neither a row nor a column of \(source).")
    case .decayTotal(let total): check(total)
    case .decayFactor(let factor):
      check(factor.decay)
      for view in factor.factor.views + [factor.decay, factor.taken] {
        require(view, is: (factor.decay.rows, factor.decay.columns), "each part of the factor")
        requirePlain(view)
        requireWholeRows(view)
      }
    case .fold(let fold): check(fold)
    case .transpose(let transpose):
      check(transpose)
    case .multiply(let product): check(product)
    case .decayMatrix(let matrix):
      check(matrix.target)
      requirePlain(matrix.target)
      requireWholeRows(matrix.target)
      require(matrix.target.rows == matrix.target.columns, "\(matrix.target) is not square.")
      if let decay = matrix.decay { require(decay, is: (matrix.target.rows, 1), "the decay") }
    case .weigh(let weigh):
      check(weigh.target)
      require(weigh.weights, is: (weigh.target.rows, weigh.target.columns), "the weights")
      [weigh.target, weigh.weights].forEach {
        requirePlain($0)
        requireWholeRows($0)
      }
    case .decayedScores(let scores):
      let (rows, depth) = (scores.query.rows, scores.query.columns)
      require(scores.target, is: (rows, rows), "the target")
      require(scores.key, is: (rows, depth), "the key")
      require(scores.decay, is: (rows, depth), "the decay")
      check(scores.query)
      requirePlain(scores.target)
      [scores.query, scores.key, scores.decay].forEach {
        requirePlain($0)
        requireWholeRows($0)
      }
    case .decayedValues(let values):
      let (rows, columns) = (values.target.rows, values.target.columns)
      check(values.target)
      require(values.scores, is: (rows, rows), "the scores")
      require(values.value, is: (rows, columns), "the value")
      require(values.decay, is: (rows, columns), "the decay")
      requirePlain(values.scores)
      [values.target, values.value, values.decay].forEach {
        requirePlain($0)
        requireWholeRows($0)
      }
    case .decayedPaths(let paths): check(paths)
    case .sumSequences(let sum): check(sum)
    case .monomials(let rows): check(rows)
    case .monomialAdjoint(let adjoint): check(adjoint)
    case .recur(let recur): check(recur)
    case .moveState(let move): check(move)
    case .loadState(let load):
      check(load.target)
      check(load.source, load.target, writes: false)
    case .storeState(let store):
      check(store.source)
      check(store.target, store.source, writes: true)
    case .storeTokens(let store):
      check(store.source)
      requirePlain(store.source)
      check(store.target)
      require(
        store.target.rows == store.source.rows && store.target.columns == store.source.columns,
        "\(store.target) and \(store.source) differ in shape.")
    }
  }

  private mutating func check(_ total: DecayTotal) {
    let (rows, columns) = (total.decay.rows, total.decay.columns)
    check(total.decay)
    require(total.target, is: (1, columns), "the total")
    if let base = total.base { require(base, is: (1, columns), "the base") }
    if let taken = total.taken { require(taken, is: (rows, columns), "the complement") }
    require(
      (total.base == nil) == (total.taken == nil), "A total as a factor needs the complement.")
    for view in [total.target, total.decay, total.base, total.taken].compactMap({ $0 }) {
      requirePlain(view)
      requireWholeRows(view)
    }
  }

  private mutating func check(_ fold: Fold) {
    let (tokens, keys, columns) = (fold.key.rows, fold.key.columns, fold.decay.columns)
    check(fold.key)
    require(fold.folded, is: (tokens, keys), "the folded key")
    require(columns == 1 || columns == keys, "\(fold.decay) decays neither all keys nor each.")
    for (view, name) in [
      (fold.decay, "the decay"), (fold.taken, "the complement"), (fold.reading, "the reading"),
      (fold.step, "the step"),
    ] { require(view, is: (tokens, columns), name) }
    for view in fold.total.views + [fold.exact] {
      require(view, is: (1, columns), "each part of the total, and the mark,")
    }
    if let carried = fold.carried {
      require(columns == keys, "\(fold.decay) is one decay for all keys, which none carries on.")
      for view in carried.past.views {
        require(view, is: (keys, 1), "each part of what is carried")
      }
      for view in carried.begin.views {
        require(view, is: (1, keys), "each part of the scale before the block")
      }
    }
    for view in [
      fold.key, fold.folded, fold.decay, fold.taken, fold.reading, fold.step, fold.exact,
    ] + fold.total.views + (fold.carried?.past.views ?? []) + (fold.carried?.begin.views ?? []) {
      requirePlain(view)
      requireWholeRows(view)
    }
  }

  private mutating func check(_ transpose: Transpose) {
    let (target, source) = (transpose.target, transpose.source)
    check(source)
    require(target, is: (source.columns, source.rows), "the target")
    requireWholeRows(source)
    guard type(source) == .bf16 else {
      requirePlain(source)
      require(
        type(target).isSums || layout(target) == .pairs,
        "\(target) in bf16 must be interleaved.")
      return
    }
    require(
      type(target) == .bf16 && (layout(source) == .pairs) != (layout(target) == .pairs),
      "A transpose of bf16 goes from rows to pairs or back, and \(source) to \(target) does not.")
  }

  private mutating func check(_ map: Map) {
    check(map.target)
    if let complement = map.complement {
      require(complement, is: (map.target.rows, map.target.columns), "the complement")
      requirePlain(complement)
      requirePlain(map.target)
    }
    if layout(map.target) == .pairs {
      require(
        map.expression.isInput && map.operands.count == 1 && (map.tail?.fill ?? 0) == 0,
        "A map into pairs is a plain copy, and \(map.expression) is not.")
    }
    require(
      map.expression.isElementwise && !map.expression.readsState,
      "A map is elementwise, and \(map.expression) is not.")
    for name in map.expression.inputNames where map.operands[name] == nil {
      found.append("The map misses its operand '\(name)'.")
    }
    let (rows, columns) = (map.target.rows, map.target.columns)
    for (_, operand) in map.operands.sorted(by: { $0.key < $1.key }) {
      switch operand {
      case .tile(let view, .none): require(view, is: (rows, columns), "the operand")
      case .tile(let view, .overRows): require(view, is: (1, columns), "the operand")
      case .tile(let view, .overColumns): require(view, is: (rows, 1), "the operand")
      case .tile(let view, .rowAsColumn): require(view, is: (1, rows), "the operand")
      case .tokens(let slice):
        check(slice)
        require(
          layout(map.target) != .pairs || program.tensor(slice.tensor)?.type == .bf16,
          "Rows of \(slice) go into pairs as they are, and must be bf16.")
        require(
          slice.rows == rows, "\(slice) has not the \(rows) rows of \(map.target).")
        require(
          map.tail?.start == slice.start,
          "A map of \(slice) must say what rows past the end hold, from the same token on.")
      case .parameter(let name, _):
        requireHead(name)
        require(
          program.tensor(name)?.kind == .parameter, "'\(name)' is no parameter of the program.")
      case .scale: break
      }
      if case .tile(let view, let how) = operand {
        if how == .none, type(view) == .bf16, layout(view) == .rows { continue }
        // Pairs may be told apart again.
        if map.expression.isInput, layout(view) == .pairs, type(map.target) == .bf16,
          layout(map.target) == .rows
        {
          continue
        }
        requirePlain(view)
      }
    }
  }

  private mutating func check(_ recur: Recur) {
    let (tokens, columns) = (recur.output.rows, recur.output.columns)
    let keys = recur.state.rows
    check(recur.output)
    require(recur.state, is: (keys, columns), "the state")
    require(recur.query, is: (tokens, keys), "the query")
    require(recur.key, is: (tokens, keys), "the key")
    require(recur.value, is: (tokens, columns), "the value")
    if let decay = recur.decay {
      require(decay, is: (tokens, decay.columns == 1 ? 1 : keys), "the decay")
    }
    if let decays = recur.decays {
      require(recur.decay != nil, "Without a decay \(decays) marks nothing.")
      require(decays, is: (1, decays.columns == 1 ? 1 : keys), "the mark of decays")
    }
    for view in recur.valueDecay?.views ?? [] {
      require(view, is: (tokens, columns), "the value decay")
    }
    for view in recur.endScale?.views ?? [] {
      require(view, is: (1, view.columns == 1 ? 1 : keys), "the scale at the end")
    }
    for view in recur.beginScale?.views ?? [] {
      require(view, is: (1, keys), "the scale at the beginning")
    }
    let views =
      [recur.output, recur.state, recur.query, recur.key, recur.value]
      + [recur.decay, recur.decays].compactMap { $0 } + (recur.valueDecay?.views ?? [])
      + (recur.beginScale?.views ?? [])
      + (recur.endScale?.views ?? [])
    for view in views {
      requirePlain(view)
      requireWholeRows(view)
    }
    recur.ahead.forEach { check($0) }
  }

  private mutating func check(_ move: MoveState) {
    let (keys, columns) = (move.query.columns, move.output.columns)
    check(move.output)
    require(move.output, is: (1, columns), "the output")
    require(move.query, is: (1, keys), "the query")
    require(move.key, is: (1, keys), "the key")
    require(move.value, is: (1, columns), "the value")
    for view in move.rowScale?.views ?? [] {
      require(view, is: (1, view.columns == 1 ? 1 : keys), "the decay of the keys")
    }
    for view in move.columnScale?.views ?? [] {
      require(view, is: (1, columns), "the decay of the values")
    }
    for view in [move.output, move.query, move.key, move.value]
      + (move.rowScale?.views ?? []) + (move.columnScale?.views ?? [])
    {
      requirePlain(view)
      requireWholeRows(view)
    }
    require(
      layout(move.value) == layout(move.output),
      "\(move.value) and \(move.output) lie differently.")
    check(move.source, rows: keys, columns: columns, writes: false)
    check(move.target, rows: keys, columns: columns, writes: true)
  }

  private mutating func check(_ product: Multiply) {
    let (rows, columns) = (product.target.rows, product.target.columns)
    let depth = product.right.rows
    require(product.target, is: (rows, columns), "the target")
    require(product.right, is: (depth, columns), "the right operand")
    require(
      product.left, is: product.leftIsTransposed ? (depth, rows) : (rows, depth),
      "the left operand")
    requirePlain(product.target)
    if let bounds = bounds(product.depth) {
      require(
        bounds.lowerBound >= 0 && bounds.upperBound <= depth,
        "The depth \(product.depth) exceeds the operands' \(depth).")
    }
    let left = (type(product.left), layout(product.left))
    let right = (type(product.right), layout(product.right))
    let legal =
      left.0.isSums && left.1 != .pairs && right.0 == left.0
      && right.1 == layout(product.target)
      || right == (.bf16, .pairs) && left == (.bf16, .rows) && !product.leftIsTransposed
    require(
      legal,
      "No product of \(left.0.rawValue) \(left.1.rawValue) and \(right.0.rawValue) "
        + "\(right.1.rawValue) is legal\(product.leftIsTransposed ? " with a transposed left" : "")."
    )
    for scale in product.rowScale?.views ?? [] {
      check(scale)
      require(
        (scale.rows, scale.columns) == (rows, 1) || (scale.rows, scale.columns) == (1, rows),
        "\(scale) does not scale \(rows) rows.")
    }
    for scale in product.columnScale?.views ?? [] {
      require(scale, is: (1, columns), "the column scale")
    }
    require(
      product.accumulates || (product.rowScale == nil && product.columnScale == nil),
      "A product that does not accumulate has nothing to scale.")
  }

  private mutating func check(_ slice: TokenSlice) {
    requireHead(slice.tensor)
    let kind = program.tensor(slice.tensor)?.kind
    require(
      kind == .tokens || kind == .queryTokens, "'\(slice.tensor)' is no token tensor.")
    if let start = bounds(slice.start) {
      require(start.lowerBound >= 0, "\(slice) begins before the sequence.")
    }
  }

  private mutating func check(_ slice: StateSlice, _ view: TileView, writes: Bool) {
    check(slice, rows: view.rows, columns: view.columns, writes: writes)
    requirePlain(view)
  }

  private mutating func check(_ slice: StateSlice, rows: Int, columns: Int, writes: Bool) {
    requireHead(slice.tensor)
    guard let tensor = program.tensor(slice.tensor) else {
      found.append("The tensor '\(slice.tensor)' is not declared.")
      return
    }
    let legal: Set<Tensor.Kind> =
      writes
      ? [.finalState, .segment, .partial, .snapshot] : [.initialState, .segment, .chunkStates]
    require(legal.contains(tensor.kind), "'\(slice.tensor)' cannot be used here.")
    require(
      [.segment, .snapshot, .chunkStates].contains(tensor.kind) == (slice.segment != nil),
      "\(slice): a segment belongs to the workspace or to written states, and only there.")
    require(
      rows == tensor.rows && columns == slice.columns,
      "\(slice) and its \(rows) x \(columns) tile differ in shape.")
    if let segment = slice.segment { _ = bounds(segment) }
  }
}

extension Expression {
  fileprivate var isInput: Bool {
    if case .input = self { true } else { false }
  }
}
