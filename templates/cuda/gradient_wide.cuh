// The second kernel where a head's state has several tiles, or several query heads: a block has one
// chunk of one head, and goes over its key tiles and query heads one by one, and for each over the
// values, 64 at a time, which copies bring two steps ahead. What gradient.cuh says, with four
// warpgroups: two have 64 keys each,
//
//     dq~ += dO S~^T    dk~ += v dS~^T    and at the end dP k~ and dP^T q~
//
// and two have 32 of the 64 values each, with P beside the steps, in two parts:
//
//     dv = P^T dO + k~ dS~    dP += dO v^T
//
// The row sums of S dS are added up by all on the way. dS is of all query heads together: the first
// one has it, and it is zero for the others. dv is a sum over key tiles and query heads, and dk and
// the gate's adjoint over query heads: the block's own threads keep them in f32 in between.
#ifndef SL_GRADIENT_WIDE_CUH
#define SL_GRADIENT_WIDE_CUH

namespace sl_gradients {

enum {
  sl_wide_threads = 512,
  sl_wide_steps = 2 * sl_value_tiles,
  // A step's v, dO, S~ and dS~.
  sl_wide_step = 2 * sl_panel + sl_state,
  // Places in shared memory: q~ and k~; three steps, and at the end tables of dq~ and dk~ in the
  // first two's place; dP, in two parts; sums.
  sl_at_steps = 2 * sl_tile,
  sl_at_pairs = sl_at_steps + 3 * sl_wide_step,
  sl_at_wide_scores = sl_at_pairs + 2 * sl_panel,  // P^T, in two parts too
  sl_at_wide_sums = sl_at_wide_scores + 2 * sl_panel,  // of log decays of eight tokens and the first one
  sl_at_wide_shares = sl_at_wide_sums + 9 * 512,
  sl_at_wide_whole = sl_at_wide_shares + 2 * 4 * 256,
  sl_at_wide_own = sl_at_wide_whole + 512,
  sl_at_wide_rows = sl_at_wide_own + sl_chunk_bytes,
  sl_rows_bytes = 64,
  sl_wide_bytes = sl_at_wide_rows + sl_rows_bytes,
};

// Where a chunk's other rows lie: of v, and of each query head's q and output.
typedef struct {
  int64_t value, query, output, query_next, output_next;
  int value_step, query_step, output_step, queries;
} sl_rows;

SL_WORD void sl_leave_rows(uint32_t to, const sl_place place, int chunk) {
  const int64_t tokens = 64 * (int64_t)chunk;
  const int64_t numbers[] = {
      place.value_at + tokens * place.value_step, place.query_at + tokens * place.query_step,
      place.output_at + tokens * place.output_step, place.query_next, place.output_next};
  for (int n = 0; n < 5; ++n) {
    sl_store_word(to + 8 * n, (uint32_t)numbers[n]);
    sl_store_word(to + 8 * n + 4, (uint32_t)(numbers[n] >> 32));
  }
  const int others[] = {place.value_step, place.query_step, place.output_step, place.queries};
  for (int n = 0; n < 4; ++n) sl_store_word(to + 40 + 4 * n, (uint32_t)others[n]);
}
SL_WORD sl_rows sl_rows_of(uint32_t from) {
  const auto number = [&](int n) __attribute__((always_inline)) {
    int64_t x;
    asm volatile("ld.shared.b64 %0, [%1];" : "=l"(x) : "r"(from + 8 * n));
    return x;
  };
  const auto other = [&](int n) __attribute__((always_inline)) {
    return (int)sl_load_word(from + 40 + 4 * n);
  };
  const sl_rows rows = {number(0), number(1), number(2), number(3), number(4),
                        other(0),  other(1),  other(2),  other(3)};
  return rows;
}

// A key tile and a query head, of so many.
typedef struct {
  int tile, query, queries;
} sl_turn;
SL_WORD int sl_is_first(const sl_turn turn) { return turn.tile + turn.query == 0; }
SL_WORD int sl_is_last(const sl_turn turn) {
  return turn.tile + 1 == sl_key_tiles && turn.query + 1 == turn.queries;
}

// Whether a chunk leaves the range of one anchor in any of its key tiles: it is one kernel's as a whole.
SL_WORD int sl_any_exact(const int32_t *tiles) {
  int any = 0;
#pragma unroll
  for (int n = 0; n < sl_key_tiles; ++n) any |= tiles[n * sl_value_tiles];
  return any;
}

// sum += a b over 16 with 32 columns, `a` in registers.
SL_WORD void sl_product_held(float (&sum)[16], const uint32_t *a, uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
               "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
               "{%16, %17, %18, %19}, %20, 1, 1, 1, 1;"
               : SL_SUMS_8(sum, 0), SL_SUMS_8(sum, 8)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// What is kept of a chunk between turns: its rows of dv, then of dk.
enum { sl_partial_floats = 64 * (sl_values + 128 * sl_key_tiles) };
SL_WORD float *sl_partial_of(const sl_tensors t, int64_t slot) {
  return t.partial + slot / sl_state_tiles * sl_partial_floats;
}

// A thread's rows of dv for 32 values from `column` on: what earlier turns left.
SL_WORD void sl_read_partial(
    float (&x)[16], const sl_tensors t, int64_t slot, const sl_turn turn, const int column) {
  const float *const at =
      sl_partial_of(t, slot) + sl_row() * sl_values + column + sl_column();
  const int there = !sl_is_first(turn);
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    float pair[2];
    sl_read_pair(pair, at + (n & 2) * 4 * sl_values + 8 * (n / 4), there);
    x[n] = pair[0], x[n + 1] = pair[1];
  }
}
// The sum to there, or, of all turns, to dv.
SL_WORD void sl_write_values(
    const sl_tensors t, const sl_chunk own, const sl_rows rows, const sl_turn turn,
    const int column, const float (&x)[16]) {
  const int step = rows.value_step, is_last = sl_is_last(turn);
  float *const partial =
      sl_partial_of(t, own.slot) + sl_row() * sl_values + column + sl_column();
  uint16_t *const to = t.d_v + rows.value + (int64_t)sl_row() * step + column + sl_column();
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const float pair[2] = {x[n], x[n + 1]};
    if (!is_last)
      sl_write_pair(partial + (n & 2) * 4 * sl_values + 8 * (n / 4), pair, 1);
    else
      sl_write_word(
          to + (n & 2) * 4 * (int64_t)step + 8 * (n / 4), sl_pack(x[n], x[n + 1]),
          sl_row() + (n & 2) * 4 < own.rows);
  }
}

