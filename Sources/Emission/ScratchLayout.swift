import Recurrences
import Targets
import TileIR

/// Where a phase's tiles lie in a worker's scratch memory.
///
/// Rows are padded to whole vectors, and tiles to whole blocks of vectors, so that no operation on
/// tiles needs a tail; a tile of one column keeps its entries side by side.
struct ScratchLayout {
  struct Place {
    var tile: Tile
    /// Bytes from the start of the scratch memory.
    var offset: Int
    /// Elements from one row (a pair of rows, when interleaved) to the next.
    var stride: Int
    /// On a card: whether it lies in the workspace, where shared memory has no room left.
    var isInMemory = false
  }

  private(set) var places: [String: Place] = [:]
  private(set) var order: [String] = []
  private(set) var bytes = 0
  /// Whether any tile has entries beyond its own, which are read with the rest.
  private(set) var hasPadding = false
  /// Bytes of the tiles in the workspace.
  private(set) var bytesInMemory = 0

  init(_ phase: TileProgram.Phase, _ target: Target) {
    if let device = target.device {
      placeOnCard(phase, device)
      return
    }
    let lanes = target.lanes
    func whole(_ count: Int, of unit: Int? = nil) -> Int {
      let unit = unit ?? lanes
      return (count + unit - 1) / unit * unit
    }
    // A matrix register takes two vectors' worth of what is summed.
    let depth = target.hasMatrixUnit ? 2 * lanes : lanes
    // A transposition writes whole vectors of rows, also where one row is all there is.
    let transposed = Set(
      phase.operations.compactMap {
        if case .transpose(let transpose) = $0 { transpose.target.tile } else { nil }
      })
    for tile in phase.tiles {
      let elements: Int
      var stride: Int
      if tile.layout == .column {
        stride = 1
        elements = whole(tile.rows)
      } else if tile.layout == .pairs {
        stride = 2 * whole(tile.columns)
        elements = whole(tile.rows, of: depth) / 2 * stride
      } else {
        stride = whole(tile.columns, of: tile.type.isSums ? lanes : depth)
        elements =
          (tile.rows == 1 && !transposed.contains(tile.name) ? 1 : whole(tile.rows)) * stride
      }
      if elements > tile.rows * tile.columns { hasPadding = true }
      places[tile.name] = Place(tile: tile, offset: bytes, stride: stride)
      order.append(tile.name)
      // Each tile begins on a cache line.
      bytes += (elements * tile.type.size + 63) / 64 * 64
    }
  }

  /// Tiles in shared memory; the largest ones in the workspace where that has not room for all.
  private mutating func placeOnCard(_ phase: TileProgram.Phase, _ device: Device) {
    let sizes = phase.tiles.map(SharedLayout.bytes)
    var room = device.sharedMemory - sizes.reduce(0, +)
    var inMemory: Set<String> = []
    for (tile, size) in zip(phase.tiles, sizes).sorted(by: { $0.1 > $1.1 }) where room < 0 {
      inMemory.insert(tile.name)
      room += size
    }
    for (tile, size) in zip(phase.tiles, sizes) {
      let isInMemory = inMemory.contains(tile.name)
      places[tile.name] = Place(
        tile: tile, offset: isInMemory ? bytesInMemory : bytes,
        stride: SharedLayout.stride(of: tile), isInMemory: isInMemory)
      order.append(tile.name)
      if isInMemory { bytesInMemory += size } else { bytes += size }
    }
  }
}
