// Walks over chunks of 64 tokens on Hopper, K = 128, 128 values a walk: two warpgroups prepare
// operands, two multiply; a block goes from walk to walk without a pause. `Walks` lists them (where
// their tensors lie, what the recurrence says of q, k and the decay).
//
// A chunk has an anchor, its middle. With a_i the sum of log decays, in base 2, from the anchor to
// token i (negated before the anchor), operands are scaled in place and the state is held as it is
// at the anchor:
//
//     q~_i = q_i 2^{a_i},  k~_i = k_i 2^{-a_i};  U = diag(2^{sum from the last anchor to this}) U
//     P = lower triangle of q~ k~^T;  o = q~ U + P v;  U = U + k~^T v
//
// That is right while no |a_i| is above 62; the decay of the chunk's first token is in no a_i, so a
// reset there passes. A chunk that fails the test goes by factors in [0, 1] alone, which is right for
// every decay. With d_i the decays themselves, S the state before the chunk,
//
//     q^_i = q_i d_1...d_i,  k^_i = k_i d_{i+1}...d_64;  o = q^ S + P v;  S = diag(d_1...d_64) S + k^^T v
//
// and P from the preparing warps: between the two halves of the chunk, of a half, of a quarter, and on
// down to two tokens, as products of operands that are decayed up to the border between them.
#ifndef SL_ANCHORED_CUH
#define SL_ANCHORED_CUH

enum {
  sl_chunk = 64,
  sl_panel = 8192,         // bytes of 64 rows of a panel
  sl_tile = 2 * sl_panel,  // 64 x 128 bf16
  sl_stages = 3,
  sl_stage = 3 * sl_tile,  // q, k, v
  // Places in shared memory.
  sl_at_gates = sl_stages * sl_stage,           // a chunk's decays
  sl_at_state = sl_at_gates + 64 * 128 * 4,     // U in bf16, 128 keys x 64 values twice
  sl_at_scores = sl_at_state + 2 * sl_tile,     // P of the exact form
  sl_at_sums = sl_at_scores + sl_panel,         // of log decays, a chunk's parity and quarter
  sl_at_later = sl_at_sums + 2 * 4 * 512,       // from the anchor on, a chunk's parity
  sl_at_before = sl_at_later + 2 * 512,         // factors of U before the chunk, a stage
  sl_at_after = sl_at_before + sl_stages * 512, // and after it
  sl_at_cursors = sl_at_after + sl_stages * 512,     // which chunks are copied, four in turn
  sl_at_level = sl_at_cursors + 4 * 32,         // 1 for the exact form, a stage
  sl_at_barriers = sl_at_level + 16,
  sl_anchored_bytes = sl_at_barriers + 88,
};

// Barriers: copies have landed, operands are ready, the stage may be filled again; gates landed.
SL_WORD uint32_t sl_landed(uint32_t shared, int stage) { return shared + sl_at_barriers + 8 * stage; }
SL_WORD uint32_t sl_ready(uint32_t shared, int stage) { return sl_landed(shared, stage) + 24; }
SL_WORD uint32_t sl_free(uint32_t shared, int stage) { return sl_landed(shared, stage) + 48; }
SL_WORD uint32_t sl_gates_landed(uint32_t shared) { return sl_landed(shared, 9); }

// Where a walk's head lies. Tokens are counted in a batch row.
typedef struct {
  int head, query_head, value, batch, chunks, begin, length;
  const float *initial;  // state, or NULL for zero
  float *final;          // or NULL
  float *decay;          // the walk's whole decay, for every key; or NULL
  uint16_t *o;
} sl_place;

// The tensors that are copied.
typedef struct {
  const sl_tensor *q, *k, *v, *gates, *o;
} sl_tensors;

// One chunk of a walk; `walk` is negative past the last.
typedef struct {
  int walk, chunk, chunks, token, head, query_head, value, batch;
} sl_cursor;

// ---- Copies, by one thread ----

// The first chunk of this walk or a later one of this block.
template <class Walks>
SL_WORD sl_cursor sl_first(int walk, const Walks walks) {
  for (; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    if (place.chunks == 0) continue;
    const sl_cursor first = {walk, 0, place.chunks, place.begin, place.head, place.query_head,
                             place.value, place.batch};
    return first;
  }
  const sl_cursor none = {-1, 0, 0, 0, 0, 0, 0, 0};
  return none;
}

// The chunk after this one, of this block's walks.
template <class Walks>
SL_WORD sl_cursor sl_next(sl_cursor at, const Walks walks) {
  if (at.walk < 0) return at;
  if (++at.chunk == at.chunks) return sl_first(at.walk + (int)SL_BLOCKS, walks);
  at.token += sl_chunk;
  return at;
}