// What 64 values add to the row sums of the products of two states: eight lanes have a key, and 64
// keys on another one.
SL_WORD void sl_add_row_sums(float (&sum)[2], uint32_t state, uint32_t adjoint) {
  const uint32_t own = (uint32_t)(16 * sl_fresh(SL_THREAD));
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    float x[4], y[4];
    sl_load_four(x, state + own + (uint32_t)(n * sl_panel));
    sl_load_four(y, adjoint + own + (uint32_t)(n * sl_panel));
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const uint32_t a = SL_BITS(x[m]), b = SL_BITS(y[m]);
      sum[n] = sl_fma(sl_high(a), sl_high(b), sl_fma(sl_low(a), sl_low(b), sum[n]));
    }
  }
}
SL_WORD void sl_leave_row_sums(uint32_t to, float (&sum)[2]) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int lanes = 1; lanes < 8; lanes *= 2) sum[n] += sl_of_partner(sum[n], lanes);
    if (SL_THREAD % 8 == 0)
      sl_store_word(to + (uint32_t)(256 * n + 4 * (SL_THREAD / 8)), SL_BITS(sum[n]));
  }
}

// Asks for a step of a turn.
SL_WORD void sl_ask_step(uint32_t shared, const sl_tensors t, const sl_turn turn, const int n) {
  const uint32_t from = shared + sl_at_wide_own;
  const sl_rows rows = sl_rows_of(shared + sl_at_wide_rows);
  const uint32_t to = shared + sl_at_steps + (uint32_t)(n % 3 * sl_wide_step);
  const int thread = sl_fresh(SL_THREAD), row = thread / 8, piece = thread % 8;
  const int there = row < sl_rows_left(from);
  const int column = 64 * n + 8 * piece;
  const int64_t value = rows.value + (int64_t)row * rows.value_step + column;
  const int64_t output = rows.output + turn.query * rows.output_next
                         + (int64_t)row * rows.output_step + column;
  const uint32_t at = to + sl_in_panel(row, 8 * piece);
  sl_copy_sixteen(at, t.v + (there ? value : 0), there);
  sl_copy_sixteen(at + sl_panel, t.d_o + (there ? output : 0), there);
  const int64_t state =
      (sl_chunk_left(from).slot + turn.tile * sl_value_tiles + n / 2) * sl_state
      + n % 2 * (sl_state / 2) + 16 * thread;
#pragma unroll
  for (int m = 0; m < sl_state / 2; m += 16 * sl_wide_threads) {
    sl_copy_sixteen(to + (uint32_t)(2 * sl_panel + 16 * thread + m), t.states + state + m, 1);
    sl_copy_sixteen(
        to + (uint32_t)(2 * sl_panel + sl_state / 2 + 16 * thread + m), t.adjoints + state + m,
        turn.query == 0);
  }
}

