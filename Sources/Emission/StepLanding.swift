import Targets
import TileIR

/// How a step of one token has its state and its inputs copied to shared memory at once, on cards whose
/// copies run on their own: what is told to the words of `templates/cuda/step_landed.cuh`.
struct StepLanding {
  /// The step's move of the state.
  let move: MoveState
  /// Bytes of shared memory before what lands.
  let begin: Int
  /// Tensors whose rows of the token land, and where, in bytes from the landing's start.
  private(set) var rows: [(tensor: Tensor, at: Int)] = []
  /// Where the state lands.
  private(set) var stateBegin = 128

  /// The most of a head's state that one block has at a time: three blocks are to have room at once.
  private static let mostStateBytes = 65536

  /// Nil where copies of sixteen bytes cannot bring the state, or where it is too large.
  init?(_ program: TileProgram, _ target: Target) {
    guard program.phases.count == 1, let phase = program.phases.first else { return nil }
    let layout = ScratchLayout(phase, target)
    guard let device = target.device, device.hasWarpgroups else { return nil }
    let moves = phase.operations.compactMap {
      if case .moveState(let move) = $0 { move } else { nil }
    }
    guard moves.count == 1, let move = moves.first,
      let state = program.tensor(move.target.tensor), state.columns % 4 == 0,
      program.value % 4 == 0, move.output.columns <= 128, layout.bytesInMemory == 0,
      // A warp's lanes ask for a row each.
      move.query.columns <= device.threads,
      move.query.columns * move.output.columns * 4 <= Self.mostStateBytes
    else { return nil }
    self.move = move
    begin = layout.bytes
    for tensor in program.tensors where [.tokens, .queryTokens].contains(tensor.kind) {
      let bytes = tensor.rows * tensor.columns * tensor.type.size
      guard bytes % 16 == 0, !program.written.contains(tensor.name) else { continue }
      rows.append((tensor, stateBegin))
      stateBegin += (bytes + 127) / 128 * 128
    }
  }

  private var width: Int { move.output.columns }
  private var keys: Int { move.query.columns }
  private var stateBytes: Int { keys * width * 4 }
  var bytes: Int { stateBegin + stateBytes }

  /// Blocks that are to have room at once: with the sums of warps and what the card keeps for itself.
  private var blocks: Int { max(2, min(4, 232448 / (begin + bytes + 4096 + 1024))) }

  /// What step.cuh is told.
  var settings: String {
    """
    // Blocks that are to have room at once.
    #define SL_STEP_BLOCKS \(blocks)

    """
  }
}

extension PhaseEmitter {
  /// Asks for all that lands, before anything else; of tensors that the body reads.
  func landingLines(_ landing: StepLanding, for body: [String]) -> [String] {
    var out = CWriter(depth: 1)
    let state = program.tensor(landing.move.target.tensor)!
    out.line("// The state and the token's rows are on their way side by side.")
    out.line("char *const landing = scratch + \(landing.begin);")
    out.line("sl_landing_begin(sl_address(landing));")
    for (tensor, at) in landing.rows where body.contains(where: { uses($0, "\(tensor.name)_in") }) {
      let name = "\(tensor.name)_in"
      let bytes = tensor.rows * tensor.columns * tensor.type.size
      out.line(
        "\(name) = sl_land_row(landing, \(at), \(name), \(bytes), "
          + "\(tensor.kind == .tokens ? "1" : "group"));")
    }
    out.call(
      "sl_land_state",
      [
        "sl_address(landing)", String(landing.stateBegin), String(landing.move.query.columns),
        String(landing.move.output.columns),
        valid(landing.move.target.column, landing.move.output.columns),
        placesOfState(landing.move).source,
        String(state.columns),
      ])
    out.line("sl_landing_wait(sl_address(landing));")
    return out.lines
  }

  private func uses(_ line: String, _ name: String) -> Bool { Self.uses(line, name) }
}
