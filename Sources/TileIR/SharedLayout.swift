/// How tiles lie in a card's shared memory.
public enum SharedLayout {
  /// Elements from one row of a tile to the next: four more than it has columns, so that the rows
  /// that a warp reads together lie in different banks.
  public static func stride(of tile: Tile) -> Int {
    tile.columns == 1 || tile.rows == 1 ? tile.columns : tile.columns + 4
  }

  /// Bytes of a tile, none for one in registers; each begins where a line of 128 bytes does.
  public static func bytes(of tile: Tile) -> Int {
    if tile.place == .registers { return 0 }
    return (tile.rows * stride(of: tile) * tile.type.size + 127) / 128 * 128
  }
}

extension TileProgram.Phase {
  /// Bytes of shared memory that one worker's tiles take.
  public var sharedBytes: Int { tiles.reduce(0) { $0 + SharedLayout.bytes(of: $1) } }
}
