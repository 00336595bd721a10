import Foundation
import Recurrences
import Schedules
import Targets
import Templates
import TileIR

/// From a specification and a plan to the C that does it.
public enum Emitter {
  /// Lowers, verifies and prints a kernel.
  ///
  /// - Throws: `SluiceError`: `.usage` for a plan with objections, `.internal` for a tile program
  ///   that the verifier refuses.
  ///
  /// - Parameters:
  ///   - backward: the gradient's plan, for a library that has it.
  ///   - step: the plan of a single token, for a library that has that.
  public static func emit(
    _ specification: KernelSpecification, _ plan: Plan, backward: Plan? = nil, step: Plan? = nil
  ) throws(SluiceError) -> EmittedKernel {
    try emit(
      specification, plan, program: lower(specification, plan), backward: backward,
      gradient: backward.map { (plan) throws(SluiceError) in try lower(specification, plan) },
      step: step, single: step.map { (plan) throws(SluiceError) in try lower(specification, plan) })
  }

  /// The tile program of a plan.
  public static func lower(
    _ specification: KernelSpecification, _ plan: Plan
  ) throws(SluiceError) -> TileProgram {
    guard let schedule = Schedules.ofAnyEntry(plan.schedule) else {
      throw SluiceError(.usage, "There is no schedule '\(plan.schedule)'.")
    }
    if let obstacle = schedule.obstacle(to: specification) {
      throw SluiceError(
        .unsupported, "\(plan.schedule) cannot run '\(specification.recurrence.name)': \(obstacle)")
    }
    if let obstacle = specification.precisionObstacle { throw SluiceError(.unsupported, obstacle) }
    let objections = schedule.objections(to: plan, for: specification)
    guard objections.isEmpty else {
      throw SluiceError(.usage, "The plan is illegal.", details: objections)
    }
    return schedule.lower(specification, plan).widened(beside: specification.type)
  }

  /// Prints a tile program of the specification and plan; verification plants its faults here.
  public static func emit(
    _ specification: KernelSpecification, _ plan: Plan, program: TileProgram,
    backward: Plan? = nil, gradient: TileProgram? = nil, step: Plan? = nil,
    single: TileProgram? = nil
  ) throws(SluiceError) -> EmittedKernel {
    let violations = program.violations + (gradient?.violations ?? []) + (single?.violations ?? [])
    guard violations.isEmpty else {
      throw SluiceError(
        .internal, "The tile program of '\(specification.recurrence.name)' is illegal.",
        details: violations)
    }
    let manifest = KernelManifest(specification, plan, backward: backward, step: step)
    let name = KernelName(specification, plan)
    let interface = Interface(manifest: manifest)
    let command = name.command
    let backwardEmitter = gradient.map {
      BackwardEmitter(specification: specification, manifest: manifest, program: $0)
    }
    let stepEmitter = single.map {
      StepEmitter(specification: specification, manifest: manifest, program: $0)
    }
    if let device = specification.target.device {
      guard !specification.recurrence.hasFeatures else {
        throw SluiceError(
          .unsupported,
          "A card has no word for monomials of features yet: \(specification.recurrence.name) runs on "
            + "processors only, and \(specification.target.name) is none.")
      }
      guard specification.snapshotEvery == nil else {
        throw SluiceError(
          .unsupported,
          "States are not written out on the way on \(specification.target.name): leave out "
            + "--snapshots.")
      }
      let emitter = DeviceEmitter(
        specification.target, device, manifest, program: program,
        walk: AlikeEmitter(specification, plan, kernel: name.description)
          ?? PreparedEmitter(specification, plan, kernel: name.description),
        backward: backwardEmitter, step: single)
      let text = try emitter.source(
        preamble: preamble(specification, plan, name: name, command: command),
        interface: interface, manifestJSON: try json(manifest))
      return EmittedKernel(
        name: name, program: program, source: SourceFile(name: "\(name).cu", text: text),
        header: SourceFile(
          name: "\(name).h",
          text: interface.header(
            command: command, backward: backwardEmitter, step: stepEmitter)),
        manifest: manifest, blockMemory: emitter.blockMemory)
    }
    let layouts = program.phases.map { ScratchLayout($0, specification.target) }
    let usesMatrixUnit = zip(program.phases, layouts).contains {
      MatrixUnit.isUsed(by: $0, specification.target, $1)
    }
    let keepsStateInRegisters = program.phases.contains {
      $0.operations.contains { if case .recur = $0 { true } else { false } }
    }
    let entry = EntryEmitter(
      program: program, manifest: manifest, layouts: layouts, usesMatrixUnit: usesMatrixUnit,
      pointers: EntryPointers(manifest), sharesWalks: program.isOneWalk)
    var parts = [
      try vocabulary(
        specification.target,
        leavingOut: [
          specification.target.isDouble ? "common.h" : nil,
          keepsStateInRegisters ? nil : "recurrence.h", gradient == nil ? "gradients.h" : nil,
          single == nil ? "step.h" : nil,
          specification.recurrence.hasFeatures ? nil : "monomials.h",
        ]),
      section("The interface"), "#define SL_EXPORT __attribute__((visibility(\"default\")))\n",
      interface.argumentStruct, prototypes(name.description),
      section("The workspace"), entry.workspace, section("The kernel"),
    ]
    for phase in program.phases {
      var emitter = PhaseEmitter(
        program: program, phase: phase, target: specification.target, kernel: name.description,
        inner: plan.inner, hasStretches: program.isOneWalk)
      parts.append(emitter.function())
    }
    parts += [section("The entries"), entry.text]
    if let backwardEmitter { parts += [section("The gradient"), backwardEmitter.text()] }
    if let stepEmitter { parts += [section("One token"), stepEmitter.text()] }
    parts += [entry.tail(manifestJSON: try json(manifest))]
    func precise(_ text: String) -> String {
      specification.type == .f64 ? Precision.inDouble(text) : text
    }
    return EmittedKernel(
      name: name, program: program,
      source: SourceFile(
        name: "\(name).c",
        text: preamble(specification, plan, name: name, command: command) + "\n"
          + precise(parts.joined(separator: "\n"))),
      header: SourceFile(
        name: "\(name).h",
        text: precise(
          interface.header(command: command, backward: backwardEmitter, step: stepEmitter))),
      manifest: manifest)
  }

