// The first kernel: a block walks over a head's chunks with a tile of its state, forward to leave
// the state before each chunk, or back to leave the adjoint of the state after it. With A_i the sum
// of log decays up to token i (its own too), A_C that of the chunk, all factors in [0, 1]:
//
//     S = diag(2^{A_C}) S + sum over j of (k_j 2^{A_C - A_j}) v_j^T
//     dS = diag(2^{A_C}) dS + sum over i of (q_i 2^{A_i}) dO_i^T
//
// Scaled rows are multiplied as two bf16 numbers: what is left is rounded once, where it is
// written.
//
// Where walks are cut into segments, a kernel before this one walks each segment from zero and
// leaves what it adds and its decay; a segment's walk then begins with what those on its way there
// add up to.
#ifndef SL_GRADIENT_STATES_CUH
#define SL_GRADIENT_STATES_CUH

namespace sl_gradients {

enum {
  sl_walk_threads = 512,
  // Places in shared memory: rows and values of three chunks, gates of one, what rounding left of two
  // chunks' rows, the state to be written, and by key the sums of log decays of eight tokens each, of
  // the first token, and of either half with it.
  sl_walk_stage = 2 * sl_tile,
  sl_at_walk_gates = 3 * sl_walk_stage,
  sl_walk_gates = 2 * sl_tile,
  sl_at_rest = sl_at_walk_gates + sl_walk_gates,
  sl_at_out = sl_at_rest + 2 * sl_tile,
  sl_at_walk_sums = sl_at_out + sl_state,
  sl_walk_first = 8 * 512,
  sl_walk_halves = sl_walk_first + 512,
  sl_states_bytes = sl_at_walk_sums + sl_walk_halves + 2 * 512,
  // Floats of a segment's sum: what it adds to a state, and its decay for every key.
  sl_segment_floats = 128 * 128 + 128,
};

// A state from shared memory to the card's, on its own.
SL_WORD void sl_copy_state_out(char *to, uint32_t from) {
  asm volatile("{\n.reg .u64 at;\ncvta.to.global.u64 at, %0;\n"
               "cp.async.bulk.global.shared::cta.bulk_group [at], [%1], %2;\n}" ::"l"(to),
               "r"(from), "r"((int)sl_state)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Walks one of a head's segments; `sums_up`: from zero, to leave its sum.
template <const bool adjoint, const bool sums_up, class Maps>
SL_WORD void sl_gradient_states(
    uint32_t shared, const sl_place place, const int segment, const int segments, const Maps maps,
    const sl_tensors t) {
  // A warpgroup has half of the keys and half of the values of the state; a warp, of the rows that are
  // scaled, eight tokens and a panel.
  const int group = sl_group() % 2, panel = sl_group() / 2;
  const int part = sl_uniform(SL_WARP / 2), key = 64 * (SL_WARP % 2) + 2 * SL_LANE;
  const int all = (int)((place.length + 63) / 64), each = (all + segments - 1) / segments;
  const int first = segment * each, chunks = (int)sl_least(each, all - first);
  // The last segment on the way, whose sum nobody wants.
  const int count = each ? (all + each - 1) / each : 0, last = adjoint ? 0 : count - 1;
  if (segment && chunks <= 0) return;
  if (sums_up && (chunks <= 0 || segment == last)) return;
  const uint32_t sums = shared + sl_at_walk_sums;
  // The way back has each chunk once for every query head.
  const int queries = adjoint ? place.queries : 1, turns = chunks * queries;
  const auto own_turn = [&](int n) __attribute__((always_inline)) {
    // A division takes long, and most calls have one query head.
    return queries == 1 ? n : n / queries;
  };
  const auto chunk_of = [&](int n) __attribute__((always_inline)) {
    return first + (adjoint ? chunks - 1 - own_turn(n) : n);
  };
  const auto rows_of = [&](int chunk) __attribute__((always_inline)) {
    return chunk + 1 < all ? 64 : (int)(place.length - 64 * (int64_t)chunk);
  };
  const auto ask_rows = [&](int n, int stage) __attribute__((always_inline)) {
    if (n < turns) {
      const int chunk = chunk_of(n), rows = rows_of(chunk);
      const int64_t query = n - own_turn(n) * queries, tokens = 64 * (int64_t)chunk;
      const int step = adjoint ? place.query_step : place.step;
      const int value_step = adjoint ? place.output_step : place.value_step;
      const int64_t keys =
          tokens * step + (adjoint ? place.query_at + query * place.query_next : place.at);
      const int64_t values =
          tokens * value_step
          + (adjoint ? place.output_at + query * place.output_next : place.value_at);
      const uint32_t to = shared + (uint32_t)stage * sl_walk_stage;
      sl_copy_rows<sl_walk_threads>(to, (adjoint ? t.q : t.k) + keys, step, rows);
      sl_copy_rows<sl_walk_threads>(
          to + sl_tile, (adjoint ? t.d_o : t.v) + values, value_step, rows);
    }
  };
  const auto ask_gates = [&](int n) __attribute__((always_inline)) {
    if (SL_GATED && n < turns) {
      const int chunk = chunk_of(n), rows = rows_of(chunk);
      const uint32_t to = shared + sl_at_walk_gates;
      const float *at = t.gate + place.at + 64 * (int64_t)chunk * place.step
                        + (int64_t)SL_WARP * place.step + 4 * SL_LANE;
#pragma unroll
      for (int m = 0; m < 4; ++m, at += 16 * (int64_t)place.step) {
        const int row = SL_WARP + 16 * m;
        sl_copy_sixteen(
            to + (uint32_t)(512 * row + 16 * SL_LANE), row < rows ? at : t.gate + place.at,
            row < rows);
      }
    }
    sl_copies_commit();
  };

  ask_rows(0, 0);
  ask_gates(0);
  ask_rows(1, 1);
  ask_rows(2, 2);
  // The state, and the decay since the segment's begin, of the thread's keys.
  float state[32], total[2] = {1.0f, 1.0f};
  const int own_row = 64 * group + sl_row(), own_column = 64 * panel + sl_column();
  const int own = own_row * 128 + own_column, in_state = own_row * sl_values + own_column;
  const float *const begin = sums_up ? (const float *)0 : adjoint ? t.d_final : t.initial;
#pragma unroll
  for (int n = 0; n < 32; ++n)
    state[n] =
        begin ? begin[place.state + in_state + (n & 2) * 4 * sl_values + 8 * (n / 4) + (n & 1)]
              : 0.0f;
  if (!sums_up) {
    const int passed = adjoint ? count - 1 - segment : segment;
#pragma unroll 1
    for (int m = 0; m < passed; ++m) {
      const float *const sum =
          t.segments + place.sums
          + (2 * (adjoint ? count - 1 - m : m) + adjoint) * (int64_t)sl_segment_floats;
      const float decay[2] = {sum[16384 + own / 128], sum[16384 + own / 128 + 8]};
#pragma unroll
      for (int n = 0; n < 32; ++n)
        state[n] = sl_fma(
            decay[n / 2 & 1], state[n], sum[own + (n & 2) * 512 + 8 * (n / 4) + (n & 1)]);
    }
  }
  int column = 2 * SL_LANE, stage = 0;
  // Decays of the thread's eight tokens and two keys, and their sums; the chunk's first token stands
  // apart, for its decay is in no half that an anchor bears.
  float x[8][2];
  const uint32_t own_sums = sums + 4 * (uint32_t)key;
  const auto read_decays = [&](int n) __attribute__((always_inline)) {
    const int rows = rows_of(chunk_of(n));
    float sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int m = 0; m < 8; ++m) {
      const int row = 8 * part + m;
      if (SL_GATED)
        sl_load_floats(x[m], shared + sl_at_walk_gates + (uint32_t)(512 * row + 4 * key));
      else
        x[m][0] = x[m][1] = 0.0f;
#pragma unroll
      for (int e = 0; e < 2; ++e)
        x[m][e] = row < rows ? 0x1.715476p0f * maps.log_decay(x[m][e]) : 0.0f;
    }
    if (part == 0) {
      sl_store_floats(own_sums + sl_walk_first, x[0][0], x[0][1]);
      x[0][0] = x[0][1] = 0.0f;
    }
#pragma unroll
    for (int m = 0; m < 8; ++m) sum[0] += x[m][0], sum[1] += x[m][1];
    sl_store_floats(own_sums + 512 * (uint32_t)part, sum[0], sum[1]);
  };
  const auto rest_of = [&](int n) __attribute__((always_inline)) {
    return shared + sl_at_rest + (uint32_t)(n & 1) * sl_tile;
  };
  // Scales a chunk's rows where they lie; whether a half decays by more than its anchor bears.
  const auto scale_rows = [&](uint32_t tile, uint32_t rest) __attribute__((always_inline)) {
    int fails = 0;
    float halves[2][2] = {}, first[2], past[2] = {0.0f, 0.0f};
    if (adjoint || part == 0) sl_load_floats(first, own_sums + sl_walk_first);
    if (adjoint) past[0] = first[0], past[1] = first[1];
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      float sum[2];
      sl_load_floats(sum, own_sums + 512 * w);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        halves[w / 4][e] += sum[e];
        if (adjoint ? w < part : w > part) past[e] += sum[e];
      }
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) fails |= !(halves[0][e] >= -62.0f) | !(halves[1][e] >= -62.0f);
    if (part == 0) {
      const uint32_t to = own_sums + sl_walk_halves;
      sl_store_floats(to, halves[0][0] + first[0], halves[0][1] + first[1]);
      sl_store_floats(to + 512, halves[1][0], halves[1][1]);
    }
    const uint32_t at = tile + (uint32_t)(SL_WARP % 2 * sl_panel + part * 1024);
    uint32_t word[8];
#pragma unroll
    for (int m = 0; m < 8; ++m) word[m] = sl_load_word(at + sl_in_panel(m, column));
#pragma unroll
    for (int step = 0; step < 8; ++step) {
      const int m = adjoint ? step : 7 - step;
      float pair[2];
      sl_pair(pair, word[m], [&](float z) __attribute__((always_inline)) {
        return adjoint ? maps.query(z) : maps.key(z);
      });
      if (adjoint) past[0] += x[m][0], past[1] += x[m][1];
      pair[0] *= sl_power(past[0]);
      pair[1] *= sl_power(past[1]);
      if (!adjoint) past[0] += x[m][0], past[1] += x[m][1];
      const uint32_t whole = sl_pack(pair[0], pair[1]), to = at + sl_in_panel(m, column);
      sl_store_word(to, whole);
      sl_store_word(to - tile + rest, sl_pack(pair[0] - sl_low(whole), pair[1] - sl_high(whole)));
    }
    sl_publish();
    return fails;
  };
  sl_copies_wait(0);
  sl_sync();
  read_decays(0);
  sl_sync();
  ask_gates(1);
  int is_exact = sl_meet_any(0, sl_walk_threads, scale_rows(shared, rest_of(0)));
#pragma unroll 1
  for (int n = 0; n < turns; ++n) {
    const int chunk = chunk_of(n), is_first = n == own_turn(n) * queries;
    const uint32_t tile = shared + (uint32_t)stage * sl_walk_stage;
    // Addresses are made anew for each chunk: kept, they would crowd registers.
    asm volatile("" : "+r"(column));
    const int next = stage == 2 ? 0 : stage + 1;

    // The state as it is at the middle is written; as it is at the end it goes on.
    const int64_t slot = place.slot + chunk * (int64_t)place.slot_step;
    float framed[2], whole[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t from = sums + sl_walk_halves + 4 * (uint32_t)(64 * group + sl_row() + 8 * h);
      const float half[2] = {sl_load_float(from), sl_load_float(from + 512)};
      framed[h] = is_exact ? 1.0f : sl_power(half[adjoint]);
      whole[h] = is_first ? sl_power(half[0] + half[1]) : 1.0f;
      total[h] *= whole[h];
    }
    if (!sums_up && is_first) {
      uint32_t out[16];
#pragma unroll
      for (int m = 0; m < 16; ++m)
        out[m] = sl_pack(framed[m & 1] * state[2 * m], framed[m & 1] * state[2 * m + 1]);
      sl_store_sums(
          shared + sl_at_out + (uint32_t)(panel * (sl_state / 2) + group * sl_panel), out);
      sl_publish();
    }
#pragma unroll
    for (int m = 0; m < 32; ++m) state[m] *= whole[m / 2 & 1];
    sl_products_begin();
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const uint64_t value = sl_operand(tile + sl_tile + (uint32_t)panel * sl_panel, 2048 * s);
      const uint32_t keys = (uint32_t)group * sl_panel;
      sl_product_outer(state, sl_operand(tile + keys, 2048 * s), value);
      sl_product_outer(state, sl_operand(rest_of(n) + keys, 2048 * s), value);
    }
    sl_products_commit();