// Where step n lies once all may read it; the one after the next is asked for.
SL_WORD uint32_t sl_next_step(
    uint32_t shared, const sl_tensors t, const sl_turn turn, const int n) {
  sl_copies_wait(1);
  sl_publish();
  sl_sync();
  if (n + 2 < sl_wide_steps) sl_ask_step(shared, t, turn, n + 2);
  sl_copies_commit();
  return shared + sl_at_steps + (uint32_t)(n % 3 * sl_wide_step);
}

// What a warpgroup adds up, in the same registers whichever it is: with keys, dq~ and dk~ of 64 keys; with
// values, dP of half of the tokens, and a step's rows of dv. All warpgroups go through one loop, so that
// they meet at one place of the code.
typedef struct {
  float of_query[32], of_key[32];
} sl_held;
SL_WORD float (&sl_held_pairs(sl_held &held))[16] { return *(float(*)[16])held.of_query; }
SL_WORD float (&sl_held_values(sl_held &held))[16] { return *(float(*)[16])held.of_key; }

// With values: the scores to their place, rounded by one warpgroup, and what that leaves by the other one.
SL_WORD void sl_leave_scores(uint32_t shared) {
  const uint32_t q = shared, k = q + sl_tile, scores_at = shared + sl_at_wide_scores;
  float scores[32];
  uint32_t operand[16], rest[16];
  sl_products_begin();
  sl_rows_by_rows(scores, k, sl_panel, q, sl_panel);
  sl_products_end();
  sl_keep_past<true>(scores);
  sl_in_two_parts(operand, rest, scores);
  if (sl_group() == 2) sl_store_sums(scores_at, operand);
  else sl_store_sums(scores_at + sl_panel, rest);
}

// A step of a warpgroup with keys.
SL_WORD void sl_step_of_keys(sl_held &held, float (&sums)[2], uint32_t v) {
  const uint32_t own_panel = (uint32_t)sl_uniform(sl_fresh(SL_THREAD) / 128) * sl_panel;
  const uint32_t d_o = v + sl_panel, state = d_o + sl_panel, adjoint = state + sl_state / 2;
  sl_products_begin();
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    ::sl_product_rows(
        held.of_query, sl_operand(d_o, 32 * s), sl_operand(state + own_panel, 32 * s), 1);
    ::sl_product_rows(
        held.of_key, sl_operand(v, 32 * s), sl_operand(adjoint + own_panel, 32 * s), 1);
  }
  sl_products_commit();
  if (SL_GATED) sl_add_row_sums(sums, state, adjoint);
  sl_products_wait(0);
}

// A step of a warpgroup with values: their rows of dv, and dP.
SL_WORD void sl_step_of_values(
    sl_held &held, float (&sums)[2], uint32_t shared, uint32_t v, const sl_tensors t,
    const sl_turn turn, const int n) {
  const int half = sl_uniform(sl_fresh(SL_THREAD) / 128) - 2, column = 64 * n + 32 * half;
  const uint32_t k = shared + sl_tile, columns = 64 * (uint32_t)half;  // bytes
  const uint32_t d_o = v + sl_panel, state = d_o + sl_panel, adjoint = state + sl_state / 2;
  float(&value)[16] = sl_held_values(held), (&pairs)[16] = sl_held_pairs(held);
  const uint32_t scores = shared + sl_at_wide_scores;
  sl_read_partial(value, t, sl_chunk_left(shared + sl_at_wide_own).slot, turn, column);
  sl_products_begin();
#pragma unroll
  for (int s = 0; s < 8; ++s)
    sl_product<0, 1>(
        value, sl_operand(k, s / 4 * sl_panel + 32 * (s % 4)),
        sl_operand(adjoint + columns, 2048 * s), 1);
#pragma unroll
  for (int s = 0; s < 4; ++s) {
#pragma unroll
    for (int part = 0; part < 2; ++part)
      sl_product<0, 1>(
          value, sl_operand(scores, part * sl_panel + 32 * s), sl_operand(d_o + columns, 2048 * s),
          1);
    sl_product<0, 0>(
        pairs, sl_operand(d_o, 32 * s), sl_operand(v + 4096 * (uint32_t)half, 32 * s), 1);
  }
  sl_products_commit();
  if (SL_GATED) sl_add_row_sums(sums, state, adjoint);
  sl_products_wait(0);
  sl_write_values(
      t, sl_chunk_left(shared + sl_at_wide_own), sl_rows_of(shared + sl_at_wide_rows), turn,
      column, value);
}

