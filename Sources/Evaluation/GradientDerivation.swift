import Emission
import Recurrences
import Reference
import Schedules
import TileIR

extension TileProgram {
  /// Interprets a gradient's program on small drawn problems and compares it with the reference's
  /// gradient: every input's adjoint and the initial state's.
  public func checkGradientDerivation(
    _ specification: KernelSpecification, _ plan: Plan, recipes: [ProblemRecipe]? = nil,
    seed: UInt64
  ) throws -> [DerivationFinding] {
    let subject = Subject(specification, plan)
    return try (recipes ?? Self.derivationRecipes(chunk: plan.chunk)).flatMap { recipe in
      let problem = try DrawnProblem(recipe, for: subject, seed: seed)
      let drawn = DrawnGradient(problem, subject, seed: seed)
      let findings = try compareGradient(drawn, subject)
      guard tensor(TensorName.states) != nil else { return findings }
      let bringing = try drawn.bringingStates(every: chunk, subject)
      return try findings + compareGradient(bringing, subject, ", from the forward call's states")
    }
  }

  private func compareGradient(
    _ drawn: DrawnGradient, _ subject: Subject, _ circumstance: String = ""
  ) throws -> [DerivationFinding] {
    let problem = drawn.problem
    let expected = try drawn.expected(subject)
    var tensors = problem.inputs
    tensors[TensorName.initialState] = problem.initialState
    tensors[TensorName.adjoint(of: TensorName.output)] = drawn.output
    tensors[TensorName.adjoint(of: TensorName.finalState)] = drawn.finalState
    tensors[TensorName.states] = drawn.states
    var interpreter = Interpreter(
      self, shape: problem.shape, scale: problem.scale, tensors: tensors)
    interpreter.run()
    return expected.keys.sorted().map { name in
      let error = TensorError(
        interpreter.tensors[TensorName.adjoint(of: name)] ?? [], expected[name]!,
        groups: [Group(name: "all", ranges: [0..<expected[name]!.count])])
      return DerivationFinding(
        problem: problem.name, error: max(error.whole, error.worst), bound: Self.derivationBound,
        place: "the adjoint of \(name)\(circumstance)")
    }
  }
}
