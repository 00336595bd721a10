import Recurrences
import TileIR

/// What a call is refused for, before anything is read through its pointers.
extension EntryEmitter {
  /// - Parameter readsOffsets: whether the offsets of packed sequences lie where the processor reads.
  func sizeCheck(_ out: inout CWriter, readsOffsets: Bool) {
    out.block("static int32_t check_sizes(const arguments *args)") { out in
      out.lines([
        "if (!args) return 2;",
        "if (args->abi != \(KernelManifest.currentABI) || args->size != sizeof *args) return 1;",
        "if (args->batch < 0 || args->length < 0 || args->heads < 1) return 3;",
        "if (args->query_heads < 1 || args->query_heads % args->heads) return 3;",
        "int64_t elements = args->batch;",
        "if (__builtin_mul_overflow(elements, args->length + 1, &elements) ||",
        "    __builtin_mul_overflow(elements, args->query_heads, &elements) ||",
        "    __builtin_mul_overflow(elements, \(64 * max(program.key, program.value + 1)), &elements))",
        "  return 3;",
        "if (args->layout < 0 || args->layout > 1 || args->threads < 0) return 7;",
      ])
      if isStep {
        out.lines(["if (args->cu_seqlens) return 4;", "if (args->length != 1) return 3;"])
        return out.line("return 0;")
      }
      out.block("if (args->cu_seqlens)") { out in
        out.lines([
          "if (args->batch != 1 || args->sequences < 1) return 4;"
        ])
        guard readsOffsets else { return }
        out.lines([
          "if (args->cu_seqlens[0] || args->cu_seqlens[args->sequences] != args->length) return 4;",
          "for (int64_t n = 0; n < args->sequences; ++n)",
          "  if (args->cu_seqlens[n] > args->cu_seqlens[n + 1]) return 4;",
        ])
      }
      if program.writesSnapshots {
        let chunk = program.chunk
        let odd = chunk == 1 ? "" : " || args->snapshot_every % \(chunk)"
        out.line("if (args->snapshot_every < 0\(odd)) return 9;")
      }
      out.line("return 0;")
    }
  }

  /// Whether a call can do without a workspace.
  enum WorkspaceUse { case always, never, bySizes }

  func pointerCheck(_ out: inout CWriter, workspace: WorkspaceUse = .always) {
    out.line("// 0, or what is wrong with the pointers.")
    out.block("static int32_t check_pointers(const arguments *args)") { out in
      let tokens = pointers.required.filter { !$0.isParameter }.map(\.name)
      let always = pointers.required.filter(\.isParameter).map(\.name)
      let missing = tokens.map { "!args->\($0)" }.joined(separator: " || ")
      out.line("if (args->batch * args->length > 0 && (\(missing))) return 2;")
      if !always.isEmpty {
        out.line("if (\(always.map { "!args->\($0)" }.joined(separator: " || "))) return 2;")
      }
      switch workspace {
      case .always: out.line("if (!args->workspace) return 2;")
      case .bySizes: out.line("if (!args->workspace && args->workspace_size > 0) return 2;")
      case .never: break
      }
      if isStep { out.line("if (args->batch > 0 && !args->final_state) return 2;") }
      if program.writesSnapshots {
        out.line("if (args->snapshot_every && !args->snapshots) return 2;")
      }
      out.line(
        "if ((int64_t)args->workspace_size < \(kernel)_\(sizeEntry)(args)) return 5;")
      let optional = pointers.optional + (program.writesSnapshots ? [TensorName.snapshots] : [])
      out.line("uintptr_t halves = 0, words = (uintptr_t)args->\(optional[0]);")
      for name in optional.dropFirst() { out.line("words |= (uintptr_t)args->\(name);") }
      for pointer in pointers.required {
        out.line(
          "\(pointer.type.isSums ? "words" : "halves") |= (uintptr_t)args->\(pointer.name);")
      }
      out.line(
        "if (words % \(manifest.type.sums.size) || halves % 2 || (uintptr_t)args->workspace % 64) return 6;"
      )
      out.line("return 0;")
    }
  }
}

/// The pointers of an argument struct beside the workspace.
struct EntryPointers {
  var required: [(name: String, type: ElementType, isParameter: Bool)]
  /// Of states, and NULL where the caller has none.
  var optional: [String]

  /// Those of `forward`.
  init(_ manifest: KernelManifest) {
    required =
      manifest.inputs.map { ($0.name, $0.type, $0.role == .parameter) } + [
        ("o", manifest.type, false)
      ]
    optional = ["initial_state", "final_state"]
  }
}
