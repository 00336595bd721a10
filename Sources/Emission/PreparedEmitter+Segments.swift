import Recurrences
import Schedules
import TileIR

/// The kernels of `warpgroup-prepared` that find the states before segments, between the first one and the
/// walk: every segment but a sequence's last place is summed up from zero, side by side, and then one
/// number of a state is combined by each thread.
extension PreparedEmitter {
  /// Threads of a block that combines.
  static let combining = 512

  private var state: Int { specification.key * specification.value }
  /// Floats of a segment: its state and its decays.
  private var segmentFloats: Int {
    state + (form.keyGate == nil ? 0 : specification.key) + (hasValueGate ? specification.value : 0)
  }
  /// What the workspace begins with, as C: states between segments, up to where operands may lie.
  var segmentBytes: String {
    "(slots_of(args) * args->heads * \(segmentFloats * 4) + 127) / 128 * 128"
  }

  /// Which tokens a segment has: chunks of a sequence are dealt evenly, so that last ones may be empty.
  private func segmentOf(_ count: Int) -> [String] {
    Self.walkedSequence + [
      "  const int64_t chunks = (end - first_token + 63) / 64;",
      "  const int64_t each = 64 * ((chunks + \(count - 1)) / \(count));",
      "  sl_place place;",
      "  place.batch = args->cu_seqlens ? 0 : sequence;",
      "  place.begin = (int)sl_least(first_token + segment * each, end);",
      "  place.length = (int)sl_least(each, end - place.begin);",
    ]
  }

  /// `count` and the beginning of `at` of the struct of walks over segments.
  func segmentPlaces(_ count: Int) -> [String] {
    [
      "SL_MEMBER int count() const {",
      "  return (int)(sequences_of(args) * args->query_heads) * \(count * tiles);",
      "}",
      "SL_MEMBER sl_place at(int walk) const {",
      "  const int heads = (int)args->query_heads, rest = walk / \(tiles), own_head = rest % heads;",
      "  const int own = rest / heads, sequence = own / \(count), segment = own % \(count);",
      "  const int group = heads / (int)args->heads;",
    ] + segmentOf(count) + [
      "  place.head = own_head / group;",
      "  place.query_head = own_head;",
      "  place.value = \(valueTile) * (walk % \(tiles));",
      "  // A sequence without tokens has one segment, which keeps the state as it is.",
      "  const bool is_there = place.length || !segment;",
      "  const bool is_last = is_there && place.begin + place.length == end;",
      "  place.initial = is_there",
      "      ? \(TensorName.segmentState)_of(args) + ((int64_t)own * args->heads + place.head) * \(state) : NULL;",
      "  // Every query head of a group walks the state; the first one keeps it.",
      "  place.final = args->final_state && is_last && own_head % group == 0",
      "      ? args->final_state + ((int64_t)sequence * args->heads + place.head) * \(state) : NULL;",
      "  place.o = args->o",
      "      + row_of(args, place.batch, place.begin, own_head, heads) * \(specification.value)",
      "      + place.value;",
    ]
  }

