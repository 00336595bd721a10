import Recurrences
import TileIR

/// The frame of schedules that keep the state on chip for a whole sequence: load it, walk the chunks,
/// store it.
///
/// A worker may hold the states of several adjacent heads and walk them together, chunk by chunk. In
/// the layout [B, T, H, D] their rows of one token lie side by side: what is read is a few long runs
/// and not many short ones, each on a page of its own, whose address has to be looked up first.
extension ChunkWalk {
  /// The variable that counts a worker's heads.
  static let ownHead = "h"

  /// - Parameters:
  ///   - loaded: what comes once a head, when its state is there.
  ///   - begin: what comes once, before the first chunk.
  ///   - ended: what comes once a head, before its state is stored.
  ///   - body: one chunk of one head.
  func wholeSequence(
    pseudoCode: [String], loaded: (State, inout ProgramBuilder) -> Void = { _, _ in },
    begin: (State, inout ProgramBuilder) -> Void = { _, _ in },
    ended: (State, inout ProgramBuilder) -> Void = { _, _ in },
    body: (State, inout ProgramBuilder) -> Void
  ) -> TileProgram {
    var b = ProgramBuilder(specification, valueTile: plan.valueTile)
    let state = declareState(&b)
    forHeads(&b) { b in
      load(state, from: TensorName.initialState, &b)
      loaded(state, &b)
    }
    if let ones = state.ones { fill(ones.all, 1, &b) }
    begin(state, &b)
    b.loop(.chunks("c")) { b in
      forHeads(&b) { b in
        body(state, &b)
        snapshot(state, &b)
      }
    }
    forHeads(&b) { b in
      ended(state, &b)
      store(state, to: TensorName.finalState, &b)
    }
    return program(
      segmentation: .none, extraTensors: [],
      phases: [
        TileProgram.Phase(
          name: "walk", pseudoCode: headed(pseudoCode), grid: [.sequence, .head, .valueTile],
          tiles: b.tiles, body: b.body)
      ])
  }

  /// Writes what is done for each of the worker's heads.
  private func forHeads(_ b: inout ProgramBuilder, _ write: (inout ProgramBuilder) -> Void) {
    if plan.headTile == 1 { write(&b) } else { b.loop(.heads(ChunkWalk.ownHead), write) }
  }

  private func headed(_ pseudoCode: [String]) -> [String] {
    plan.headTile == 1
      ? pseudoCode
      : ["\(plan.headTile) heads together, chunk by chunk, each with its own S:"] + pseudoCode
  }
}
