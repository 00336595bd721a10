// The third kernel where a head's state has several tiles, or several query heads: what
// gradient_exact.cuh says for each key tile of a chunk, with dP added up over all values before,
// and their states and rows of dv after it. A key tile that keeps in the range of one anchor while
// another one does not has its states as they are at the chunk's middle: decays are counted from
// there and up to there then.
#ifndef SL_GRADIENT_WIDE_EXACT_CUH
#define SL_GRADIENT_WIDE_EXACT_CUH

namespace sl_gradients {

enum {
  sl_at_exact_rows = sl_exact_bytes,
  sl_wide_exact_bytes = sl_at_exact_rows + sl_rows_bytes,
};

// sum += a s^T over 128, `s` a state: the warpgroup's 32 keys.
SL_WORD void sl_add_by_state(float (&sum)[16], uint32_t a, uint32_t state) {
  state += 4096 * (uint32_t)sl_group();
#pragma unroll
  for (int s = 0; s < 8; ++s)
    sl_product<0, 0>(
        sum, sl_operand(a, s / 4 * sl_panel + 32 * (s % 4)),
        sl_operand(state, s / 4 * (sl_state / 2) + 32 * (s % 4)), 1);
}

// v and dO of a value tile.
SL_WORD void sl_copy_values(uint32_t shared, const sl_tensors t, const int n, const int query) {
  const sl_rows rows = sl_rows_of(shared + sl_at_exact_rows);
  const int there = sl_rows_left(shared + sl_at_chunk);
  sl_copy_rows<sl_exact_threads>(
      shared + 2 * sl_tile, t.v + rows.value + 128 * n, rows.value_step, there);
  sl_copy_rows<sl_exact_threads>(
      shared + 3 * sl_tile, t.d_o + rows.output + query * rows.output_next + 128 * n,
      rows.output_step, there);
}

// Until all copies are there for all.
SL_WORD void sl_meet_copied() {
  sl_copies_commit();
  sl_copies_wait(0);
  sl_publish();
  sl_sync();
}

// A key tile and a query head of the chunk that was left at sl_at_chunk, whose keys and sums of log
// decays are there. dk and the gate's terms are added to those of query heads before.
template <class Maps>
SL_WORD void sl_wide_exact_turn(
    uint32_t scratch, const sl_turn turn, sl_exact_sums &sums, const int is_framed,
    const Maps maps, const sl_tensors t) {
  uint32_t shared = (uint32_t)sl_fresh((int)scratch);
  const int group = sl_group(), tile = turn.tile;
  {
    const sl_rows rows = sl_rows_of(shared + sl_at_exact_rows);
    sl_copy_rows<sl_exact_threads>(
        shared, t.q + rows.query + turn.query * rows.query_next + 128 * tile, rows.query_step,
        sl_rows_left(shared + sl_at_chunk));
  }
  float scores[8];
#pragma unroll
  for (int n = 0; n < 8; ++n) scores[n] = 0.0f;
#pragma unroll 1
  for (int n = 0; n < sl_value_tiles; ++n) {
    sl_copy_values(shared, t, n, turn.query);
    sl_meet_copied();
    sl_products_begin();
#pragma unroll
    for (int s = 0; s < 8; ++s) {
      const int at = s / 4 * sl_panel + 32 * (s % 4);
      sl_product_rows(
          scores, sl_operand(shared + 3 * sl_tile, at),
          sl_operand(shared + 2 * sl_tile + 2048 * (uint32_t)group, at), 1);
    }
    sl_products_end();
    sl_sync();
  }
#pragma unroll
  for (int n = 0; n < 16; ++n) sums.dq[n] = 0.0f;
  sl_leave_levels(shared, scores);
  sl_level<32, true>(shared, sums, maps);
  sl_level<16, true>(shared, sums, maps);
  sl_blocks(shared, sums, maps);
  sl_sync();

  shared = (uint32_t)sl_fresh((int)shared);
  const uint32_t q = shared, k = q + sl_tile, v = k + sl_tile, d_o = v + sl_tile;
  const uint32_t x = shared + sl_at_scaled, p = shared + sl_at_other;
  const uint32_t held = shared + sl_at_exact_state, logs = shared + sl_at_logs;
  const uint32_t adjoint_held = shared + sl_at_levels;
  int first = sl_fresh(sl_row());
  // k^ reaches to where the state's adjoint is.
  const auto ahead = [&](float (&f)[2], int n) __attribute__((always_inline)) {
    float own[2], end[2];
    sl_load_floats(own, logs + sl_in_sums(first + (n & 2) * 4, sl_own_column(group, n)));
    sl_load_floats(end, logs + sl_in_sums(is_framed ? 31 : 63, sl_own_column(group, n)));
    f[0] = sl_power(end[0] - own[0]);
    f[1] = sl_power(end[1] - own[1]);
  };
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const uint32_t own = sl_in_tile(first + (n & 2) * 4, sl_own_column(group, n));
    float pair[2], f[2];
    ahead(f, n);
    sl_pair(pair, sl_load_word(k + own),
            [&](float z) __attribute__((always_inline)) { return maps.key(z); });
    sl_store_word(x + own, sl_pack(pair[0] * f[0], pair[1] * f[1]));
  }
  float of_query[16], of_key[16], whole[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 16; ++n) of_query[n] = of_key[n] = 0.0f;
#pragma unroll 1
  for (int n = 0; n < sl_value_tiles; ++n) {
    const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
    const int64_t state = (own.slot + tile * sl_value_tiles + n) * sl_state;
    sl_copy_values(shared, t, n, turn.query);
    sl_copy_state<sl_exact_threads>(held, t.states + state);
    // The adjoint is of all query heads together: the first one has it.
    if (turn.query == 0) sl_copy_state<sl_exact_threads>(adjoint_held, t.adjoints + state);
    else
      for (int m = 0; m < sl_state / 8 / sl_exact_threads; ++m)
        sl_store_floats(
            adjoint_held + 8 * (uint32_t)(m * sl_exact_threads + SL_THREAD), 0.0f, 0.0f);
    sl_meet_copied();
    float value[16];
    sl_read_partial(value, t, own.slot, turn, 128 * n + 32 * group);
    sl_products_begin();
    sl_add_by_state(of_query, d_o, held);
    sl_add_by_state(of_key, v, adjoint_held);
    const uint32_t columns = (uint32_t)(group / 2 * (sl_state / 2) + group % 2 * 64);
#pragma unroll
    for (int s = 0; s < 8; ++s)
      sl_product<0, 1>(
          value, sl_operand(x, s / 4 * sl_panel + 32 * (s % 4)),
          sl_operand(adjoint_held + columns, 2048 * s), 1);
    sl_by_tokens<1>(value, p, d_o, 1);
    sl_by_tokens<1>(value, p + sl_panel, d_o, 1);
    sl_products_end();
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (SL_GATED)
        sl_add_row_sums(
            whole, held + (uint32_t)(half * (sl_state / 2)),
            adjoint_held + (uint32_t)(half * (sl_state / 2)));
    sl_write_values(
        t, sl_chunk_left(shared + sl_at_chunk), sl_rows_of(shared + sl_at_exact_rows), turn,
        128 * n + 32 * group, value);
    sl_sync();
  }

