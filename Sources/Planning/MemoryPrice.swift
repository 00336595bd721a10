import Schedules
import Targets
import TileIR

/// What bytes take beyond the first cache, in seconds of one thread.
struct MemoryPrice {
  let program: TileProgram
  let target: Target
  let figures: Calibration
  /// Bytes of all tiles of a worker: what goes by between two uses of one of them.
  private let working: Double
  private let elementSizes: [String: Double]
  /// Whether all tensors of a call lie in the last cache.
  private let isInLastCache: Bool
  private let threads: Double
  /// Whether the call's output is large enough for stores that go past the caches to do so.
  let streamsOutput: Bool

  init(
    program: TileProgram, phase: TileProgram.Phase, target: Target, figures: Calibration,
    workload: Workload
  ) {
    self.program = program
    self.target = target
    self.figures = figures
    threads = Double(max(1, workload.threads))
    elementSizes = Dictionary(
      phase.tiles.map { ($0.name, Double($0.type.size)) }, uniquingKeysWith: { first, _ in first })
    working = phase.tiles.reduce(0) { $0 + Double($1.rows * $1.columns * $1.type.size) }
    let tokens = Double(workload.batch * workload.length)
    let bytes = program.tensors.reduce(0.0) { sum, tensor in
      let heads = Double(tensor.kind == .queryTokens ? workload.queryHeads : workload.heads)
      guard tensor.kind == .tokens || tensor.kind == .queryTokens else { return sum }
      return sum + tokens * heads * Double(tensor.columns * tensor.type.size)
    }
    let output = program.tensor(TensorName.output).map { Double($0.columns * $0.type.size) } ?? 0
    streamsOutput =
      tokens * Double(workload.queryHeads) * output > Double(InnerLoops.Stores.streamedBytes)
    isInLastCache = 2 * bytes < Double(figures.lastCache)
  }

  /// Seconds of reading (or writing) a view beyond what the first cache takes.
  ///
  /// - Parameters:
  ///   - share: rows of the view that are touched, where that is less than all.
  ///   - readings: how often it is gone through; after the first time it lies as near as its own
  ///     size allows.
  func cache(
    _ view: TileView, writes: Bool = false, share: Double? = nil, readings: Double = 1
  ) -> Double {
    let all = bytes(view)
    let bytes = share.map { all * min(1, $0 / Double(max(1, view.rows))) } ?? all
    return bytes * extra(working, writes) + bytes * (readings - 1) * extra(2 * bytes, writes)
  }

  /// Bytes of a view, of rows.
  func bytes(_ view: TileView) -> Double {
    Double(view.rows * view.columns) * (elementSizes[view.tile] ?? 4)
  }
  func bytes(_ slice: TokenSlice) -> Double {
    Double(slice.rows * slice.columns * (program.tensor(slice.tensor)?.type.size ?? 4))
  }

  /// Seconds of going through a view again while so many bytes are in use.
  func again(
    _ view: TileView, writes: Bool = false, readings: Double, among: Double
  ) -> Double {
    bytes(view) * readings * extra(among, writes)
  }

  /// Seconds a byte, beyond those of the first cache, of what lies among so many bytes.
  private func extra(_ among: Double, _ writes: Bool) -> Double {
    let levels: [(room: Double, rate: Double)] = [
      (Double(target.firstLevelCache), writes ? figures.firstWrite : figures.firstRead),
      (Double(target.secondLevelCache), writes ? figures.secondWrite : figures.secondRead),
      (.infinity, writes ? figures.thirdWrite : figures.thirdRead),
    ]
    // A cache that is nearly full keeps a part of what goes round in it.
    var seconds = 0.0
    var before = 1 / levels[0].rate
    for (inner, outer) in zip(levels, levels.dropFirst()) {
      let missed = min(1, max(0, (among - 0.6 * inner.room) / (0.6 * inner.room)))
      seconds += missed * max(0, 1 / outer.rate - before)
      before = 1 / outer.rate
    }
    return seconds
  }

  /// Seconds of reading rows of the caller's.
  func rows(_ slice: TokenSlice) -> Double {
    let size = Double(program.tensor(slice.tensor)?.type.size ?? 4)
    // Lines of 64 bytes come whole.
    let bytes = Double(slice.rows) * max(64, Double(slice.columns) * size)
    // What every value tile reads comes from memory once; by the next tile it is in the last cache.
    let isShared = slice.column.isConstant && program.valueTiles > 1
    let tiles = Double(program.valueTiles)
    let near = figures.memoryRead / max(figures.thirdRead, figures.memoryRead)
    let share = isShared ? (1 + (tiles - 1) * near) / tiles : 1
    return bytes * share * rowSeconds
  }

  /// Seconds by which rows that lie apart take longer than memory read in one go, `rows` of them:
  /// each begins on a page whose address has to be looked up. Rows of heads that are walked
  /// together lie side by side and begin once.
  func begins(_ rows: Int) -> Double {
    Double(rows) * rowBegins
  }

  /// Seconds of writing rows of the caller's.
  func written(_ slice: TokenSlice) -> Double {
    let size = Double(program.tensor(slice.tensor)?.type.size ?? 4)
    let rate = isInLastCache ? figures.thirdWrite : figures.memoryWrite
    return Double(slice.rows * slice.columns) * size / rate
  }

  /// Seconds of a state's way to the caller's memory or the workspace, or back.
  func state(_ view: TileView, writes: Bool) -> Double {
    state(view.rows, view.columns, writes: writes)
  }

  func state(_ rows: Int, _ columns: Int, writes: Bool) -> Double {
    let bytes = Double(rows * columns * 4)
    let rate = writes ? figures.thirdWrite : figures.thirdRead
    return bytes / rate + bytes / (4 * Double(target.lanes)) * figures.pass
  }

  /// Seconds a byte of rows that lie apart; threads share what the memory gives to all.
  private var rowSeconds: Double {
    let rows = 1 / figures.memoryRead + rowBegins / Calibration.rowBytes
    if isInLastCache { return figures.memoryRead / figures.thirdRead * rows }
    return max(rows, threads / figures.memoryReadTogether)
  }

  /// Seconds that the beginning of a row takes, with the heads that share it.
  private var rowBegins: Double {
    Calibration.rowBytes * max(0, 1 / figures.rowsRead - 1 / figures.memoryRead)
      / Double(program.headTile)
  }
}