  private static func section(_ title: String) -> String {
    "// ---- \(title) " + String(repeating: "-", count: max(0, 90 - title.count)) + "\n"
  }

  private static func preamble(
    _ specification: KernelSpecification, _ plan: Plan, name: KernelName, command: String
  ) -> String {
    var out = CWriter()
    let suffix = specification.target.device == nil ? "c" : "cu"
    out.line("// \(name).\(suffix): do not edit. Made by")
    out.line("//   \(command)")
    out.line("//")
    for line in "\(specification.normalForm)".split(separator: "\n") { out.line("// \(line)") }
    out.line("//")
    for line in "\(plan)".split(separator: "\n") { out.line("// \(line)") }
    out.line("// target           \(specification.target.name)")
    out.line()
    if specification.target.device != nil {
      out.lines(["#include <stddef.h>", "#include <stdint.h>", ""])
      return out.text
    }
    out.lines(["#include <math.h>", "#include <stddef.h>", "#include <stdint.h>"])
    out.lines(["#include <string.h>", "#ifdef _OPENMP", "#include <omp.h>", "#endif"])
    return out.text
  }

  /// The words of the machine, pasted: the source stands alone.
  private static func vocabulary(
    _ target: Target, leavingOut unused: [String?]
  ) throws(SluiceError) -> String {
    var texts: [String] = []
    let words = Templates.tileWords.filter { !unused.contains($0) }
    for name in [target.vocabulary] + words + [target.matrixVocabulary].compactMap({ $0 }) {
      guard let text = Templates.text(name) else {
        throw SluiceError(.internal, "The vocabulary '\(name)' is not part of this build.")
      }
      texts.append(section("\(name)") + "\n" + text)
    }
    return texts.joined(separator: "\n")
  }

  private static func prototypes(_ name: String) -> String {
    """
    typedef struct \(name)_args arguments;
    int32_t \(name)_forward(const arguments *args);
    int64_t \(name)_workspace_size(const arguments *args);
    const char *\(name)_manifest(void);

    """
  }

  /// A value as JSON with sorted keys: equal values give equal bytes.
  public static func json(_ value: some Encodable, pretty: Bool = false) throws(SluiceError)
    -> String
  {
    let encoder = JSONEncoder()
    encoder.outputFormatting =
      pretty
      ? [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
      : [.sortedKeys, .withoutEscapingSlashes]
    do {
      return String(decoding: try encoder.encode(value), as: UTF8.self)
    } catch {
      throw SluiceError(.internal, "A value cannot be written as JSON: \(error).")
    }
  }
}

extension KernelName {
  /// The command that makes this kernel.
  public var command: String {
    var parts = [
      "sluice generate \(recurrence) --key-dim \(key) --value-dim \(value) --dtype \(type.rawValue)",
      "--gate-dtype \(gateType.rawValue) --target \(target) --schedule \(plan.schedule)",
    ]
    if plan.chunk > 1 {
      parts.append("--chunk \(plan.chunk) --sub-block \(plan.subBlock) --key-tile \(plan.keyTile)")
    }
    if plan.headTile > 1 { parts.append("--head-tile \(plan.headTile)") }
    parts.append(
      "--value-tile \(plan.valueTile) --materialization \(plan.materialization) "
        + "--threads \(plan.threads) --products \(plan.products.rawValue)")
    parts += plan.innerChoices.map { "--\($0.axis.option) \($0.value)" }
    if let snapshotEvery { parts.append("--snapshots \(snapshotEvery)") }
    return parts.joined(separator: " ")
  }
}
