import Emission
import Recurrences
import Schedules
import TileIR

extension PlantedFault {
  /// Faults in gradients: wrong derivations, wrong plans, and careless emitted text.
  static let gradientFaults: [PlantedFault] =
    gradientTileFaults + gradientScanFaults + gradientPlanFaults + gradientSourceFaults

  private static let gradientTileFaults: [PlantedFault] = [
    gradient("the state's adjoint not decayed over a chunk") {
      guard case .map(let map) = $0, map.target.tile == "dS" else { return nil }
      return []
    },
    gradient("the states before chunks not decayed") {
      guard case .multiply(var product) = $0, product.target.tile == "S" else { return nil }
      product.columnScale = nil
      return [.multiply(product)]
    },
    gradient("a state before the chunk that is not reloaded") {
      if case .loadState(let load) = $0, load.source.tensor == TensorName.chunkState {
        []
      } else {
        nil
      }
    },
    gradient("the initial state in place of the one before each chunk", backward: .faultySaved) {
      guard case .loadState(var load) = $0, load.source.tensor == TensorName.states else {
        return nil
      }
      load.source.segment = 0
      return [.loadState(load)]
    },
    gradient("the adjoint of the final state ignored") {
      guard case .loadState(let load) = $0,
        load.source.tensor == TensorName.adjoint(of: TensorName.finalState)
      else { return nil }
      return [.map(Map(load.target, .constant(0), [:]))]
    },
    gradient("the adjoint of the initial state not stored") {
      if case .storeState(let store) = $0,
        store.target.tensor == TensorName.adjoint(of: TensorName.initialState)
      {
        []
      } else {
        nil
      }
    },
    gradient("an adjoint of the state without the chunk's own reads") {
      guard case .multiply(let product) = $0, product.target.tile == "dS", product.depth != 0
      else { return nil }
      return []
    },
    gradient("a decay's adjoint with its own decay") {
      guard case .decayedPaths(var paths) = $0 else { return nil }
      paths.readsPrevious.toggle()
      return [.decayedPaths(paths)]
    },
    gradient("a decay's adjoint without what comes from before the chunk and goes past it") {
      guard case .map(let map) = $0, map.target.tile == "passes", map.operands.count == 1
      else { return nil }
      return [.map(Map(map.target, .constant(0), [:]))]
    },
    gradient("a log decay's adjoint that forgets its own decay") {
      guard case .map(let map) = $0, map.target.tile == "da", let past = map.operands["past"]
      else { return nil }
      return [.map(Map(map.target, .input("past", .scalar), ["past": past]))]
    },
    gradient("adjoints of keys not decayed to the chunk's end") {
      guard case .map(let map) = $0, map.target.tile == "dk", map.operands["F"] != nil else {
        return nil
      }
      return []
    },
    gradient("adjoints of values without the present token's own") {
      guard case .map(let map) = $0, map.target.tile == "dv", map.operands["w_own"] != nil else {
        return nil
      }
      return []
    },
    gradient("adjoints of scores above the diagonal", in: "simple-gla") {
      if case .weigh(let weigh) = $0, weigh.weights.tile == "below" { [] } else { nil }
    },
    gradient("rows past the end over which no adjoint passes") {
      guard case .map(var map) = $0, map.target.tile == "d", map.tail != nil else { return nil }
      map.tail?.fill = 0
      return [.map(map)]
    },
    gradient("pairs of tokens under a decay that counts again", in: "simple-gla") {
      guard case .map(let map) = $0, map.target.tile == "P_dP", map.operands.count == 1 else {
        return nil
      }
      let pairs = map.target.tile
      var decays = map.target
      decays.tile = "W"
      return [
        .map(map),
        .map(
          Map(
            map.target, .input(pairs, .scalar) * .input("W", .scalar),
            [pairs: .tile(map.target, .none), "W": .tile(decays, .none)])),
      ]
    },
    gradient("keys that only the last query head of a group reads", in: "simple-gla") {
      guard case .multiply(var product) = $0, product.target.tile == "dk", product.accumulates
      else { return nil }
      product.accumulates = false
      return [.multiply(product)]
    },
    gradient("a parameter that only the first chunk moves", in: "mamba2") {
      guard case .map(let map) = $0, map.target.tile == "total_A_log",
        let own = map.operands["added_A_log"]
      else { return nil }
      return [.map(Map(map.target, .input("added_A_log", .scalar), ["added_A_log": own]))]
    },
    gradient("the other axis's decay left out of what passes a chunk", in: "gated-outer") {
      guard case .map(let map) = $0, map.target.tile == "S_dS", map.operands["S_dS"] != nil else {
        return nil
      }
      return []
    },
    gradient("a bonus that moves no value", in: "rwkv6") {
      guard case .map(let map) = $0, map.target.tile == "dv", map.operands["w_own"] != nil else {
        return nil
      }
      return []
    },
    gradient("a normalizer whose scores stand still", in: "linear-attention-normalized") {
      guard case .map(let map) = $0, map.target.tile == "dP" else { return nil }
      return []
    },
    gradient("chunks of the way back walked from the first") { program in
      program.replacing {
        guard case .loop(.chunksBackward(let name), let body) = $0 else { return nil }
        return [.loop(.chunks(name), body)]
      }
    },
  ]