// Asks for a chunk's q, k and v, when its stage is free.
template <const bool reads>
SL_WORD void sl_copy_operands(
    uint32_t shared, const sl_cursor *cursor, const sl_tensors from, const int stage) {
  const sl_cursor at = *cursor;
  if (at.walk < 0) return;
  const uint32_t to = shared + stage * sl_stage, landed = sl_landed(shared, stage);
  sl_barrier_expect(landed, (reads ? 3 : 2) * sl_tile);
  for (int p = 0; p < 2; ++p) {
    if (reads)
      sl_copy_in(to + p * sl_panel, from.q, landed, 64 * p, at.query_head, at.token, at.batch);
    sl_copy_in(to + sl_tile + p * sl_panel, from.k, landed, 64 * p, at.head, at.token, at.batch);
    sl_copy_in(to + 2 * sl_tile + p * sl_panel, from.v, landed, at.value + 64 * p, at.head,
               at.token, at.batch);
  }
}

// Asks for a chunk's decays, when their place is free.
SL_WORD void sl_copy_gates(uint32_t shared, const sl_cursor *cursor, const sl_tensors from) {
  const sl_cursor at = *cursor;
  if (!SL_GATES_COPIED || at.walk < 0) return;
  sl_barrier_expect(sl_gates_landed(shared), 64 * 128 * 4);
  sl_copy_in(
      shared + sl_at_gates, from.gates, sl_gates_landed(shared), 0, at.head, at.token, at.batch);
}

// Makes the barriers ready and asks for the first chunks; all threads.
template <const bool reads, class Walks>
SL_WORD void sl_anchored_begin(
    uint32_t shared, sl_cursor *const cursors, const Walks walks, const sl_tensors from) {
  // Scores above the diagonal stay zero.
  for (int n = SL_THREAD; n < sl_panel / 4; n += SL_THREADS)
    sl_store_word(shared + sl_at_scores + 4 * (uint32_t)n, 0u);
  sl_publish();
  if (SL_THREAD == 0) {
    for (int stage = 0; stage < sl_stages; ++stage) {
      sl_barrier_init(sl_landed(shared, stage), 1);
      sl_barrier_init(sl_ready(shared, stage), 256);
      sl_barrier_init(sl_free(shared, stage), 8);
    }
    sl_barrier_init(sl_gates_landed(shared), 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    cursors[0] = sl_first((int)SL_BLOCK, walks);
    cursors[1] = sl_next(cursors[0], walks);
    sl_copy_operands<reads>(shared, &cursors[0], from, 0);
    sl_copy_gates(shared, &cursors[0], from);
    sl_copy_operands<reads>(shared, &cursors[1], from, 1);
  }
  sl_sync();
}

// ---- The first two warpgroups: decays, and operands scaled in place ----
// A warp has a quarter of the chunk's tokens and 64 keys, a thread two of them.

// Two bf16 through a map, times so much.
template <class Map>
SL_WORD uint32_t sl_scaled(uint32_t pair, const Map map, const float x, const float y) {
  return sl_pack(map(sl_low(pair)) * x, map(sl_high(pair)) * y);
}

// A lane's pairs of eight rows of a panel and their decays; `at` is the place of its columns in the
// first row, whose number 8 divides, and `decays` that of its keys.
SL_WORD uint32_t sl_row(uint32_t at, const int n) {
  return (at ^ (uint32_t)(n << 4)) + (uint32_t)(128 * n);
}
SL_WORD void sl_load_rows(uint32_t (&x)[8], uint32_t at) {
#pragma unroll
  for (int n = 0; n < 8; ++n) x[n] = sl_load_word(sl_row(at, n));
}
SL_WORD void sl_load_decays(float (&decay)[8][2], uint32_t decays) {
#pragma unroll
  for (int n = 0; n < 8; ++n) sl_load_floats(decay[n], decays + 512 * n);
}
SL_WORD void sl_store_rows(uint32_t at, const uint32_t (&x)[8]) {
#pragma unroll
  for (int n = 0; n < 8; ++n) sl_store_word(sl_row(at, n), x[n]);
}

// Eight queries decayed from the first one on, or eight keys decayed to the end, times `left`, which
// goes on to the eight after or before.
template <class Maps>
SL_WORD void sl_decay_eight(
    uint32_t to, uint32_t from, uint32_t decays, const Maps maps, const bool are_queries,
    float (&left)[2]) {
  const auto query = [&](float x) __attribute__((always_inline)) { return maps.query(x); };
  const auto key = [&](float x) __attribute__((always_inline)) { return maps.key(x); };
  uint32_t x[8];
  float decay[8][2];
  sl_load_rows(x, from);
  sl_load_decays(decay, decays);
  if (are_queries) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      left[0] *= decay[n][0], left[1] *= decay[n][1];
      x[n] = sl_scaled(x[n], query, left[0], left[1]);
    }
  } else {
#pragma unroll
    for (int n = 7; n >= 0; --n) {
      x[n] = sl_scaled(x[n], key, left[0], left[1]);
      left[0] *= decay[n][0], left[1] *= decay[n][1];
    }
  }
  sl_store_rows(to, x);
}

