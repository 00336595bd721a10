import Schedules
import TileIR

/// What stands before the phases: sizes of a call, its threads, and places in its workspace.
extension EntryEmitter {
  /// What phases need of the workspace: stands before them.
  var workspace: String {
    var out = CWriter()
    out.line("// Bytes of scratch memory a thread.")
    out.line("enum { scratch_bytes = \(scratchBytes) };")
    out.line()
    out.block("static int64_t sequences_of(const arguments *args)") {
      $0.line("return args->cu_seqlens ? args->sequences : args->batch;")
    }
    out.line()
    out.line("// Threads that the caller asks for.")
    out.block("static int64_t threads_of(const arguments *args)") {
      guard isStep else {
        return $0.line("return args->threads ? args->threads : \(manifest.plan.threads);")
      }
      $0.lines([
        "// A thread that has less to do than this takes longer to wake than to do it.",
        "const int64_t states = args->batch * args->heads * \(program.key * manifest.stateColumns);",
        "const int64_t useful = states * (int64_t)sizeof(float) / \(EntryEmitter.bytesPerThread);",
        "if (args->threads) return args->threads;",
        "return sl_least(\(manifest.plan.threads), sl_greatest(1, useful));",
      ])
    }
    if program.streamsOutput {
      out.line()
      out.line("// An output that outgrows the caches goes past them.")
      out.block("static int streams_output(const arguments *args)") { out in
        out.line("const int64_t rows = args->batch * args->length * args->query_heads;")
        out.line(
          "return rows * \(program.value * manifest.type.size) > \(InnerLoops.Stores.streamedBytes);"
        )
      }
    }
    if program.writesSnapshots { snapshotText(&out) }
    if sharesWalks { stretchText(&out) }
    guard !segments.isEmpty else { return out.text }
    segmentText(&out)
    return out.text
  }

  /// Where the states lie that a call has written out on the way.
  private func snapshotText(_ out: inout CWriter) {
    let size = program.key * manifest.stateColumns
    let tokens = program.chunk == 1 ? "chunk + 1" : "(chunk + 1) * \(program.chunk)"
    out.line()
    out.line("// The slot of the first state that a sequence writes out.")
    out.block(
      "static int64_t first_snapshot_of(const arguments *args, int64_t batch_row, int64_t begin)"
    ) {
      $0.lines([
        "const int64_t every = args->snapshot_every;",
        "return every ? batch_row * (args->length / every) + begin / every : 0;",
      ])
    }
    out.line()
    out.line("// Where the state after a chunk goes, from a column on; NULL where none is due.")
    out.line("static float *snapshot_after(")
    out.block(
      "    const arguments *args, float *first, int64_t chunk, int64_t length, int64_t column)"
    ) {
      $0.lines([
        "const int64_t tokens = \(tokens);",
        "const int64_t every = args->snapshot_every;",
        "if (!first || tokens > length || tokens % every) return NULL;",
        "return first + (tokens / every - 1) * args->heads * \(size) + column;",
      ])
    }
  }

  private func segmentText(_ out: inout CWriter) {
    if program.segmentation == .perChunk,
      program.phases.contains(where: { $0.grid.contains(.segment) })
    {
      out.line()
      out.line("// Chunks of the longest sequence.")
      out.block("static int64_t most_segments(const arguments *args)") { out in
        out.line("int64_t most = args->cu_seqlens ? 0 : args->length;")
        out.line("if (args->cu_seqlens)")
        out.line("  for (int64_t n = 0; n < args->sequences; ++n)")
        out.line("    most = sl_greatest(most, args->cu_seqlens[n + 1] - args->cu_seqlens[n]);")
        out.line("return (most + \(program.chunk - 1)) / \(program.chunk);")
      }
    }
    out.line()
    out.line("// Slots for the states between segments.")
    out.block("static int64_t slots_of(const arguments *args)") { out in
      if program.tensor(TensorName.states) != nil { out.line("if (args->states) return 0;") }
      switch program.segmentation {
      case .fixed(let count): out.line("return \(count) * sequences_of(args);")
      default:
        out.line(
          "return args->batch * args->length / \(program.chunk) + sequences_of(args);")
      }
    }
    var before: [String] = []
    for tensor in segments {
      out.line()
      out.block("static float *\(tensor.name)_of(const arguments *args)") { out in
        let base = "(char *)args->workspace + threads_of(args) * scratch_bytes"
        let skip =
          before.isEmpty
          ? "" : " + (\(before.joined(separator: " + "))) * slots_of(args) * args->heads"
        out.line("return (float *)(\(base))\(skip);")
      }
      before.append(String(tensor.rows * tensor.columns))
    }
    let states = "(\(before.joined(separator: " + "))) * slots_of(args) * args->heads"
    var sums: [String] = []
    for tensor in partials {
      out.line()
      out.block("static float *\(tensor.name)_of(const arguments *args)") { out in
        let skip =
          sums.isEmpty
          ? "" : " + (\(sums.joined(separator: " + "))) * sequences_of(args) * args->heads"
        out.lines([
          "char *memory = (char *)args->workspace + threads_of(args) * scratch_bytes;",
          "return (float *)memory + \(states)\(skip);",
        ])
      }
      sums.append(String(tensor.rows * tensor.columns))
    }
  }
}

extension TileProgram {
  /// Whether calls may have states written out on the way.
  var writesSnapshots: Bool { written.contains(TensorName.snapshots) }

  /// Whether any output may go past the caches.
  fileprivate var streamsOutput: Bool {
    func visit(_ body: [Statement]) -> Bool {
      body.contains { statement in
        switch statement {
        case .operation(.storeTokens(let store)): store.streams
        case .operation, .note: false
        case .loop(_, let inner), .firstValueTile(let inner): visit(inner)
        case .when(_, let inner, let otherwise): visit(inner) || visit(otherwise)
        }
      }
    }
    return phases.contains { visit($0.body) }
  }
}
