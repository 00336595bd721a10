import Recurrences
import TileIR

/// The recurrence token by token, with a piece of the state in registers over a block of tokens.
///
/// Two multiplications an entry of the state and token, and nothing else that grows with K x V: no
/// score matrix. A decay along the key would be a third; it is folded into the operands relative
/// to where the state was last scaled, q * E and k / E with E the running product of the decays; the
/// state is scaled at the end of a block after which some E is small. That is right while E stays far
/// from zero and k / E far from overflow, which a test of each key decides at run time; before a block
/// with a key that fails it the state is scaled, and a key that fails it from there on takes the exact
/// form, with the third multiplication (`Fold`).
public struct RegisterRecurrent: Schedule {
  public let name = "register-recurrent"
  public let summary = "token by token, pieces of the state in registers over a block of tokens"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = ChunkWalk.obstacle(to: specification) { return obstacle }
    if specification.target.device != nil {
      return "Its words hold the state in a processor's vectors, which "
        + "\(specification.target.name) does not have."
    }
    return specification.normalForm.diagonal?.normalizer == nil
      ? nil : "A normalizer's sums are not kept in registers here."
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    let loops = Self.innerLoops
    return [16, 32, 8].flatMap { chunk in
      ChunkWalk.valueTiles(for: specification).flatMap { valueTile in
        [1, 2, 4].flatMap { headTile in
          loops.map {
            Plan(
              schedule: name, chunk: chunk, subBlock: chunk, keyTile: specification.key,
              valueTile: valueTile, headTile: headTile, inner: $0)
          }
        }
      }
    }
  }

  /// The emitter's register block and two others, its own tokens in a row or four, rows asked for a
  /// block or two ahead or not at all, either way of storing. Stores past the caches come first: the
  /// model prices both ways alike, and where memory is shared they are the quicker ones by a tenth, for
  /// a line that is stored whole need not be read; on a quiet machine by a hundredth.
  private static let innerLoops: [InnerLoops] = {
    [nil, RegisterBlock(8, 2), RegisterBlock(4, 2)].flatMap { block in
      [nil, 4].flatMap { unroll in
        [nil, 2, 0].flatMap { ahead in
          [.streaming, nil].map {
            InnerLoops(registerBlock: block, unroll: unroll, ahead: ahead, stores: $0)
          }
        }
      }
    }
  }()

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found = ChunkWalk.objections(
      to: plan, for: specification, choosing: [.registerBlock, .unroll, .ahead, .stores])
    if plan.subBlock != plan.chunk {
      found.append("\(name) has no sub-blocks; sub-block must be the chunk, \(plan.chunk).")
    }
    if plan.keyTile != specification.key {
      found.append("\(name) takes the whole key; key-tile must be K = \(specification.key).")
    }
    if plan.materialization != .none {
      found.append("\(name) keeps the state on chip; materialization must be none.")
    }
    if let unroll = plan.inner.unroll, unroll > 0, plan.chunk % unroll != 0 {
      found.append("unroll \(unroll) does not divide the \(plan.chunk) tokens of a block.")
    }
    if plan.products != .f32 { found.append("\(name) multiplies in f32.") }
    return found
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    let walk = ChunkWalk(specification, plan)
    return walk.wholeSequence(
      pseudoCode: BlockRecurrence.pseudoCode(walk),
      loaded: { BlockRecurrence(walk: walk, state: $0.matrix).begin(&$1) },
      ended: { BlockRecurrence(walk: walk, state: $0.matrix).end(&$1) },
      body: { BlockRecurrence(walk: walk, state: $0.matrix).write(&$1) })
  }
}
