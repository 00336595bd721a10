import Recurrences
import Schedules
import TileIR

/// Prints the argument struct and the prototypes: the same text in the header and in the source.
struct Interface {
  let manifest: KernelManifest

  var kernel: String { manifest.name }

  /// The struct's declaration with what each field means.
  var argumentStruct: String {
    var out = CWriter()
    out.line("// Arguments of the kernel. Token tensors are dense, [B, T, H, D] or [B, H, T, D];")
    out.line("// docs/abi.md of Sluice says the rest.")
    out.block("struct \(kernel)_args") { out in
      out.lines([
        "uint32_t abi;   // \(KernelManifest.currentABI)",
        "uint32_t size;  // sizeof(struct \(kernel)_args)",
        "int64_t batch;",
        "int64_t length;       // tokens a batch row; of all packed sequences together",
        "int64_t query_heads;  // heads of q and o: a multiple of heads",
        "int64_t heads;        // heads of everything else",
        "int64_t sequences;    // packed sequences; 0 when there are none",
        "const int64_t *cu_seqlens;  // sequences + 1 offsets\(isOnCard ? " on the card" : ""), or NULL",
        "int32_t threads;            // 0: \(manifest.plan.threads)",
        "int32_t layout;             // 0: [B, T, H, D]; 1: [B, H, T, D]",
      ])
      out.lines(scale)
      out.lines([
        "void *workspace;  // aligned to 64 bytes",
        "uint64_t workspace_size;",
        "const float *initial_state;  // [B or sequences, heads, \(manifest.key), "
          + "\(manifest.stateColumns)], or NULL for zero",
        "float *final_state;          // likewise, or NULL",
        "\(PhaseEmitter.element(manifest.type)) *o;  // \(type(manifest.type)) "
          + "[B, T, query heads, \(manifest.value)]",
      ])
      for input in manifest.inputs {
        out.line(
          "const \(PhaseEmitter.element(input.type)) *\(input.name);  // \(shape(of: input)): "
            + comment(input.summary))
      }
      if let every = manifest.snapshotEvery {
        out.lines([
          "int64_t snapshot_every;  // tokens between two states that are written out, \(every) or "
            + "another",
          "                         // multiple of \(manifest.plan.chunk); 0 for none",
          "float *snapshots;        // [B, T / snapshot_every, heads, \(manifest.key), "
            + "\(manifest.stateColumns)]; of packed",
          "                         // sequences, that beginning at b has its from b / snapshot_every on",
        ])
      }
    }
    var lines = out.lines
    lines[lines.count - 1] = "};"
    return lines.joined(separator: "\n") + "\n"
  }

  /// The factor on the output: eight bytes, of which a float fills four.
  var scale: [String] {
    manifest.type == .f64 ? ["double scale;"] : ["float scale;", "uint32_t reserved;"]
  }

  /// Free text as the end of a line comment: nothing in it continues the comment on the next line.
  private func comment(_ text: String) -> String {
    String(text.map { $0.isNewline ? " " : $0 == "\\" ? "/" : $0 })
      .replacing("??/", with: "? ?/")
  }

  private var isOnCard: Bool { manifest.sourceSuffix == "cu" }

  /// What a library for a card has beside the other entries.
  private func cardPrototypes(hasBackward: Bool, hasStep: Bool) -> String {
    let further = [(hasBackward, "backward", "backward_args"), (hasStep, "step", "args")]
      .filter(\.0).map { _, entry, type in
        """
        // The same of \(entry).
        int32_t \(kernel)_\(entry)_on(const struct \(kernel)_\(type) *args, void *stream);


        """
      }.joined()
    return """
      // Puts the computation on `stream`, a CUstream of the calling thread's context (NULL: the default
      // one, as _forward does). All tensors, cu_seqlens too, lie on the card, and its offsets are not
      // checked. Further codes: 16 no driver, 17 one that is too old, 18 a card that is too old or of
      // another kind, 19 no current context, 20 no memory, 21 another failure of the driver.
      int32_t \(kernel)_forward_on(const struct \(kernel)_args *args, void *stream);

      // A sentence about a code, for the thread that got it.
      const char *\(kernel)_message(int32_t code);


      """ + further
  }

  private func type(_ type: ElementType) -> String { type.rawValue }

  private func shape(of input: KernelManifest.Input) -> String {
    "\(input.type.rawValue) \(manifest.shape(of: input))"
  }

  /// The header for callers.
  func header(
    command: String, backward: BackwardEmitter? = nil, step: StepEmitter? = nil
  ) -> String {
    let guardName = "SLUICE_\(kernel.uppercased())_H"
    let gradient = backward.map { $0.argumentStruct + "\n" + $0.prototypes + "\n" } ?? ""
    let single = step.map { $0.prototypes + "\n" } ?? ""
    let card =
      isOnCard ? cardPrototypes(hasBackward: backward != nil, hasStep: step != nil) : ""
    return """
      // \(kernel).h: do not edit. Made by
      //   \(command)
      #ifndef \(guardName)
      #define \(guardName)

      #include <stddef.h>
      #include <stdint.h>

      #ifdef __cplusplus
      extern "C" {
      #endif

      \(argumentStruct)
      // Computes. Returns 0, or: 1 another ABI, 2 a missing pointer, 3 a wrong size, 4 wrong
      // cu_seqlens, 5 a workspace too small, 6 a misaligned pointer, 7 an unknown layout or a
      // negative number of threads.
      int32_t \(kernel)_forward(const struct \(kernel)_args *args);

      // Bytes of workspace that these sizes and threads need, or minus a code.
      int64_t \(kernel)_workspace_size(const struct \(kernel)_args *args);

      // What the library says of itself, as JSON.
      const char *\(kernel)_manifest(void);

      \(gradient)\(single)\(card)#ifdef __cplusplus
      }
      #endif
      #endif

      """
  }
}
