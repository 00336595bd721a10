import Recurrences
import Schedules
import TileIR

/// Prints the kernels of `warpgroup-prepared`, two, and between them one more where values have gates and two
/// where segments are walked: what the words of `templates/cuda/prepared*.cuh` are told of the recurrence and
/// of where its tensors lie.
struct PreparedEmitter: ChunkWalkEmitter {
  let specification: KernelSpecification
  let form: DiagonalForm
  let kernel: String
  /// Columns of the state that a walk has.
  let valueTile: Int
  /// Segments of a sequence; nil where one block walks all of it.
  let segments: Int?

  /// The templates, in their order.
  var vocabularies: [String] {
    ["words.cuh", "hopper.cuh", "prepared.cuh"] + (decaysAlike ? ["prepared_alike.cuh"] : [])
      + (hasValueGate ? ["prepared_values.cuh"] : [])
      + ["turned_products.cuh", "turned_state.cuh", "prepared_walk.cuh"]
      + (segments == nil ? [] : ["prepared_sums.cuh", "segments.cuh"])
  }
  /// Whether decays stand outside of the sums over keys.
  private var decaysAlike: Bool { form.keyGate?.axes != .key && !form.readsPrevious }
  /// Warps of a block that makes a chunk ready share the keys so: each has a quarter of the tokens and one
  /// such part.
  private static let parts = 2
  private static let preparing = 128 * parts
  var hasValueGate: Bool { form.valueGate != nil }

  /// Nil for a kernel of another schedule.
  init?(_ specification: KernelSpecification, _ plan: Plan, kernel: String) {
    guard plan.schedule == WarpgroupPrepared().name,
      let form = specification.normalForm.diagonal
    else { return nil }
    self.specification = specification
    self.form = form
    self.kernel = kernel
    valueTile = plan.valueTile
    segments = if case .segments(let count) = plan.materialization { count } else { nil }
  }

  // MARK: Sizes

  /// Blocks that make chunks ready and run at once on a processor, by registers and shared memory.
  private var preparingBlocks: Int { panels > 2 ? 2 : 3 }
  /// What prepared.cuh calls the same.
  var queryBytes: Int { (panels + 2) * Self.panel }
  var keyBytes: Int { panels * (Self.panel + 256) }
  /// A stage of a walk that reads, and of one that sums up a segment.
  private var stageBytes: Int {
    summedBytes + (hasValueGate ? panels * Self.panel : queryBytes)
  }
  private var summedBytes: Int {
    let values = groups * (hasValueGate ? 2 * Self.panel + 256 : Self.panel)
    return (values + keyBytes + 1023) / 1024 * 1024
  }
  private var stages: Int { min(4, (Self.sharedMemory - groups * Self.panel - 64) / stageBytes) }
  private var sumStages: Int { min(8, (Self.sharedMemory - 128) / summedBytes) }

  var walkThreads: Int { 128 * (groups + 1) }
  var kernelNames: [String] {
    ["\(kernel)_prepare"] + (hasValueGate ? ["\(kernel)_values"] : [])
      + (segments == nil ? [] : ["\(kernel)_summarize", "\(kernel)_combine"]) + ["\(kernel)_walk"]
  }
  var kernelThreads: [Int] {
    [Self.preparing] + (hasValueGate ? [valueThreads] : [])
      + (segments == nil ? [] : [walkThreads, Self.combining]) + [walkThreads]
  }
  var kernelMemory: [Int] {
    [panels * 64 * 296 + Self.parts * 3072] + (hasValueGate ? [valueMemory] : [])
      + (segments == nil ? [] : [sumStages * (summedBytes + 16), 0])
      + [stages * (stageBytes + 16) + groups * Self.panel]
  }
  var workspaceBytes: String? {
    let query = hasValueGate ? "(int64_t)\(queryBytes + readBytes)" : "\(queryBytes)"
    let operands =
      "chunk_slots(args) * (args->query_heads * \(query) + args->heads * (int64_t)"
      + "\(keyBytes + (hasValueGate ? valueBytes : 0)))"
    return segments == nil ? operands : "\(segmentBytes) + \(operands)"
  }

