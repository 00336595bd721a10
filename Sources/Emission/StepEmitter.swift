import Recurrences
import Schedules
import Targets
import TileIR

/// Prints the part of a kernel that moves states by one token: its phase and its entries.
///
/// It takes the forward call's argument struct and stands in the same file, printed by the same
/// emitters, so names that belong to an entry get a prefix here.
struct StepEmitter {
  let specification: KernelSpecification
  let manifest: KernelManifest
  let program: TileProgram

  private var kernel: String { manifest.name }

  /// Prototypes for callers.
  var prototypes: String {
    """
    // Moves the states in `final_state` by one token, in place, and reads them out: `length` is 1, and
    // there are no packed sequences. With an `initial_state` it begins from those and writes to
    // `final_state`, which may be the same memory. Codes are the forward entry's.
    int32_t \(kernel)_step(const struct \(kernel)_args *args);

    // Bytes of workspace that a step needs, or minus a code.
    int64_t \(kernel)_step_workspace_size(const struct \(kernel)_args *args);

    """
  }

  /// Everything that the source gets.
  func text() -> String {
    let target = specification.target
    let entry = EntryEmitter(
      program: program, manifest: manifest,
      layouts: program.phases.map { ScratchLayout($0, target) }, usesMatrixUnit: false,
      entry: "step", pointers: EntryPointers(manifest))
    var parts = [entry.workspace]
    for phase in program.phases {
      var emitter = PhaseEmitter(program: program, phase: phase, target: target, kernel: kernel)
      parts.append(emitter.function())
    }
    parts.append(entry.text)
    for (result, name) in [("int32_t", "step"), ("int64_t", "step_workspace_size")] {
      parts.append(
        "SL_EXPORT \(result) sluice_\(name)(const arguments *args)\n"
          + "    __attribute__((weak, alias(\"\(kernel)_\(name)\")));\n")
    }
    let declarations = ["int32_t \(kernel)_step", "int64_t \(kernel)_step_workspace_size"]
      .map { "\($0)(const arguments *args);\n" }.joined()
    return declarations + "\n" + EntryEmitter.renamed(parts.joined(separator: "\n"), "step")
  }
}
