import Recurrences
import Schedules
import TileIR

/// Prints what the words of `templates/cuda/gradient*.cuh` are told of a recurrence, and the kernels that
/// call them.
struct WarpgroupGradientEmitter: CardGradient {
  let specification: KernelSpecification
  let form: DiagonalForm
  let kernel: String
  /// The parts that walks are cut into.
  let segments: Int

  /// The templates, in their order.
  let keepsChunks = true
  let vocabularies = [
    "gradient.cuh", "gradient_states.cuh", "gradient_adjoints.cuh", "gradient_levels.cuh",
    "gradient_blocks.cuh", "gradient_gate.cuh", "gradient_exact.cuh", "gradient_wide.cuh",
    "gradient_wide_exact.cuh",
  ]
  private var keyTiles: Int { specification.key / WarpgroupGradient.tile }
  private var valueTiles: Int { specification.value / WarpgroupGradient.tile }
  /// Tiles of a head's state.
  private var tiles: Int { keyTiles * valueTiles }
  /// Bytes of a state's tile in bf16, as it is kept for each chunk and head: the state, and its adjoint.
  static let stateBytes = 128 * 128 * 2
  /// Floats of what a segment adds to a state's tile, with its decay for every key.
  static let segmentFloats = 128 * 128 + 128

  /// Nil for a gradient of another schedule.
  init?(_ specification: KernelSpecification, _ plan: Plan?, kernel: String) {
    guard let plan, plan.schedule == WarpgroupGradient().name,
      let form = specification.normalForm.diagonal
    else { return nil }
    self.specification = specification
    self.form = form
    self.kernel = kernel
    segments = WarpgroupGradient.segments(of: plan)
  }

  // MARK: The card's side

  /// The natural logarithm of the decay.
  private var logDecay: Expression? {
    if case .unary(.exp, let logarithm)? = form.keyGate?.decay { logarithm } else { nil }
  }

  /// The tensor that a map reads.
  private func tensor(_ map: Expression) -> String {
    map.inputNames.first { $0 != Symbol.scale } ?? ""
  }

  private func slope(_ map: Expression) -> Expression { map.derivative(of: tensor(map)) }
  private func bends(_ map: Expression) -> Int {
    slope(map).inputNames.contains(tensor(map)) ? 1 : 0
  }

  var settings: String {
    """
    #define SL_GATED \(form.keyGate == nil ? 0 : 1)
    #define SL_KEY_TILES \(keyTiles)
    #define SL_VALUE_TILES \(valueTiles)
    #define SL_QUERY_BENDS \(bends(form.query))
    #define SL_KEY_BENDS \(bends(form.key))
    #define SL_GATE_BENDS \(logDecay.map { slope($0) == .constant(1) ? 0 : 1 } ?? 0)

    """
  }

  /// Maps, places and kernels.
  var functions: String {
    var out = CWriter()
    out.line(
      "// What the recurrence says of q, k and the decay's logarithm, and how steep that is.")
    out.block("struct gradient_maps") { out in
      out.line("float scale;")
      let maps = [
        ("query", form.query), ("key", form.key), ("log_decay", logDecay ?? .constant(0)),
      ]
      for (name, map) in maps {
        member(name, map, &out)
        member(name == "log_decay" ? "gate_slope" : "\(name)_slope", slope(map), &out)
      }
    }
    let struct_ = out.lines.dropLast().joined(separator: "\n") + "\n};\n"
    return [struct_, places, kernels].joined(separator: "\n")
  }