// With keys: what their own tokens bring to the row sums of S dS after the chunk.
SL_WORD void sl_leave_key_shares(uint32_t shared, const sl_held &held) {
  const uint32_t k = shared + sl_tile, own_panel = (uint32_t)sl_group() * sl_panel;
  float share[16];
  const int own_row = sl_fresh(sl_row());
#pragma unroll
  for (int n = 0; n < 32; n += 2) {
    const float *const x = held.of_key + n;
    const uint32_t word = sl_load_word(
        k + own_panel + sl_in_panel(own_row + (n & 2) * 4, 8 * (n / 4) + sl_column()));
    const int own = n / 4 * 2;
    share[own] = sl_fma(sl_low(word), x[0], n & 2 ? share[own] : 0.0f);
    share[own + 1] = sl_fma(sl_high(word), x[1], n & 2 ? share[own + 1] : 0.0f);
  }
  sl_leave_shares(shared + sl_at_wide_shares + 1024 * (uint32_t)sl_group(), share);
}

// With values: dP to its place.
SL_WORD void sl_leave_pairs(uint32_t shared, const sl_held &held) {
  const int half = sl_group() - 2, first = sl_fresh(sl_row());
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = first + (n & 2) * 4, column = 32 * half + 8 * (n / 4) + sl_column();
    const float low = column <= row ? held.of_query[n] : 0.0f;
    const float high = column + 1 <= row ? held.of_query[n + 1] : 0.0f;
    const uint32_t to = shared + sl_at_pairs + sl_in_panel(row, column), pair = sl_pack(low, high);
    sl_store_word(to, pair);
    sl_store_word(to + sl_panel, sl_pack(low - sl_low(pair), high - sl_high(pair)));
  }
  sl_publish();
}

// With keys: dP k~ and dP^T q~, and dq~ and dk~ to their tables.
SL_WORD void sl_add_pairs(uint32_t shared, sl_held &held) {
  const uint32_t q = shared, k = q + sl_tile, pairs = shared + sl_at_pairs;
  const uint32_t own_panel = (uint32_t)sl_group() * sl_panel;
  sl_products_begin();
#pragma unroll
  for (int s = 0; s < 4; ++s)
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const uint32_t own = pairs + (uint32_t)(part * sl_panel);
      sl_product_across(
          held.of_query, sl_operand(own, 32 * s), sl_operand(k + own_panel, 2048 * s), 1);
      sl_product_outer(held.of_key, sl_operand(own, 2048 * s), sl_operand(q + own_panel, 2048 * s));
    }
  sl_products_end();
  sl_store_table(shared + sl_at_steps, held.of_query);
  sl_store_table(shared + sl_at_steps + 2 * sl_tile, held.of_key);
}

// All products of a turn whose q~ and k~ lie in their places: dv is written, dq~ and dk~ are left in
// tables.
SL_WORD void sl_wide_products(uint32_t shared, const sl_tensors t, const sl_turn turn) {
  const int has_keys = sl_group() < 2;
  sl_held held;
#pragma unroll
  for (int n = 0; n < 32; ++n) held.of_query[n] = held.of_key[n] = 0.0f;
  float sums[2] = {0.0f, 0.0f};
  if (!has_keys) sl_leave_scores(shared);
#pragma unroll 1
  for (int n = 0; n < sl_wide_steps; ++n) {
    const uint32_t v = sl_next_step((uint32_t)sl_fresh((int)shared), t, turn, n);
    // Addresses are made anew for each step: kept, those of both would crowd sums out of registers.
    if (has_keys) sl_step_of_keys(held, sums, (uint32_t)sl_fresh((int)v));
    else
      sl_step_of_values(
          held, sums, (uint32_t)sl_fresh((int)shared), (uint32_t)sl_fresh((int)v), t, turn, n);
  }
  shared = (uint32_t)sl_fresh((int)shared);
  if (SL_GATED) sl_leave_row_sums(shared + sl_at_wide_whole, sums);
  if (!has_keys) sl_leave_pairs(shared, held);
  else if (SL_GATED) sl_leave_key_shares(shared, held);
  sl_sync();
  if (has_keys) sl_add_pairs(shared, held);
  sl_sync();
}

