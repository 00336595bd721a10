// The third kernel: chunks whose decay leaves the range of one anchor, by factors in [0, 1] alone, which
// is right for every decay. Pairs of tokens go by the level at which they part: between the two halves
// of the chunk, of a half, and so on down to two tokens. At a level whose halves hold h tokens, with A_i
// the sum of log decays from the chunk's begin to token i (its own too) and m the last token before the
// border:
//
//     x_i = q_i 2^{A_i - A_m} of later tokens, x_j = k_j 2^{A_m - A_j} of earlier ones
//     P, dP = x x^T, dO v^T, where i and j part at this level;  R = (dP + dP^T) x
//     dq_i += 2^{A_i - A_m} R_i    dk_j += 2^{A_m - A_j} R_j
//
// A token's own pair has no decay. Levels of 32 and 16 tokens are products of warpgroups; the blocks of 16
// tokens that they leave belong to a warp each (gradient_blocks.cuh). What the states bring comes before:
//
//     dq_i = 2^{A_i} dO_i S^T    dk_i = 2^{A_64 - A_i} v_i dS^T
//
// A block goes from chunk to chunk, and what the next one needs is on its way as soon as its place is free.
#ifndef SL_GRADIENT_EXACT_CUH
#define SL_GRADIENT_EXACT_CUH

namespace sl_gradients {

// Rows of a level of 32 or 16 tokens lie on one side of its border, a warp's all on the same: x of the
// thread's numbers.
template <const bool is_later, class Maps>
SL_WORD void sl_level_operand(
    uint32_t shared, float (&factor)[16], const int border, const Maps maps) {
  const int group = sl_group(), first = sl_fresh(sl_row());
  const uint32_t logs = shared + sl_at_logs;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int column = sl_own_column(group, 4 * j);
    float middle[2];
    sl_load_floats(middle, logs + sl_in_sums(border, column));
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t at = sl_in_tile(first + 8 * h, column);
      float own[2], pair[2];
      sl_load_floats(own, logs + sl_in_sums(first + 8 * h, column));
      sl_pair(pair, sl_load_word(shared + (is_later ? 0 : sl_tile) + at),
              [&](float z) __attribute__((always_inline)) {
                return is_later ? maps.query(z) : maps.key(z);
              });
#pragma unroll
      for (int e = 0; e < 2; ++e)
        pair[e] *= factor[4 * j + 2 * h + e] =
            sl_power(is_later ? own[e] - middle[e] : middle[e] - own[e]);
      sl_store_word(shared + sl_at_scaled + at, sl_pack(pair[0], pair[1]));
    }
  }
}
// The level's share of the sums, from R.
template <const bool is_later>
SL_WORD void sl_level_sums(
    uint32_t shared, sl_exact_sums &sums, const float (&factor)[16], const float (&r)[16]) {
  const int group = sl_group(), first = sl_fresh(sl_row());
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    uint32_t word = sl_load_word(
        shared + sl_at_scaled + sl_in_tile(first + (n & 2) * 4, sl_own_column(group, n)));
    if (!is_later) word ^= 0x80008000u;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      sums.terms[n + e] = sl_fma(e ? sl_high(word) : sl_low(word), r[n + e], sums.terms[n + e]);
      float &adjoint = is_later ? sums.dq[n + e] : sums.dk[n + e];
      adjoint = sl_fma(factor[n + e], r[n + e], adjoint);
    }
  }
}