  float share[8];
  first = sl_fresh(first);
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = first + (n & 2) * 4, column = sl_own_column(group, n);
    float past[2], begin[2], f[2], query[2], key[2];
    sl_load_floats(past, logs + sl_in_sums(row, column));
    sl_load_floats(begin, logs + sl_in_sums(31, column));
    ahead(f, n);
    sl_pair(query, sl_load_word(q + sl_in_tile(row, column)),
            [&](float z) __attribute__((always_inline)) { return maps.query(z); });
    sl_pair(key, sl_load_word(k + sl_in_tile(row, column)),
            [&](float z) __attribute__((always_inline)) { return maps.key(z); });
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float read = sl_power(past[e] - (is_framed ? begin[e] : 0.0f)) * of_query[n + e];
      const float written = f[e] * of_key[n + e], term = key[e] * written;
      share[n / 4 * 2 + e] = (n & 2 ? share[n / 4 * 2 + e] : 0.0f) + term;
      sums.terms[n + e] = sl_fma(query[e], read, sums.terms[n + e]) - term;
      sums.dq[n + e] += read;
      sums.dk[n + e] += written;
    }
  }
  const sl_rows rows = sl_rows_of(shared + sl_at_exact_rows);
  const int64_t queries = rows.query + turn.query * rows.query_next + 128 * tile;
  sl_write_own_mapped<SL_QUERY_BENDS>(
      t.d_q + queries, t.q + queries, rows.query_step, sl_rows_left(shared + sl_at_chunk), sums.dq,
      [&](float z) __attribute__((always_inline)) { return maps.query_slope(z); });
  if (!SL_GATED || turn.query) return;
  // The row sums of S dS after the chunk: of what was before it, and the share of its own keys.
  sl_leave_row_sums(shared + sl_at_exact_whole, whole);
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int apart = 4; apart < 32; apart *= 2) share[n] += sl_of_partner(share[n], apart);
  if (SL_LANE < 4)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      sl_store_floats(
          shared + sl_at_exact_shares + 512 * (uint32_t)(SL_WARP % 4)
              + 4 * (uint32_t)sl_own_column(group, 4 * j),
          share[2 * j], share[2 * j + 1]);
}

