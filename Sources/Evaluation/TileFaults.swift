import Emission
import Recurrences
import Schedules
import TileIR

extension PlantedFault {
  /// Faults in tile programs: wrong derivations, as a careless change to a schedule makes them.
  static let tileFaults: [PlantedFault] = [
    operations("the state not decayed over a chunk") {
      guard case .multiply(var product) = $0, product.target.tile == "S" else { return nil }
      product.rowScale = nil
      return [.multiply(product)]
    },
    operations("keys decayed by their own gate") {
      guard case .scan(var scan) = $0, scan.backward else { return nil }
      scan.exclusive = false
      return [.scan(scan)]
    },
    operations("queries read out before their own gate") {
      guard case .scan(var scan) = $0, !scan.backward else { return nil }
      scan.exclusive = true
      return [.scan(scan)]
    },
    operations("keys that are not decayed to the sub-block's end") {
      guard case .map(let map) = $0, map.target.tile == "kF",
        map.expression.inputNames.contains("k") || map.operands.keys.contains("k")
      else { return nil }
      var copy = map
      copy.expression = .input("k", .scalar)
      return [.map(copy)]
    },
    operations("queries not decayed on from sub-block to sub-block") {
      guard case .map(let map) = $0, map.target.tile == "qE", map.target.rows == 4 else {
        return nil
      }
      return []
    },
    operations("keys not decayed on to the chunk's end") {
      guard case .map(let map) = $0, map.target.tile == "kF", map.target.rows == 4 else {
        return nil
      }
      return []
    },
    operations("the decay to the chunk's end not carried on") {
      guard case .map(let map) = $0, map.target.tile == "w", map.operands.count == 2 else {
        return nil
      }
      return []
    },
    operations("a chunk's decays without the first token's") {
      guard case .decayTotal(var total) = $0, total.base != nil else { return nil }
      total.decay.row = 1
      total.decay.rows -= 1
      total.taken?.row = 1
      total.taken?.rows -= 1
      return [.decayTotal(total)]
    },
    operations("a chunk's decays rounded before they multiply the state") {
      guard case .decayTotal(let total) = $0, let base = total.base else { return nil }
      return [
        .decayTotal(DecayTotal(total.target, total.decay)), .map(Map(base, .constant(0), [:])),
      ]
    },
    statements("sub-blocks walked from the wrong end") {
      guard case .loop(.range("s", let from, let to, descending: true), let body) = $0 else {
        return nil
      }
      return [.loop(.range("s", from: from, to: to, descending: false), body)]
    },
    operations("a mask off by one") {
      guard case .decayedScores(var scores) = $0 else { return nil }
      scores.readsPrevious.toggle()
      return [.decayedScores(scores)]
    },
    operations("the diagonal piece left out of P v") {
      guard case .multiply(var product) = $0, product.left.tile == "P" else { return nil }
      product.depth = Index("r", times: 4)
      return [.multiply(product)]
    },
    operations("scores summed short by one") {
      guard case .multiply(var product) = $0, product.left.tile == "P" else { return nil }
      product.depth = Index("r", times: 4, plus: 3)
      return [.multiply(product)]
    },
    operations("rows past the end that decay to nothing") {
      guard case .map(var map) = $0, map.target.tile == "d", map.tail != nil else { return nil }
      map.tail?.fill = 0
      return [.map(map)]
    },
    operations("the final state not stored") {
      if case .storeState(let store) = $0, store.target.tensor == TensorName.finalState {
        []
      } else {
        nil
      }
    },
    operations("the initial state not loaded") {
      guard case .loadState(let load) = $0 else { return nil }
      return [.map(Map(load.target, .constant(0), [:]))]
    },
    operations("the values of the first tile in every tile") {
      guard case .map(var map) = $0, case .tokens(var slice) = map.operands["v"],
        !slice.column.isConstant
      else { return nil }
      slice.column = 0
      map.operands["v"] = .tokens(slice)
      return [.map(map)]
    },
    statements("the read-out after the chunk's write") {
      guard case .loop(.chunks(let name), let body) = $0,
        let place = body.firstIndex(where: {
          if case .loop(.queryHeads, _) = $0 { true } else { false }
        })
      else { return nil }
      var moved = body
      moved.append(moved.remove(at: place))
      return [.loop(.chunks(name), moved)]
    },
    operations("a read-out that forgets to exclude the present token", in: "rwkv6") {
      guard case .scan(var scan) = $0, !scan.backward else { return nil }
      scan.exclusive = false
      return [.scan(scan)]
    },
    operations("no bonus for the present token", in: "rwkv6") {
      guard case .reduce(let reduce) = $0, reduce.target.tile == "bonus" else { return nil }
      return [.map(Map(reduce.target, .constant(0), [:]))]
    },
    operations("value decays not carried from sub-block to sub-block", in: "gated-outer") {
      guard case .multiply(var product) = $0, product.target.tile == "O",
        product.columnScale != nil
      else { return nil }
      product.columnScale = nil
      return [.multiply(product)]
    },
    operations("a mask off by one in the matrix of decays", in: "simple-gla") {
      guard case .decayMatrix(var matrix) = $0 else { return nil }
      matrix.readsPrevious = true
      return [.decayMatrix(matrix)]
    },
    operations("scores that are not weighed", in: "simple-gla") {
      if case .weigh = $0 { [] } else { nil }
    },
    operations("no skip", in: "mamba2") {
      guard case .map(let map) = $0, map.target.tile == "skip" else { return nil }
      return [.map(Map(map.target, .constant(0), [:]))]
    },
    operations("a normalizer that is not carried", in: "linear-attention-normalized") {
      if case .multiply(let product) = $0, product.target.tile == "z" { [] } else { nil }
    },
    statements("a normalizer that is not stored", in: "linear-attention-normalized") {
      if case .firstValueTile = $0 { [] } else { nil }
    },
    operations("decays that are left out where they are not folded", plan: .faultyRegister) {
      guard case .recur(var recur) = $0 else { return nil }
      (recur.decay, recur.decays) = (nil, nil)
      return [.recur(recur)]
    },
    operations("a state that is not decayed at a block's end", plan: .faultyRegister) {
      guard case .recur(var recur) = $0 else { return nil }
      recur.endScale = nil
      return [.recur(recur)]
    },
    operations("a state that is not scaled before keys stay exact", plan: .faultyRegister) {
      guard case .recur(var recur) = $0 else { return nil }
      recur.beginScale = nil
      return [.recur(recur)]
    },
    operations("a state that is stored without the decays carried", plan: .faultyRegister) {
      guard case .map(let map) = $0, map.operands["past_slope"] != nil else { return nil }
      return []
    },
    operations("queries that do not know what was folded", plan: .faultyRegister) {
      guard case .map(var map) = $0, map.target.tile == "q" else { return nil }
      map.expression = map.expression.substituting("E", by: .constant(1))
      map.operands["E"] = nil
      return [.map(map)]
    },
    operations("heads that share one state", plan: .faultyHeads) {
      guard case .recur(var recur) = $0 else { return nil }
      recur.state.row = 0
      return [.recur(recur)]
    },
    operations("segments added without their decay", plan: .faultySegmented) {
      guard case .map(var map) = $0, map.operands["u"] != nil else { return nil }
      map.expression = .input("s", .scalar) + .input("u", .scalar)
      return [.map(map)]
    },
    operations("segments that begin from zero", plan: .faultySegmented) {
      guard case .loadState(let load) = $0, load.source.tensor == TensorName.segmentState,
        load.target.tile == "S"
      else { return nil }
      return [.map(Map(load.target, .constant(0), [:]))]
    },
    operations("every segment from the same summary", plan: .faultySegmented) {
      guard case .loadState(var load) = $0, load.target.tile == "U" else { return nil }
      load.source.segment = 0
      return [.loadState(load)]
    },
    operations("a segment's decay that forgets its earlier chunks", plan: .faultySegmented) {
      guard case .map(let map) = $0, map.target.tile == "A", map.operands["A"] != nil,
        let (name, own) = map.operands.first(where: { $0.key != "A" })
      else { return nil }
      return [.map(Map(map.target, .input(name, .scalar), [name: own]))]
    },
  ]

  private static func statements(
    _ name: String, in recurrence: String = "gla", plan: Plan = .faultyFused,
    _ change: @escaping @Sendable (Statement) -> [Statement]?
  ) -> PlantedFault {
    PlantedFault(name: name, layer: .tileProgram, recurrence: recurrence, plan: plan) {
      specification, plan in
      let program = try Emitter.lower(specification, plan)
      guard let wrong = program.replacing(change), wrong != program else { throw missing(name) }
      return try Emitter.emit(specification, plan, program: wrong)
    }
  }

  private static func operations(
    _ name: String, in recurrence: String = "gla", plan: Plan = .faultyFused,
    _ change: @escaping @Sendable (Operation) -> [Operation]?
  ) -> PlantedFault {
    statements(name, in: recurrence, plan: plan) { statement in
      guard case .operation(let operation) = statement else { return nil }
      return change(operation)?.map { .operation($0) }
    }
  }
}
