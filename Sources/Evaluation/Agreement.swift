import Emission
import Execution
import Recurrences
import Targets

/// A built library with what it says of itself.
public struct BuiltKernel: Hashable, Sendable {
  public var library: String
  public var manifest: KernelManifest
  public var target: Target

  public init(library: String, manifest: KernelManifest, target: Target) {
    self.library = library
    self.manifest = manifest
    self.target = target
  }
}

/// Whether two plans of one recurrence give one answer: what a chunk is must not show.
///
/// The kernels may have any two plans and targets, and must agree in recurrence, sizes and types.
public func verifyAgreement(
  _ first: BuiltKernel, _ second: BuiltKernel, options: VerifyOptions
) async throws -> Assessment {
  let (one, other) = (first.manifest, second.manifest)
  guard one.recurrence == other.recurrence, one.key == other.key, one.value == other.value,
    one.type == other.type, one.gateType == other.gateType
  else {
    throw SluiceError(.usage, "\(one.name) and \(other.name) do not compute the same.")
  }
  let subject = try Subject(one)
  let chunk = max(one.plan.chunk, other.plan.chunk, 8)
  let problems = try ProblemRecipe.essential(chunk: chunk).map {
    try DrawnProblem($0, for: subject, seed: options.seed)
  }
  let calls = problems.map { KernelCall(problem: $0) }
  var answers: [[CallResult]] = []
  for kernel in [first, second] {
    let folder = try Files.makeUniqueFolder(in: temporaryFolder, prefix: "sluice-agreement-")
    defer { Files.remove(folder) }
    let runner = CallRunner(
      library: kernel.library, manifest: kernel.manifest, target: kernel.target,
      runner: try await RunnerProgram.runner.build(
        for: kernel.target, builder: options.builder, cache: options.cache),
      folder: folder, limit: options.limit)
    answers.append(try await runner.run(calls))
  }
  let judge = AgreementJudge(subject: subject, other: other.name)
  return Assessment(
    kernel: one.name, target: one.target, seed: options.seed, effort: options.effort,
    checks: zip(problems, zip(answers[0], answers[1])).flatMap {
      judge.checks($0, $1.0, $1.1)
    },
    leftOut: [], calls: 2 * calls.count)
}

private struct AgreementJudge {
  let subject: Subject
  let other: String

  func checks(
    _ problem: DrawnProblem, _ one: CallResult, _ two: CallResult
  ) -> [Assessment.Check] {
    for result in [one, two] where result.ending != .returned(0) {
      return [
        .init(
          .law, problem.name, "returns 0", holds: false, detail: result.ending.description)
      ]
    }
    let bounds = Bounds(subject.type)
    let output = TensorError(
      two.outputNumbers(subject.type), one.outputNumbers(subject.type),
      groups: problem.shape.outputGroups)
    var checks = [
      // Both sides have their own errors.
      Assessment.Check(
        .law, problem.name, "the o of \(other)", output.rank, atMost: 1.5 * bounds.worstOutput,
        detail: output.detail)
    ]
    if let state = one.finalStateNumbers(subject.type) {
      let error = TensorError(
        two.finalStateNumbers(subject.type) ?? [], state,
        groups: problem.shape.stateGroups(columns: subject.stateColumns))
      checks.append(
        .init(
          .law, problem.name, "the state of \(other)", error.rank,
          atMost: 1.5 * bounds.worstState, detail: error.detail))
    }
    return checks
  }
}
