import Recurrences
import Schedules
import Targets
import TileIR

/// Prints the gradient's part of a kernel: its argument struct, its phases, its entries.
///
/// It stands in the same file as the forward part and is printed by the same emitters, so names that
/// belong to a direction get a prefix here.
struct BackwardEmitter {
  let specification: KernelSpecification
  let manifest: KernelManifest
  let program: TileProgram

  private var kernel: String { manifest.name }
  /// The gradient by a card's own words, if that is the plan.
  var card: (any CardGradient)? {
    WarpgroupGradientEmitter(specification, manifest.backward, kernel: kernel)
      ?? AlikeGradientEmitter(specification, manifest.backward, kernel: kernel)
      ?? WalkedGradientEmitter(specification, manifest.backward, kernel: kernel)
  }
  private var structName: String { "\(kernel)_backward_args" }

  /// Pointers in the order of the struct, after the common head of 88 bytes.
  private var pointers: [(type: String, name: String, meaning: String)] {
    let state = "[B or sequences, heads, \(manifest.key), \(manifest.value)]"
    let output = PhaseEmitter.element(manifest.type)
    return [
      ("const float", "initial_state", "\(state), or NULL for zero"),
      ("const float", "d_final_state", "adjoint of the final state, likewise"),
      ("float", "d_initial_state", "gets the adjoint of the initial state, or NULL"),
      (
        "const \(output)", "d_o",
        "adjoint of the output, \(manifest.type.rawValue) [B, T, query heads, \(manifest.value)]"
      ),
    ]
      + manifest.inputs.map {
        ("const " + PhaseEmitter.element($0.type), $0.name, "as in the forward call")
      }
      + manifest.inputs.map {
        (
          PhaseEmitter.element($0.type), TensorName.adjoint(of: $0.name),
          "gets the adjoint of \($0.name): \($0.type.rawValue) \(manifest.shape(of: $0))"
        )
      }
      + (takesStates
        ? [
          (
            "const float", TensorName.states,
            "as a forward call writes them out, [B, T / \(program.chunk), heads, \(manifest.key), "
              + "\(manifest.stateColumns)], or NULL"
          )
        ] : [])
  }

  /// Whether calls may bring the states that the forward call wrote out.
  private var takesStates: Bool { program.tensor(TensorName.states) != nil }

  /// The struct's declaration.
  var argumentStruct: String {
    var out = CWriter()
    out.line("// Arguments of the gradient: the head is as in the forward call.")
    out.block("struct \(structName)") { out in
      out.lines([
        "uint32_t abi;   // \(KernelManifest.currentABI)",
        "uint32_t size;  // sizeof(struct \(structName))",
        "int64_t batch;", "int64_t length;", "int64_t query_heads;", "int64_t heads;",
        "int64_t sequences;", "const int64_t *cu_seqlens;", "int32_t threads;", "int32_t layout;",
      ])
      out.lines(Interface(manifest: manifest).scale)
      out.lines(["void *workspace;  // aligned to 64 bytes", "uint64_t workspace_size;"])
      for pointer in pointers {
        out.line("\(pointer.type) *\(pointer.name);  // \(pointer.meaning)")
      }
    }
    var lines = out.lines
    lines[lines.count - 1] = "};"
    return lines.joined(separator: "\n") + "\n"
  }

  /// Prototypes for callers.
  var prototypes: String {
    """
    // Adjoints of the inputs from that of the output; codes are the forward entry's.
    int32_t \(kernel)_backward(const struct \(structName) *args);

    // Bytes of workspace that the gradient needs, or minus a code.
    int64_t \(kernel)_backward_workspace_size(const struct \(structName) *args);

    """
  }

  /// The pointers of the struct, for the entry's checks.
  var entryPointers: EntryPointers {
    var pointers = EntryPointers(manifest)
    pointers.required =
      [(TensorName.adjoint(of: TensorName.output), manifest.type, false)]
      + manifest.inputs.flatMap { input in
        [input.name, TensorName.adjoint(of: input.name)].map {
          ($0, input.type, input.role == .parameter)
        }
      }
    pointers.optional = ["initial_state", "d_final_state", "d_initial_state"]
    if takesStates { pointers.optional.append(TensorName.states) }
    return pointers
  }

  /// Everything that the source gets.
  func text() -> String {
    let target = specification.target
    let layouts = program.phases.map { ScratchLayout($0, target) }
    let usesMatrixUnit = zip(program.phases, layouts).contains {
      MatrixUnit.isUsed(by: $0, target, $1)
    }
    let entry = EntryEmitter(
      program: program, manifest: manifest, layouts: layouts, usesMatrixUnit: usesMatrixUnit,
      entry: "backward", pointers: entryPointers)
    var parts = [entry.workspace]
    for phase in program.phases {
      var emitter = PhaseEmitter(
        program: program, phase: phase, target: target, kernel: kernel, fusesRows: true)
      parts.append(emitter.function())
    }
    parts.append(entry.text)
    parts.append(
      ["int32_t sluice_backward", "int64_t sluice_backward_workspace_size"].map { declaration in
        let own = declaration.split(separator: " ")[1].dropFirst("sluice".count)
        return "SL_EXPORT \(declaration)(const arguments *args)\n"
          + "    __attribute__((weak, alias(\"\(kernel)\(own)\")));\n"
      }.joined())
    return argumentStruct + "\ntypedef struct \(structName) backward_arguments;\n" + prototypes
      + "\n"
      + EntryEmitter.renamed(
        parts.joined(separator: "\n").replacing(
          "const arguments *args", with: "const backward_arguments *args"), "backward")
  }
}
