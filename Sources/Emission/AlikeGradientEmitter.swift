import Recurrences
import Schedules
import TileIR

/// Prints the kernels of `alike-gradient`: what the words of `templates/cuda/alike_gradient*.cuh` are told
/// of the recurrence and of where its tensors lie.
struct AlikeGradientEmitter: CardGradient {
  let specification: KernelSpecification
  let kernel: String
  private let query: (name: String, weight: Expression)
  private let key: String
  private let value: String
  private let gate: (name: String, logarithm: Expression)?
  /// Parts of a sequence that are walked side by side.
  private let segments: Int

  var vocabularies: [String] {
    [
      "turned_products.cuh", "alike_gradient.cuh", "alike_gradient_states.cuh",
      "alike_gradient_scores.cuh", "alike_gradient_products.cuh", "alike_gradient_places.cuh",
      "alike_gradient_walks.cuh",
    ] + (segments > 1 ? ["alike_gradient_ahead.cuh"] : [])
  }
  let keepsChunks = true
  let describesTensors = true

  /// Nil for a gradient of another schedule.
  init?(_ specification: KernelSpecification, _ plan: Plan?, kernel: String) {
    guard let plan, plan.schedule == AlikeGradient().name,
      let form = specification.normalForm.diagonal,
      let query = AlikeGradient.query(of: specification, form),
      let key = WalkedGradient.tensor(form.key), let value = WalkedGradient.tensor(form.value)
    else { return nil }
    self.specification = specification
    self.kernel = kernel
    self.query = query
    (self.key, self.value) = (key, value)
    gate = form.keyGate.flatMap { AlikeGradient.gate(of: specification, $0) }
    segments = AlikeGradient.segments(of: plan)
  }

  // MARK: Sizes

  private var K: Int { specification.key }
  private var V: Int { specification.value }
  /// Values are the keys of dq's and dk's walks, 256 at most at once: parts of as many panels of 64.
  private var parts: Int { (V + 255) / 256 }
  private var partPanels: Int { ((V + 63) / 64 + parts - 1) / parts }
  /// Tiles of 128 keys, and of values, each a walk of its own.
  private var keyTiles: Int { (K + 127) / 128 }
  private var valueTiles: Int { (V + 127) / 128 }
  private var hasGate: Bool { gate != nil }

  private static let threads = 512
  private static let gateThreads = 32

  /// The kernels' names, threads and shared memory.
  private var kernels: [(name: String, threads: Int, memory: Int)] {
    [("walks", Self.threads, Self.sharedMemory)]
      + (hasGate ? [("gates", Self.gateThreads, 0)] : [])
      + (segments > 1 ? [("ahead", Self.threads, Self.sharedMemory)] : [])
  }
  var kernelNames: [String] { kernels.map { "\(kernel)_\($0.name)" } }
  var kernelThreads: [Int] { kernels.map(\.threads) }
  var kernelMemory: [Int] { kernels.map(\.memory) }

  var settings: String {
    // Registers of a thread that has a state, of one that has scores, and of the others: of 65,536.
    """
    #define SL_WALK_GATED \(hasGate ? 1 : 0)
    #define SL_WALK_OWN_KEYS \(K)
    #define SL_WALK_OWN_VALUES \(V)
    #define SL_WALK_KEY_PANELS \((K + 63) / 64)
    #define SL_WALK_SEGMENTS \(segments)
    #define SL_WALK_PARTS \(parts)
    #define SL_WALK_PART_PANELS \(partPanels)
    #define SL_WALK_STATE_REGISTERS 208
    #define SL_WALK_SCORE_REGISTERS 72
    #define SL_WALK_OTHER_REGISTERS 24

    """
  }

  // MARK: The card's side

