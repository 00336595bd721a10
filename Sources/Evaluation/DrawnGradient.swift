import Recurrences
import Reference
import TileIR

/// A drawn problem with the adjoints of what it gives, as a backward call brings them.
public struct DrawnGradient: Hashable, Sendable {
  public var problem: DrawnProblem
  /// The adjoint of the output, [B, T, query heads, V], rounded to its type.
  public var output: [Double]
  /// The adjoint of the final state, [sequences, heads, K, state columns]; nil for none.
  public var finalState: [Double]?
  /// The states that the call brings, as a forward call writes them out; nil for none.
  public var states: [Double]?

  public init(_ problem: DrawnProblem, _ subject: Subject, seed: UInt64) {
    self.problem = problem
    var random = Random(seed: seed, "\(problem.name)/adjoint of o")
    output = (0..<problem.shape.outputCount).map { _ in subject.type.rounded(random.normal()) }
    guard problem.wantsFinalState else { return }
    let shape = problem.shape
    let count = shape.sequences.count * shape.heads * shape.key * subject.stateColumns
    finalState = (0..<count).map { _ in subject.type.sums.rounded(random.normal()) }
  }

  /// The same with the reference's states after every so many tokens.
  func bringingStates(every tokens: Int, _ subject: Subject) throws -> DrawnGradient {
    var bringing = self
    bringing.states = try Prefixes(problem, subject, every: tokens).numbers
    return bringing
  }

  /// The reference's adjoints by name: of every input, and of the initial state as a kernel packs it.
  ///
  /// - Parameter holdsNorms: whether nothing flows back through norms.
  public func expected(
    _ subject: Subject, holdsNorms: Bool = false
  ) throws(ReferenceError) -> [String: [Double]] {
    let shape = problem.shape
    let arguments = Arguments(
      inputs: problem.inputs, scale: problem.scale,
      initialStates: problem.initialState.map { subject.unpackStates($0, shape) } ?? [:])
    let gradient = try Reference(subject.recurrence, shape: shape).gradient(
      arguments, output: output,
      finalStates: finalState.map { subject.unpackStates($0, shape) } ?? [:],
      holdsNorms: holdsNorms)
    var adjoints = gradient.inputs
    adjoints[TensorName.initialState] = subject.packStates(gradient.initialStates, shape)
    return adjoints
  }
}
