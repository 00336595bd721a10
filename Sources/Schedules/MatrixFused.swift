import Recurrences
import TileIR

/// Chunks by products of a matrix unit, the state on chip for the whole sequence.
///
/// A matrix unit multiplies an order of magnitude faster than vectors do, so everything that can be
/// is a product over the whole chunk, and what costs is to prepare its operands. Scores under a
/// decay along the key become one product by folding: q * G and k / G with G the running products of
/// the decays since the chunk's start, behind the test that the register schedule has. A chunk that
/// fails it is walked as chunk-fused does, exactly.
///
/// Which of the two forms a chunk takes may hang on a later token, so they must agree better than
/// bf16 does: both multiply the same numbers, of sixteen bits, under decays that are exact.
public struct MatrixFused: Schedule {
  public let name = "matrix-fused"
  public let summary = "state on chip for the whole sequence, chunks by products of a matrix unit"

  public init() {}

  public func obstacle(to specification: KernelSpecification) -> String? {
    if let obstacle = ChunkWalk.obstacle(to: specification) { return obstacle }
    guard specification.target.hasMatrixUnit else {
      return "The target \(specification.target.name) has no matrix unit."
    }
    guard specification.type == .bf16 else {
      return "The matrix unit multiplies bf16, and the tensors are \(specification.type.rawValue)."
    }
    let form = specification.normalForm.diagonal
    if form?.normalizer != nil { return "A normalizer's sums would be rounded to bf16." }
    if form?.valueGate != nil { return "The matrix unit has no gate along the value axis." }
    guard specification.key % 2 == 0 else {
      return "K = \(specification.key) must be even, as bf16 products take pairs."
    }
    return nil
  }

  public func candidates(for specification: KernelSpecification) -> [Plan] {
    guard obstacle(to: specification) == nil else { return [] }
    return [64, 32, 128].flatMap { chunk in
      ChunkWalk.valueTiles(for: specification).flatMap { valueTile in
        [1, 2, 4].map { headTile in
          Plan(
            schedule: name, chunk: chunk, subBlock: 16, keyTile: specification.key,
            valueTile: valueTile, headTile: headTile, products: .bf16)
        }
      }
    }.filter { objections(to: $0, for: specification).isEmpty }
  }

  public func objections(to plan: Plan, for specification: KernelSpecification) -> [String] {
    var found = ChunkWalk.objections(to: plan, for: specification, choosing: [.stores])
    if plan.chunk % 32 != 0 {
      found.append("chunk must be a multiple of 32, a matrix register's depth, not \(plan.chunk).")
    }
    if plan.keyTile != specification.key {
      found.append("\(name) takes the whole key; key-tile must be K = \(specification.key).")
    }
    if plan.materialization != .none {
      found.append("\(name) keeps the state on chip; materialization must be none.")
    }
    if plan.products != .bf16 { found.append("\(name) multiplies in bf16.") }
    return found
  }

  public func lower(_ specification: KernelSpecification, _ plan: Plan) -> TileProgram {
    let walk = ChunkWalk(specification, plan)
    return walk.wholeSequence(
      pseudoCode: MatrixChunk.pseudoCode(walk),
      loaded: { MatrixChunk(walk: walk, state: $0).copyState(&$1) },
      begin: { MatrixChunk(walk: walk, state: $0).writeMask(&$1) }
    ) { state, b in
      MatrixChunk(walk: walk, state: state).write(&b)
    }
  }
}