  private var places: String {
    let gateName = logDecay.map(tensor)
    func input(_ map: Expression) -> String { "args->\(tensor(map))" }
    func adjoint(_ name: String) -> String { "args->\(TensorName.adjoint(of: name))" }
    var out = CWriter()
    out.line("// Where a head of a sequence lies, which so many query heads share.")
    out.block(
      "SL_WORD sl_gradients::sl_place place_of("
        + "const backward_arguments *args, int64_t sequence, int64_t head, const int64_t queries)"
    ) { out in
      out.lines([
        "const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;",
        "const int64_t end = sl_end_of_tokens(args->cu_seqlens, sequence, args->length);",
        "const int64_t row = args->cu_seqlens ? 0 : sequence;",
        "const int64_t first = args->layout ? (row * args->heads + head) * args->length + begin",
        "                                   : (row * args->length + begin) * args->heads + head;",
        "sl_gradients::sl_place place;",
        "const int64_t heads = args->heads * queries, query = head * queries;",
        "const int64_t first_query = args->layout ? (row * heads + query) * args->length + begin",
        "                                         : (row * args->length + begin) * heads + query;",
        "const int64_t next = args->layout ? args->length : 1;",
        "place.at = first * \(specification.key);",
        "place.value_at = first * \(specification.value);",
        "const int apart = args->layout ? 1 : (int)args->heads;  // rows from a token's to the next one's",
        "place.step = \(specification.key) * apart;",
        "place.value_step = \(specification.value) * apart;",
        "place.queries = (int)queries;",
        "place.query_at = first_query * \(specification.key);",
        "place.output_at = first_query * \(specification.value);",
        "place.query_step = \(specification.key) * (args->layout ? 1 : (int)heads);",
        "place.output_step = \(specification.value) * (args->layout ? 1 : (int)heads);",
        "place.query_next = next * \(specification.key);",
        "place.output_next = next * \(specification.value);",
        "place.slot = (((row * args->length + begin) / 64 + sequence) * args->heads + head) * \(tiles);",
        "place.slot_step = \(tiles) * (int)args->heads;",
        "place.length = end - begin;",
        "place.state = (sequence * args->heads + head) * "
          + "(int64_t)\(specification.key * specification.value);",
        "place.tile_sums = \(2 * segments * Self.segmentFloats);",
        "place.sums = (sequence * args->heads + head) * (\(tiles) * (int64_t)place.tile_sums);",
        "return place;",
      ])
    }
    out.line()
    out.line(
      "// The tensors; states and their adjoints lie in the workspace, sums and flags of chunks behind."
    )
    out.block("SL_WORD sl_gradients::sl_tensors tensors_of(const backward_arguments *args)") {
      out in
      out.lines([
        "const int64_t chunks = backward_slots_of(args) * args->heads, slots = chunks * \(tiles);",
        "sl_gradients::sl_tensors t;",
        "t.q = \(input(form.query));",
        "t.k = \(input(form.key));",
        "t.v = \(input(form.value));",
        "t.d_o = \(adjoint(TensorName.output));",
        "t.gate = \(gateName.map { "args->\($0)" } ?? "NULL");",
        "t.initial = args->initial_state;",
        "t.d_final = \(adjoint(TensorName.finalState));",
        "t.d_q = \(adjoint(tensor(form.query)));",
        "t.d_k = \(adjoint(tensor(form.key)));",
        "t.d_v = \(adjoint(tensor(form.value)));",
        "t.d_gate = \(gateName.map(adjoint) ?? "NULL");",
        "t.d_initial = \(adjoint(TensorName.initialState));",
        "t.states = (char *)args->workspace;",
        "t.adjoints = t.states + slots * \(Self.stateBytes);",
        "t.segments = (float *)(t.adjoints + slots * \(Self.stateBytes));",
        "t.partial = t.segments + \(sumFloats("backward_sequences_of(args)"));",
        "t.exact = (int32_t *)(t.partial + chunks * \(partialFloats));",
        "return t;",
      ])
    }
    out.line()
    out.line("// The first slot of a sequence's chunks.")
    out.block("SL_WORD int64_t slot_of(const backward_arguments *args, int64_t sequence)") {
      $0.lines([
        "const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : sequence * args->length;",
        "return begin / 64 + sequence;",
      ])
    }
    out.line()
    out.line("// The sequence that a slot belongs to.")
    out.block("SL_WORD int64_t sequence_of(const backward_arguments *args, int64_t slot)") { out in
      out.lines([
        "int64_t first = 0, last = backward_sequences_of(args) - 1;"
      ])
      out.block("while (first < last)") {
        $0.lines([
          "const int64_t middle = (first + last + 1) / 2;",
          "if (slot_of(args, middle) <= slot) first = middle;",
          "else last = middle - 1;",
        ])
      }
      out.line("return first;")
    }
    return out.text
  }

