import ArgumentParser
import Emission
import Evaluation
import Execution
import Planning
import Recurrences
import Schedules
import Targets

struct VerifyVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Tries a kernel against the reference, laws and bad arguments; exits 1 on a failure.")

  @Argument(help: "The recurrence; left out with --package or --all.") var recurrence: String?
  @Option(help: "Verify the library of this package folder.") var package: String?
  @Flag(help: "Verify every recurrence on every target in f32 and bf16.") var all = false
  @Option(help: "quick or full.") var effort: VerifyOptions.Effort = .quick
  @Option(help: "Draws the problems.") var seed: UInt64 = 1
  @OptionGroup var choices: KernelChoices
  @OptionGroup var tools: ToolOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let given = [recurrence != nil, package != nil, all].filter { $0 }.count
    guard given == 1 else {
      throw SluiceError(.usage, "Give one of: a recurrence, --package DIR, or --all.")
    }
    if all { return try await verifyAll() }
    let assessment = try await assess()
    if output.json { try printJSON(assessment) } else { print(assessment) }
    guard assessment.passed else {
      throw SluiceError(
        .verification,
        "\(assessment.kernel) failed \(assessment.failures.count) of "
          + "\(assessment.checks.count) checks (seed \(seed)).")
    }
  }

  private func options(_ builder: Builder) -> VerifyOptions {
    VerifyOptions(effort: effort, seed: seed, builder: builder)
  }

  private func assess() async throws -> Assessment {
    if let package {
      let opened = try KernelPackage.open(package)
      let builder = try await tools.builder()
      let target = try Host.detect().target(named: opened.manifest.target)
      progress("verifying \(opened.manifest.name)")
      return try await verify(
        library: opened.library, manifest: opened.manifest, target: target,
        options: options(builder))
    }
    let built = try await choices.kernel(recurrence ?? "").build(tools)
    progress("verifying \(built.kernel.name)")
    return try await verify(
      library: built.library, manifest: built.kernel.manifest, target: built.target,
      options: options(built.builder))
  }

  /// The whole grid: every recurrence, target and element type, at sizes that leave rests.
  private func verifyAll() async throws {
    let builder = try await tools.builder()
    let host = Host.detect()
    var failures: [String] = []
    var count = 0
    for (recurrence, target, type, sizes) in VerificationGrid.cells(Registry.recurrences) {
      let target = try host.target(named: target.name)
      let specification = try KernelSpecification(
        normalForm: try recurrence.normalForm(), key: sizes.key, value: sizes.value, type: type,
        gateType: .f32, target: target)
      for plan in try VerificationGrid.plans(specification) {
        let kernel = try Emitter.emit(specification, plan)
        guard host.runs(target) || !target.emulator.isEmpty else {
          progress("left out, as this machine cannot run it: \(kernel.name)")
          continue
        }
        let built = try await buildLibrary(kernel, for: target, with: builder)
        let assessment = try await verify(
          library: built.library, manifest: kernel.manifest, target: target,
          options: options(builder))
        count += 1
        let worst = assessment.worst("o").map { "  o \($0)" } ?? ""
        print("\(assessment.passed ? "ok  " : "FAIL") \(kernel.name)\(worst)")
        if !assessment.passed {
          failures.append(kernel.name.description)
          for check in assessment.failures {
            print("     \(check.name): \(check.what) \(check.detail)")
          }
        }
      }
    }
    guard failures.isEmpty else {
      throw SluiceError(
        .verification, "\(failures.count) of \(count) kernels failed.", details: failures)
    }
    print("\(count) kernels passed")
  }
}

extension VerifyOptions.Effort: ExpressibleByArgument {}

/// The cells of `verify --all`.
enum VerificationGrid {
  static let sizes = [(key: 60, value: 100), (64, 64), (100, 60), (128, 256)]

  static func cells(
    _ recurrences: [Recurrence]
  ) -> [(Recurrence, Target, ElementType, (key: Int, value: Int))] {
    recurrences.flatMap { recurrence in
      Target.all.flatMap { target in
        [ElementType.f32, .bf16].flatMap { type in
          sizes.map { (recurrence, target, type, $0) }
        }
      }
    }
  }

  /// The planner's choice of each schedule that applies.
  static func plans(_ specification: KernelSpecification) throws -> [Plan] {
    try Schedules.all.filter { $0.obstacle(to: specification) == nil }.map {
      try Planner().plan(specification, PlanRequest(schedule: $0.name))
    }
  }
}