// A turn of the chunk that was left at sl_at_wide_own. A thread has, of what goes token by token, two
// keys and eight tokens.
template <class Maps>
SL_WORD void sl_wide_turn(
    uint32_t shared, const sl_turn turn, const Maps maps, const sl_tensors t) {
  const int tile = turn.tile;
  const int part = sl_uniform(SL_WARP / 2), key = sl_key();
  const uint32_t q = shared, k = q + sl_tile, sums = shared + sl_at_wide_sums + 4 * (uint32_t)key;
  const uint32_t own_words = (uint32_t)(SL_WARP % 2 * sl_panel + part * 1024);
  uint32_t from_middle[8];
  {
    const sl_chunk own = sl_chunk_left(shared + sl_at_wide_own);
    const sl_rows rows = sl_rows_of(shared + sl_at_wide_rows);
    sl_copy_rows<sl_wide_threads>(
        q, t.q + rows.query + turn.query * rows.query_next + 128 * tile, rows.query_step,
        own.rows);
    sl_copy_rows<sl_wide_threads>(k, t.k + own.at + 128 * tile, own.step, own.rows);
    sl_copies_commit();
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      sl_ask_step(shared, t, turn, n);
      sl_copies_commit();
    }
    // Sums of log decays from the middle; that of the chunk's first token is in none.
    float a[8][2], past[2] = {0.0f, 0.0f};
    const int64_t gate = own.gate + 128 * tile + key;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int row = 8 * part + n, there = row < own.rows;
      const float *const at = t.gate + gate + (int64_t)row * own.gate_step;
      if (SL_GATED)
        sl_read_pair(a[n], at, there);
      else
        a[n][0] = a[n][1] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        a[n][e] = 8 * part + n < own.rows ? 0x1.715476p0f * maps.log_decay(a[n][e]) : 0.0f;
    if (part == 0) {
      sl_store_floats(sums + 4096, a[0][0], a[0][1]);
      a[0][0] = a[0][1] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) past[0] += a[n][0], past[1] += a[n][1];
    sl_store_floats(sums + 512 * (uint32_t)part, past[0], past[1]);
    sl_copies_wait(2);
    sl_sync();
    past[0] = past[1] = 0.0f;
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      float each[2];
      sl_load_floats(each, sums + 512 * w);
      if (w >= 4 && w < part) past[0] += each[0], past[1] += each[1];
      if (w < 4 && w >= part) past[0] -= each[0], past[1] -= each[1];
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const uint32_t at = own_words + sl_in_panel(n, key & 63);
      float pair[2];
      past[0] += a[n][0], past[1] += a[n][1];
      from_middle[n] = sl_pack_sums(past[0], past[1]);
      sl_pair(pair, sl_load_word(q + at),
              [&](float z) __attribute__((always_inline)) { return maps.query(z); });
      sl_store_word(q + at, sl_pack(pair[0] * sl_power(past[0]), pair[1] * sl_power(past[1])));
      sl_pair(pair, sl_load_word(k + at),
              [&](float z) __attribute__((always_inline)) { return maps.key(z); });
      sl_store_word(k + at, sl_pack(pair[0] * sl_power(-past[0]), pair[1] * sl_power(-past[1])));
    }
  }
  sl_publish();
  sl_sync();
  sl_wide_products(shared, t, turn);

  const sl_chunk own = sl_chunk_left(shared + sl_at_wide_own);
  const sl_rows rows = sl_rows_of(shared + sl_at_wide_rows);
  const int64_t first_query = rows.query + turn.query * rows.query_next + 128 * tile + key;
  float *const partial =
      sl_partial_of(t, own.slot) + 64 * sl_values + 128 * tile + key;
  float terms[8][2], later[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 7; n >= 0; --n) {
    const int row = 8 * part + n, there = row < own.rows;
    const uint32_t at = own_words + sl_in_panel(n, key & 63);
    const uint32_t query = sl_load_word(q + at), scaled = sl_load_word(k + at);
    float x[2], y[2];
    sl_load_floats(x, shared + sl_at_steps + sl_in_table(row, key));
    sl_load_floats(y, shared + sl_at_steps + 2 * sl_tile + sl_in_table(row, key));
    terms[n][0] = later[0] = sl_fma(sl_low(query), x[0], sl_fma(-sl_low(scaled), y[0], later[0]));
    terms[n][1] = later[1] =
        sl_fma(sl_high(query), x[1], sl_fma(-sl_high(scaled), y[1], later[1]));
    const float a[2] = {sl_low_sum(from_middle[n]), sl_high_sum(from_middle[n])};
#pragma unroll
    for (int e = 0; e < 2; ++e) x[e] *= sl_power(a[e]), y[e] *= sl_power(-a[e]);
    const int64_t query_at = first_query + (int64_t)row * rows.query_step;
    const int64_t key_at = own.at + 128 * tile + (int64_t)row * own.step + key;
    sl_write_mapped_pair<SL_QUERY_BENDS>(
        t.d_q + query_at, t.q + query_at, x,
        [&](float z) __attribute__((always_inline)) { return maps.query_slope(z); }, there);
    // dk is a sum over query heads.
    float *const kept = partial + row * (128 * sl_key_tiles);
    if (turn.query) {
      float earlier[2];
      sl_read_pair(earlier, kept, 1);
      y[0] += earlier[0], y[1] += earlier[1];
    }
    if (turn.query + 1 < turn.queries)
      sl_write_pair(kept, y, 1);
    else
      sl_write_mapped_pair<SL_KEY_BENDS>(
          t.d_k + key_at, t.k + key_at, y,
          [&](float z) __attribute__((always_inline)) { return maps.key_slope(z); }, there);
  }
  if (!SL_GATED) return;

  // The gate's: a token's decay is passed by what comes from it on, and by what leaves the chunk.
  float each[2], first[2];
  sl_store_floats(sums + 512 * (uint32_t)part, later[0], later[1]);
  sl_load_floats(first, sums + 4096);
  sl_sync();
  sl_load_floats(later, shared + sl_at_wide_whole + 4 * (uint32_t)key);
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    sl_load_floats(
        each, shared + sl_at_wide_shares + (uint32_t)(1024 * (SL_WARP % 2) + 256 * w + 8 * SL_LANE));
    later[0] += each[0], later[1] += each[1];
  }
