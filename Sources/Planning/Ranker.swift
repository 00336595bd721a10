import Recurrences
import Schedules
import Targets

/// Orders plans: by a model or by the clock.
public protocol Ranker: Sendable {
  /// The smaller the better; the unit is the ranker's own.
  func cost(of plan: Plan, for specification: KernelSpecification) -> Double
}

/// Vector instructions a token and head, by what each schedule does: products, scores, maps, and
/// the state's way through the caches.
public struct CostModel: Ranker {
  public init() {}

  public func cost(of plan: Plan, for specification: KernelSpecification) -> Double {
    let lanes = Double(specification.target.lanes)
    let K = Double(specification.key)
    let V = Double(specification.value)
    let C = Double(plan.chunk)
    let c = Double(plan.subBlock)
    let step = plan.products == .bf16 ? 1 / specification.target.bfloat16ProductRate : 1.0
    let valueTiles = (V / Double(plan.valueTile)).rounded(.up)
    var cost = 2 * K * V / lanes * step
    if plan.schedule == "register-recurrent" {
      // No scores: the state's way through the cache and the maps are all that is added.
      // A block's operands are read piece by piece of the state, best from the first cache.
      let block = C * (5 * K + 2 * Double(plan.valueTile)) * 4
      let crowding = max(1, block / Double(specification.target.firstLevelCache))
      cost += stateTraffic(plan, specification) / C
      cost += valueTiles * (25 + 25 * crowding) * K / lanes
      if specification.normalForm.diagonal?.valueGate != nil { cost += K * V / lanes }
    } else if plan.schedule == "matrix-fused" {
      // The unit multiplies 256 pairs in the time of a vector instruction; what is left is to prepare
      // operands, to round and store outputs, and the state's way through the cache.
      cost = (2 * K * V + valueTiles * 1.5 * C * K + C * V / 2) / 256
      cost += valueTiles * 105 * K / lanes + 70 * V / lanes
      cost += stateTraffic(plan, specification) * 5 / C
    } else if plan.chunk == 1 {
      // Every token takes the whole state from the cache and puts it back.
      cost = 3 * K * V / lanes + stateTraffic(plan, specification) + 200
    } else {
      cost += (C + c) / 2 * V / lanes
      cost += stateTraffic(plan, specification) * 3 / C
      cost += valueTiles * scores(plan, specification)
      if specification.normalForm.diagonal?.valueGate != nil { cost += c * V / lanes }
      if plan.products == .bf16 { cost += 3 * K * V / lanes / C }
    }
    switch plan.materialization {
    case .none: break
    // States are summarized by a further half of the work, which only more workers can pay for.
    case .segments: cost *= 1.6
    case .chunks: cost *= 1.6 + 64 / C
    }
    return cost
  }

  /// Scores and maps of one token: repeated for every value tile.
  private func scores(_ plan: Plan, _ specification: KernelSpecification) -> Double {
    let lanes = Double(specification.target.lanes)
    let K = Double(specification.key)
    let C = Double(plan.chunk)
    let c = Double(plan.subBlock)
    // Loads, an exponential, scans and scalings of a row.
    let maps = 40 * K / lanes
    guard specification.normalForm.diagonal?.keyGate?.axes == .key else {
      return maps + C * K / lanes
    }
    let exact = (c + 1) / 2 * (2 * K / lanes + 5)
    let offDiagonal = (C - c) / 2 * K / lanes + (C / c - 1) / 2 * 3 * K / lanes
    return maps + exact + offDiagonal
  }

  /// Loads of the state's tile, dearer when it leaves the first cache.
  private func stateTraffic(_ plan: Plan, _ specification: KernelSpecification) -> Double {
    let bytes = specification.key * plan.valueTile * 4
    let vectors =
      Double(specification.key * specification.value) / Double(specification.target.lanes)
    if bytes <= specification.target.firstLevelCache * 3 / 4 { return vectors }
    if bytes <= specification.target.secondLevelCache * 3 / 4 { return 2 * vectors }
    return 6 * vectors
  }
}
