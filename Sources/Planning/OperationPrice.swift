import Recurrences
import Schedules
import Targets
import TileIR

/// What one run of an operation on tiles takes, in seconds of one thread.
///
/// Arithmetic is counted in vectors and priced as the words were measured on operands in the first
/// cache; what operands cost beyond that cache, and the caller's rows in memory, comes on top.
struct OperationPrice {
  /// How much shows of the time that rows take to begin although they were asked for ahead: what
  /// was asked for waits for the address of its page.
  private static let shownBegins = 0.5
  /// How often the time of rows counts once more that a recurrence did not ask for ahead: each is
  /// waited for where it is used.
  private static let unasked = 2.0
  /// What a load takes of a multiplication's time in a recurrence: it goes beside them, but not for
  /// nothing.
  private static let load = 0.5

  let program: TileProgram
  let target: Target
  let figures: Calibration
  let memory: MemoryPrice
  let inner: InnerLoops
  /// Token tensors whose rows a recurrence asks for ahead: their price is the recurrence's.
  private let asked: Set<String>

  init(
    program: TileProgram, phase: TileProgram.Phase, target: Target, figures: Calibration,
    workload: Workload, inner: InnerLoops
  ) {
    self.program = program
    self.target = target
    self.figures = figures
    self.inner = inner
    asked = Set(
      phase.operations.flatMap { operation -> [String] in
        guard case .recur(let recur) = operation else { return [] }
        return recur.ahead.map(\.tensor)
      })
    memory = MemoryPrice(
      program: program, phase: phase, target: target, figures: figures, workload: workload)
  }

  func charges(_ counted: CountedOperation) -> Charges {
    var charges = Charges()
    func charge(_ term: Prediction.Term, _ seconds: Double) {
      charges.seconds[term, default: 0] += seconds
    }
    var rows = 1
    switch counted.operation {
    case .map(let map):
      rows = map.target.rows
      // A column is computed number by number.
      let count = Double(rows) * (map.target.columns == 1 ? 1 : vectors(map.target.columns))
      charge(.maps, count * figures.pass * (1 + 0.25 * Double(max(0, map.operands.count - 1))))
      charge(.functions, count * functions(map.expression))
      if let complement = map.complement {
        // One minus the expression has a way of its own where that loses nothing.
        charge(.maps, count * figures.pass)
        charge(.functions, count * functions(map.expression))
        charge(.caches, memory.cache(complement, writes: true))
      }
      for case .tile(let view, let kind) in map.operands.values where kind == .none {
        charge(.caches, memory.cache(view))
      }
      for case .tokens(let slice) in map.operands.values where !asked.contains(slice.tensor) {
        charge(.rows, memory.rows(slice))
      }
      charge(.caches, memory.cache(map.target, writes: true))
    case .scan(let scan):
      rows = scan.target.rows
      charge(.maps, columnwise(scan.target, figures.scan))
      charge(.caches, memory.cache(scan.source) + memory.cache(scan.target, writes: true))
    case .mantissas(let product):
      rows = product.decays.rows
      charge(.maps, 2 * columnwise(product.decays, figures.scan))
      for view in [product.mantissas, product.powers] {
        charge(.caches, memory.cache(view, writes: true))
      }
    case .reduce(let reduce):
      rows = reduce.source.rows
      charge(.maps, columnwise(reduce.source, figures.scan))
      charge(.caches, memory.cache(reduce.source))
    case .decayTotal(let total):
      rows = total.decay.rows
      let tiles = total.base == nil ? 1.0 : 2
      charge(.maps, tiles * columnwise(total.decay, figures.scan))
      charge(.caches, tiles * memory.cache(total.decay))
    case .decayFactor(let factor):
      let target = factor.factor.slope
      rows = target.rows
      charge(.maps, 1.5 * area(target) * figures.pass)
      for view in [factor.decay, factor.taken] { charge(.caches, memory.cache(view)) }
      for view in factor.factor.views { charge(.caches, memory.cache(view, writes: true)) }
    case .fold(let fold):
      rows = fold.key.rows
      charge(.maps, area(fold.key) * figures.fold)
      for view in [fold.key, fold.decay, fold.taken] { charge(.caches, memory.cache(view)) }
      for view in [fold.folded, fold.reading] {
        charge(.caches, memory.cache(view, writes: true))
      }
    case .transpose(let transpose):
      rows = transpose.source.rows
      charge(.maps, area(transpose.source) * figures.transpose)
      charge(.caches, memory.cache(transpose.source) + memory.cache(transpose.target, writes: true))
    case .decayMatrix(let matrix):
      rows = matrix.target.rows
      charge(.maps, area(matrix.target) * figures.pass)
    case .weigh(let weigh):
      rows = weigh.target.rows
      charge(.maps, 2 * area(weigh.target) * figures.pass)
    case .multiply(let product): price(product, depth: counted.depth, charge)
    case .decayedScores(let scores):
      rows = scores.target.rows
      charge(.scores, pairs(rows) * vectors(scores.query.columns) * figures.scores)
    case .decayedValues(let values):
      rows = values.target.rows
      charge(.scores, pairs(rows) * vectors(values.target.columns) * figures.scores)
    case .decayedPaths(let paths):
      rows = paths.target.rows
      // Among eight writers twice the loads and multiplications of a score, behind them a third of
      // that; single columns wait for each other.
      let near = Double(rows) * Double(min(rows, 8) + 1) / 2
      let steps =
        paths.vectors == nil
        ? pairs(rows) * 8 * figures.multiplyAdd
        : (near + (pairs(rows) - near) / 3) * 2 * figures.scores
      charge(.scores, vectors(paths.target.columns) * steps)
    // A pass over the monomials, of parts that begin where no vector does.
    case .monomials(let map):
      rows = map.target.rows
      charge(.maps, monomials(map.source) * 2 * figures.pass)
      charge(.caches, memory.cache(map.source) + memory.cache(map.target, writes: true))
    // Two products for each vector that is read.
    case .monomialAdjoint(let adjoint):
      rows = adjoint.target.rows
      charge(.maps, monomials(adjoint.source) * 4 * figures.pass)
      charge(.caches, memory.cache(adjoint.given) + memory.cache(adjoint.source))
    // Once a head, a few numbers.
    case .sumSequences: break
    case .recur(let recur): price(recur, charge)
    // A vector of the state comes, is decayed, added to, read out and goes.
    case .moveState(let move):
      rows = move.query.columns
      charge(.recurrence, 4 * Double(rows) * vectors(move.output.columns) * figures.recurrence)
      charge(.states, memory.state(rows, move.output.columns, writes: false))
      charge(.states, memory.state(rows, move.output.columns, writes: true))
    case .loadState(let load):
      rows = load.target.rows
      charge(.states, memory.state(load.target, writes: false))
      if program.tensor(load.source.tensor)?.kind == .chunkStates {
        // The forward call wrote it out for this.
        charge(.states, memory.state(load.target, writes: true))
      }
    case .storeState(let store) where store.target.tensor == TensorName.snapshots:
      break  // As many are written out whatever the plan.
    case .storeState(let store):
      rows = store.source.rows
      charge(.states, memory.state(store.source, writes: true))
    case .storeTokens(let store):
      rows = store.source.rows
      charge(.maps, area(store.source) * figures.pass)
      charge(.rows, memory.written(store.target))
    }
    charge(.steps, figures.pass * (4 + Double(rows)))
    return charges
  }

