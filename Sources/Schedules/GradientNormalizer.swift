import Recurrences
import TileIR

/// The normalizer's part of a gradient. The output is u / n with n a map of the sum of scores s, so
/// s is one further column of values, all ones, whose state is z:
///
///     u_i = S^T q_i + sum_j P_ij v_j;  s_i = z q_i + sum_j P_ij;  n_i = N(s_i)
///     dO_i = dO_i / n_i;  ds_i = -(dO_i . u_i) N'(s_i) / n_i        with the new dO_i
///     dP_ij += ds_i;  dq_i += ds_i z;  dz += sum_i ds_i q_i;  dk_j += dz, as with S and dS
struct GradientNormalizer {
  let walk: GradientWalk
  /// N, a map of `Symbol.normalizer`.
  let map: Expression

  init?(_ walk: GradientWalk) {
    guard let map = walk.form.normalizer else { return nil }
    self.walk = walk
    self.map = map
  }

  /// Why there is no gradient of a normalizer, if so.
  static func obstacle(to map: Expression) -> String? {
    let others = map.inputNames.filter { ![Symbol.normalizer, Symbol.scale].contains($0) }
    return others.isEmpty
      ? nil : "It has no gradient of a normalizer that reads \(others.joined(separator: ", "))."
  }

  private var chunk: Int { walk.chunk }
  private var K: Int { walk.specification.key }
  private var V: Int { walk.specification.value }

  // MARK: Tiles

  private func state(_ b: inout ProgramBuilder) -> Tile {
    b.tile("z", 1, K, "the state's further column, the normalizer")
  }
  private func stateAdjoint(_ b: inout ProgramBuilder) -> Tile {
    b.tile("dz", 1, K, "adjoint of the normalizer's state")
  }
  private func column(_ b: inout ProgramBuilder) -> Tile {
    b.tile("z_column", K, 1, "the normalizer's state as it lies in memory")
  }
  private func number(_ name: String, _ meaning: String, _ b: inout ProgramBuilder) -> Tile {
    b.tile(name, chunk, 1, layout: .column, meaning)
  }
  private func sums(_ b: inout ProgramBuilder) -> Tile { number("s", "sums of the scores", &b) }
  private func divisor(_ b: inout ProgramBuilder) -> Tile {
    number("n", "what the outputs are divided by", &b)
  }
  /// The adjoint of the sum of scores: of each score, and of the token's own weight.
  func sumAdjoint(_ b: inout ProgramBuilder) -> Tile {
    number("ds", "adjoint of the sums of the scores", &b)
  }

  // MARK: The state

  func load(from tensor: String, segment: Index? = nil, _ b: inout ProgramBuilder) {
    load(state(&b), from: tensor, segment: segment, &b)
  }
  func loadAdjoint(from tensor: String, _ b: inout ProgramBuilder) {
    load(stateAdjoint(&b), from: tensor, &b)
  }

  private func load(
    _ row: Tile, from tensor: String, segment: Index? = nil, _ b: inout ProgramBuilder
  ) {
    let column = column(&b)
    b.add(
      .loadState(
        LoadState(
          column.all, StateSlice(tensor, column: Index(V), columns: 1, segment: segment))))
    b.add(.transpose(Transpose(row.all, column.all)))
  }

  func storeAdjoint(to tensor: String, _ b: inout ProgramBuilder) {
    let column = column(&b)
    b.add(.transpose(Transpose(column.all, stateAdjoint(&b).all)))
    b.add(
      .storeState(StoreState(StateSlice(tensor, column: Index(V), columns: 1), column.all)))
  }

  private var chunkState: StateSlice {
    StateSlice(TensorName.chunkNormalizer, columns: K, segment: Index("c"))
  }

  /// Stores z before the chunk, and carries it over.
  func carry(decay: Factor?, _ b: inout ProgramBuilder) {
    let z = state(&b)
    b.add(.storeState(StoreState(chunkState, z.all)))
    let written = b.tile("z_chunk", 1, K, "what the chunk writes to z")
    b.add(.reduce(Reduce(sumOf: walk.key.writerFull(&b).all, to: written.all)))
    scale(z, by: decay, plus: written, &b)
  }

  /// `row = decay row + added`.
  private func scale(
    _ row: Tile, by decay: Factor?, plus added: Tile?, _ b: inout ProgramBuilder
  ) {
    let own = Expression.input(row.name, .scalar)
    var operands = [row.name: Map.Operand.tile(row.all, .none)]
    var terms = decay.map { $0.views.map { own * .input($0.tile, .scalar) } } ?? [own]
    for view in decay?.views ?? [] { operands[view.tile] = .tile(view, .none) }
    if let added {
      terms.append(.input(added.name, .scalar))
      operands[added.name] = .tile(added.all, .none)
    }
    b.add(.map(Map(row.all, .total(terms), operands)))
  }

  /// Reads z before the chunk.
  func reload(_ b: inout ProgramBuilder) {
    b.add(.loadState(LoadState(state(&b).all, chunkState)))
  }

