// The third kernel where a head's state has several tiles, or several query heads: what
// gradient_exact.cuh says for each key tile of a chunk, in two passes over the values. The first one adds up
// dP and what the states bring, and dq and dk are whole after the levels; the second one finds dv. A key tile
// that keeps in the range of one anchor while another one does not has its states as they are at the chunk's
// middle: decays are counted from there and up to there then.
#ifndef SL_GRADIENT_WIDE_EXACT_CUH
#define SL_GRADIENT_WIDE_EXACT_CUH

namespace sl_gradients {

enum {
  sl_at_exact_rows = sl_exact_bytes,
  // What is said in shared memory, since registers have no room for it: the key tile and the query head at hand,
  // whether the tile's decays are counted from the middle, the chunk's number among all, where what the
  // workspace has begins, and how many blocks there are.
  sl_at_turn = sl_at_exact_rows + sl_rows_bytes,
  sl_at_taken = sl_at_turn + 12,
  sl_at_wide_bases = sl_at_turn + 16,
  sl_at_blocks = sl_at_wide_bases + 32,
  sl_wide_exact_bytes = sl_at_blocks + 16,
};

SL_WORD void sl_leave_turn(uint32_t shared, const int tile, const int query) {
  sl_store_word(shared + sl_at_turn, (uint32_t)tile);
  sl_store_word(shared + sl_at_turn + 4, (uint32_t)query);
}

// What a block does first; there are so many chunks.
SL_WORD void sl_wide_exact_begin(uint32_t shared, int64_t slots, const sl_tensors t) {
  if (SL_THREAD == 0) {
    sl_store_word(shared + sl_at_slots, (uint32_t)slots);
    sl_store_word(shared + sl_at_from, (uint32_t)SL_BLOCK);
    sl_store_word(shared + sl_at_blocks, (uint32_t)SL_BLOCKS);
    const int64_t bases[] = {(int64_t)t.states, (int64_t)t.adjoints, (int64_t)t.partial, (int64_t)t.exact};
    for (int n = 0; n < 4; ++n) sl_leave_number(shared + sl_at_wide_bases + 8 * n, bases[n]);
  }
  sl_sync();
}
// The chunk that a thread looks at, a block's share of all being one for each of its threads.
SL_WORD int sl_slot_of(uint32_t shared, const int thread) {
  shared = (uint32_t)sl_fresh((int)shared);
  return (int)(sl_load_word(shared + sl_at_from) + sl_load_word(shared + sl_at_blocks) * (uint32_t)thread);
}
SL_WORD int sl_has_slots(uint32_t shared) {
  shared = (uint32_t)sl_fresh((int)shared);
  return (int)sl_load_word(shared + sl_at_from) < sl_slots_left(shared);
}
SL_WORD void sl_next_slots(uint32_t shared) {
  shared = (uint32_t)sl_fresh((int)shared);
  sl_sync();
  if (sl_fresh(SL_THREAD) == 0)
    sl_store_word(shared + sl_at_from, (uint32_t)sl_slot_of(shared, sl_exact_threads));
  sl_sync();
}
// The first chunk that threads found is said to be at hand, and found no more; 0 where there is none.
SL_WORD int sl_take_found(uint32_t shared) {
  shared = (uint32_t)sl_fresh((int)shared);
  const int thread = sl_first_found(shared, 0);
  if (thread == sl_exact_threads) return 0;
  sl_sync();
  if (sl_fresh(SL_THREAD) == 0) {
    const uint32_t at = shared + sl_at_found + 4 * (uint32_t)(thread / 32);
    sl_store_word(at, sl_load_word(at) & ~(1u << (thread % 32)));
    sl_store_word(shared + sl_at_taken, (uint32_t)sl_slot_of(shared, thread));
    sl_leave_turn(shared, 0, 0);
  }
  return 1;
}
// Its number among all.
SL_WORD int sl_taken(uint32_t shared) { return (int)sl_load_word(shared + sl_at_taken); }

SL_WORD int64_t sl_base_left(uint32_t shared, const int n) {
  return sl_number_left((uint32_t)sl_fresh((int)shared) + sl_at_wide_bases + 8 * n);
}
// A tile of the state, or of its adjoint, of the turn at hand.
SL_WORD const char *sl_wide_state(uint32_t shared, const int is_adjoint, const int tile) {
  return (const char *)sl_base_left(shared, is_adjoint)
         + (sl_chunk_left(shared + sl_at_chunk).slot + tile) * sl_state;
}
// The tensors, with the rows that are kept between turns.
SL_WORD sl_tensors sl_with_partial(uint32_t shared, sl_tensors t) {
  t.partial = (float *)sl_base_left(shared, 2);
  return t;
}

SL_WORD sl_turn sl_turn_left(uint32_t shared) {
  shared = (uint32_t)sl_fresh((int)shared);
  const sl_turn turn = {
      (int)sl_load_word(shared + sl_at_turn), (int)sl_load_word(shared + sl_at_turn + 4),
      (int)sl_load_word(shared + sl_at_exact_rows + 52)};
  return turn;
}
SL_WORD int sl_is_framed(uint32_t shared) {
  return (int)sl_load_word((uint32_t)sl_fresh((int)shared) + sl_at_turn + 8);
}

// sum (+)= a s^T over 128, `s` a state: the warpgroup's 32 keys.
SL_WORD void sl_add_by_state(float (&sum)[16], uint32_t a, uint32_t state, const int adds) {
  state += 4096 * (uint32_t)sl_group();
#pragma unroll
  for (int s = 0; s < 8; ++s)
    sl_product<0, 0>(
        sum, sl_operand(a, s / 4 * sl_panel + 32 * (s % 4)),
        sl_operand(state, s / 4 * (sl_state / 2) + 32 * (s % 4)), adds | (s > 0));
}

// Of a value tile dO.
SL_WORD void sl_copy_outputs(uint32_t shared, const sl_tensors t, const int n) {
  const sl_rows rows = sl_rows_of(shared + sl_at_exact_rows);
  sl_copy_rows<sl_exact_threads>(
      shared + 3 * sl_tile,
      t.d_o + rows.output + sl_turn_left(shared).query * rows.output_next + 128 * n, rows.output_step,
      sl_rows_left(shared + sl_at_chunk));
}
// The adjoint of a tile of the state. It is of all query heads together: the first one has it.
SL_WORD void sl_copy_adjoint(uint32_t shared, const int n) {
  const uint32_t to = shared + sl_at_exact_state;
  const sl_turn turn = sl_turn_left(shared);
  if (turn.query == 0) {
    sl_copy_state<sl_exact_threads>(to, sl_wide_state(shared, 1, turn.tile * sl_value_tiles + n));
  } else {
#pragma unroll
    for (int m = 0; m < sl_state / 8 / sl_exact_threads; ++m)
      sl_store_floats(to + 8 * (uint32_t)(m * sl_exact_threads + SL_THREAD), 0.0f, 0.0f);
  }
}

// Until all copies are there for all.
SL_WORD void sl_meet_copied() {
  sl_copies_commit();
  sl_copies_wait(0);
  sl_publish();
  sl_sync();
}

// What the states of a key tile bring to the sums, and dP to its levels; k^, which reaches to where the state's
// adjoint is, to the place of v.
template <class Maps>
SL_WORD void sl_wide_exact_states(
    uint32_t shared, sl_exact_sums &sums, const Maps maps, const sl_tensors t) {
  const uint32_t q = shared, k = q + sl_tile, v = k + sl_tile, d_o = v + sl_tile;
  const uint32_t state = shared + sl_at_levels, adjoint = shared + sl_at_exact_state;
  const int group = sl_group();
  float dp[8], of_query[16], of_key[16], whole[2] = {0.0f, 0.0f};
  // Over one tile of values sums need no zeros, which products would wait for.
  const int adds = sl_value_tiles > 1;
  if (adds) {
#pragma unroll
    for (int n = 0; n < 8; ++n) dp[n] = 0.0f;
#pragma unroll
    for (int n = 0; n < 16; ++n) of_query[n] = of_key[n] = 0.0f;
  }
#pragma unroll 1
  for (int n = 0; n < sl_value_tiles; ++n) {
    const sl_rows rows = sl_rows_of(shared + sl_at_exact_rows);
    sl_copy_rows<sl_exact_threads>(
        v, t.v + rows.value + 128 * n, rows.value_step, sl_rows_left(shared + sl_at_chunk));
    sl_copy_outputs(shared, t, n);
    sl_copy_state<sl_exact_threads>(
        state, sl_wide_state(shared, 0, sl_turn_left(shared).tile * sl_value_tiles + n));
    sl_copy_adjoint(shared, n);
    sl_meet_copied();
    sl_products_begin();
#pragma unroll
    for (int s = 0; s < 8; ++s) {
      const int at = s / 4 * sl_panel + 32 * (s % 4);
      sl_product_rows(
          dp, sl_operand(d_o, at), sl_operand(v + 2048 * (uint32_t)group, at), adds | (s > 0));
    }
    sl_add_by_state(of_query, d_o, state, adds);
    sl_add_by_state(of_key, v, adjoint, adds);
    sl_products_commit();
    if (SL_GATED)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        sl_add_row_sums(
            whole, state + (uint32_t)(half * (sl_state / 2)), adjoint + (uint32_t)(half * (sl_state / 2)));
    sl_products_wait(0);
    sl_sync();
  }
  sl_leave_levels(shared, dp);
  const uint32_t logs = shared + sl_at_logs;
  const int first = sl_fresh(sl_row()), is_framed = sl_is_framed(shared);
  float share[8];
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = first + (n & 2) * 4, column = sl_own_column(group, n);
    const uint32_t own = sl_in_tile(row, column);
    float past[2], begin[2], end[2], query[2], key[2];
    sl_load_floats(past, logs + sl_in_sums(row, column));
    sl_load_floats(begin, logs + sl_in_sums(31, column));
    sl_load_floats(end, logs + sl_in_sums(is_framed ? 31 : 63, column));
    sl_pair(query, sl_load_word(q + own),
            [&](float z) __attribute__((always_inline)) { return maps.query(z); });
    sl_pair(key, sl_load_word(k + own),
            [&](float z) __attribute__((always_inline)) { return maps.key(z); });
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float ahead = sl_power(end[e] - past[e]);
      const float read = sl_power(past[e] - (is_framed ? begin[e] : 0.0f)) * of_query[n + e];
      const float written = ahead * of_key[n + e], term = key[e] * written;
      share[n / 4 * 2 + e] = (n & 2 ? share[n / 4 * 2 + e] : 0.0f) + term;
      sums.terms[n + e] = sl_fma(query[e], read, -term);
      sums.dq[n + e] = read;
      sums.dk[n + e] = written;
      key[e] *= ahead;
    }
    sl_store_word(v + own, sl_pack(key[0], key[1]));
  }
  if (!SL_GATED) return;
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

