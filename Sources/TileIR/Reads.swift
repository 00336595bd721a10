extension Operation {
  /// The views whose numbers it reads.
  public var reads: [TileView] {
    switch self {
    case .map(let map):
      map.operands.values.compactMap {
        if case .tile(let view, _) = $0 { view } else { nil }
      }
    case .scan(let scan): [scan.source]
    case .mantissas(let product): [product.decays]
    case .reduce(let reduce): [reduce.source]
    case .transpose(let transpose): [transpose.source]
    case .multiply(let product):
      [product.left, product.right] + (product.accumulates ? [product.target] : [])
        + (product.rowScale?.views ?? []) + (product.columnScale?.views ?? [])
    case .decayMatrix(let matrix): matrix.decay.map { [$0] } ?? []
    case .weigh(let weigh): [weigh.target, weigh.weights]
    case .decayedScores(let scores): [scores.query, scores.key, scores.decay]
    case .decayedValues(let values): [values.target, values.scores, values.value, values.decay]
    case .decayedPaths(let paths): paths.reads
    case .decayTotal(let total): [total.decay] + (total.taken.map { [$0] } ?? [])
    case .decayFactor(let factor): [factor.decay, factor.taken]
    case .fold(let fold):
      [fold.key, fold.decay, fold.taken]
        + (fold.carried?.past.views ?? [])
    case .recur(let recur):
      [recur.state, recur.query, recur.key, recur.value]
        + [recur.decay, recur.decays].compactMap { $0 } + (recur.valueDecay?.views ?? [])
        + (recur.endScale?.views ?? []) + (recur.beginScale?.views ?? [])
    case .moveState(let move):
      [move.query, move.key, move.value] + (move.rowScale?.views ?? [])
        + (move.columnScale?.views ?? [])
    case .loadState, .sumSequences: []
    case .monomials(let rows): [rows.source]
    case .monomialAdjoint(let adjoint): [adjoint.given, adjoint.source]
    case .storeState(let store): [store.source]
    case .storeTokens(let store): [store.source]
    }
  }
}

extension Statement {
  /// The views whose numbers it reads, in its bodies too.
  public var reads: [TileView] {
    switch self {
    case .note: []
    case .operation(let operation): operation.reads
    case .loop(_, let inner), .firstValueTile(let inner): inner.flatMap(\.reads)
    case .when(let condition, let inner, let otherwise):
      (condition.above + condition.magnitudeBelow).map(\.view)
        + (inner + otherwise).flatMap(\.reads)
    }
  }

  /// The view that it writes anew, a map's or a scan's.
  public var written: TileView? {
    switch self {
    case .operation(.map(let map)): map.target
    case .operation(.scan(let scan)): scan.target
    default: nil
    }
  }
}

extension TileProgram.Phase {
  /// The tiles of which some body reads a view that it has not itself written before, by a map or a
  /// scan: what a body leaves in them, another one or its own next turn may read.
  public var inherited: Set<String> {
    var found: Set<String> = []
    /// The views that the body reads before it has written them.
    func visit(_ body: [Statement]) -> Set<TileView> {
      var (written, open): (Set<TileView>, Set<TileView>) = ([], [])
      for statement in body {
        switch statement {
        case .note: break
        case .operation(let operation): open.formUnion(Set(operation.reads).subtracting(written))
        case .loop(_, let inner), .firstValueTile(let inner):
          open.formUnion(visit(inner).subtracting(written))
        case .when(let condition, let inner, let otherwise):
          let tested = (condition.above + condition.magnitudeBelow).map(\.view)
          open.formUnion(
            visit(inner).union(visit(otherwise)).union(tested).subtracting(written))
        }
        if let view = statement.written { written.insert(view) }
      }
      found.formUnion(open.map(\.tile))
      return open
    }
    _ = visit(body)
    return found
  }

  /// Every operation of its statements, once, in their order.
  public var operations: [Operation] {
    func all(_ body: [Statement]) -> [Operation] {
      body.flatMap { statement -> [Operation] in
        switch statement {
        case .note: []
        case .operation(let operation): [operation]
        case .loop(_, let inner), .firstValueTile(let inner): all(inner)
        case .when(_, let inner, let otherwise): all(inner) + all(otherwise)
        }
      }
    }
    return all(body)
  }

  /// The tiles that some statement reads, those of conditions included.
  public var read: Set<String> { Set(body.flatMap(\.reads).map(\.tile)) }
}
