import Recurrences
import Schedules
import Targets
import TileIR

/// Whether a legal plan fits the machine. A plan that does not would run, and waste its time
/// between caches: it is no candidate unless nothing else is left.
struct Fit {
  /// The most that states between segments may take of a call's workspace.
  static let workspaceLimit = 256 << 20
  /// The most that states kept for a gradient may take, as a share of its tensors.
  static let statesLimit = 0.4

  let specification: KernelSpecification
  let workload: Workload

  /// What does not fit, each a sentence.
  func shortfalls(of plan: Plan, _ program: TileProgram) -> [String] {
    let target = specification.target
    if let device = target.device { return deviceShortfalls(plan, program, device) }
    var found: [String] = []
    let tiles =
      program.phases.map { phase in
        phase.tiles.reduce(0) { $0 + $1.rows * $1.columns * $1.type.size }
      }.max() ?? 0
    if tiles > target.secondLevelCache {
      found.append(
        "a worker's tiles take \(kibibytes(tiles)), more than the second-level cache's "
          + "\(kibibytes(target.secondLevelCache)).")
    }
    let panel = program.phases.map { largestPanel($0) }.max() ?? 0
    if panel > target.firstLevelCache {
      found.append(
        "a panel that a product goes through for every block of rows takes \(kibibytes(panel)), "
          + "more than the first-level cache's \(kibibytes(target.firstLevelCache)).")
    }
    if let states = keptStates(program) {
      found.append(
        "the states that are kept for the gradient take \(Int(100 * states)) % of what its tensors do, "
          + "more than \(Int(100 * Fit.statesLimit)) %.")
    }
    let workspace = workspaceBytes(program)
    if workspace > Fit.workspaceLimit {
      found.append(
        "states between segments take \(workspace >> 20) MiB of workspace, more than "
          + "\(Fit.workspaceLimit >> 20).")
    }
    return found
  }

  /// On a card a worker's tiles must fit the shared memory of one block, or the kernel does not start.
  private func deviceShortfalls(
    _ plan: Plan, _ program: TileProgram, _ device: Device
  ) -> [String] {
    var found: [String] = []
    if plan.headTile > 1 {
      found.append("a card's block walks one head; head-tile must be 1, not \(plan.headTile).")
    }
    let tiles = program.phases.map { $0.sharedBytes }.max() ?? 0
    if tiles > device.sharedMemory {
      found.append(
        "a block's tiles take \(kibibytes(tiles)) of shared memory, more than "
          + "\(specification.target.name)'s \(kibibytes(device.sharedMemory)).")
    }
    return found
  }

  /// Bytes of the widest right operand's columns that stay while rows go by.
  private func largestPanel(_ phase: TileProgram.Phase) -> Int {
    let lanes = specification.target.lanes
    return phase.countsOfProducts.map { rows, columns, size in
      rows * min(4 * lanes, columns) * size
    }.max() ?? 0
  }

  /// The share that states kept from a forward to a backward call have of all its tensors, where that
  /// is too much.
  private func keptStates(_ program: TileProgram) -> Double? {
    guard let states = program.tensor(TensorName.states) else { return nil }
    let rows = program.tensors.filter { $0.kind == .tokens || $0.kind == .queryTokens }
      .reduce(0) { $0 + $1.columns * $1.type.size }
    let share = Double(states.rows * states.columns * 4) / Double(program.chunk * rows)
    return share > Fit.statesLimit ? share : nil
  }

  private func workspaceBytes(_ program: TileProgram) -> Int {
    let state = program.tensors.filter { $0.kind == .segment }.reduce(0) {
      $0 + $1.rows * $1.columns * 4
    }
    let chunks = (workload.length + program.chunk - 1) / max(1, program.chunk)
    let slots =
      switch program.segmentation {
      case .none: 0
      case .fixed(let count): count
      case .perChunk: chunks + 1
      }
    return workload.batch * slots * workload.heads * state
  }

  private func kibibytes(_ bytes: Int) -> String { "\((bytes + 1023) >> 10) KiB" }
}

extension TileProgram.Phase {
  /// Rows, columns and bytes of an element of every product's right operand.
  fileprivate var countsOfProducts: [(Int, Int, Int)] {
    let sizes = Dictionary(
      tiles.map { ($0.name, $0.type.size) }, uniquingKeysWith: { first, _ in first })
    var found: [(Int, Int, Int)] = []
    func walk(_ body: [Statement]) {
      for statement in body {
        switch statement {
        case .operation(.multiply(let product)):
          // A single row reads its right operand once, wherever it lies.
          guard product.target.rows > 1 else { continue }
          found.append((product.right.rows, product.right.columns, sizes[product.right.tile] ?? 4))
        case .operation, .note: break
        case .loop(_, let inner), .firstValueTile(let inner): walk(inner)
        case .when(_, let inner, let otherwise):
          walk(inner)
          walk(otherwise)
        }
      }
    }
    walk(body)
    return found
  }
}