// A level whose x is there, `half` tokens, 32 or 16, on each side of the border. Of the scores only those of
// earlier tokens' columns are wanted; `multiplies_all`: where a choice would crowd registers, all are made.
template <const int half, const bool multiplies_all>
SL_WORD void sl_level_products(
    uint32_t shared, sl_exact_sums &sums, const float (&factor)[16]) {
  const int group = sl_group(), warp = sl_uniform(SL_WARP % 4), is_later = warp & (half / 16);
  const uint32_t x = shared + sl_at_scaled;
  sl_publish();
  sl_sync();
  float p[8], r[16];
  const int has_scores = multiplies_all || (half == 32 ? group < 2 : group % 2 == 0);
  sl_products_begin();
  if (has_scores) sl_own_scores(p, x, x);
  sl_by_tokens<0>(r, shared + sl_at_levels + (half == 32 ? 0 : sl_panel), x, 0);
  sl_products_end();
  // Rows that are later, columns of the same two halves that are earlier.
  if (is_later && (half == 32 ? group < 2 : group == warp - 1)) sl_leave_scores(shared, p);
  if (is_later) sl_level_sums<true>(shared, sums, factor, r);
  else sl_level_sums<false>(shared, sums, factor, r);
  sl_sync();
}

template <const int half, const bool multiplies_all, class Maps>
SL_WORD void sl_level(uint32_t shared, sl_exact_sums &sums, const Maps maps) {
  shared = (uint32_t)sl_fresh((int)shared);
  const int warp = sl_uniform(SL_WARP % 4), is_later = warp & (half / 16);
  const int border = (16 * warp & -2 * half) + half - 1;
  float factor[16];
  if (is_later) sl_level_operand<true>(shared, factor, border, maps);
  else sl_level_operand<false>(shared, factor, border, maps);
  sl_level_products<half, multiplies_all>(shared, sums, factor);
}

// ---- A block's chunks ----

// Where states or their adjoints lie: said in shared memory, since registers have no room for it.
SL_WORD const char *sl_listed_state(uint32_t shared, const int is_adjoint, int64_t slot) {
  return (const char *)sl_number_left(shared + sl_at_bases + 8 * (uint32_t)is_adjoint) + slot * sl_state;
}

// Where the chunk after the one at hand lies; 0 for none.
SL_WORD uint32_t sl_next_left(uint32_t shared) {
  return sl_load_word(sl_load_word(shared + sl_at_hand) + sl_at_next);
}

// What a chunk needs is asked for while the one before it is still worked at, as places become free: rows of q
// and k and the state first, then gates, v and dO, and the adjoint of the state. States and gates come by bulk
// copies, which a few threads ask for.
SL_WORD void sl_ask_keys(uint32_t shared, uint32_t left, const sl_tensors t) {
  const sl_chunk own = sl_chunk_left(left);
  if (sl_fresh(SL_THREAD) == 0) {
    // Both states'.
    sl_barrier_expect(shared + sl_at_states_landed, 2 * sl_state);
    sl_copy_bytes(
        shared + sl_at_levels, sl_listed_state(shared, 0, own.slot), sl_state,
        shared + sl_at_states_landed);
    sl_ask_ahead(sl_listed_state(shared, 1, own.slot), sl_state);
  }
  sl_copy_rows<sl_exact_threads>(shared, t.q + own.at, own.step, own.rows);
  sl_copy_rows<sl_exact_threads>(shared + sl_tile, t.k + own.at, own.step, own.rows);
}
SL_WORD void sl_ask_values(uint32_t shared, uint32_t left, const sl_tensors t) {
  const sl_chunk own = sl_chunk_left(left);
  if (SL_GATED) {
    // A lane asks for one row after the other's: four a warp take the shortest time.
    const int thread = sl_fresh(SL_THREAD), row = thread / 32 * 4 + thread % 32;
    if (thread == 0) sl_barrier_expect(shared + sl_at_gates_landed, 512 * own.rows);
    if (thread % 32 < 4 && row < own.rows)
      sl_copy_bytes(
          shared + sl_at_scaled + (uint32_t)(512 * row),
          t.gate + own.gate + (int64_t)row * own.gate_step, 512, shared + sl_at_gates_landed);
  }
  sl_copy_rows<sl_exact_threads>(shared + 2 * sl_tile, t.v + own.at, own.step, own.rows);
  sl_copy_rows<sl_exact_threads>(shared + 3 * sl_tile, t.d_o + own.at, own.step, own.rows);
  sl_copies_commit();
}
SL_WORD void sl_ask_adjoint(uint32_t shared, uint32_t left) {
  sl_copy_bytes(
      shared + sl_at_exact_state, sl_listed_state(shared, 1, sl_chunk_left(left).slot), sl_state,
      shared + sl_at_states_landed);
}