  /// The kernel that sums up segments. What the last place of a sequence adds is in no state before another.
  func summarize(_ out: inout CWriter) {
    let count = segments!
    out.line("// The sums, one a sequence, segment but the last, head and value tile.")
    out.line("struct walks_of_summarize {")
    let places =
      [
        "SL_MEMBER int count() const {",
        "  return (int)(sequences_of(args) * args->heads) * \((count - 1) * tiles);",
        "}",
        "SL_MEMBER sl_place at(int walk) const {",
        "  const int heads = (int)args->heads, rest = walk / \(tiles);",
        "  const int own = rest / heads, sequence = own / \(count - 1), segment = own % \(count - 1);",
      ] + segmentOf(count) + [
        "  place.head = place.query_head = rest % heads;",
        "  place.value = \(valueTile) * (walk % \(tiles));",
        "  const int64_t to = ((int64_t)sequence * \(count) + segment) * heads + place.head;",
        "  place.initial = NULL;",
        "  place.final = \(TensorName.segmentState)_of(args) + to * \(state);",
        "  place.key_decay = "
          + (form.keyGate == nil
            ? "NULL;"
            : "place.value ? NULL : \(TensorName.segmentDecay)_of(args) + to * \(specification.key);"),
        "  place.value_decay = "
          + (hasValueGate
            ? "\(TensorName.segmentValueDecay)_of(args) + to * \(specification.value);" : "NULL;"),
        "  place.o = NULL;",
        "  const int64_t slot = slot_of(args, sequence) + (place.begin - first_token) / 64;",
        "  const int own_head = place.head;",
        "  place.queries = NULL;",
        "  place.keys = keys_of(args, slot, own_head);",
      ] + walkedPlaces.map { "  " + $0 } + ["  return place;", "}"]
    out.lines((walkMembers + places).map { "  " + $0 })
    out.lines(["};", ""])
    out.line("// summarize: every block takes its share of the segments.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(128 * (groups + 1)), 1) void \(kernel)_summarize(\n"
        + "    SL_CONSTANT_ARGUMENT sl_tensor values, SL_CONSTANT_ARGUMENT arguments given)"
    ) {
      $0.lines(
        ["const walks_of_summarize walks = {"] + walkSteps + [
          "    0,", "};", "sl_prepared_sums(walks, &values);",
        ])
    }
    out.line()
  }

  /// One number of a state a thread.
  func combine(_ out: inout CWriter) {
    let count = segments!
    let (key, value) = (specification.key, specification.value)
    out.line("// combine: one number of a state for each thread.")
    out.block(
      "SL_KERNEL SL_BOUNDS_OF(\(Self.combining), 1) void \(kernel)_combine(\n"
        + "    SL_CONSTANT_ARGUMENT arguments given)"
    ) {
      $0.lines([
        "const arguments *const args = &given;",
        "const int64_t number = SL_BLOCK * \(Self.combining) + SL_THREAD, own = number % \(state);",
        "const int64_t sequence = number / \(state) / args->heads;",
        "const int64_t head = number / \(state) % args->heads;",
        "if (sequence >= sequences_of(args)) return;",
        "const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;",
        "const int64_t end = args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length;",
        "const int64_t chunks = (end - begin + 63) / 64, each = (chunks + \(count - 1)) / \(count);",
        "const int held = each ? (int)((chunks + each - 1) / each) : 1;",
        "const int64_t slot = sequence * \(count) * args->heads + head;",
        "const sl_segment_steps steps = {",
        "    args->heads * \(state), args->heads * \(key), args->heads * \(value),",
        "};",
        "sl_combine_segments<\(count)>(",
        "    \(TensorName.segmentState)_of(args) + slot * \(state) + own,",
        form.keyGate == nil
          ? "    NULL," : "    \(TensorName.segmentDecay)_of(args) + slot * \(key) + own / \(value),",
        hasValueGate
          ? "    \(TensorName.segmentValueDecay)_of(args) + slot * \(value) + own % \(value),"
          : "    NULL,",
        "    steps, held - 1, held,",
        "    args->initial_state ? args->initial_state + number : NULL, NULL);",
      ])
    }
    out.line()
  }

  /// Their launches.
  var launchSums: [String] {
    guard let count = segments else { return [] }
    let first = hasValueGate ? 2 : 1
    let states = "sequences_of(args) * args->heads"
    return [
      "if (!problem)",
      "  problem = launch(\(first), resident(\(states) * \((count - 1) * tiles)), given + 1, stream);",
      "if (!problem)",
      "  problem = launch(",
      "      \(first + 1), (\(states) * (int64_t)\(state) + \(Self.combining - 1)) / \(Self.combining), "
        + "given + 2, stream);",
    ]
  }
}
