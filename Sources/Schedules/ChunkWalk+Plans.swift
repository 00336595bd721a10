import Recurrences
import Targets
import TileIR

extension ChunkWalk {
  /// - Parameter plan: without objections, for a recurrence without obstacle.
  init(_ specification: KernelSpecification, _ plan: Plan) {
    guard let form = specification.normalForm.diagonal else {
      preconditionFailure("`obstacle` refuses recurrences that have no chunk form")
    }
    self.init(specification: specification, form: form, plan: plan)
  }

  static func obstacle(to specification: KernelSpecification) -> String? {
    switch specification.normalForm.structure {
    case .diagonal: nil
    case .elementwise(let form): form.reason
    }
  }

  /// The joint space: every chunk with every sub-block, key tile and value tile. Some have
  /// objections, others do not fit the machine; the planner tells them apart.
  static func candidates(
    for specification: KernelSpecification, schedule: String,
    materializations: [Materialization]
  ) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    let key = specification.key
    let products: [ElementType] =
      specification.type == .bf16 && specification.target.hasBFloat16Products
      ? [.f32, .bf16] : [.f32]
    let keyTiles = [key] + [2, 4].filter { key % $0 == 0 && key / $0 >= 16 }.map { key / $0 }
    var plans: [Plan] = []
    for materialization in materializations {
      for chunk in [64, 32, 16, 128, 8, 256] {
        for subBlock in [16, 8, 32, 64, 4] {
          for keyTile in keyTiles {
            for valueTile in valueTiles(for: specification) {
              for type in products {
                plans.append(
                  Plan(
                    schedule: schedule, chunk: chunk, subBlock: subBlock, keyTile: keyTile,
                    valueTile: valueTile, materialization: materialization, products: type))
              }
            }
          }
        }
      }
    }
    return plans
  }

  /// Whole vectors only, and the whole of V when it is small.
  static func valueTiles(for specification: KernelSpecification) -> [Int] {
    let value = specification.value
    if readsAllValues(specification) { return [value] }
    let tiles = [64, 128, 32, 256].filter { $0 < value }
    return value <= 256 ? tiles + [value] : tiles
  }

  /// A map that sums over the value axis needs every value in one worker.
  static func readsAllValues(_ specification: KernelSpecification) -> Bool {
    guard let form = specification.normalForm.diagonal else { return false }
    let maps = [form.query, form.key, form.value, form.skip, form.present, form.epilogue].compactMap
    { $0 }
    return maps.contains { map in
      map.contains {
        if case .sum(let axis, _) = $0 { axis == .value } else { false }
      }
    }
  }

  /// - Parameter axes: what the schedule leaves open of its innermost loops.
  static func objections(
    to plan: Plan, for specification: KernelSpecification, choosing axes: Set<InnerLoops.Axis> = []
  ) -> [String] {
    var found: [String] = []
    if plan.chunk < 2 || plan.chunk > 512 || plan.chunk % 2 != 0 {
      found.append("chunk must be an even number from 2 to 512, not \(plan.chunk).")
    }
    if let every = specification.snapshotEvery, plan.chunk > 0, every % plan.chunk != 0 {
      found.append(
        "chunk \(plan.chunk) does not divide the \(every) tokens between two snapshots: states are "
          + "written out between chunks.")
    }
    if plan.subBlock < 1 || plan.chunk % plan.subBlock != 0 {
      found.append("sub-block \(plan.subBlock) does not divide chunk \(plan.chunk).")
    }
    if plan.products == .f16 { found.append("products must be f32 or bf16, not f16.") }
    if plan.keyTile < 1 || specification.key % plan.keyTile != 0 {
      found.append("key-tile \(plan.keyTile) does not divide K = \(specification.key).")
    } else if plan.products == .bf16, plan.keyTile != specification.key, plan.keyTile % 2 != 0 {
      found.append("key-tile \(plan.keyTile) must be even, as bf16 products take pairs of rows.")
    }
    if plan.valueTile < 1 || plan.valueTile > specification.value {
      found.append(
        "value-tile must be from 1 to V = \(specification.value), not \(plan.valueTile).")
    } else if plan.valueTile < specification.value, readsAllValues(specification) {
      found.append("value-tile must be V = \(specification.value): a map sums over the values.")
    }
    if plan.products == .bf16,
      specification.type != .bf16 || !specification.target.hasBFloat16Products
    {
      found.append(
        "bf16 products need bf16 tensors and a target that has them; \(specification.target.name) "
          + "with \(specification.type.rawValue) does not.")
    }
    if !(1...64).contains(plan.headTile) {
      found.append("head-tile must be from 1 to 64, not \(plan.headTile).")
    }
    if plan.threads < 1 { found.append("threads must be at least 1, not \(plan.threads).") }
    return found + plan.innerObjections(axes, specification)
  }

  /// The objection of a schedule whose worker walks one head alone.
  static func objectionToHeadTile(_ plan: Plan) -> [String] {
    plan.headTile <= 1
      ? [] : ["\(plan.schedule) walks head by head; head-tile must be 1, not \(plan.headTile)."]
  }

  func program(
    segmentation: TileProgram.Segmentation, extraTensors: [Tensor], phases: [TileProgram.Phase]
  ) -> TileProgram {
    TileProgram(
      name: specification.recurrence.name, key: specification.key, value: specification.value,
      chunk: chunk, valueTile: plan.valueTile, segmentation: segmentation,
      headTile: plan.headTile, tensors: ProgramBuilder.tensors(specification) + extraTensors,
      phases: phases)
  }

  /// The algorithm as it stands above the emitted function.
  func pseudoCode(of what: String) -> [String] {
    var lines = ["S = the state before \(what)", "for each chunk of \(chunk) tokens:"]
    if hasKeyVectorGate {
      lines += [
        "  E_i = d_start ... d_i         from the start of i's sub-block of \(block) tokens",
        "  F_j = d_{j+1} ... d_end       to the end of j's sub-block",
        "  T_r = product of d over sub-block r",
      ]
    } else if hasScalarGate {
      lines += [
        "  E_i = d_1 ... d_i             from the chunk's start",
        "  F_j = d_{j+1} ... d_C         to the chunk's end",
        "  W_ij = d_{j+1} ... d_i",
      ]
    }
    lines.append("  for each query head of the group:")
    if hasKeyVectorGate {
      lines += [
        "    for each sub-block r:  Q = q E",
        "      P_rr = sum_k q_ik k_jk d_{j+1,k} ... d_ik      exact, by running products",
        "      for s = r-1 ... 0:  P_rs = Q (k F)_s^T;  Q = Q T_s",
      ]
    } else {
      lines.append("    P = (q k^T) W;  Q = q E")
    }
    if hasValueGate {
      lines += [
        "      O = Q S;  for s < r:  O = O Tv_s + P_rs (v Fv)_s",
        "      then token by token of sub-block r:  O_i = O_i dv_j + P_ij v_j",
      ]
    } else {
      lines.append("      O = Q S + P v")
    }
    lines.append("  S = diag(T) S\(hasValueGate ? " diag(Tv)" : "") + (k F)^T v")
    return lines
  }
}