// A key tile of the chunk that was left at sl_at_chunk.
template <class Maps>
SL_WORD void sl_wide_exact_tile(
    uint32_t scratch, const int tile, const Maps maps, const sl_tensors t) {
  uint32_t shared = (uint32_t)sl_fresh((int)scratch);
  const int queries = sl_rows_of(shared + sl_at_exact_rows).queries;
  int is_framed;
  {
    const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
    is_framed = !t.exact[own.slot + tile * sl_value_tiles];
    sl_copy_rows<sl_exact_threads>(shared + sl_tile, t.k + own.at + 128 * tile, own.step, own.rows);
    float x[8][2];
    sl_read_eight(x, t.gate + own.gate + 128 * tile, own.gate_step, own.rows);
    sl_leave_logs(shared, x, own.rows, maps);
  }
  sl_exact_sums sums;
#pragma unroll
  for (int n = 0; n < 16; ++n) sums.dk[n] = sums.terms[n] = 0.0f;
#pragma unroll 1
  for (int query = 0; query < queries; ++query) {
    const sl_turn turn = {tile, query, queries};
    sl_wide_exact_turn(shared, turn, sums, is_framed, maps, t);
    // Its places are the next one's.
    sl_sync();
  }
  shared = (uint32_t)sl_fresh((int)shared);
  const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
  const int64_t keys = own.at + 128 * tile;
  sl_write_own_mapped<SL_KEY_BENDS>(
      t.d_k + keys, t.k + keys, own.step, own.rows, sums.dk,
      [&](float z) __attribute__((always_inline)) { return maps.key_slope(z); });
  if (!SL_GATED) return;
  const int64_t gate = own.gate + 128 * tile;
  sl_gate_adjoint(
      sums.terms, shared, t.gate + gate, t.d_gate + gate, own.gate_step, own.rows, is_framed, maps,
      [] {});
}

template <class Maps>
SL_WORD void sl_gradient_wide_exact(uint32_t shared, const Maps maps, const sl_tensors t) {
  if (sl_rows_left(shared + sl_at_chunk) == 0) return;
#pragma unroll 1
  for (int tile = 0; tile < sl_key_tiles; ++tile) {
    sl_wide_exact_tile(shared, tile, maps, t);
    sl_sync();
  }
}

}  // namespace sl_gradients

#endif