  /// What later chunks read of the keys by z, before any decay.
  func beginChunk(keyAdjoint: Tile, _ b: inout ProgramBuilder) {
    addRows(keyAdjoint, nil, stateAdjoint(&b), &b)
  }

  /// Adds z * dz to the sums of S * dS.
  func addCarried(to row: Tile, _ b: inout ProgramBuilder) {
    let product = b.tile("z_dz", 1, K, "the normalizer's state times its adjoint")
    walk.walk.scale(product.all, state(&b).all, by: stateAdjoint(&b).all, &b)
    walk.walk.add(row.all, row.all, product.all, &b)
  }

  func decayAdjoint(_ decay: Factor?, _ b: inout ProgramBuilder) {
    if decay != nil { scale(stateAdjoint(&b), by: decay, plus: nil, &b) }
  }

  // MARK: One query head

  /// n, from the scores P and the own weight w.
  func findDivisor(scores P: Tile, own w: Tile?, _ b: inout ProgramBuilder) {
    b.note("n = N(s), s = z q + sum of P")
    let (s, q) = (sums(&b), walk.key.readerFull(&b))
    let terms = b.tile("key_terms", chunk, K, "terms of a sum over the axis")
    let part = number("s_part", "a part of the sums of the scores", &b)
    walk.walk.scale(terms.all, q.all, by: state(&b).all, .overRows, &b)
    b.add(.reduce(Reduce(sumOf: terms.all, to: s.all)))
    b.add(.reduce(Reduce(sumOf: P.all, to: part.all)))
    walk.walk.add(s.all, s.all, part.all, &b)
    if let w { walk.walk.add(s.all, s.all, w.all, &b) }
    b.add(
      .map(
        Map(
          divisor(&b).all, map, [Symbol.normalizer: .tile(s.all, .none), Symbol.scale: .scale],
          tail: Map.Tail(start: walk.walk.start, fill: 1))))
  }

  /// `rows = rows / n`.
  func divide(_ rows: Tile, _ b: inout ProgramBuilder) {
    let n = divisor(&b)
    b.add(
      .map(
        Map(
          rows.all, .input(rows.name, .scalar) / .input(n.name, .scalar),
          [rows.name: .tile(rows.all, .none), n.name: .tile(n.all, .overColumns)])))
  }

  /// ds, from the outputs u before they are divided, and dO divided.
  func findSumAdjoint(outputs u: Tile, _ b: inout ProgramBuilder) {
    b.note("ds = -(dO . u) N'(s) / n")
    let (s, n, dO) = (sums(&b), divisor(&b), walk.value.reader(&b))
    let part = number("s_part", "a part of the sums of the scores", &b)
    let products = b.tile("value_terms", chunk, V, "terms of a sum over the axis")
    walk.walk.scale(products.all, dO.all, by: u.all, &b)
    b.add(.reduce(Reduce(sumOf: products.all, to: part.all)))
    b.add(
      .map(
        Map(
          sumAdjoint(&b).all,
          -(.input(part.name, .scalar) * map.derivative(of: Symbol.normalizer))
            / .input(n.name, .scalar),
          [
            part.name: .tile(part.all, .none), n.name: .tile(n.all, .none),
            Symbol.normalizer: .tile(s.all, .none), Symbol.scale: .scale,
          ], tail: Map.Tail(start: walk.walk.start, fill: 0))))
  }

  /// Every score's adjoint gets that of its row's sum.
  func addScores(to dP: Tile, _ b: inout ProgramBuilder) {
    let ds = sumAdjoint(&b)
    b.add(
      .map(
        Map(
          dP.all, .input(dP.name, .scalar) + .input(ds.name, .scalar),
          [dP.name: .tile(dP.all, .none), ds.name: .tile(ds.all, .overColumns)])))
  }

  /// What the queries read of z, beside what they read of S.
  func addRead(to read: Tile, _ b: inout ProgramBuilder) {
    addRows(read, sumAdjoint(&b), state(&b), &b)
  }

  func addStateAdjoint(_ b: inout ProgramBuilder) {
    b.add(
      .multiply(
        Multiply(
          stateAdjoint(&b).all, sumAdjoint(&b).all, walk.key.readerFull(&b).all,
          leftIsTransposed: true, accumulates: true)))
  }

  /// `target += weights * rows`, of rows or of one row for all.
  private func addRows(
    _ target: Tile, _ weights: Tile?, _ rows: Tile, _ b: inout ProgramBuilder
  ) {
    var operands: [String: Map.Operand] = [
      target.name: .tile(target.all, .none),
      rows.name: .tile(rows.all, rows.rows == 1 ? .overRows : .none),
    ]
    var term = Expression.input(rows.name, .scalar)
    if let weights {
      term = .input(weights.name, .scalar) * term
      operands[weights.name] = .tile(weights.all, .overColumns)
    }
    b.add(.map(Map(target.all, .input(target.name, .scalar) + term, operands)))
  }
}