  var settings: String {
    (hasValueGate ? valueSettings : "") + sizeSettings + """
      #define SL_VALUE_GATED \(hasValueGate ? 1 : 0)
      #define SL_READS_PREVIOUS \(form.readsPrevious ? 1 : 0)
      #define SL_PARTS \(Self.parts)
      #define SL_STAGES \(stages)
      #define SL_SUM_STAGES \(sumStages)

      """
  }

  let counts = """

    // Places for chunks' operands, one more a sequence than its whole chunks.
    SL_ANYWHERE int64_t chunk_slots(const arguments *args) {
      return args->batch * args->length / 64 + sequences_of(args);
    }

    """

  // MARK: The kernels

  var functions: String {
    var out = CWriter()
    places(&out)
    prepare(&out)
    if hasValueGate { values(&out) }
    if segments != nil {
      summarize(&out)
      combine(&out)
    }
    walks(&out)
    return out.text
  }

  private func places(_ out: inout CWriter) {
    out.lines([
      "// The first place of a sequence's chunks.",
      "SL_WORD int64_t slot_of(const arguments *args, int64_t sequence) {",
      "  const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : sequence * args->length;",
      "  return begin / 64 + sequence;",
      "}",
      "",
      "// The sequence that a place belongs to.",
      "SL_WORD int64_t sequence_of(const arguments *args, int64_t slot) {",
      "  int64_t first = 0, last = sequences_of(args) - 1;",
      "  while (first < last) {",
      "    const int64_t middle = (first + last + 1) / 2;",
      "    if (slot_of(args, middle) <= slot) first = middle;",
      "    else last = middle - 1;",
      "  }",
      "  return first;",
      "}",
      "",
    ])
    out.lines(Self.rowOf)
    out.lines([
      "// A chunk's operands of a query head, and of a head.",
      "SL_WORD char *queries_of(const arguments *args, int64_t slot, int64_t head) {",
      "  return (char *)args->workspace\(segments == nil ? "" : "\n      + \(segmentBytes)\n     ")"
        + " + (slot * args->query_heads + head) * \(queryBytes);",
      "}",
      "SL_WORD char *keys_of(const arguments *args, int64_t slot, int64_t head) {",
      "  return queries_of(args, chunk_slots(args), 0) + (slot * args->heads + head) * \(keyBytes);",
      "}",
      "",
    ])
    if hasValueGate { valuePlaces(&out) }
  }

  /// Where the chunk of a block lies: the block's number is `number`, one a query head and slot.
  func place(_ number: String, _ out: inout CWriter) {
    out.lines([
      "const int64_t slot = \(number) / args->query_heads, query_head = \(number) % args->query_heads;",
      "const int64_t group = args->query_heads / args->heads, head = query_head / group;",
      "const int64_t sequence = sequence_of(args, slot);",
      "const int64_t first_token = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;",
      "const int64_t end = sl_end_of_tokens(args->cu_seqlens, sequence, args->length);",
      "const int64_t batch = args->cu_seqlens ? 0 : sequence;",
      "const int64_t begin = first_token + 64 * (slot - slot_of(args, sequence));",
      "if (begin >= end) return;",
      "const int64_t row = row_of(args, batch, begin, head, args->heads);",
    ])
  }

  /// Where the tensors of maps lie for the block's chunk.
  func takeMaps(_ out: inout CWriter) {
    if everyInput.contains(where: { $0.role == .query }) {
      out.line(
        "const int64_t query_row = row_of(args, batch, begin, query_head, args->query_heads);")
    }
    out.line("maps_of maps;")
    out.line("maps.scale = args->scale;")
    for input in everyInput {
      let (name, columns) = (input.name, specification.size(input.axes))
      if isToken(input) {
        let (row, heads) =
          input.role == .query ? ("query_row", "query_heads") : ("row", "heads")
        out.line("maps.at_\(name) = args->\(name) + \(row) * \(columns);")
        out.line("maps.step_\(name) = args->layout ? \(columns) : args->\(heads) * \(columns);")
      } else if isAlongKeys(input) || isAlongValues(input) {
        out.line("maps.at_\(name) = args->\(name) + head * \(columns);")
      } else {
        out.line("maps.own_\(name) = args->\(name)[head];")
      }
    }
  }