// The row sums of the products of the two states: a warp has eight keys, and of what it multiplies the
// diagonal is wanted.
SL_WORD void sl_exact_row_sums(uint32_t to, uint32_t state, uint32_t adjoint) {
  const int lane = sl_fresh(SL_LANE), key = 8 * SL_WARP + lane % 8;
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const uint32_t at = (uint32_t)(n / 2 * (sl_state / 2)) + sl_in_panel(key, n % 2 * 32 + lane / 8 * 8);
    uint32_t x[4], y[4];
    sl_load_matrices(x, state + at);
    sl_load_matrices(y, adjoint + at);
#pragma unroll
    for (int s = 0; s < 4; s += 2) {
      const uint32_t rows[4] = {x[s], 0u, x[s + 1], 0u};
      sl_warp_product(sum, rows, y[s], y[s + 1]);
    }
  }
  if (lane / 8 == lane % 4)
    sl_store_word(
        to + 4 * (uint32_t)(8 * SL_WARP + lane / 4), SL_BITS(sl_either(lane & 4, sum[1], sum[0])));
}

// What both states bring to the sums; dP goes to its levels, in the place of S, and k^, which reaches to the
// chunk's end, to that of v. On the way x of the first level is made, whose border is the chunk's middle.
template <class Maps>
SL_WORD void sl_exact_states(
    uint32_t shared, sl_exact_sums &sums, float (&factor)[16], const Maps maps) {
  const uint32_t v = shared + 2 * sl_tile, d_o = shared + 3 * sl_tile;
  const uint32_t state = shared + sl_at_levels, adjoint = shared + sl_at_exact_state;
  const uint32_t logs = shared + sl_at_logs;
  const int group = sl_group();
  float dp[8];
  // dO is read out of shared memory once, for two products.
  uint32_t held[8][4];
  const int lane = sl_fresh(SL_LANE), held_row = SL_WARP % 4 * 16 + lane % 16;
#pragma unroll
  for (int s = 0; s < 8; ++s)
    sl_load_matrices(held[s], d_o + sl_in_tile(held_row, 16 * s + lane / 16 * 8));
  sl_products_begin();
#pragma unroll
  for (int s = 0; s < 8; ++s) {
    sl_product_held(
        dp, held[s], sl_operand(v + 2048 * (uint32_t)group, s / 4 * sl_panel + 32 * (s % 4)), s > 0);
    sl_product_held(
        sums.dq, held[s],
        sl_operand(state + 4096 * (uint32_t)group, s / 4 * (sl_state / 2) + 32 * (s % 4)), s > 0);
  }
  sl_by_state(sums.dk, v, adjoint);
  sl_products_commit();
  if (SL_GATED) sl_exact_row_sums(shared + sl_at_exact_whole, state, adjoint);
  sl_products_wait(0);
  sl_sync();
  sl_leave_levels(shared, dp);
  const int first = sl_fresh(sl_row()), is_later = sl_uniform(SL_WARP % 4) & 2;
  float share[8];
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = first + (n & 2) * 4, column = sl_own_column(group, n);
    const uint32_t own = sl_in_tile(row, column);
    float past[2], middle[2], end[2], query[2], key[2], x[2];
    sl_load_floats(middle, logs + sl_in_sums(31, column));
    sl_load_floats(past, logs + sl_in_sums(row, column));
    sl_load_floats(end, logs + sl_in_sums(63, column));
    sl_pair(query, sl_load_word(shared + own),
            [&](float z) __attribute__((always_inline)) { return maps.query(z); });
    sl_pair(key, sl_load_word(shared + sl_tile + own),
            [&](float z) __attribute__((always_inline)) { return maps.key(z); });
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float ahead = sl_power(end[e] - past[e]);
      sums.dq[n + e] *= sl_power(past[e]);
      sums.dk[n + e] *= ahead;
      const float term = key[e] * sums.dk[n + e];
      share[n / 4 * 2 + e] = (n & 2 ? share[n / 4 * 2 + e] : 0.0f) + term;
      sums.terms[n + e] = sl_fma(query[e], sums.dq[n + e], -term);
      factor[n + e] = sl_power(-sl_abs(past[e] - middle[e]));
      x[e] = sl_either(is_later, query[e], key[e]) * factor[n + e];
      key[e] *= ahead;
    }
    sl_store_word(shared + sl_at_scaled + own, sl_pack(x[0], x[1]));
    sl_store_word(v + own, sl_pack(key[0], key[1]));
  }
  if (!SL_GATED) return;
  // Lanes of the same columns share them out: each is left with one, number l / 4.