  private func price(
    _ product: Multiply, depth: Double, _ charge: (Prediction.Term, Double) -> Void
  ) {
    let rows = Double(product.target.rows)
    guard product.target.columns > 1 else {
      // One sum after the other, each waiting for its last term.
      return charge(.products, rows * depth * 8 * figures.multiplyAdd)
    }
    let wide = vectors(product.target.columns)
    let isPairs = product.right.type(in: program) == .bf16
    let steps = isPairs ? (depth / 2).rounded(.up) : depth
    let one = isPairs ? figures.productPairs : figures.product
    if isPairs, target.hasMatrixUnit {
      // Not measured, a unit's product of 16 x 32 by 32 x 16 is taken for sixteen cycles, and its
      // operands' way for half as many again, of two vector multiplications each.
      let blocks = (rows / 16).rounded(.up) * wide * (depth / 32).rounded(.up)
      charge(.products, blocks * (figures.matrix ?? 48 * figures.multiplyAdd))
    } else {
      // Fewer than eight sums side by side wait for each other.
      let chains = min(rows, 8) * min(wide, 4)
      charge(.products, rows * wide * steps * one * max(1, 8 / chains))
    }
    let passes = product.accumulates ? 2.0 : 1.0
    charge(.maps, rows * wide * passes * 0.5 * figures.pass)
    // A block of rows reads all of the right operand.
    let blockRows = max(1, Double(target.vectorRegisters - 1 - 4) / min(4, wide)).rounded(.down)
    let readings = (rows / min(rows, blockRows)).rounded(.up)
    charge(.caches, memory.cache(product.right, share: depth, readings: readings))
    charge(.caches, memory.cache(product.left, share: depth))
    charge(.caches, memory.cache(product.target, writes: true))
    if product.accumulates { charge(.caches, memory.cache(product.target)) }
  }