// The same of a quarter.
template <class Maps>
SL_WORD void sl_decay_quarter(
    uint32_t to, uint32_t from, uint32_t decays, const Maps maps, const bool are_queries,
    float left0, float left1) {
  float left[2] = {left0, left1};
#pragma unroll 1
  for (int n = 0; n < 2; ++n) {
    const uint32_t half = are_queries ? n : 1 - n;
    sl_decay_eight(
        to + 1024 * half, from + 1024 * half, decays + 4096 * half, maps, are_queries, left);
  }
}

// sum = products of 16 rows of a tile with 8 rows of another.
SL_WORD void sl_tile_product(
    float (&sum)[4], uint32_t left, const int row, uint32_t right, const int column) {
  int lane = SL_LANE;
  asm volatile("" : "+r"(lane));
  sum[0] = sum[1] = sum[2] = sum[3] = 0.0f;
#pragma unroll
  for (int k = 0; k < 8; k += 2) {
    uint32_t a[4], b[4];
    const uint32_t panel = k / 4 * sl_panel;
    sl_load_matrices(b, right + panel + sl_in_panel(column + lane % 8, k % 4 * 16 + lane / 8 * 8));
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sl_load_matrices(
          a, left + panel + sl_in_panel(row + lane % 16, (k + half) % 4 * 16 + lane / 16 * 8));
      sl_warp_product(sum, a, b[2 * half], b[2 * half + 1]);
    }
  }
}

// Scores of 16 x 8 tokens in bf16.
SL_WORD void sl_write_scores(
    uint32_t scores, const float (&sum)[4], const int row, const int column) {
  int lane = SL_LANE;
  asm volatile("" : "+r"(lane));
#pragma unroll
  for (int e = 0; e < 2; ++e)
    sl_store_word(
        scores + sl_in_panel(row + lane / 4 + 8 * e, column + 2 * (lane % 4)),
        sl_pack(sum[2 * e], sum[2 * e + 1]));
}

// Between the halves, of `half` tokens, of each piece of a quarter: the later half's queries and the
// earlier one's keys, decayed up to the border.
template <const int half, class Maps>
SL_WORD void sl_decay_halves(uint32_t to, uint32_t queries, uint32_t decays, const Maps maps) {
  const auto query = [&](float x) __attribute__((always_inline)) { return maps.query(x); };
  const auto key = [&](float x) __attribute__((always_inline)) { return maps.key(x); };
#pragma unroll 1
  for (int eight = 0; eight < 2; ++eight) {
    uint32_t x[8], at = queries + 1024 * eight;
    float decay[8][2], left[2] = {1.0f, 1.0f};
#pragma unroll
    for (int n = 0; n < 8; ++n) x[n] = sl_load_word(sl_row(at, n) + (n & half ? 0 : sl_tile));
    sl_load_decays(decay, decays + 4096 * eight);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (!(n & half)) continue;
#pragma unroll
      for (int e = 0; e < 2; ++e) left[e] = n % half ? left[e] * decay[n][e] : decay[n][e];
      x[n] = sl_scaled(x[n], query, left[0], left[1]);
    }
#pragma unroll
    for (int n = 7; n >= 0; --n) {
      if (n & half) continue;
#pragma unroll
      for (int e = 0; e < 2; ++e) left[e] = (n + 1) % half ? left[e] * decay[n + 1][e] : 1.0f;
      x[n] = sl_scaled(x[n], key, left[0], left[1]);
    }
    sl_store_rows(to + 1024 * eight, x);
  }
}

// Of the scores of 16 x 8 tokens of a quarter, those between halves of `half` tokens of a piece; of
// each token with itself for 0.
SL_WORD void sl_take_scores(
    float (&sum)[4], uint32_t left, uint32_t right, const int quarter, const int panel,
    const int half) {
  float found[4];
  int lane = SL_LANE;
  asm volatile("" : "+r"(lane));
  sl_tile_product(found, left, 16 * quarter, right, 16 * quarter + 8 * panel);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int i = lane / 4 + n / 2 * 8, j = 8 * panel + 2 * (lane % 4) + n % 2;
    const int apart = i ^ j;
    if (half == 0 ? apart == 0 : i > j && apart >= half && apart < 2 * half) sum[n] = found[n];
  }
}