#pragma unroll
  for (int apart = 4; apart > 0; apart /= 2) {
    const int is_later = lane & 4 * apart;
#pragma unroll
    for (int n = 0; n < apart; ++n) {
      const float early = share[n], late = share[n + apart];
      share[n] = sl_either(is_later, late, early)
                 + sl_of_partner(sl_either(is_later, early, late), 4 * apart);
    }
  }
  const int column = sl_own_column(group, lane >> 3 << 2) + (lane >> 2 & 1);
  sl_store_word(
      shared + sl_at_exact_shares + 4 * (uint32_t)(SL_WARP % 4 * 128 + column), SL_BITS(share[0]));
}

// The chunk at hand: what it needs has been asked for. What the next one needs is asked for here.
template <class Maps>
SL_WORD void sl_exact_chunk(uint32_t scratch, const Maps maps, const sl_tensors t) {
  // Addresses are made anew for each chunk, and between its parts: kept, they would crowd sums out of
  // registers.
  uint32_t shared = (uint32_t)sl_fresh((int)scratch);
  {
    const uint32_t left = sl_load_word(shared + sl_at_hand);
    const int rows = sl_rows_left(left);
    float x[8][2];
    if (SL_GATED) {
      sl_barrier_wait(shared + sl_at_gates_landed, sl_load_word(shared + sl_at_parity));
#pragma unroll
      for (int n = 0; n < 8; ++n)
        sl_load_floats(
            x[n], shared + sl_at_scaled + (uint32_t)(512 * (8 * sl_uniform(SL_WARP / 2) + n) + 4 * sl_key()));
    } else {
      const sl_chunk own = sl_chunk_left(left);
      sl_read_eight(x, t.gate + own.gate, own.gate_step, rows);
    }
    sl_leave_logs(shared, x, rows, maps);
  }
  sl_copies_wait(0);
  sl_publish();
  sl_barrier_wait(shared + sl_at_states_landed, sl_load_word(shared + sl_at_parity));
  sl_sync();
  sl_exact_sums sums;
  {
    float factor[16];
    sl_exact_states(shared, sums, factor, maps);
    sl_level_products<32, false>(shared, sums, factor);
  }
  sl_level<16, false>(shared, sums, maps);
  sl_blocks(shared, sums, maps);
  sl_publish();
  sl_sync();

  shared = (uint32_t)sl_fresh((int)shared);
  float sum[16];
  const uint32_t d_o = shared + 3 * sl_tile, p = shared + sl_at_other;
  sl_products_begin();
#pragma unroll
  for (int h = 0; h < 2; ++h)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product<0, 1>(
          sum, sl_operand(shared + 2 * sl_tile, h * sl_panel + 32 * s),
          sl_operand(
              shared + sl_at_exact_state
                  + (uint32_t)(sl_group() / 2 * (sl_state / 2) + sl_group() % 2 * 64),
              2048 * (4 * h + s)),
          h + s > 0);
  sl_products_commit();
  // Not all products are begun at once: those who ask for them would wait for those before.
  if (const uint32_t next = sl_next_left(shared)) sl_ask_keys(shared, next, t);
  sl_products_begin();
  sl_by_tokens<1>(sum, p, d_o, 1);
  sl_by_tokens<1>(sum, p + sl_panel, d_o, 1);
  sl_products_commit();
  const sl_chunk own = sl_chunk_left(sl_load_word(shared + sl_at_hand));
  sl_write_own_mapped<SL_QUERY_BENDS>(
      t.d_q + own.at, t.q + own.at, own.step, own.rows, sums.dq,
      [&](float z) __attribute__((always_inline)) { return maps.query_slope(z); });
  sl_write_own_mapped<SL_KEY_BENDS>(
      t.d_k + own.at, t.k + own.at, own.step, own.rows, sums.dk,
      [&](float z) __attribute__((always_inline)) { return maps.key_slope(z); });
  sl_products_wait(0);
  sl_sync();
  if (const uint32_t next = sl_next_left(shared)) sl_ask_values(shared, next, t);
  sl_write_own(t.d_v + own.at, own.step, own.rows, sum);
  const auto go_on = [&]() __attribute__((always_inline)) {
    if (sl_fresh(SL_THREAD)) return;
    const uint32_t next = sl_next_left(shared);
    if (next) sl_ask_adjoint(shared, next);
    sl_store_word(shared + sl_at_hand, next);
    sl_store_word(shared + sl_at_parity, sl_load_word(shared + sl_at_parity) ^ 1u);
  };
  if (SL_GATED) {
    const sl_chunk gates = sl_chunk_left(sl_load_word(shared + sl_at_hand));
    sl_gate_adjoint(
        sums.terms, shared, t.gate + gates.gate, t.d_gate + gates.gate, gates.gate_step, gates.rows, 0,
        0, maps, go_on);
  } else {
    go_on();
  }
  // Its sums are the next one's.
  sl_sync();
}

