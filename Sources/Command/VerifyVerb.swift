import ArgumentParser
import Evaluation
import Execution
import Recurrences
import Targets

struct VerifyVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Tries a kernel against the reference, laws and bad arguments; exits 1 on a failure.")

  @OptionGroup var subject: SubjectOptions
  @OptionGroup var gradient: GradientOptions
  @OptionGroup var single: StepOptions
  @Flag(
    help: ArgumentHelp(
      "Verify the whole grid: every recurrence, target, schedule, f32 and bf16, and sizes.",
      discussion: "What is given of these narrows it."))
  var all = false
  @Option(help: "How much is tried.") var effort: VerifyOptions.Effort = .quick
  @Option(help: "Draws the problems.") var seed: UInt64 = 1
  @Option(
    name: .shortAndLong, help: "Try the numbers of this safetensors file too, before drawn ones.")
  var input: String?
  @OptionGroup var format: FormatOptions

  func run() async throws {
    let builder = try await subject.tools.builder()
    var options = VerifyOptions(effort: effort, seed: seed, builder: builder)
    options.inputs = input.map { [$0] } ?? []
    if all { return try await verifyAll(options) }
    let kernel = try await subject.open(
      builder, gradient: gradient, hasStep: single.step ?? true)
    try checkRuns(kernel)
    let assessment = try await withProgress("verifying \(kernel.manifest.name)") {
      try await verify(
        library: kernel.library, manifest: kernel.manifest, target: kernel.target,
        options: options)
    }
    if format.json { try printJSON(assessment) } else { print(assessment) }
    guard assessment.passed else {
      throw SluiceError(
        .verification,
        "\(assessment.kernel) failed \(assessment.failures.count) of "
          + "\(assessment.checks.count) checks (seed \(seed)).")
    }
  }

  /// One line a kernel.
  private func verifyAll(_ options: VerifyOptions) async throws {
    var assessments: [Assessment] = []
    for cell in try grid().cells(on: Host.detect()) {
      // With --backward a kernel whose recurrence has a gradient here is verified with it.
      let kernel = try cell.emit(
        hasGradient: gradient.backward, hasStep: single.step ?? true)
      guard cell.canRun else {
        progress("left out, as this machine cannot run it: \(kernel.name)")
        continue
      }
      let target = cell.specification.target
      let library = try await build(kernel, for: target, with: options.builder).product
      let assessment = try await verify(
        library: library, manifest: kernel.manifest, target: target, options: options)
      assessments.append(assessment)
      if !format.json { print(assessment.line) }
    }
    if format.json { try printJSON(assessments) }
    let failed = assessments.filter { !$0.passed }
    guard failed.isEmpty else {
      throw SluiceError(
        .verification, "\(failed.count) of \(assessments.count) kernels failed.",
        details: failed.map(\.kernel))
    }
    if !format.json { print("\(assessments.count) kernels passed") }
  }

  private func grid() throws -> VerificationGrid {
    guard subject.package == nil, input == nil else {
      throw SluiceError(.usage, "--all takes neither --package nor --input.")
    }
    let choices = subject.choices
    guard subject.recurrence != nil || choices.keyMap == nil else {
      throw SluiceError(.usage, "--all with --key-map needs a recurrence to map.")
    }
    let request = KernelRequest(recurrence: subject.recurrence ?? "", choices: choices)
    let known = try subject.recurrence.map { _ in try request.known() }
    var grid = VerificationGrid(
      recurrences: known.map { [$0] } ?? Registry.recurrences, plan: try request.planRequest())
    if let target = choices.target { grid.targets = [target] }
    if let type = choices.dtype { grid.types = [try elementType(type, "--dtype")] }
    if choices.keyDim != nil || choices.featureDim != nil || choices.valueDim != nil
      || choices.preset != nil
    {
      let shape = try request.shape()
      grid.sizes = [(shape.key, shape.value)]
    } else if known?.hasFeatures == true {
      grid.sizes = zip([7, 8, 13, 16], grid.sizes).map { (Monomials.count(of: $0), $1.value) }
    }
    return grid
  }
}
