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

  private var kernel: String { manifest.name }
  private var segments: [Tensor] { program.tensors.filter { $0.kind == .segment } }
  private var partials: [Tensor] { program.tensors.filter { $0.kind == .partial } }
  private var sizeEntry: String {
    entry == "forward" ? "workspace_size" : "\(entry)_workspace_size"
  }

  /// Whole vectors are read beyond a tile's last row, and never used.
  private static let slack = 256

  /// Bytes of states that are worth one more thread in a step.
  private static let bytesPerThread = 512 << 10
  private var isStep: Bool { entry == "step" }

  /// Whether scratch memory is cleared. A walk of many tokens hides that, one of some thousand does not: where it
  /// has no padding it is left as it is, as each walk leaves it to the next.
  var clearsScratch: Bool { !sharesWalks || layouts.contains(where: \.hasPadding) }

  var scratchBytes: Int { (layouts.map(\.bytes).max() ?? 0) + EntryEmitter.slack }

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

  /// The text of a further entry: what every entry has under one name gets the entry's own.
  static func renamed(_ text: String, _ entry: String) -> String {
    var text = text.replacing("scratch_bytes", with: "\(entry)_scratch_bytes")
    for name in [
      "sequences_of", "threads_of", "most_segments", "slots_of", "streams_output", "check_sizes",
      "check_pointers", "tiles_of",
    ] {
      text = text.replacing("\(name)(", with: "\(entry)_\(name)(")
    }
    return text.replacing(" run(", with: " run_\(entry)(")
  }

  /// The manifest as a string, and the names for programs that load one library at a time.
  func tail(
    manifestJSON: String, further: [(String, String, String)] = []
  ) -> String {
    var out = CWriter()
    out.block("SL_EXPORT const char *\(kernel)_manifest(void)") { out in
      out.line("return")
      var line = ""
      // An escape is not cut in two.
      for character in escaped(manifestJSON) {
        if line.count + character.count > 92 {
          out.line("    \"\(line)\"")
          line = ""
        }
        line += character
      }
      out.line("    \"\(line)\";")
    }
    out.line()
    out.line("// For programs that load one library at a time.")
    for (result, name, parameters) in [
      ("int32_t", "forward", "const arguments *args"),
      ("int64_t", "workspace_size", "const arguments *args"),
      ("const char *", "manifest", "void"),
    ] + further {
      out.line(
        "SL_EXPORT \(result)\(result.hasSuffix("*") ? "" : " ")sluice_\(name)(\(parameters))")
      out.line("    __attribute__((weak, alias(\"\(kernel)_\(name)\")));")
    }
    return out.text
  }

  /// The text's bytes as C writes them in a string.
  private func escaped(_ text: String) -> [String] {
    text.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "?"):
        "\\" + String(UnicodeScalar(byte))
      case 32..<127: String(UnicodeScalar(byte))
      // Three octal digits always: a digit that follows is not taken for one more.
      default: "\\" + String(512 + Int(byte), radix: 8).suffix(3)
      }
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