    // Beside the products the next chunk is prepared; after the last one, what lies there, for nobody.
    sl_copies_wait(0);
    sl_sync();
    if (!sums_up && is_first && SL_THREAD == 0) {
      if (!adjoint) t.exact[slot] = is_exact;
      sl_copy_state_out((adjoint ? t.adjoints : t.states) + slot * sl_state, shared + sl_at_out);
    }
    read_decays(n + 1);
    sl_sync();
    ask_gates(n + 2);
    const int fails = scale_rows(shared + (uint32_t)next * sl_walk_stage, rest_of(n + 1));
    sl_products_wait(0);
    if (!sums_up && SL_THREAD == 0) sl_copied_out();
    // All have multiplied the chunk: its place takes the one after the next two.
    is_exact = sl_meet_any(0, sl_walk_threads, fails);
    ask_rows(n + 3, stage);
    stage = next;
  }
  if (sums_up) {
    float *const sum =
        t.segments + place.sums + (2 * segment + adjoint) * (int64_t)sl_segment_floats;
#pragma unroll
    for (int n = 0; n < 32; ++n) sum[own + (n & 2) * 512 + 8 * (n / 4) + (n & 1)] = state[n];
    if (panel == 0 && SL_LANE % 4 == 0) {
      sum[16384 + own / 128] = total[0];
      sum[16384 + own / 128 + 8] = total[1];
    }
    return;
  }
  if (SL_THREAD == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  float *const end = adjoint && segment == 0 ? t.d_initial : (float *)0;
  if (!end) return;
#pragma unroll
  for (int n = 0; n < 32; ++n)
    end[place.state + in_state + (n & 2) * 4 * sl_values + 8 * (n / 4) + (n & 1)] = state[n];
}

}  // namespace sl_gradients

#endif