  /// Of a state whose entries move on their own.
  private static let gradientScanFaults: [PlantedFault] = [
    scan("a scan's adjoint of the state not decayed") {
      guard case .map(let map) = $0, map.target.tile == "dS",
        map.operands["S_before"] == nil, map.operands["dO"] == nil
      else { return nil }
      return []
    },
    scan("a scan that reads the state before its update") {
      guard case .map(var map) = $0, case .tile(var view, .none) = map.operands["S_after"] else {
        return nil
      }
      view.row.constant -= view.rows
      map.operands["S_after"] = .tile(view, .none)
      return [.map(map)]
    },
    scan("a scan that begins each block from the initial state") {
      guard case .loadState(var load) = $0, load.source.tensor == TensorName.states else {
        return nil
      }
      load.source.segment = 0
      return [.loadState(load)]
    },
  ]

  private static let gradientPlanFaults: [PlantedFault] = [
    gradient("a gradient's chunks longer than its walk's", layer: .plan) { program in
      var wrong = program
      wrong.chunk = 32
      return wrong
    },
    PlantedFault(
      name: "a gradient's sub-blocks that leave a rest", layer: .plan, recurrence: "gla",
      plan: .faultyFused, backward: .faultyGradient
    ) { specification, plan in
      var wrong = Plan.faultyGradient
      wrong.subBlock = 6
      let schedule = ChunkGradient()
      guard !schedule.objections(to: wrong, for: specification).isEmpty else {
        throw missing("sub-blocks that leave a rest")
      }
      return try Emitter.emit(
        specification, plan, program: Emitter.lower(specification, plan),
        backward: .faultyGradient, gradient: schedule.lower(specification, wrong))
    },
  ]

  private static let gradientSourceFaults: [PlantedFault] = [
    gradient(
      "a decay's adjoint a ten-thousandth too large",
      "path->passing = sl_fma(reading, read, path->passing)",
      "path->passing = sl_fma(reading, sl_mul(read, sl_set(1.0002f)), path->passing)"),
    gradient(
      "paths to later readers without what passes them", "passing = sl_fma(reading, now, passing)",
      "passing = sl_fma(reading, now, sl_mul(passing, sl_set(0.999f)))"),
    gradient(
      "the first sequence's parameters for all", "sum += rows[n * heads * count + i]",
      "sum += rows[0 * n * heads * count + i]", recurrence: "mamba2"),
    gradient(
      "a gradient's scratch memory shared by threads", "thread * backward_scratch_bytes",
      "0 * thread * backward_scratch_bytes"),
    gradient(
      "the adjoint of another query head", "g * d_o_head", "(group - 1 - g) * d_o_head"),
    gradient(
      "given states without the one before the first chunk", ": initial_state_in,", ": NULL,",
      backward: .faultySaved),
    gradient(
      "given states of the first sequence for all",
      "first_state = batch_row * (args->length / #) + begin / #",
      "first_state = 0 * begin * batch_row", backward: .faultySaved),
    gradient(
      "given states of another head", "(first_state * heads + head)", "(first_state * heads)",
      backward: .faultySaved),
    gradient(
      "adjoints written past the sequence's end",
      "tokens, 20, d_q_in", "16, 20, d_q_in"),
  ]

  private static func scan(
    _ name: String, _ change: @escaping @Sendable (Operation) -> [Operation]?
  ) -> PlantedFault {
    var fault = gradient(name, in: "mamba", backward: .faultyScan, change)
    fault.plan = Plan(
      schedule: "token-recurrent", chunk: 1, subBlock: 1, keyTile: 20, valueTile: 24)
    return fault
  }

  private static func gradient(
    _ name: String, in recurrence: String = "gla", backward: Plan = .faultyGradient,
    _ change: @escaping @Sendable (Operation) -> [Operation]?
  ) -> PlantedFault {
    gradient(name, in: recurrence, backward: backward) { (program: TileProgram) in
      program.replacingOperations(change)
    }
  }

  private static func gradient(
    _ name: String, in recurrence: String = "gla", layer: Layer = .tileProgram,
    backward: Plan = .faultyGradient,
    _ change: @escaping @Sendable (TileProgram) -> TileProgram?
  ) -> PlantedFault {
    PlantedFault(
      name: name, layer: layer, recurrence: recurrence, plan: .faultyFused,
      backward: backward
    ) { specification, plan in
      let program = try Emitter.lower(specification, backward)
      guard let wrong = change(program), wrong != program else { throw missing(name) }
      return try Emitter.emit(
        specification, plan, program: Emitter.lower(specification, plan),
        backward: backward, gradient: wrong)
    }
  }

  private static func gradient(
    _ name: String, _ pattern: String, _ replacement: String, recurrence: String = "gla",
    backward: Plan = .faultyGradient
  ) -> PlantedFault {
    PlantedFault(
      name: name, layer: .source, recurrence: recurrence, plan: .faultyFused,
      backward: backward
    ) { specification, plan in
      var kernel = try Emitter.emit(specification, plan, backward: backward)
      guard
        let text = try SourceMutation(pattern, replacement).applied(to: kernel.source.text)
      else { throw missing(name) }
      kernel.source.text = text
      return kernel
    }
  }
}

extension Plan {
  /// Several chunks and sub-blocks in every problem.
  static let faultyGradient = Plan(
    schedule: "chunk-gradient", chunk: 16, subBlock: 4, keyTile: 20, valueTile: 24,
    materialization: .chunks)
  /// The same with the forward call's states.
  static let faultySaved: Plan = {
    var plan = faultyGradient
    plan.materialization = .saved
    return plan
  }()
  static let faultyScan = Plan(
    schedule: "token-gradient", chunk: 16, subBlock: 16, keyTile: 20, valueTile: 24,
    materialization: .saved)
}