// A chunk's operands and scores in the exact form. The gates' place takes the decays themselves;
// `tiles` is a stage that is free.
template <const bool reads, class Maps>
SL_WORD void sl_anchored_exact(
    uint32_t shared, uint32_t queries, uint32_t tiles, uint32_t sums, const Maps maps,
    const float (&logarithms)[16][2], const int column, const int panel, const int quarter) {
  float earlier[2] = {0.0f, 0.0f}, later[2] = {0.0f, 0.0f}, beside[2] = {1.0f, 1.0f};
  const uint32_t decays =
      shared + sl_at_gates + 512 * 16 * quarter + 4 * (uint32_t)(64 * panel + column);
#pragma unroll
  for (int n = 0; n < 16; ++n)
    sl_store_floats(decays + 512 * n, sl_power(logarithms[n][0]), sl_power(logarithms[n][1]));
#pragma unroll
  for (int e = 0; e < 2; ++e)
#pragma unroll
    for (int other = 0; other < 4; ++other) {
      const float sum = sl_load_float(sums + 512 * other + 4 * e);
      if (other < quarter) earlier[e] += sum;
      if (other > quarter) later[e] += sum;
      if (quarter == 3 * (other - 1)) beside[e] = sl_power(sum);
    }
  queries += sl_in_panel(0, column);
  if (reads) {
    const uint32_t own = (uint32_t)(panel * sl_panel + 2048 * quarter) + sl_in_panel(0, column);
    const uint32_t scores = shared + sl_at_scores;
    const uint32_t one = tiles, two = one + sl_tile, three = two + sl_tile;
    // Decayed up to the border between the halves, to that within a half, and within a quarter.
    sl_decay_quarter(
        one + own, queries + (quarter >= 2 ? 0 : sl_tile), decays, maps, quarter >= 2, beside[0],
        beside[1]);
    sl_decay_quarter(
        two + own, queries + (quarter % 2 ? 0 : sl_tile), decays, maps, quarter % 2, 1.0f, 1.0f);
#pragma unroll 1
    for (int eight = 0; eight < 2; ++eight) {
      float left[2] = {1.0f, 1.0f};
      sl_decay_eight(
          three + own + 1024 * eight, queries + (eight ? 1024 : sl_tile), decays + 4096 * eight, maps,
          eight, left);
    }
    sl_meet(2, 256);
    const int warp = 2 * quarter + panel;
    float sum[4];
    int row = 32 + warp / 4 * 16, across = warp % 4 * 8;
    sl_tile_product(sum, one, row, one, across);
    sl_write_scores(scores, sum, row, across);
    if (warp < 4) {
      row = 16 + warp / 2 * 32, across = warp / 2 * 32 + warp % 2 * 8;
      sl_tile_product(sum, two, row, two, across);
      sl_write_scores(scores, sum, row, across);
    }
    sum[0] = sum[1] = sum[2] = sum[3] = 0.0f;
    sl_take_scores(sum, three, three, quarter, panel, 8);
    // From here on a tile has the quarter's rows of two warps alone.
    sl_meet(2, 256);
    sl_decay_halves<4>(one + own, queries, decays, maps);
    sl_decay_halves<2>(two + own, queries, decays, maps);
    sl_decay_halves<1>(three + own, queries, decays, maps);
    sl_meet(4 + quarter, 64);
    sl_take_scores(sum, one, one, quarter, panel, 4);
    sl_take_scores(sum, two, two, quarter, panel, 2);
    sl_take_scores(sum, three, three, quarter, panel, 1);
    sl_meet(4 + quarter, 64);
#pragma unroll 1
    for (uint32_t n = 0; n < 4; ++n) {
      // Queries, then keys, eight rows of each at a time, as they are.
      const auto query = [&](float x) __attribute__((always_inline)) { return maps.query(x); };
      const auto key = [&](float x) __attribute__((always_inline)) { return maps.key(x); };
      const uint32_t at = n / 2 * sl_tile + n % 2 * 1024;
      uint32_t x[8];
      sl_load_rows(x, queries + at);
#pragma unroll
      for (int m = 0; m < 8; ++m)
        x[m] = n < 2 ? sl_scaled(x[m], query, 1.0f, 1.0f) : sl_scaled(x[m], key, 1.0f, 1.0f);
      sl_store_rows(one + own + at, x);
    }
    sl_meet(4 + quarter, 64);
    sl_take_scores(sum, one, two, quarter, panel, 0);
    sl_write_scores(scores, sum, 16 * quarter, 16 * quarter + 8 * panel);
    sl_decay_quarter(
        queries, queries, decays, maps, true, sl_power(earlier[0]), sl_power(earlier[1]));
  }
  sl_decay_quarter(
      queries + sl_tile, queries + sl_tile, decays, maps, false, sl_power(later[0]),
      sl_power(later[1]));
  // Copies may come to the gates' place and to the tiles.
  sl_publish();
  sl_meet(2, 256);
}