  /// Whether a chunk goes by factors in [0, 1] alone.
  private func isExact(
    _ chunk: String, _ set: KernelSet, _ tensors: String = "tensors"
  ) -> String {
    !set.isWide
      ? "\(tensors).exact[\(chunk)]"
      : "sl_gradients::sl_any_exact(\(tensors).exact + \(tiles) * (int64_t)(\(chunk)))"
  }

  /// Kernels of calls whose query heads are as many as heads, where tiles are one: the others take any.
  private struct KernelSet {
    var isWide: Bool
    var prefix = ""
    /// Query heads of a head, as C.
    var queries = "given.query_heads / given.heads"
  }
  private var sets: [KernelSet] {
    tiles > 1
      ? [KernelSet(isWide: true)]
      : [KernelSet(isWide: false, queries: "1"), KernelSet(isWide: true, prefix: "grouped_")]
  }

  private static let arguments = "SL_CONSTANT_ARGUMENT backward_arguments given"

  /// One thread finds which chunk of which head a number among all of them is, and leaves it for all in
  /// a place of shared memory.
  private func leaveChunk(
    _ number: String, at place: String, rows: String, _ set: KernelSet, _ out: inout CWriter
  ) {
    out.block("if (sl_gradients::sl_fresh(SL_THREAD) == 0)") { out in
      out.lines([
        "const int64_t slot = \(number) / given.heads, sequence = sequence_of(&given, slot);",
        "const int64_t chunk = slot - slot_of(&given, sequence);",
        "const sl_gradients::sl_place place =",
        "    place_of(&given, sequence, \(number) % given.heads, \(set.queries));",
        "sl_gradients::sl_leave_chunk(shared + sl_gradients::\(place), place, (int)chunk);",
      ])
      if set.isWide {
        out.line("sl_gradients::sl_leave_rows(shared + sl_gradients::\(rows), place, (int)chunk);")
      }
    }
  }