// dv, from k^ and P. Where there is one value tile, its dO and adjoint are there yet.
SL_WORD void sl_wide_exact_values(uint32_t shared, const sl_tensors t) {
  const int group = sl_group();
  const uint32_t d_o = shared + 3 * sl_tile, p = shared + sl_at_other;
  const uint32_t columns = (uint32_t)(group / 2 * (sl_state / 2) + group % 2 * 64);
#pragma unroll 1
  for (int n = 0; n < sl_value_tiles; ++n) {
    if (sl_value_tiles > 1) {
      sl_copy_outputs(shared, t, n);
      sl_copy_adjoint(shared, n);
    }
    sl_meet_copied();
    float value[16];
    sl_read_partial(
        value, sl_with_partial(shared, t), sl_chunk_left(shared + sl_at_chunk).slot,
        sl_turn_left(shared), 128 * n + 32 * group);
    sl_products_begin();
#pragma unroll
    for (int s = 0; s < 8; ++s)
      sl_product<0, 1>(
          value, sl_operand(shared + 2 * sl_tile, s / 4 * sl_panel + 32 * (s % 4)),
          sl_operand(shared + sl_at_exact_state + columns, 2048 * s), 1);
    sl_by_tokens<1>(value, p, d_o, 1);
    sl_by_tokens<1>(value, p + sl_panel, d_o, 1);
    sl_products_end();
    sl_write_values(
        sl_with_partial(shared, t), sl_chunk_left(shared + sl_at_chunk),
        sl_rows_of(shared + sl_at_exact_rows), sl_turn_left(shared), 128 * n + 32 * group, value);
    sl_sync();
  }
}