// A chunk's operands about its middle; the sum `a` belongs to token 0 of the quarter.
template <const bool reads, class Maps>
SL_WORD void sl_anchored_scaled(
    uint32_t queries, const Maps maps, const float (&decay)[16][2], float (&a)[2],
    const int column) {
  const uint32_t keys = queries + sl_tile;
  const auto query = [&](float x) __attribute__((always_inline)) { return maps.query(x); };
  const auto key = [&](float x) __attribute__((always_inline)) { return maps.key(x); };
#pragma unroll
  for (int from = 0; from < 16; from += 8) {
    uint32_t q[8], k[8];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (reads) q[n] = sl_load_word(queries + sl_in_panel(from + n, column));
      k[n] = sl_load_word(keys + sl_in_panel(from + n, column));
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (from + n > 0) a[0] += decay[from + n][0], a[1] += decay[from + n][1];
      if (reads) q[n] = sl_scaled(q[n], query, sl_power(a[0]), sl_power(a[1]));
      k[n] = sl_scaled(k[n], key, sl_power(-a[0]), sl_power(-a[1]));
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (reads) sl_store_word(queries + sl_in_panel(from + n, column), q[n]);
      sl_store_word(keys + sl_in_panel(from + n, column), k[n]);
    }
  }
}

template <const bool reads, class Walks>
SL_WORD void sl_anchored_prepare(
    uint32_t shared, sl_cursor *const cursors, const Walks walks, const sl_tensors from) {
  const int panel = sl_uniform(SL_WARP % 2), quarter = sl_uniform(SL_WARP / 2);
  int column = 2 * SL_LANE;
  int n = 0, stage = 0;
  int owed = 0;       // whether a chunk's operands have yet to be asked for
  uint32_t turn = 0;  // the parity of the stage's use
  int begun = (int)SL_BLOCK;
  // The roles' first steps are alike; they are not to be made one before they part.
  asm volatile("" : "+r"(begun));
#pragma unroll 1
  for (int walk = begun; walk < walks.count(); walk += (int)SL_BLOCKS) {
    sl_place place = walks.at(walk);
    place.begin = sl_uniform(place.begin);
    place.length = sl_uniform(place.length);
    const auto maps = walks.maps(place);
#pragma unroll 1
    for (int done = 0; done < place.length; done += sl_chunk) {
      const int rows = place.length - done < sl_chunk ? place.length - done : sl_chunk;
      // Addresses are made anew for each chunk: kept, they would crowd the decays out of registers.
      asm volatile("" : "+r"(column));
      const int key = 64 * panel + column, first = 16 * quarter;
      const uint32_t queries = shared + stage * sl_stage + panel * sl_panel + first * 128;
      const uint32_t sums = shared + sl_at_sums + 2048 * (n & 1) + 4 * (uint32_t)key;
      float decay[16][2], whole[2] = {0.0f, 0.0f}, first_decay[2];
      if (SL_GATES_COPIED) sl_barrier_wait(sl_gates_landed(shared), n & 1);
      maps.logarithms(
          decay, shared + sl_at_gates, place.begin + done, first, key, rows - first);
      int fails = 0;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
#pragma unroll
        for (int m = 1; m < 16; ++m) whole[e] += decay[m][e];
        // A quarter may take half of what a half may: 62.
        const float inner = quarter == 0 ? whole[e] : whole[e] + decay[0][e];
        fails |= !(inner >= -31.0f);
        first_decay[e] = decay[0][e];
        sl_store_word(sums + 512 * quarter + 4 * e, SL_BITS(whole[e] + first_decay[e]));
      }
      const int is_exact = sl_uniform(sl_meet_any(1, 256, fails));
      const int last = stage == 0 ? sl_stages - 1 : stage - 1;
      const int next = stage == sl_stages - 1 ? 0 : stage + 1;
      const uint32_t last_turn = stage == 0 ? turn ^ 1 : turn;
      const uint32_t next_turn = next == 0 ? turn : turn ^ 1;
      if (SL_THREAD == 0) {
        if (!is_exact) sl_copy_gates(shared, &cursors[(n + 1) & 3], from);
        if (owed && sl_barrier_is_over(sl_free(shared, next), next_turn)) {
          sl_copy_operands<reads>(shared, &cursors[(n + 1) & 3], from, next);
          owed = 0;
        }
      }
      sl_barrier_wait(sl_landed(shared, stage), turn);
      // Past the walk's end lies another sequence, or nothing: no value of it may be multiplied by 0.
      if (rows < sl_chunk)
        for (int row = 0; row < 16; ++row)
          if (first + row >= rows)
            for (uint32_t tile = 0; tile < 3; ++tile)
              sl_store_word(queries + tile * sl_tile + sl_in_panel(row, column), 0u);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint32_t later = shared + sl_at_later + 4 * (uint32_t)(key + e);
        if (quarter == 0) {
          float sum = done == 0 ? 0.0f : sl_load_float(later + 512 * (~n & 1));
          if (!is_exact)
            sum += sl_load_float(sums + 4 * e) + sl_load_float(sums + 512 + 4 * e);
          sl_store_word(
              shared + sl_at_before + 512 * stage + 4 * (uint32_t)(key + e),
              SL_BITS(sl_power(sum)));
        }
        if (quarter == 3) {
          const float sum = sl_load_float(sums + 1024 + 4 * e) + sl_load_float(sums + 1536 + 4 * e);
          float all = sum;
          if (is_exact) all += sl_load_float(sums + 4 * e) + sl_load_float(sums + 512 + 4 * e);
          sl_store_word(
              shared + sl_at_after + 512 * stage + 4 * (uint32_t)(key + e),
              SL_BITS(sl_power(all)));
          sl_store_word(later + 512 * (n & 1), SL_BITS(is_exact ? 0.0f : sum));
        }
      }
      if (is_exact) {
        // The last chunk's scores have been used, and its stage is not asked for yet.
        if (n > 0) sl_barrier_wait(sl_free(shared, last), last_turn);
        sl_anchored_exact<reads>(
            shared, queries, shared + last * sl_stage, sums, maps, decay, column, panel, quarter);
        if (SL_THREAD == 0) sl_copy_gates(shared, &cursors[(n + 1) & 3], from);
      } else {
        float a[2];
#pragma unroll
        for (int e = 0; e < 2; ++e)
          a[e] = quarter == 0   ? -(whole[e] + sl_load_float(sums + 512 + 4 * e))
                 : quarter == 1 ? -whole[e]
                 : quarter == 2 ? first_decay[e]
                                : first_decay[e] + sl_load_float(sums + 1024 + 4 * e);
        sl_anchored_scaled<reads>(queries, maps, decay, a, column);
      }
      if (SL_THREAD == 0)
        sl_store_word(shared + sl_at_level + 4 * stage, (uint32_t)(is_exact ? 1 : 0));
      sl_publish();
      sl_barrier_arrive(sl_ready(shared, stage));
      if (SL_THREAD == 0) {
        // The next chunk is asked for at the latest; the one after it where that needs no waiting.
        if (owed) {
          sl_barrier_wait(sl_free(shared, next), next_turn);
          sl_copy_operands<reads>(shared, &cursors[(n + 1) & 3], from, next);
        }
        cursors[(n + 2) & 3] = sl_next(cursors[(n + 1) & 3], walks);
        owed = n > 0 && !sl_barrier_is_over(sl_free(shared, last), last_turn);
        if (!owed) sl_copy_operands<reads>(shared, &cursors[(n + 2) & 3], from, last);
      }
      ++n;
      if (++stage == sl_stages) stage = 0, turn ^= 1;
    }
  }
}

