import Emission
import Recurrences
import Reference
import Schedules
import TileIR

/// Whether a tile program means what its recurrence says: both in Double, no compiler, no hardware.
public struct DerivationFinding: Hashable, Sendable, CustomStringConvertible {
  public var problem: String
  /// The worst error of output and final state, over the whole and over each sequence and head.
  public var error: Double
  public var bound: Double
  public var place: String

  public var passed: Bool { error <= bound }

  public var description: String {
    "\(passed ? "ok  " : "FAIL") \(problem): \(error) (bound \(bound)) \(place)"
  }
}

extension TileProgram {
  /// What sums in another order may differ by, in Double.
  public static let derivationBound = 1e-11

  /// Interprets the program on small drawn problems and compares it with the reference.
  ///
  /// A disagreement is a fault of the schedule, of the normal form or of the interpreter: nothing is
  /// rounded or compiled here.
  public func checkDerivation(
    _ specification: KernelSpecification, _ plan: Plan, recipes: [ProblemRecipe]? = nil,
    seed: UInt64
  ) throws -> [DerivationFinding] {
    let subject = Subject(specification, plan)
    return try (recipes ?? Self.derivationRecipes(chunk: plan.chunk)).map { recipe in
      let problem = try DrawnProblem(recipe, for: subject, seed: seed)
      return try compare(problem, subject, snapshotEvery: specification.snapshotEvery ?? 0)
    }
  }

  private func compare(
    _ problem: DrawnProblem, _ subject: Subject, snapshotEvery: Int
  ) throws -> DerivationFinding {
    let expected = try problem.expected(subject)
    var tensors = problem.inputs
    tensors[TensorName.initialState] = problem.initialState
    var interpreter = Interpreter(
      self, shape: problem.shape, scale: problem.scale, tensors: tensors)
    interpreter.snapshotEvery = snapshotEvery
    interpreter.run()
    let output = TensorError(
      interpreter.tensors[TensorName.output] ?? [], expected.output,
      groups: problem.shape.outputGroups)
    let state = TensorError(
      interpreter.tensors[TensorName.finalState] ?? [], expected.finalState,
      groups: problem.shape.stateGroups(columns: subject.stateColumns))
    var errors = [("o", output), ("final state", state)]
    if snapshotEvery > 0 {
      let numbers = interpreter.tensors[TensorName.snapshots] ?? []
      errors.append(
        ("state", try Prefixes(problem, subject, every: snapshotEvery).error(of: numbers)))
    }
    let (what, worse) = errors.max { $0.1.rank < $1.1.rank }!
    return DerivationFinding(
      problem: problem.name, error: worse.rank, bound: Self.derivationBound,
      place: "\(what), \(worse.place)")
  }

  /// Tails, nothing, one token, packed and grouped, resets: small, as the interpreter is slow.
  static func derivationRecipes(chunk C: Int) -> [ProblemRecipe] {
    [
      ProblemRecipe("tail, resets, initial state", [2 * C + C / 2 + 1]).with {
        $0.gates = .resets
        $0.hasInitialState = true
        $0.heads = 1
      },
      ProblemRecipe("packed, grouped, mild", [0, 1, C + 1, 0, max(1, C - 1)]).with {
        $0.hasInitialState = true
        $0.group = 2
      },
      ProblemRecipe("no token", [0]).with { $0.hasInitialState = true },
      ProblemRecipe("batch of two, mixed gates", [C + 2]).with {
        $0.batch = 2
        $0.gates = .mixed
      },
    ]
  }
}

/// Lowers a plan and checks the program that comes out; `TileProgram.checkDerivation` on it.
///
/// - Throws: `SluiceError` when the plan is illegal.
public func checkDerivation(
  _ specification: KernelSpecification, _ plan: Plan, seed: UInt64
) throws -> [DerivationFinding] {
  let program = try Emitter.lower(specification, plan)
  return try program.checkDerivation(specification, plan, seed: seed)
}