  /// The kernel that walks over heads, or sums up segments of their walks.
  private func walks(
    _ name: String, sumsUp: Bool, _ comment: String, _ set: KernelSet, _ out: inout CWriter
  ) {
    out.line("// \(comment)")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(512, 1) void \(kernel)_\(set.prefix)\(name)(\(Self.arguments))"
    ) { out in
      out.lines([
        "SL_SHARED scratch[];",
        Self.statesMemory.check,
        "const uint32_t shared = sl_address(scratch);",
        "const int tile = (int)(SL_BLOCK / 2 % \(tiles));",
        "const int segment = (int)(SL_BLOCK / \(2 * tiles) % \(segments));",
        "const int64_t item = SL_BLOCK / \(2 * tiles * segments);",
        "const sl_gradients::sl_place place = sl_gradients::sl_in_tile_of(",
        "    place_of(&given, item / given.heads, item % given.heads, \(set.queries)),",
        "    tile / \(valueTiles), tile % \(valueTiles));",
        "const gradient_maps maps = {given.scale};",
      ])
      for (condition, adjoint) in [("if (SL_BLOCK % 2)", true), ("else", false)] {
        out.lines([
          condition, "  sl_gradients::sl_gradient_states<\(adjoint), \(sumsUp)>(",
          "      shared, place, segment, \(segments), maps, tensors_of(&given));",
        ])
      }
    }
  }

  private var kernels: String { sets.map(kernels).joined(separator: "\n") }

  private func kernels(_ set: KernelSet) -> String {
    var out = CWriter()
    if segments > 1 {
      walks(
        "segments", sumsUp: true, "What each segment of a head's walks adds to a state, both ways.",
        set, &out)
      out.line()
    }
    walks(
      "states", sumsUp: false, "A head's chunks, forward and back: one block for each way.", set,
      &out)
    out.line()
    out.line("// A chunk of a head, where it stays in the range of one anchor.")
    let bounds = set.isWide ? "512, 1" : "256, 2", own = set.isWide ? "sl_at_wide_own" : "sl_at_own"
    let adjoints = "SL_KERNEL SL_BOUNDS_OF(\(bounds)) void \(kernel)_\(set.prefix)adjoints"
    out.block("\(adjoints)(\(Self.arguments))") { out in
      out.lines([
        "SL_SHARED scratch[];",
        Self.adjointsMemory(set).check,
        "const uint32_t shared = sl_address(scratch);",
        "const sl_gradients::sl_tensors tensors = tensors_of(&given);",
        "if (\(isExact("SL_BLOCK", set))) return;",
      ])
      leaveChunk("SL_BLOCK", at: own, rows: "sl_at_wide_rows", set, &out)
      out.lines([
        "sl_sync();",
        "if (!sl_gradients::sl_rows_left(shared + sl_gradients::\(own))) return;",
        "const gradient_maps maps = {given.scale};",
        "sl_gradients::sl_gradient_\(set.isWide ? "wide" : "adjoints")(shared, maps, tensors);",
      ])
    }
    out.line()
    out.line("// Chunks of heads where they do not: every block looks through its share of all.")
    let exact =
      "SL_KERNEL SL_BOUNDS_OF(\(Self.exactThreads), 1) void \(kernel)_\(set.prefix)exact"
    out.block("\(exact)(\(Self.arguments))") { out in
      out.lines([
        "SL_SHARED scratch[];",
        Self.exactMemory(set).check,
        "const uint32_t shared = sl_address(scratch);",
        "const gradient_maps maps = {given.scale};",
      ])
      if set.isWide { takeEach(set, &out) } else { takeListed(set, &out) }
    }
    return out.text
  }

  /// A thread's chunk, where it found one: all are worked at while what the next one needs is on its way.
  private func takeListed(_ set: KernelSet, _ out: inout CWriter) {
    out.lines([
      "sl_gradients::sl_exact_begin(shared);",
      "if (SL_THREAD == 0)",
      "  sl_store_word(",
      "      shared + sl_gradients::sl_at_slots,",
      "      (uint32_t)(backward_slots_of(&given) * given.heads));",
      "sl_sync();",
      "#pragma unroll 1",
    ])
    out.block(
      "for (int from = (int)SL_BLOCK;; from += (int)SL_BLOCKS * sl_gradients::sl_exact_threads)"
    ) { out in
      out.lines([
        "const int slots = sl_gradients::sl_slots_left(shared);",
        "if (from >= slots) break;",
        "const int own = from + (int)SL_BLOCKS * SL_THREAD;",
        "int found = own < slots && \(isExact("own", set, "tensors_of(&given)"));",
      ])
      out.block("if (found)") {
        $0.lines([
          "const int64_t slot = own / given.heads, sequence = sequence_of(&given, slot);",
          "const int64_t chunk = slot - slot_of(&given, sequence);",
          "const sl_gradients::sl_place place =",
          "    place_of(&given, sequence, own % given.heads, \(set.queries));",
          "// Not every slot has tokens.",
          "found = 64 * chunk < place.length;",
          "sl_gradients::sl_leave_chunk(",
          "    sl_gradients::sl_listed(shared, SL_THREAD), place, (int)chunk);",
        ])
      }
      out.line("sl_gradients::sl_gradient_exact(shared, found, maps, tensors_of(&given));")
    }
  }

  /// The chunks that threads found, each with what it needs. What is at hand is said in shared memory.
  private func takeEach(_ set: KernelSet, _ out: inout CWriter) {
    out.lines([
      "sl_gradients::sl_wide_exact_begin(",
      "    shared, backward_slots_of(&given) * given.heads, tensors_of(&given));",
      "#pragma unroll 1",
    ])
    out.block("for (; sl_gradients::sl_has_slots(shared); sl_gradients::sl_next_slots(shared))") {
      out in
      out.lines([
        "const int slot = sl_gradients::sl_slot_of(shared, SL_THREAD);",
        "const sl_gradients::sl_tensors tensors = tensors_of(&given);",
        "const int found = slot < sl_gradients::sl_slots_left(shared) && \(isExact("slot", set));",
        "sl_gradients::sl_leave_found(shared, found);",
        "#pragma unroll 1",
      ])
      out.block("while (sl_gradients::sl_take_found(shared))") { out in
        leaveChunk(
          "sl_gradients::sl_taken(shared)", at: "sl_at_chunk", rows: "sl_at_exact_rows", set, &out)
        out.lines([
          "sl_sync();",
          "sl_gradients::sl_gradient_wide_exact(shared, maps, tensors_of(&given));",
        ])
      }
    }
  }

  // MARK: The processor's side

  /// The kernels in the order of their launches: name, threads, what the templates' places add up to,
  /// and blocks.
  private func launches(
    _ set: KernelSet
  ) -> [(name: String, threads: Int, memory: Int, blocks: String)] {
    let walks = "\(2 * segments * tiles) * walks"
    let all =
      (segments > 1 ? [("segments", 512, Self.statesMemory.bytes, walks)] : []) + [
        ("states", 512, Self.statesMemory.bytes, walks),
        ("adjoints", set.isWide ? 512 : 256, Self.adjointsMemory(set).bytes, "chunks"),
        (
          "exact", Self.exactThreads, Self.exactMemory(set).bytes,
          "chunks < processors ? chunks : processors"
        ),
      ]
    return all.map { (set.prefix + $0.0, $0.1, $0.2, $0.3) }
  }
  private var launches: [(name: String, threads: Int, memory: Int, blocks: String)] {
    sets.flatMap(launches)
  }
  private static let exactThreads = 512

  /// Shared memory that a launch asks for: what the templates' places add up to, which the emitted code checks.
  private struct Memory {
    let places: String
    let bytes: Int
    var check: String {
      "static_assert(sl_gradients::\(places) == \(bytes), \"What a launch asks for.\");"
    }
  }
  private static let statesMemory = Memory(places: "sl_states_bytes", bytes: 202_240)
  private static func adjointsMemory(_ set: KernelSet) -> Memory {
    set.isWide
      ? Memory(places: "sl_wide_bytes", bytes: 220_288)
      : Memory(places: "sl_adjoints_bytes", bytes: 114_752)
  }
  private static func exactMemory(_ set: KernelSet) -> Memory {
    set.isWide
      ? Memory(places: "sl_wide_exact_bytes", bytes: 205_584)
      : Memory(places: "sl_listed_bytes", bytes: 225_984)
  }

  var kernelNames: [String] { launches.map { "\(kernel)_\($0.name)" } }
  var kernelThreads: [Int] { launches.map(\.threads) }
  var kernelMemory: [Int] { launches.map(\.memory) }

  /// Whether a call's query heads are as many as heads, as C.
  private static let isPlain = "args->query_heads == args->heads"
  /// The bytes that a call's workspace takes.
  var workspaceBytes: String {
    let sums = segments > 1 ? " + 4 * \(sumFloats("sequences_of(args)"))" : ""
    let chunk = "(\(tiles * (2 * Self.stateBytes + 4)) + 4 * \(partialFloats))"
    return "slots_of(args) * args->heads * \(chunk)\(sums)"
  }
  /// Floats of a chunk's rows of dv and dk, as C, where they are sums over key tiles or query heads.
  private var partialFloats: String {
    let floats = "(int64_t)\(64 * (specification.key + specification.value))"
    return keyTiles > 1 ? floats : "(\(Self.isPlain) ? 0 : \(floats))"
  }
  /// Floats of all sums of segments, as C.
  private func sumFloats(_ sequences: String) -> String {
    segments == 1
      ? "0" : "\(sequences) * args->heads * (int64_t)\(tiles * segments * 2 * Self.segmentFloats)"
  }

  /// What adds the launches to `all`, from the kernel at `first` on.
  func launch(_ first: Int) -> [String] {
    let pointers =
      specification.recurrence.inputs.flatMap { [$0.name, TensorName.adjoint(of: $0.name)] }
      + [
        TensorName.adjoint(of: TensorName.output), TensorName.adjoint(of: TensorName.initialState),
      ]
    func calls(_ set: KernelSet, _ first: Int) -> [String] {
      launches(set).enumerated().map { index, launch in
        "if (!problem) problem = add(&all, \(first + index), \(launch.blocks), given);"
      }
    }
    let plain = calls(sets[0], first)
    return [
      "void *given[] = {(void *)args};",
      "// Rows are moved sixteen bytes at a time.",
      "uintptr_t places = 0;",
    ] + pointers.map { "places |= (uintptr_t)args->\($0);" } + [
      "if (!problem && places % 16) problem = 6;",
      "const int64_t walks = sequences_of(args) * args->heads, chunks = slots_of(args) * args->heads;",
    ]
      + (sets.count == 1
        ? plain
        : ["if (\(Self.isPlain)) {"] + plain.map { "  \($0)" } + ["} else {"]
          + calls(sets[1], first + plain.count).map { "  \($0)" } + ["}"])
  }
}