// ---- The other warpgroups: 64 values each; the state in registers ----
// u[m] holds keys 64 m + 16 w + l / 4 and 8 more.

// Sums in bf16, where products or copies find them: rows 16 w on of a panel.
SL_WORD void sl_anchored_hold(const float (&sum)[32], uint32_t panel, uint32_t lane_row, int lane) {
#pragma unroll
  for (int j = 0; j < 8; j += 2)
    sl_store_matrices(
        panel + lane_row * 128 + (((uint32_t)(j + lane / 16) ^ (lane_row & 7)) << 4),
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

// Bytes to a number of 64 rows of 64 floats, exchanged so that rows and columns find all banks.
SL_WORD uint32_t sl_in_rows(int row, int column) {
  return (uint32_t)(row * 256 + ((column * 4) ^ ((row & 7) << 5)));
}

// U = diag(factor) U; `total` keeps the product of factors.
template <const bool reads>
SL_WORD void sl_anchored_scale(float (&u)[2][32], float (&total)[4], uint32_t factors, int row) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float factor = sl_load_float(factors + 4 * (uint32_t)(64 * m + row + 8 * e));
      if (!reads) total[2 * m + e] *= factor;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        u[m][4 * j + 2 * e] *= factor;
        u[m][4 * j + 2 * e + 1] *= factor;
      }
    }
}