// What a block does first.
SL_WORD void sl_exact_begin(uint32_t shared) {
  shared = (uint32_t)sl_fresh((int)shared);
  if (SL_THREAD == 0) {
    sl_barrier_init(shared + sl_at_gates_landed, 1);
    sl_barrier_init(shared + sl_at_states_landed, 1);
    sl_store_word(shared + sl_at_parity, 0u);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
}

// The chunks that the block's threads found, one after the other.
template <class Maps>
SL_WORD void sl_gradient_exact(
    uint32_t shared, const int found, const Maps maps, const sl_tensors t) {
  // Without a gate no chunk leaves the range.
  if (!SL_GATED) return;
  sl_leave_found(shared, found);
  shared = (uint32_t)sl_fresh((int)shared);
  const auto place_of = [&](int from) __attribute__((always_inline)) {
    const int thread = sl_first_found(shared, from);
    return thread == sl_exact_threads ? 0u : sl_listed(shared, thread);
  };
  if (found) sl_store_word(sl_listed(shared, SL_THREAD) + sl_at_next, place_of(SL_THREAD + 1));
  if (SL_THREAD == 0) {
    sl_store_word(shared + sl_at_hand, place_of(0));
    sl_leave_number(shared + sl_at_bases, (int64_t)t.states);
    sl_leave_number(shared + sl_at_bases + 8, (int64_t)t.adjoints);
  }
  sl_sync();
  const uint32_t first = sl_load_word(shared + sl_at_hand);
  if (!first) return;
  sl_ask_keys(shared, first, t);
  sl_ask_values(shared, first, t);
  if (SL_THREAD == 0) sl_ask_adjoint(shared, first);
#pragma unroll 1
  while (sl_load_word(shared + sl_at_hand)) sl_exact_chunk(shared, maps, t);
}

}  // namespace sl_gradients

#endif
