import Recurrences

extension TileProgram {
  /// The program with every f32 replaced by what sums are beside tensors of `type`: in a build in
  /// double, tiles, states and tensors are double alike.
  public func widened(beside type: ElementType) -> TileProgram {
    guard type.sums != .f32 else { return self }
    var program = self
    for tensor in tensors.indices where tensors[tensor].type == .f32 {
      program.tensors[tensor].type = type.sums
    }
    for phase in phases.indices {
      for tile in phases[phase].tiles.indices where phases[phase].tiles[tile].type == .f32 {
        program.phases[phase].tiles[tile].type = type.sums
      }
    }
    return program
  }
}