// sum = q~ U
SL_WORD void sl_anchored_read(float (&sum)[32], uint32_t at, uint32_t held) {
#pragma unroll
  for (int k = 0; k < 8; ++k)
    sl_product_across(
        sum, sl_operand(at, k / 4 * sl_panel + k % 4 * 32), sl_operand(held, k * 2048), k > 0);
}

// p = q~ k~^T
SL_WORD void sl_anchored_scores(float (&p)[32], uint32_t at) {
#pragma unroll
  for (int k = 0; k < 8; ++k)
    sl_product_rows(
        p, sl_operand(at, k / 4 * sl_panel + k % 4 * 32),
        sl_operand(at, sl_tile + k / 4 * sl_panel + k % 4 * 32), k > 0);
}

// U += k~^T v
SL_WORD void sl_anchored_update(float (&u)[2][32], uint32_t at, uint32_t values) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      sl_product_outer(
          u[m], sl_operand(at, sl_tile + m * sl_panel + k * 2048), sl_operand(values, k * 2048));
}

// sum += P v for 16 tokens' values: the scores up to the row's own token, `after` the thread's first
// column, in bf16, and what that leaves.
SL_WORD void sl_anchored_weigh(
    float (&sum)[32], const float *p, uint32_t values, const int after, const int from) {
  uint32_t weights[4], rest[4];
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int own = from + 8 * j - 8 * e;
      const float x = own <= after ? p[4 * j + 2 * e] : 0.0f;
      const float y = own < after ? p[4 * j + 2 * e + 1] : 0.0f;
      const uint32_t pair = sl_pack(x, y);
      weights[2 * j + e] = pair;
      rest[2 * j + e] = sl_pack(x - sl_low(pair), y - sl_high(pair));
    }
  sl_products_begin();
  sl_product_held(sum, weights, sl_operand(values, 128 * from));
  sl_product_held(sum, rest, sl_operand(values, 128 * from));
}

