import Recurrences
import TileIR

/// Where the walks of `templates/cuda/anchored.cuh` lie, and the kernel that finds the states before segments.
extension WarpgroupEmitter {
  /// Where a walk lies.
  func place(_ out: inout CWriter, _ tiles: Int, _ heads: String, _ reads: Bool) {
    out.line("const int heads = (int)\(heads), rest = walk / \(tiles);")
    out.line("const int value = \(program.valueTile) * (walk % \(tiles)), own_head = rest % heads;")
    if let segments {
      let count = reads ? segments : segments - 1
      out.lines([
        "const int sequence = rest / heads / \(count), segment = rest / heads % \(count);"
      ])
    } else {
      out.line("const int sequence = rest / heads;")
    }
    out.lines([
      "const int first_token = args->cu_seqlens ? (int)args->cu_seqlens[sequence] : 0;",
      "const int end = (int)sl_end_of_tokens(args->cu_seqlens, sequence, args->length);",
      "sl_place place;",
      "place.batch = args->cu_seqlens ? 0 : sequence;",
      reads ? "place.head = own_head / (int)(\(group));" : "place.head = own_head;",
      "place.query_head = own_head;",
      "place.value = value;",
      "place.begin = first_token;",
      "place.length = end - first_token;",
    ])
    if let segments {
      out.lines([
        "const int each = 64 * (((end - first_token + 63) / 64 + \(segments - 1)) / \(segments));",
        "place.begin += segment * each;",
        "place.length = (int)sl_least(each, sl_greatest(end - place.begin, 0));",
        "const int64_t slot = ((int64_t)sequence * \(segments) + segment) * args->heads + place.head;",
        "float *const state = \(TensorName.segmentState)_of(args) + slot * \(state) + value;",
      ])
      if reads {
        out.lines([
          "// A sequence without tokens has one segment, which keeps the state as it is.",
          "const bool is_there = place.length || !segment;",
          "const bool is_last = is_there && place.begin + place.length == end;",
          "place.initial = is_there ? state : NULL;",
          "// Every query head of a group walks the state; the first one keeps it.",
          "const bool keeps = args->final_state && is_last && own_head % (\(group)) == 0;",
          "const int64_t to = (sequence * args->heads + place.head) * \(state) + value;",
          "place.final = keeps ? args->final_state + to : NULL;",
          "place.decay = NULL;",
        ])
      } else {
        out.lines([
          "place.initial = NULL;",
          "place.final = state;",
          decay == nil
            ? "place.decay = NULL;"
            : "place.decay = value ? NULL : \(TensorName.segmentDecay)_of(args) + slot * \(program.key);",
        ])
      }
    } else {
      out.lines([
        "const int64_t state = (sequence * args->heads + place.head) * \(state) + value;",
        "place.initial = args->initial_state ? args->initial_state + state : NULL;",
        "// Every query head of a group walks the state; the first one keeps it.",
        "const bool keeps = args->final_state && own_head % (\(group)) == 0;",
        "place.final = keeps ? args->final_state + state : NULL;",
        "place.decay = NULL;",
      ])
    }
    if reads {
      out.lines([
        "const int64_t token_step = args->layout ? 1 : args->query_heads;",
        "place.o = args->o + ((place.batch * args->query_heads) * args->length",
        "    + place.begin * token_step + own_head * (args->layout ? args->length : 1)) * \(program.value)",
        "    + value;",
      ])
    } else {
      out.line("place.o = NULL;")
    }
    out.line("return place;")
  }

  /// One number of the state a thread.
  func combine(_ phase: TileProgram.Phase) -> String {
    let count = segments ?? 1
    var out = CWriter()
    out.line("// \(phase.name): one number of a state for each thread.")
    open(phase, [], &out)
    out.lines(
      [
        "const arguments *const args = &given;",
        "const int64_t number = SL_BLOCK * \(Self.combining) + SL_THREAD, own = number % \(state);",
        "const int64_t sequence = number / \(state) / args->heads;",
        "const int64_t head = number / \(state) % args->heads;",
        "const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;",
        "const int64_t end = sl_end_of_tokens(args->cu_seqlens, sequence, args->length);",
        "const int64_t chunks = (end - begin + 63) / 64, each = (chunks + \(count - 1)) / \(count);",
        "const int64_t slot = sequence * \(count) * args->heads + head;",
        "const int64_t state = (sequence * args->heads + head) * \(state) + own;",
        "const int held = each ? (int)((chunks + each - 1) / each) : 1;",
        "const sl_segment_steps steps = {args->heads * \(state), args->heads * \(program.key), 0};",
        "sl_combine_segments<\(count)>(",
        "    \(TensorName.segmentState)_of(args) + slot * \(state) + own,",
        decay == nil
          ? "    NULL,"
          : "    \(TensorName.segmentDecay)_of(args) + slot * \(program.key) + own / \(program.value),",
        "    NULL, steps, held,",
        "    args->initial_state ? args->initial_state + state : NULL);",
      ].map { "  " + $0 })
    out.line("}")
    return out.text
  }
}
