import Recurrences
import TileIR

/// The body of a walk over chunks that fused and segmented schedules share.
///
/// Decays are kept as factors in [0, 1], never as sums of logarithms, and every scaled operand is
/// anchored so that only such factors multiply it: at the first token of a query's sub-block, and
/// after the last token of a key's. A product of factors underflows to zero where the true value
/// does; nothing overflows, a decay of zero (a gate of -inf) resets exactly, and no prefix sum is
/// ever subtracted from another. With a gate along the key axis, per chunk of n sub-blocks of c:
///
///     E_i = product of d from the sub-block's start to i       (q is read out after that decay)
///     F_j = product of d from j + 1 to the sub-block's end     (k is decayed that much by then)
///     T_r = product of d over sub-block r
///     for each query head and sub-block r:
///       Q = q * E;  P[r, r] = exact scores under d
///       for s = r - 1 down to 0:  P[r, s] = Q (k * F)_s^T;  Q *= T_s
///       O = Q S + P V
///     S = (product of T) S + (k * F * later T)^T V
///
/// A scalar gate needs no sub-blocks in the scores: P = (q k^T) * W with W the matrix of decays.
/// A gate c along the value axis goes the same way on the columns, from the left to the right:
/// O = O * Tc_s + P[r, s] (v * Fc)_s for s < r, and the diagonal piece token by token.
struct ChunkWalk {
  let specification: KernelSpecification
  let form: DiagonalForm
  let plan: Plan

  var chunk: Int { plan.chunk }
  var block: Int { plan.subBlock }
  var blocks: Int { plan.chunk / plan.subBlock }
  var hasKeyVectorGate: Bool { form.keyGate?.axes == .key }
  var hasScalarGate: Bool { form.keyGate?.axes == .scalar }
  var hasValueGate: Bool { form.valueGate != nil }
  /// Whether a register recurrence carries decays from block to block (`Fold.Carried`): a decay a key,
  /// and no call that wants the state between blocks.
  var carries: Bool { hasKeyVectorGate && specification.snapshotEvery == nil }
  /// Whether q S multiplies in bf16: the queries in two parts, the state rounded, so that outputs
  /// carry one rounding beside their own. The state's update stays in f32, as its errors would reach
  /// every later output, and so do scores, of which one alone may decide an output.
  var usesPairs: Bool { plan.products == .bf16 }

  /// The first token of the present chunk.
  var start: Index { Index("c", times: chunk) }

  /// What outlives a chunk: of one head, the present one where a worker holds several.
  struct State {
    var matrix: TileView
    /// The column of the normalizer, and the ones that it adds up.
    var normalizer: TileView?
    var ones: Tile?
  }

  func declareState(_ b: inout ProgramBuilder, place: Tile.Place = .scratch) -> State {
    let key = specification.key
    let rows = key * plan.headTile
    let own: Index = plan.headTile == 1 ? 0 : Index(ChunkWalk.ownHead, times: key)
    let matrix = b.tile(
      "S", rows, plan.valueTile, place: place,
      plan.headTile == 1 ? "state of one head" : "states of \(plan.headTile) heads")
    guard form.normalizer != nil else { return State(matrix: matrix.rows(own, key)) }
    return State(
      matrix: matrix.rows(own, key),
      normalizer: b.tile(
        "z", rows, 1, layout: .column, "the state's further column, the normalizer"
      ).rows(own, key),
      ones: b.tile("ones", chunk, 1, layout: .column, "the value that the normalizer sees"))
  }

  /// Fills the state from a tensor, or with zeros.
  func load(_ state: State, from tensor: String, segment: Index? = nil, _ b: inout ProgramBuilder) {
    b.add(
      .loadState(
        LoadState(
          state.matrix,
          StateSlice(
            tensor, column: .valueTile(times: plan.valueTile), columns: plan.valueTile,
            segment: segment))))
    if let z = state.normalizer {
      b.add(
        .loadState(
          LoadState(
            z,
            StateSlice(tensor, column: Index(specification.value), columns: 1, segment: segment))))
    }
  }

  func store(_ state: State, to tensor: String, segment: Index? = nil, _ b: inout ProgramBuilder) {
    b.add(
      .storeState(
        StoreState(
          StateSlice(
            tensor, column: .valueTile(times: plan.valueTile), columns: plan.valueTile,
            segment: segment), state.matrix)))
    if let z = state.normalizer {
      b.onFirstValueTile { b in
        b.add(
          .storeState(
            StoreState(
              StateSlice(
                tensor, column: Index(specification.value), columns: 1, segment: segment), z)))
      }
    }
  }

  /// Writes out the state after the present chunk, where the call asks for it.
  func snapshot(_ state: State, _ b: inout ProgramBuilder) {
    guard specification.snapshotEvery != nil else { return }
    b.note("the state after this chunk, where it is asked for")
    store(state, to: TensorName.snapshots, segment: Index("c"), &b)
  }

  /// `target = value` everywhere.
  func fill(_ target: TileView, _ value: Double, _ b: inout ProgramBuilder) {
    b.add(.map(Map(target, .constant(value), [:])))
  }

  /// `target = left * right`, the right operand repeated as said.
  func scale(
    _ target: TileView, _ left: TileView, by right: TileView, _ how: Map.Operand.Repeat,
    _ b: inout ProgramBuilder
  ) {
    b.add(
      .map(
        Map(
          target, .input(left.tile, .scalar) * .input(right.tile, .scalar),
          [left.tile: .tile(left, .none), right.tile: .tile(right, how)])))
  }

  /// `target = left * right`, entry by entry.
  func scale(
    _ target: TileView, _ left: TileView, by right: TileView, _ b: inout ProgramBuilder
  ) {
    scale(target, left, by: right, .none, &b)
  }

  /// `target = left + right`.
  func add(_ target: TileView, _ left: TileView, _ right: TileView, _ b: inout ProgramBuilder) {
    b.add(
      .map(
        Map(
          target, .input(left.tile, .scalar) + .input(right.tile, .scalar),
          [left.tile: .tile(left, .none), right.tile: .tile(right, .none)])))
  }

  /// `target = source - parts`: what rounded tiles leave of their source.
  func subtract(
    _ target: TileView, _ source: TileView, _ parts: [TileView], _ b: inout ProgramBuilder
  ) {
    let views = [source] + parts
    let rest = parts.reduce(Expression.input(source.tile, .scalar)) {
      $0 - .input($1.tile, .scalar)
    }
    b.add(
      .map(
        Map(
          target, rest,
          Dictionary(uniqueKeysWithValues: views.map { ($0.tile, .tile($0, .none)) }))))
  }

  /// A copy in another element type or layout.
  func convert(_ target: TileView, _ source: TileView, _ b: inout ProgramBuilder) {
    b.add(
      .map(Map(target, .input(source.tile, .scalar), [source.tile: .tile(source, .none)])))
  }
}