  var functions: String {
    var out = CWriter()
    maps(&out)
    call(&out)
    let pieces = segments > 1 ? "segments of the walks" : "walks"
    walks("walk", "walks", "The \(pieces) of dq, dk and dv, one a block.", &out)
    if segments > 1 {
      walks("ahead", "ahead", "What segments but the last one add to states, one a block.", &out)
    }
    guard hasGate else { return out.text }
    out.line()
    out.line("// The decays' adjoint, a chunk of a head a block.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(Self.gateThreads), 1) void \(kernel)_gates(\n"
        + "    SL_CONSTANT_ARGUMENT backward_arguments given)"
    ) {
      $0.lines([
        "const walk_maps maps = {given.scale};",
        "sl_alike_gradients::sl_chunk_gates(",
        "    call_of(&given), maps, SL_BLOCK / given.heads, SL_BLOCK % given.heads);",
      ])
    }
    return out.text
  }

  private func walks(_ word: String, _ name: String, _ comment: String, _ out: inout CWriter) {
    out.line()
    out.line("// \(comment)")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(Self.threads), 1) void \(kernel)_\(name)(\n"
        + "    SL_CONSTANT_ARGUMENT sl_alike_gradients::sl_tensors tensors,\n"
        + "    SL_CONSTANT_ARGUMENT backward_arguments given,\n"
        + "    SL_CONSTANT_ARGUMENT sl_alike_gradients::sl_launch own)"
    ) {
      $0.lines([
        "SL_SHARED scratch[];",
        "const walk_maps maps = {given.scale};",
        "sl_alike_gradients::sl_block_\(word)(scratch, call_of(&given), own, maps, &tensors);",
      ])
    }
  }

  private func maps(_ out: inout CWriter) {
    let logarithm = gate?.logarithm ?? .constant(0)
    let slope = gate.map { $0.logarithm.derivative(of: $0.name) } ?? .constant(0)
    var own = CWriter()
    own.line("// What the recurrence says of log decays, how steep they are, and q's weight.")
    own.block("struct walk_maps") { out in
      out.line("float scale;")
      member("log_decay", logarithm, &out)
      member("gate_slope", slope, &out)
      out.block("SL_MEMBER float query_weight() const") {
        $0.longLine("return \(text(query.weight));")
      }
    }
    out.lines(own.lines.dropLast() + ["};", ""])
  }

  private func call(_ out: inout CWriter) {
    func adjoint(_ name: String) -> String { "args->\(TensorName.adjoint(of: name))" }
    out.line("// A call, and where its tensors lie.")
    out.block(
      "SL_WORD sl_alike_gradients::sl_call call_of(const backward_arguments *args)"
    ) {
      $0.lines([
        "sl_alike_gradients::sl_call call;",
        "call.batch = args->batch, call.length = args->length;",
        "call.query_heads = args->query_heads, call.heads = args->heads;",
        "call.sequences = backward_sequences_of(args), call.slots = backward_slots_of(args);",
        "call.layout = args->layout;",
        "call.cu_seqlens = args->cu_seqlens;",
        "call.workspace = (char *)args->workspace;",
        "call.gate = \(gate.map { "args->\($0.name)" } ?? "NULL");",
        "call.d_gate = \(gate.map { adjoint($0.name) } ?? "NULL");",
        "call.initial = args->\(TensorName.initialState);",
        "call.d_final = \(adjoint(TensorName.finalState));",
        "call.d_initial = \(adjoint(TensorName.initialState));",
        "call.d_q = \(adjoint(query.name));",
        "call.d_k = \(adjoint(key));",
        "call.d_v = \(adjoint(value));",
        "return call;",
      ])
    }
  }

  // MARK: The processor's side

  /// What is kept of chunks and heads, as `sl_room_of` has it.
  var workspaceBytes: String {
    let tile = 64 * 64, sums = 68
    let isGrouped = "(args->query_heads > args->heads)"
    let ofQueries = parts > 1 ? "\(4 * 2 * keyTiles * tile)" : "0"
    let ofKeys = parts > 1 ? ofQueries : "\(isGrouped) * \(4 * 2 * keyTiles * tile)"
    let ofValues = "\(isGrouped) * \(4 * 2 * valueTiles * tile)"
    let ofSums = hasGate ? 2 * 4 * 2 * keyTiles * sums : 0
    let chunks =
      "slots_of(args) * args->heads * (int64_t)(\(ofQueries) + \(ofKeys) + \(ofValues) "
      + "+ \(ofSums))"
    guard segments > 1 else { return chunks }
    let walks = 2 * keyTiles + valueTiles
    let states = 2 * tile * (2 * keyTiles * partPanels + valueTiles * ((K + 63) / 64))
    return chunks
      + " + sequences_of(args) * args->heads * (int64_t)\(4 * (segments - 1) * (states + walks))"
  }

  func launch(_ first: Int) -> [String] {
    func adjoint(_ name: String) -> String { TensorName.adjoint(of: name) }
    let tensors: [(data: String, columns: Int, heads: String)] = [
      (query.name, K, "query_heads"), (key, K, "heads"), (value, V, "heads"),
      (adjoint(TensorName.output), V, "query_heads"), (adjoint(query.name), K, "query_heads"),
      (adjoint(key), K, "heads"), (adjoint(value), V, "heads"),
    ]
    let perQuery = segments > 1 ? 2 * parts : parts
    var lines = [
      "// q, k, v, dO, dq, dk and dv, of bf16: 9 in the driver's numbering.",
      "tensor tensors[\(tensors.count)];",
    ]
    for (index, tensor) in tensors.enumerated() {
      lines += [
        "if (!problem)",
        "  problem = describe_tensor(",
        "      tensors + \(index), args->\(tensor.data), 9, 2, \(tensor.columns), "
          + "(uint64_t)args->\(tensor.heads), 64, (const void *)args);",
      ]
    }
    lines += [
      "// Tokens and walks are counted in 32 bits.",
      "const int64_t items = sequences_of(args) * args->heads;",
      "const int64_t key_walks = items * \(2 * keyTiles);",
      "const int64_t most = \(segments) * (key_walks + items * \(valueTiles));",
      "if (!problem && (args->length > 0x7fffffc0 || most > 0x7fffffff))",
      "  problem = 3;",
      "// Which walks a launch takes: of a query head and a part of the values, and how many are of keys.",
      "typedef struct { int32_t query, part, key_walks; } walks_taken;",
      "walks_taken taken[\(perQuery)];",
      "void *given[][3] = {",
    ]
    lines += (0..<perQuery).map { "  {tensors, (void *)args, &taken[\($0)]}," } + ["};"]
    lines += [
      "for (int32_t query = 0; query < args->query_heads / args->heads; ++query) {",
      "  if (!problem) problem = launch(&all);  // those of the query head before, whose places are free then",
      "  for (int32_t part = 0, next = 0; part < \(parts); ++part) {",
      "    // dv is found at once, beside the last of the others' walks.",
      "    const int64_t walks = key_walks + (part == \(parts - 1) ? items * \(valueTiles) : 0);",
    ]
    func walk(_ kernel: Int, _ count: Int) -> [String] {
      func times(_ walks: String) -> String { count == 1 ? walks : "\(count) * \(walks)" }
      return [
        "    taken[next] = (walks_taken){query, part, (int32_t)(\(times("key_walks")))};",
        "    if (!problem) problem = add(&all, \(kernel), \(times("walks")), given[next++]);",
      ]
    }
    if segments > 1 { lines += walk(first + kernels.count - 1, segments - 1) }
    lines += walk(first, segments) + ["  }", "}"]
    if hasGate {
      lines += [
        "void *gates[] = {(void *)args};",
        "if (!problem) problem = add(&all, \(first + 1), slots_of(args) * args->heads, gates);",
      ]
    }
    return lines
  }
}