  private func prepare(_ out: inout CWriter) {
    out.line("// prepare: a chunk of a query head, of all of them side by side.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(Self.preparing), \(preparingBlocks)) void \(kernel)_prepare(\n"
        + "    SL_CONSTANT_ARGUMENT arguments given)"
    ) { out in
      out.lines([
        "SL_SHARED scratch[];",
        "const arguments *const args = &given;",
      ])
      place("SL_BLOCK", &out)
      takeMaps(&out)
      out.lines([
        "const sl_chunk_place place = {",
        "    (int)sl_least(64, end - begin),",
        "    queries_of(args, slot, query_head),",
        "    query_head % group ? NULL : keys_of(args, slot, head),",
        "};",
        "\(decaysAlike ? "sl_prepare_alike" : "sl_prepare")(sl_address(scratch), maps, place);",
      ])
    }
    out.line()
  }

  /// What a struct of walks has beside its places.
  var walkMembers: [String] {
    [
      "const arguments *args;",
      "// Bytes from a chunk's operands to the next one's.",
      "int64_t query_step, key_step, value_step, read_step;",
      "int o_token;",
    ]
  }
  /// The struct's beginning as an initializer.
  var walkSteps: [String] {
    ["    &given, given.query_heads * \(queryBytes), given.heads * (int64_t)\(keyBytes),"]
      + valueSteps.map { "    " + $0 }
  }

  private func walks(_ out: inout CWriter) {
    out.line(
      "// The walks, one a sequence,\(segments == nil ? "" : " segment,") query head and value tile."
    )
    out.line("struct walks_of_walk {")
    let first = segments == nil ? "" : " + (place.begin - first_token) / 64"
    let places =
      [
        "  place.value_decay = NULL;",
        "  const int64_t slot = slot_of(args, sequence)\(first);",
        "  place.queries = queries_of(args, slot, own_head);",
        "  place.keys = keys_of(args, slot, place.head);",
      ] + walkedPlaces.map { "  " + $0 } + ["  return place;", "}"]
    out.lines((walkMembers + walkPlaces + places).map { "  " + $0 })
    out.lines(["};", ""])
    out.line("// walk: every block takes its share of the walks.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(walkThreads), 1) void \(kernel)_walk(\n"
        + "    SL_CONSTANT_ARGUMENT sl_tensor outputs, SL_CONSTANT_ARGUMENT sl_tensor values,\n"
        + "    SL_CONSTANT_ARGUMENT arguments given)"
    ) {
      $0.lines(
        ["const walks_of_walk walks = {"] + walkSteps + [
          "    (given.layout ? 1 : (int)given.query_heads) * \(specification.value),",
          "};",
          "sl_prepared_walks(walks, &values, &outputs);",
        ])
    }
  }

  // MARK: The processor's side

  /// Describes the tensors that are copied and launches, inside `forward_on`.
  var launch: [String] {
    guard case .input(let value, _) = form.value else { return [] }
    let read = everyInput.filter { isAlongKeys($0) || isAlongValues($0) }.filter(isToken)
    return [
      "// Rows are read sixteen bytes at a time.",
      "uintptr_t places = 0;",
    ] + read.map { "places |= (uintptr_t)args->\($0.name);" } + [
      "if (!problem && places % 16) problem = 6;"
    ] + Self.countWalks(tiles * (segments ?? 1))
      + Self.describe("values", value, specification.value, "heads")
      + Self.describe("outputs", TensorName.output, specification.value, "query_heads")
      + [
        "void *given[] = {&outputs, &values, (void *)args};",
        "if (!problem)",
        "  problem = add(&all, 0, chunk_slots(args) * args->query_heads, given + 2);",
      ] + launchValues + launchSums(hasValueGate ? 2 : 1, from: 1, arguments: 2) + [
        "if (!problem) problem = add(&all, \(kernelNames.count - 1), resident(walks), given);"
      ]
  }
}
