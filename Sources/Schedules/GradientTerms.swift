import Recurrences
import TileIR

/// From the adjoints of a normal form's maps to those of the recurrence's inputs, by the chain rule.
struct GradientTerms {
  let walk: GradientWalk

  var form: DiagonalForm { walk.form }
  var specification: KernelSpecification { walk.specification }
  var inputs: [Recurrence.Input] { specification.recurrence.inputs }
  private var chunk: Int { walk.chunk }
  var start: Index { walk.walk.start }

  // MARK: Tiles

  func rows(_ name: String, _ axes: Axes, _ meaning: String, _ b: inout ProgramBuilder)
    -> Tile
  {
    axes == .scalar
      ? b.tile(name, chunk, 1, layout: .column, meaning)
      : b.tile(name, chunk, specification.size(axes), meaning)
  }
  func queryAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dq", .key, "adjoint of the queries", &b)
  }
  func keyAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dk", .key, "adjoint of the keys, of what later tokens read", &b)
  }
  func valueAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dv", .value, "adjoint of the values, of what later tokens read", &b)
  }
  func presentAdjoint(_ b: inout ProgramBuilder) -> Tile {
    rows("dw", .scalar, "adjoint of the token's weight on its own value", &b)
  }
  private func adjoint(of input: Recurrence.Input, _ b: inout ProgramBuilder) -> Tile {
    rows("grad_\(input.name)", input.axes, "adjoint of \(input.name)", &b)
  }
  private func total(of input: Recurrence.Input, _ b: inout ProgramBuilder) -> TileView {
    let row = adjoint(of: input, &b)
    return walk.ofHead(1) { rows in
      b.tile(
        "total_\(input.name)", rows, row.columns, layout: row.columns == 1 ? .column : .rows,
        "the same over the sequence")
    }
  }
  private var parameters: [Recurrence.Input] { inputs.filter { $0.role == .parameter } }

  // MARK: The walk

  func begin(_ b: inout ProgramBuilder) {
    for input in parameters { walk.walk.fill(total(of: input, &b), 0, &b) }
  }

  func beginChunk(_ b: inout ProgramBuilder) {
    for input in inputs where input.role != .query && isReadByHeads(input) {
      walk.walk.fill(adjoint(of: input, &b).all, 0, &b)
    }
  }

  /// The weight of each token's own value in its output; nil where it has none.
  func presentWeight(_ b: inout ProgramBuilder) -> Tile? {
    guard !form.readsPrevious || form.present != nil else { return nil }
    let w = rows("w_own", .scalar, "the token's weight on its own value", &b)
    let keys = rows("key_terms", .key, "terms of a sum over the axis", &b)
    if let present = form.present {
      b.map(keys.all, present, tokens: start, fill: 0)
    } else {
      walk.walk.scale(keys.all, walk.key.reader(&b).all, by: walk.key.writer(&b).all, &b)
    }
    b.add(.reduce(Reduce(sumOf: keys.all, to: w.all)))
    return w
  }

  /// The present token's own value: its weight w and the adjoint x = dO.v of that.
  func addPresent(_ w: Tile, _ b: inout ProgramBuilder) {
    b.note("the present token's own part")
    let (dO, v) = (walk.value.reader(&b), walk.value.writer(&b))
    let x = presentAdjoint(&b)
    let values = rows("value_terms", .value, "terms of a sum over the axis", &b)
    walk.walk.scale(values.all, dO.all, by: v.all, &b)
    b.add(.reduce(Reduce(sumOf: values.all, to: x.all)))
    if let sums = walk.normalizer?.sumAdjoint(&b) { walk.walk.add(x.all, x.all, sums.all, &b) }
    addScaled(valueAdjoint(&b), dO, by: w, &b)
    guard !form.readsPrevious else { return }
    addScaled(queryAdjoint(&b), walk.key.writer(&b), by: x, &b)
    addScaled(keyAdjoint(&b), walk.key.reader(&b), by: x, &b)
  }

  /// Adjoints of what one query head's maps read: of query inputs they are whole and stored.
  func addHead(_ epilogue: [Term], _ b: inout ProgramBuilder) {
    let terms = headTerms(&b) + epilogue
    for input in inputs {
      let own = adjoint(of: input, &b)
      if input.role == .query {
        write(terms, of: input.name, input.axes, to: own, accumulates: false, &b)
        storeRows(of: input, adjoint(of: input, &b), &b)
      } else if isReadByHeads(input) {
        write(terms, of: input.name, input.axes, to: own, accumulates: true, &b)
      }
    }
  }

  /// Adjoints of all other inputs.
  func store(_ b: inout ProgramBuilder) {
    b.note("adjoints of the inputs")
    let terms = sharedTerms(&b)
    for input in inputs where input.role != .query {
      if let own = alone(terms, input) {
        storeRows(of: input, own, &b)
        continue
      }
      write(
        terms, of: input.name, input.axes, to: adjoint(of: input, &b),
        accumulates: isReadByHeads(input), &b)
      guard input.role == .parameter else {
        storeRows(of: input, adjoint(of: input, &b), &b)
        continue
      }
      let (own, total) = (adjoint(of: input, &b), total(of: input, &b))
      let added = b.tile(
        "added_\(input.name)", 1, own.columns, layout: own.columns == 1 ? .column : .rows,
        "the same over the chunk")
      b.add(.reduce(Reduce(sumOf: own.all, to: added.all)))
      walk.walk.add(total, total, added.all, &b)
    }
  }

  func end(_ b: inout ProgramBuilder) {
    for input in parameters {
      let total = total(of: input, &b)
      b.add(
        .storeState(
          StoreState(
            StateSlice(TensorName.partial(of: input.name), columns: total.columns), total)))
    }
  }

  private func storeRows(
    of input: Recurrence.Input, _ own: Tile, _ b: inout ProgramBuilder
  ) {
    b.add(
      .storeTokens(
        StoreTokens(
          TokenSlice(
            TensorName.adjoint(of: input.name), start: start, rows: chunk, columns: own.columns),
          own.all)))
  }

  // MARK: Elementwise helpers

  /// `target += rows * column`.
  func addScaled(
    _ target: Tile, _ rows: Tile, by column: Tile, _ b: inout ProgramBuilder
  ) {
    b.add(
      .map(
        Map(
          target.all,
          .input(target.name, .scalar) + .input(rows.name, .scalar) * .input(column.name, .scalar),
          [
            target.name: .tile(target.all, .none), rows.name: .tile(rows.all, .none),
            column.name: .tile(column.all, .overColumns),
          ])))
  }
}
