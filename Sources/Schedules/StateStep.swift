import Recurrences
import TileIR

/// One token of every sequence, as decoding has it: one pass over the state where it lies. The bytes
/// of the states are the whole cost, so decay, update and read-out are one operation.
///
///     for each sequence and head:
///       S = diag(d) S diag(c) + k v^T;  o = S^T q
public struct StateStep: Schedule {
  public let name = "step"
  public let summary = "one token, the state moved in the caller's memory"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    TokenRecurrent().obstacle(to: specification)
  }

  /// All columns at once: rows of the state are read as they lie. Wide states are shared out.
  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    let value = specification.value
    // Where copies bring the state, memory is the faster the less a block has of it at a time.
    let isCopied = specification.target.device?.hasWarpgroups == true && value % 4 == 0
    let share = isCopied ? 64 : 128
    let isShared = !readsAllValues(specification) && value > share
    return [
      Plan(
        schedule: name, chunk: 1, subBlock: 1, keyTile: specification.key,
        valueTile: isShared ? share : value)
    ]
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found = TokenRecurrent().objections(to: plan, for: specification)
    if plan.valueTile < specification.value, specification.stateColumns > specification.value {
      // Each tile of values would need the column that another one moves.
      found.append("value-tile must be V = \(specification.value): there is a normalizer.")
    }
    return found
  }

  private func readsAllValues(_ specification: KernelSpecification) -> Bool {
    ChunkWalk.readsAllValues(specification) || specification.stateColumns > specification.value
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    let pseudoCode: [String]
    switch specification.normalForm.structure {
    case .diagonal(let form):
      let step = TokenStep(
        walk: ChunkWalk(specification: specification, form: form, plan: plan), form: form, start: 0)
      step.writeInMemory(&b)
      pseudoCode = step.pseudoCode
    case .elementwise:
      let scan = TokenScan(specification: specification, plan: plan, isStep: true)
      scan.write(&b)
      pseudoCode = scan.pseudoCode
    }
    return b.programOfTokens(phase: "move", ["of the only token:"] + pseudoCode.dropFirst())
  }
}

extension TokenStep {
  /// The token on a state that stays in memory.
  func writeInMemory(_ b: inout ProgramBuilder) {
    let specification = walk.specification
    let width = walk.plan.valueTile
    let key = b.tile("k", 1, specification.key, "key of the token")
    let value = b.tile("v", 1, width, "value of the token")
    b.map(key.all, form.key, tokens: start, fill: 0)
    b.map(value.all, form.value, tokens: start, fill: 0)
    let rowScale = form.keyGate.map { factor("d", $0.decay, specification.key, "key", &b) }
    let columnScale = form.valueGate.map { factor("dv", $0.decay, width, "value", &b) }
    var one: Tile?
    if form.normalizer != nil {
      let tile = b.tile("one", 1, 1, layout: .column, "the value that the normalizer sees")
      walk.fill(tile.all, 1, &b)
      one = tile
    }
    b.loop(.queryHeads("g")) { b in
      let query = self.query(&b)
      let output = b.tile("O", 1, width, "output of the token")
      b.note(
        form.readsPrevious
          ? "o = S^T q;  S = diag(d) S + k v^T" : "S = diag(d) S + k v^T;  o = S^T q")
      func move(_ output: Tile, _ value: Tile, _ column: Index, _ columnScale: Factor?) {
        let columns = output.columns
        b.add(
          .moveState(
            MoveState(
              output: output.all,
              target: StateSlice(TensorName.finalState, column: column, columns: columns),
              source: StateSlice(TensorName.initialState, column: column, columns: columns),
              query: query.all, key: key.all, value: value.all, rowScale: rowScale,
              columnScale: columnScale, readsPrevious: form.readsPrevious)))
      }
      move(output, value, .valueTile(times: width), columnScale)
      var sum: Tile?
      if let one {
        let scores = b.tile("n", 1, 1, layout: .column, "sum of the scores")
        move(scores, one, Index(specification.value), nil)
        sum = scores
      }
      finish(output, value, sum: sum, streams: false, &b)
    }
  }
}

extension Schedules {
  /// The schedules of one token.
  public static let steps: [any Schedule] = [StateStep()]

  /// How a single token is computed; nil where nothing can.
  public static func stepPlan(_ specification: KernelSpecification) -> Plan? {
    steps.lazy.flatMap { $0.candidates(for: specification) }.first
  }

  /// A schedule of the forward entry, of the gradient or of a single token.
  public static func ofAnyEntry(_ name: String) -> (any Schedule)? {
    named(name) ?? gradient(name) ?? steps.first { $0.name == name }
  }
}