template <const bool reads, class Walks>
SL_WORD void sl_anchored_multiply(
    uint32_t shared, const Walks walks, const sl_tensors from, const int own) {
  int lane = SL_LANE, warp = SL_WARP % 4, thread = SL_THREAD % 128;
  asm volatile("" : "+r"(lane), "+r"(warp), "+r"(thread));
  int row = 16 * warp + lane / 4, column = 2 * (lane % 4);
  uint32_t lane_row = (uint32_t)(16 * warp + lane % 16), held = shared + sl_at_state + own * sl_tile;
  int stage = 0;
  uint32_t turn = 0;
  int begun = (int)SL_BLOCK;
  // The roles' first steps are alike; they are not to be made one before they part.
  asm volatile("" : "+r"(begun));
#pragma unroll 1
  for (int walk = begun; walk < walks.count(); walk += (int)SL_BLOCKS) {
    sl_place place = walks.at(walk);
    place.begin = sl_uniform(place.begin);
    const int length = sl_uniform(place.length);
    float u[2][32], total[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    asm volatile("" : "+r"(row), "+r"(column));
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 32; ++n)
        u[m][n] = place.initial
                      ? place.initial[(64 * m + row + n / 2 % 2 * 8) * walks.state_row + 64 * own +
                                      column + n / 4 * 8 + n % 2]
                      : 0.0f;
#pragma unroll 1
    for (int done = 0; done < length; done += sl_chunk) {
      const uint32_t at = shared + stage * sl_stage, values = at + 2 * sl_tile + own * sl_panel;
      const uint32_t after = shared + sl_at_after + 512 * stage;
      sl_barrier_wait(sl_ready(shared, stage), turn);
      const int is_exact = sl_uniform((int)sl_load_word(shared + sl_at_level + 4 * stage));
      // Addresses are made anew for each chunk: kept, they would crowd the sums out of registers.
      asm volatile("" : "+r"(row), "+r"(column), "+r"(lane_row));
      const uint32_t staged = held + sl_panel;
      sl_anchored_scale<reads>(u, total, shared + sl_at_before + 512 * stage, row);
      float sum[32];
      if (reads) {
        sl_anchored_hold(u[0], held, lane_row, lane);
        // What was staged for the last chunk has been copied out before it is overwritten.
        if (thread == 0) sl_copied_out();
        sl_meet(8 + own, 128);
        sl_anchored_hold(u[1], staged, lane_row, lane);
        sl_publish();
        sl_meet(8 + own, 128);
      }
      if (is_exact) {
        if (reads) {
          sl_products_begin();
          sl_anchored_read(sum, at, held);
#pragma unroll
          for (int k = 0; k < 4; ++k)
            sl_product_across(
                sum, sl_operand(shared, sl_at_scores + 32 * k), sl_operand(values, k * 2048), 1);
          sl_products_end();
        }
        sl_anchored_scale<reads>(u, total, after, row);
        sl_products_begin();
        sl_anchored_update(u, at, values);
        sl_products_end();
      } else {
        sl_products_begin();
        if (reads) {
          float p[32];
          sl_anchored_scores(p, at);
          sl_products_commit();
          sl_anchored_read(sum, at, held);
          sl_products_commit();
          sl_products_wait(1);
          // Asked of the lane itself, lest all comparisons be made early and kept.
          const int after = sl_own(row - column);
#pragma unroll
          for (int k = 0; k < 4; ++k) sl_anchored_weigh(sum, &p[8 * k], values, after, 16 * k);
          sl_products_commit();
        }
        sl_anchored_update(u, at, values);
        sl_products_end();
      }
      if (reads) {
        sl_meet(8 + own, 128);
        sl_anchored_hold(sum, staged, lane_row, lane);
        sl_publish();
      }
      // At the end of the walk the state is wanted as it is there.
      if (done + sl_chunk >= length && !is_exact) sl_anchored_scale<reads>(u, total, after, row);
      // One lane speaks for the reads of all.
      sl_meet_warp();
      if (lane == 0) sl_barrier_arrive(sl_free(shared, stage));
      if (reads) {
        sl_meet(8 + own, 128);
        const int rows = length - done;
        if (rows >= sl_chunk) {
          if (thread == 0)
            sl_copy_out(from.o, staged, place.value + 64 * own, place.query_head,
                        place.begin + done, place.batch);
        } else {
          for (int n = thread; n < 32 * rows; n += 128)
            *(uint32_t *)(place.o + (done + n / 32) * walks.o_token + 64 * own + n % 32 * 2) =
                sl_load_word(staged + sl_in_panel(n / 32, n % 32 * 2));
        }
      }
      if (++stage == sl_stages) stage = 0, turn ^= 1;
    }
    // Made anew, not kept all the while.
    asm volatile("" : "+r"(row), "+r"(column), "+r"(thread), "+r"(lane));
    const sl_place ended = walks.at(walk);
    if (ended.final) {
      // Half of the keys at a time through the place of U, so that whole rows are written.
      if (reads && thread == 0) sl_copied_out();
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        sl_meet(8 + own, 128);
#pragma unroll
        for (int j = 0; j < 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            sl_store_floats(
                held + sl_in_rows(row + 8 * e, 8 * j + column), u[m][4 * j + 2 * e],
                u[m][4 * j + 2 * e + 1]);
        sl_meet(8 + own, 128);
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const int key = 8 * n + thread / 16, value = thread % 16 * 4;
          float x[4];
          sl_load_four(x, held + sl_in_rows(key, value));
          sl_write_four(ended.final + (64 * m + key) * walks.state_row + 64 * own + value, x);
        }
      }
      if (!reads && ended.decay && own == 0 && lane % 4 == 0)
#pragma unroll
        for (int m = 0; m < 4; ++m) ended.decay[64 * (m / 2) + row + 8 * (m % 2)] = total[m];
      // The next walk's products find U here.
      sl_meet(8 + own, 128);
    }
  }
  if (reads && thread == 0) sl_copied_out();
}

// ---- All walks of a phase ----

template <const bool reads, class Walks>
SL_WORD void sl_anchored(const Walks walks, const sl_tensors from) {
  SL_SHARED scratch[];
  const uint32_t shared = sl_address(scratch);
  sl_cursor *const cursors = (sl_cursor *)(scratch + sl_at_cursors);
  sl_anchored_begin<reads>(shared, cursors, walks, from);
  if (SL_WARP < 8) {
    sl_give_registers(80);
    sl_anchored_prepare<reads>(shared, cursors, walks, from);
  } else {
    sl_take_registers(176);
    sl_anchored_multiply<reads>(shared, walks, from, sl_uniform(SL_WARP / 4) - 2);
  }
}

// The states before segments, and after the last, from what they add and their decays: one number a
// thread. Those of a segment lie a step from the last one's; at most `most` segments.
template <const int most>
SL_WORD void sl_anchored_combine(
    float *const added, const float *const decays, const int segments, const int64_t added_step,
    const int64_t decay_step, const float *const initial, float *const final) {
  float own[most], decay[most], state = initial ? *initial : 0.0f;
#pragma unroll
  for (int j = 0; j < most; ++j) {
    own[j] = j < segments ? added[j * added_step] : 0.0f;
    decay[j] = j < segments && decays ? decays[j * decay_step] : 1.0f;
  }
#pragma unroll
  for (int j = 0; j < most; ++j) {
    if (j < segments) added[j * added_step] = state;
    state = SL_FMA(decay[j], state, own[j]);
  }
  if (final) *final = state;
}

#endif
