import Recurrences
import Schedules
import TileIR

/// Prints the entries: checks, workspace, and the phases over all workers.
struct EntryEmitter {
  let program: TileProgram
  let manifest: KernelManifest
  let layouts: [ScratchLayout]
  let usesMatrixUnit: Bool
  /// `forward`, `backward` or `step`: what the entry is called.
  var entry = "forward"
  /// The pointers of the argument struct: those that calls need, and those that may be NULL.
  var pointers: EntryPointers
  /// Whether the one phase's last walks are dealt in stretches.
  var sharesWalks = false

  var kernel: String { manifest.name }
  var segments: [Tensor] { program.tensors.filter { $0.kind == .segment } }
  var partials: [Tensor] { program.tensors.filter { $0.kind == .partial } }
  var sizeEntry: String {
    entry == "forward" ? "workspace_size" : "\(entry)_workspace_size"
  }

  /// Whole vectors are read beyond a tile's last row, and never used.
  private static let slack = 256

  /// Bytes of states that are worth one more thread in a step.
  static let bytesPerThread = 512 << 10
  var isStep: Bool { entry == "step" }

  /// Whether scratch memory is cleared. A walk of many tokens hides that, one of some thousand does not: where it
  /// has no padding it is left as it is, as each walk leaves it to the next.
  var clearsScratch: Bool { !sharesWalks || layouts.contains(where: \.hasPadding) }

  var scratchBytes: Int { (layouts.map(\.bytes).max() ?? 0) + EntryEmitter.slack }

  /// The entries themselves.
  var text: String {
    var out = CWriter()
    out.line("// 0, or what is wrong with the sizes.")
    sizeCheck(&out, readsOffsets: true)
    out.line()
    out.block("SL_EXPORT int64_t \(kernel)_\(sizeEntry)(const arguments *args)") {
      out in
      out.line("const int32_t problem = check_sizes(args);")
      out.line("if (problem) return -problem;")
      guard !segments.isEmpty else {
        out.line("return \(scratchSize);")
        return
      }
      let floats = segments.map { $0.rows * $0.columns }.reduce(0, +)
      let sums = partials.map { $0.rows * $0.columns }.reduce(0, +)
      if sums == 0 {
        out.line("const int64_t states = slots_of(args) * args->heads * \(floats);")
      } else {
        out.line("const int64_t rows = \(floats) * slots_of(args) + \(sums) * sequences_of(args);")
        out.line("const int64_t states = rows * args->heads;")
      }
      out.line("return threads_of(args) * scratch_bytes + states * (int64_t)sizeof(float);")
    }
    out.line()
    pointerCheck(&out)
    out.line()
    if sharesWalks { dealText(&out) }
    team(&out)
    out.line()
    forward(&out)
    return out.text
  }

  /// Workers along the heads.
  private var headTiles: String {
    let tile = program.headTile
    return tile == 1 ? "args->heads" : "((args->heads + \(tile - 1)) / \(tile))"
  }

  /// How many workers a phase has, as C.
  func workers(of phase: TileProgram.Phase) -> String {
    phase.grid.map {
      program.extent($0, sequences: "sequences_of(args)", heads: headTiles)
    }.filter { $0 != "1" }.joined(separator: " * ")
  }

  private func team(_ out: inout CWriter) {
    out.line(
      "// One thread's part: of every phase the items that it is dealt. Workers of one phase do")
    out.line("// not see each other, so which thread takes an item changes no bit.")
    out.block(
      "static void run(const arguments *args, int64_t thread, int is_team)"
    ) { out in
      out.line("char *scratch = (char *)args->workspace + thread * scratch_bytes;")
      out.line("const uint64_t mode = sl_flush_denormals_begin();")
      if usesMatrixUnit { out.line("sl_matrix_begin();") }
      for (index, phase) in program.phases.enumerated() {
        if clearsScratch {
          out.line(
            index == 0
              ? "// Padding is read with the rest: it must hold numbers."
              : "// What is padding now held the last phase's tiles, of any head.")
          out.line("memset(scratch, 0, scratch_bytes);")
        }
        let items = sharesWalks ? "walks_of(args)" : workers(of: phase)
        let range = sharesWalks ? "0, INT64_MAX, " : ""
        let all =
          "for (int64_t item = 0; item < \(phase.name)_items; ++item) "
          + "\(phase.name)(args, item, \(range)scratch);"
        // A step's head and state stay with the core whose caches hold them, and the team meets once, at its end.
        let dealing = isStep ? "schedule(static) nowait" : "schedule(dynamic, 1)"
        out.line("const int64_t \(phase.name)_items = \(items);")
        out.lines(["#ifdef _OPENMP", "if (is_team) {"])
        out.lines(
          (sharesWalks ? teamLines(phase) : ["#pragma omp for \(dealing)", all])
            .map { $0.hasPrefix("#") ? $0 : "  " + $0 })
        out.lines(["} else", "#endif", "  " + all])
      }
      out.line("sl_stream_end();")
      if usesMatrixUnit { out.line("sl_matrix_end();") }
      out.line("(void)is_team;")
      out.line("sl_flush_denormals_end(mode);")
    }
  }

  private func forward(_ out: inout CWriter) {
    out.block("SL_EXPORT int32_t \(kernel)_\(entry)(const arguments *args)") { out in
      out.lines([
        "int32_t problem = check_sizes(args);",
        "if (!problem) problem = check_pointers(args);",
        "if (problem) return problem;",
      ])
      if isStep {
        out.lines([
          "// Without a state of its own to begin from it moves the one that it writes.",
          "arguments moved = *args;",
          "if (!moved.initial_state) moved.initial_state = moved.final_state;",
          "args = &moved;",
        ])
      }
      if usesMatrixUnit { out.line("if (!sl_matrix_permitted()) return 8;") }
      out.lines([
        "#ifdef _OPENMP",
        "const int64_t threads = threads_of(args);",
        "if (threads > 1) {",
      ])
      if sharesWalks { out.lines(["  begin_shared_walks(args);", "  int64_t done = 0;"]) }
      out.line("#pragma omp parallel num_threads((int)threads)")
      if sharesWalks {
        out.lines([
          "  {", "    run(args, omp_get_thread_num(), 1);", "    await_team(&done);", "  }",
        ])
      } else {
        out.line("  run(args, omp_get_thread_num(), 1);")
      }
      out.lines([
        "  return 0;",
        "}",
        "#endif",
        "run(args, 0, 0);",
        "return 0;",
      ])
    }
  }
}