  private func price(_ recur: Recur, _ charge: (Prediction.Term, Double) -> Void) {
    let tokens = Double(recur.output.rows)
    let entries = area(recur.state)
    // Keys whose decays are folded, as mild ones are, pick up none here; a value's decay is a
    // slope and a base.
    let decays = recur.decay != nil && recur.decays == nil ? 1.0 : 0
    let steps = 2 + decays + (recur.valueDecay == nil ? 0 : 2)
    let wide = (recur.state.columns + target.lanes - 1) / target.lanes
    let own = RegisterBlock.fitting(
      recur.state.rows, wide, hasColumnDecay: recur.valueDecay != nil, in: target)
    let block = inner.registerBlock ?? own
    let loads = max(0, block.loadsPerStep - own.loadsPerStep)
    let seconds = steps * tokens * entries * figures.recurrence * (1 + Self.load * loads)
    charge(.recurrence, seconds)
    // The state's pieces come and go while others are worked on: half of their way is hidden.
    charge(
      .caches, 0.5 * (memory.cache(recur.state) + memory.cache(recur.state, writes: true)))
    // A panel of columns goes through all pieces of the keys: queries and keys are read once a
    // panel, among all else; values and outputs once a piece, among each other and a piece's share
    // of the rest. Their whole rows count, since a panel of rows that lie a row apart has that part
    // of the cache's sets alone. The emitter's block is meant: another one's panels and pieces make
    // no difference that was seen.
    let panels = (Double(wide) / 4).rounded(.up)
    let pieces = (Double(recur.state.rows) / 8).rounded(.up)
    let operands = [recur.query, recur.key].reduce(0) { $0 + memory.bytes($1) }
    let panel = (memory.bytes(recur.value) + memory.bytes(recur.output)) / panels
    let isPast = inner.stores == .streaming
    let asked =
      (Double(inner.ahead ?? 1) * recur.ahead.reduce(0) { $0 + memory.bytes($1) }
        + (isPast ? memory.bytes(recur.output) : 0)) / panels
    let among = operands + panel + asked
    for view in [recur.query, recur.key] {
      charge(.caches, memory.again(view, readings: panels - 1, among: among))
    }
    let near =
      memory.bytes(recur.value) + memory.bytes(recur.output) + (operands + asked) / pieces
    charge(.caches, memory.again(recur.value, readings: pieces - 1, among: near))
    charge(.caches, memory.again(recur.output, readings: pieces - 1, among: near))
    charge(.caches, memory.again(recur.output, writes: true, readings: pieces - 1, among: near))
    if recur.ahead.isEmpty {
      let slices = program.tensors.filter { $0.kind == .tokens || $0.kind == .queryTokens }.map {
        TokenSlice($0.name, start: 0, rows: recur.output.rows, column: 0, columns: $0.columns)
      }
      charge(.rows, Self.unasked * slices.reduce(0) { $0 + memory.rows($1) })
    }
    // What is asked for ahead comes while this runs.
    let wait = recur.ahead.reduce(0) { $0 + memory.rows($1) }
    // Rows of a block lie as far apart as their tensor's tokens, often in a few sets of the first
    // caches: those beyond sixteen are gone when they are read, and begin again.
    func begun(_ rows: Int) -> Double { memory.begins(rows + max(0, rows - 16)) }
    var begins = recur.ahead.reduce(0) { $0 + begun($1.rows) }
    // Outputs that go past the caches are not asked for, and their rows begin as well; where they are
    // too few to go past them, they are waited for.
    if isPast { begins += begun(recur.output.rows) * (memory.streamsOutput ? 1 : 2) }
    charge(.rows, max(Self.shownBegins * begins, wait - seconds))
  }

  /// Vectors of the monomials of rows of features, each feature's own in vectors of their own.
  private func monomials(_ features: TileView) -> Double {
    (1...features.columns).reduce(Double(features.rows) * vectors(features.columns)) {
      $0 + Double(features.rows) * vectors($1)
    }
  }

  /// Numbers in vectors, row by row.
  private func area(_ view: TileView) -> Double { Double(view.rows) * vectors(view.columns) }

  private func vectors(_ columns: Int) -> Double {
    Double((columns + target.lanes - 1) / target.lanes)
  }

  private func pairs(_ rows: Int) -> Double { Double(rows * (rows + 1)) / 2 }

  /// Work down the rows: of vectors, or of one column whose numbers wait for each other.
  private func columnwise(_ view: TileView, _ vector: Double) -> Double {
    view.columns == 1 ? Double(view.rows) * 8 * figures.multiplyAdd : area(view) * vector
  }

  /// Seconds of a vector of the expression's functions and quotients.
  private func functions(_ expression: Expression) -> Double {
    var seconds = expression.children.reduce(0) { $0 + functions($1) }
    switch expression {
    case .unary(.negate, _), .unary(.relu, _), .unary(.abs, _): break
    case .unary(.exp, _), .unary(.log, _), .unary(.oneMinusExp, _): seconds += figures.exponential
    case .unary(.sqrt, _), .binary(.divide, _, _): seconds += figures.division
    // The others are an exponential with a logarithm or a quotient.
    case .unary: seconds += 2 * figures.exponential
    default: break
    }
    return seconds
  }
}

extension RegisterBlock {
  /// Loads of a token, its values and outputs and a number of query and key each, over its
  /// multiplications.
  fileprivate var loadsPerStep: Double {
    Double(rows + vectors) / Double(rows * vectors)
  }
}

extension TileView {
  fileprivate func type(in program: TileProgram) -> ElementType {
    for phase in program.phases {
      if let tile = phase.tiles.first(where: { $0.name == self.tile }) { return tile.type }
    }
    return .f32
  }
}