#pragma unroll
  for (int w = 1; w < 8; ++w)
    if (w > part) {
      sl_load_floats(each, sums + 512 * w);
      later[0] += each[0], later[1] += each[1];
    }
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int row = 8 * part + n, there = row < own.rows;
    float x[2] = {terms[n][0] + later[0], terms[n][1] + later[1]};
    // A decay of zero passes nothing on.
    if (row == 0) {
      if (first[0] < -126.0f) x[0] = 0.0f;
      if (first[1] < -126.0f) x[1] = 0.0f;
    }
    const int64_t at = own.gate + 128 * tile + (int64_t)row * own.gate_step + key;
    if (SL_GATE_BENDS && there) {
      x[0] *= maps.gate_slope(t.gate[at]);
      x[1] *= maps.gate_slope(t.gate[at + 1]);
    }
    if (turn.query) {
      float earlier[2];
      sl_read_pair(earlier, t.d_gate + at, there);
      x[0] += earlier[0], x[1] += earlier[1];
    }
    sl_write_pair(t.d_gate + at, x, there);
  }
}

// The chunk that was left at sl_at_wide_own.
template <class Maps>
SL_WORD void sl_gradient_wide(uint32_t shared, const Maps maps, const sl_tensors t) {
  const int queries = sl_rows_of(shared + sl_at_wide_rows).queries;
#pragma unroll 1
  for (int n = 0; n < sl_key_tiles * queries; ++n) {
    const sl_turn turn = {n / queries, n % queries, queries};
    sl_wide_turn(shared, turn, maps, t);
    // Its places are the next one's.
    sl_sync();
  }
}

}  // namespace sl_gradients

#endif