// dk is a sum over query heads, which the workspace keeps in between.
template <class Maps>
SL_WORD void sl_wide_exact_keys(
    uint32_t shared, float (&dk)[16], const Maps maps, const sl_tensors t) {
  const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
  const sl_turn turn = sl_turn_left(shared);
  float *const partial = sl_partial_of(sl_with_partial(shared, t), own.slot) + 64 * sl_values + 128 * turn.tile
                         + sl_fresh(sl_row()) * (128 * sl_key_tiles) + sl_own_column(sl_group(), 0);
  const int is_last = turn.query + 1 == turn.queries;
  if (turn.queries > 1)
#pragma unroll
    for (int n = 0; n < 16; n += 2) {
      float *const at = partial + (n & 2) * (4 * 128 * sl_key_tiles) + 8 * (n / 4);
      float pair[2];
      sl_read_pair(pair, at, turn.query > 0);
      dk[n] += pair[0], dk[n + 1] += pair[1];
      const float sum[2] = {dk[n], dk[n + 1]};
      sl_write_pair(at, sum, !is_last);
    }
  if (!is_last) return;
  const int64_t keys = own.at + 128 * turn.tile;
  sl_write_own_mapped<SL_KEY_BENDS>(
      t.d_k + keys, t.k + keys, own.step, own.rows, dk,
      [&](float z) __attribute__((always_inline)) { return maps.key_slope(z); });
}

