import Recurrences
import Schedules
import TileIR

/// The kernels that find the states before segments, for walks that are cut into some: every segment but a
/// sequence's last is summed up from zero, side by side, and then each thread combines one number of a state.
extension ChunkWalkEmitter {
  /// Threads of a block that combines.
  static var combining: Int { 512 }

  private var state: Int { specification.key * specification.value }
  private var hasValueGate: Bool { form.valueGate != nil }

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
    ] + walkedHead + [
      "  const int sequence = (int)own / \(count), segment = (int)own % \(count);"
    ] + segmentOf(count) + [
      "  place.head = head;",
      "  place.query_head = own_head;",
      "  place.value = \(valueTile) * (walk % \(tiles));",
      "  // A sequence without tokens has one segment, which keeps the state as it is.",
      "  const bool is_there = place.length || !segment;",
      "  const bool is_last = is_there && place.begin + place.length == end;",
      "  const int64_t from = ((int64_t)own * args->heads + place.head) * \(state);",
      "  place.initial = is_there ? \(TensorName.segmentState)_of(args) + from : NULL;",
      "  // Every query head of a group walks the state; the first one keeps it.",
      "  place.final = args->final_state && is_last && head * group == own_head",
      "      ? args->final_state + ((int64_t)sequence * args->heads + place.head) * \(state) : NULL;",
      "  place.key_decay = NULL;",
      "  place.o = args->o",
      "      + row_of(args, place.batch, place.begin, own_head, heads) * \(specification.value)",
      "      + place.value;",
    ]
  }

  /// The same of the struct of sums, one a sequence, segment but the last, head and value tile: what the last
  /// one adds is in no state before another.
  func sumPlaces(_ count: Int) -> [String] {
    let (key, value) = (specification.key, specification.value)
    return [
      "SL_MEMBER int count() const {",
      "  return (int)(sequences_of(args) * args->heads) * \((count - 1) * tiles);",
      "}",
      "SL_MEMBER sl_place at(int walk) const {",
      "  const int heads = (int)args->heads, rest = walk / \(tiles);",
      "  const int own = rest / heads, sequence = own / \(count - 1), segment = own % \(count - 1);",
    ] + segmentOf(count) + [
      "  place.head = rest % heads;",
      "  place.query_head = place.head * (int)(args->query_heads / heads);",
      "  place.value = \(valueTile) * (walk % \(tiles));",
      "  const int64_t to = ((int64_t)sequence * \(count) + segment) * heads + place.head;",
      "  place.initial = NULL;",
      "  place.final = \(TensorName.segmentState)_of(args) + to * \(state);",
      "  place.key_decay = "
        + (form.keyGate == nil
          ? "NULL;" : "place.value ? NULL : \(TensorName.segmentDecay)_of(args) + to * \(key);"),
    ]
      + (hasValueGate
        ? ["  place.value_decay = \(TensorName.segmentValueDecay)_of(args) + to * \(value);"] : [])
      + ["  place.o = NULL;"]
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
        "const int64_t end = sl_end_of_tokens(args->cu_seqlens, sequence, args->length);",
        "const int64_t chunks = (end - begin + 63) / 64, each = (chunks + \(count - 1)) / \(count);",
        "const int held = each ? (int)((chunks + each - 1) / each) : 1;",
        "const int64_t slot = sequence * \(count) * args->heads + head;",
        "const sl_segment_steps steps = {",
        "    args->heads * \(state), args->heads * \(key), args->heads * \(value),",
        "};",
        "sl_combine_segments<\(count)>(",
        "    \(TensorName.segmentState)_of(args) + slot * \(state) + own,",
        form.keyGate == nil
          ? "    NULL,"
          : "    \(TensorName.segmentDecay)_of(args) + slot * \(key) + own / \(value),",
        hasValueGate
          ? "    \(TensorName.segmentValueDecay)_of(args) + slot * \(value) + own % \(value),"
          : "    NULL,",
        "    steps, held,",
        "    args->initial_state ? args->initial_state + number : NULL);",
      ])
    }
    out.line()
  }

  /// The launches of both, the first of which is the kernel `first` and is given what the walk is from
  /// `from` on.
  func launchSums(_ first: Int, from: Int, arguments: Int) -> [String] {
    guard let count = segments else { return [] }
    let states = "sequences_of(args) * args->heads"
    let blocks = "(\(states) * (int64_t)\(state) + \(Self.combining - 1)) / \(Self.combining)"
    return [
      "if (!problem)",
      "  problem = add(",
      "      &all, \(first), resident(\(states) * \((count - 1) * tiles)), given + \(from));",
      "if (!problem)",
      "  problem = add(&all, \(first + 1), \(blocks), given + \(arguments));",
    ]
  }
}