// A key tile of the chunk that was left at sl_at_chunk: its keys, and sums of log decays.
template <class Maps>
SL_WORD void sl_wide_exact_tile(uint32_t shared, const Maps maps, const sl_tensors t) {
  shared = (uint32_t)sl_fresh((int)shared);
  const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
  const int tile = sl_turn_left(shared).tile;
  if (sl_fresh(SL_THREAD) == 0) {
    const int32_t *const exact = (const int32_t *)sl_base_left(shared, 3);
    sl_store_word(shared + sl_at_turn + 8, !exact[own.slot + tile * sl_value_tiles]);
  }
  sl_copy_rows<sl_exact_threads>(shared + sl_tile, t.k + own.at + 128 * tile, own.step, own.rows);
  float x[8][2];
  sl_read_eight(x, t.gate + own.gate + 128 * tile, own.gate_step, own.rows);
  sl_leave_logs(shared, x, own.rows, maps);
}

// A query head of a key tile that is there.
template <class Maps>
SL_WORD void sl_wide_exact_turn(uint32_t scratch, const Maps maps, const sl_tensors t) {
  uint32_t shared = (uint32_t)sl_fresh((int)scratch);
  {
    const sl_rows rows = sl_rows_of(shared + sl_at_exact_rows);
    const sl_turn turn = sl_turn_left(shared);
    sl_copy_rows<sl_exact_threads>(
        shared, t.q + rows.query + turn.query * rows.query_next + 128 * turn.tile, rows.query_step,
        sl_rows_left(shared + sl_at_chunk));
  }
  sl_exact_sums sums;
  sl_wide_exact_states(shared, sums, maps, t);
  sl_level<32, true>(shared, sums, maps);
  sl_level<16, true>(shared, sums, maps);
  sl_blocks(shared, sums, maps);
  shared = (uint32_t)sl_fresh((int)shared);
  {
    const sl_rows rows = sl_rows_of(shared + sl_at_exact_rows);
    const sl_turn turn = sl_turn_left(shared);
    const int64_t queries = rows.query + turn.query * rows.query_next + 128 * turn.tile;
    sl_write_own_mapped<SL_QUERY_BENDS>(
        t.d_q + queries, t.q + queries, rows.query_step, sl_rows_left(shared + sl_at_chunk), sums.dq,
        [&](float z) __attribute__((always_inline)) { return maps.query_slope(z); });
  }
  sl_wide_exact_keys(shared, sums.dk, maps, t);
  sl_wide_exact_values(shared, t);
  if (!SL_GATED) return;
  shared = (uint32_t)sl_fresh((int)shared);
  const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
  const sl_turn turn = sl_turn_left(shared);
  const int64_t gate = own.gate + 128 * turn.tile;
  sl_gate_adjoint(
      sums.terms, shared, t.gate + gate, t.d_gate + gate, own.gate_step, own.rows,
      sl_is_framed(shared), turn.query, maps, [] {});
}

// The chunk that was left at sl_at_chunk, from the turn at sl_at_turn on, which is its first one.
template <class Maps>
SL_WORD void sl_gradient_wide_exact(uint32_t shared, const Maps maps, const sl_tensors t) {
  // Without a gate no chunk leaves the range.
  if (!SL_GATED || sl_rows_left(shared + sl_at_chunk) == 0) return;
#pragma unroll 1
  for (;;) {
    if (sl_turn_left(shared).query == 0) sl_wide_exact_tile(shared, maps, t);
    sl_wide_exact_turn(shared, maps, t);
    // Its places are the next one's.
    const sl_turn turn = sl_turn_left(shared);
    sl_sync();
    if (sl_is_last(turn)) return;
    const int is_last_query = turn.query + 1 == turn.queries;
    if (sl_fresh(SL_THREAD) == 0)
      sl_leave_turn(shared, turn.tile + is_last_query, is_last_query ? 0 : turn.query + 1);
    sl_sync();
  }
}

}  // namespace sl_gradients

#endif
