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
// tokens that they leave belong to a warp each, which waits for no other one. A block that keeps within
// 2^-62 of its middle takes one anchor there, as gradient.cuh has it for the chunk; a reset of all keys
// at one token, which nothing passes, does not count.
#ifndef SL_GRADIENT_EXACT_CUH
#define SL_GRADIENT_EXACT_CUH

namespace sl_gradients {

// The chunk's sums as they grow, of the thread's numbers.
typedef struct {
  float dq[16], dk[16], terms[16];
} sl_exact_sums;

// P of the thread's rows and its warpgroup's 16 columns, in bf16 and what that leaves.
SL_WORD void sl_leave_scores(uint32_t shared, const float (&p)[8]) {
  const int group = sl_group(), first = sl_fresh(sl_row());
#pragma unroll
  for (int n = 0; n < 8; n += 2) {
    const int column = 16 * group + 8 * (n / 4) + sl_column();
    const uint32_t to = shared + sl_at_other + sl_in_panel(first + (n & 2) * 4, column);
    const uint32_t pair = sl_pack(p[n], p[n + 1]);
    sl_store_word(to, pair);
    sl_store_word(to + sl_panel, sl_pack(p[n] - sl_low(pair), p[n + 1] - sl_high(pair)));
  }
}

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

// A level: `half` tokens, 32 or 16, on each side of the border.
template <const int half, class Maps>
SL_WORD void sl_level(uint32_t shared, sl_exact_sums &sums, const Maps maps) {
  shared = (uint32_t)sl_fresh((int)shared);
  const int group = sl_group(), warp = sl_uniform(SL_WARP % 4), is_later = warp & (half / 16);
  const int border = (16 * warp & -2 * half) + half - 1;
  const uint32_t x = shared + sl_at_scaled;
  float factor[16];
  if (is_later) sl_level_operand<true>(shared, factor, border, maps);
  else sl_level_operand<false>(shared, factor, border, maps);
  sl_publish();
  sl_sync();
  float p[8], r[16];
  sl_products_begin();
  sl_own_scores(p, x, x);
  sl_by_tokens<0>(r, shared + sl_at_levels + (half == 32 ? 0 : sl_panel), x, 0);
  sl_products_end();
  // Rows that are later, columns of the same two halves that are earlier.
  if (is_later && (half == 32 ? group < 2 : group == warp - 1)) sl_leave_scores(shared, p);
  if (is_later) sl_level_sums<true>(shared, sums, factor, r);
  else sl_level_sums<false>(shared, sums, factor, r);
  sl_sync();
}

// ---- A warp's block of 16 tokens ----
// p[4 t + 2 (the later row) + (the later column)] is of rows l / 4 and 8 more, columns 8 t + 2 (l % 4)
// and 1 more; d[2 t + (the later row)] has the same pairs of D = dP + dP^T, its diagonal once.

// sum += x y^T over 16 keys: words of rows l / 4 and 8 more for keys from 0 on, then from 8 on.
SL_WORD void sl_block_scores(float (&p)[8], const uint32_t (&x)[4], const uint32_t (&y)[4]) {
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    float sum[4] = {p[4 * t], p[4 * t + 1], p[4 * t + 2], p[4 * t + 3]};
    sl_warp_product(sum, x, y[t], y[2 + t]);
#pragma unroll
    for (int n = 0; n < 4; ++n) p[4 * t + n] = sum[n];
  }
}
// D of the warp's block.
SL_WORD void sl_block_pairs(uint32_t (&d)[4], uint32_t shared) {
  const int row = sl_fresh(sl_row()), first = row - SL_LANE / 4 + sl_column();
  const uint32_t rest = shared + sl_at_levels + 2 * sl_panel;
#pragma unroll
  for (int n = 0; n < 4; ++n) d[n] = sl_load_word(rest + sl_in_panel(row + n % 2 * 8, first + n / 2 * 8));
}
// sum = d x over the block's 16 tokens, of x the words of 8 keys.
SL_WORD void sl_block_product(
    float (&sum)[4], const uint32_t (&d)[4], const uint32_t early, const uint32_t late) {
  sum[0] = sum[1] = sum[2] = sum[3] = 0.0f;
  sl_warp_product(sum, d, sl_turned(early), sl_turned(late));
}

// One anchor, the block's middle. A cut counts -128 in A, and here not at all: what is left keeps within 62.
template <class Maps>
SL_WORD void sl_anchored_block(
    uint32_t shared, sl_exact_sums &sums, float (&p)[8], const int cuts, const Maps maps) {
  uint32_t d[4];
  sl_block_pairs(d, shared);
  const int group = sl_group(), row = sl_fresh(sl_row()), border = row - SL_LANE / 4 + 7;
  const uint32_t logs = shared + sl_at_logs;
  // D's lower triangle, and its upper one.
  const int lane = sl_fresh(SL_LANE), apart = lane / 4 - 2 * (lane % 4);
  const uint32_t low = (apart >= 0 ? 0xffffu : 0u) | (apart >= 1 ? 0xffff0000u : 0u);
  const uint32_t high = (apart <= 0 ? 0xffffu : 0u) | (apart <= 1 ? 0xffff0000u : 0u);
  const uint32_t lower[4] = {d[0] & low, d[1], 0u, d[3] & low};
  const uint32_t upper[4] = {d[0] & high, 0u, d[2], d[3] & high};
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    float rise[8], fall[8];
    uint32_t q[4], k[4];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = sl_own_column(group, 8 * part + 4 * j);
      float middle[2];
      sl_load_floats(middle, logs + sl_in_sums(border, column));
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int n = 4 * j + 2 * h;
        const uint32_t at = sl_in_tile(row + 8 * h, column);
        float own[2], pair[2];
        sl_load_floats(own, logs + sl_in_sums(row + 8 * h, column));
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float a = own[e] - middle[e];
          if (cuts) a = sl_without_cuts(a);
          rise[n + e] = sl_power(a), fall[n + e] = sl_power(-a);
        }
        sl_pair(pair, sl_load_word(shared + at),
                [&](float z) __attribute__((always_inline)) { return maps.query(z); });
        q[n / 2] = sl_pack(pair[0] * rise[n], pair[1] * rise[n + 1]);
        sl_pair(pair, sl_load_word(shared + sl_tile + at),
                [&](float z) __attribute__((always_inline)) { return maps.key(z); });
        k[n / 2] = sl_pack(pair[0] * fall[n], pair[1] * fall[n + 1]);
      }
    }
    sl_block_scores(p, q, k);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float of_query[4], of_key[4];
      sl_block_product(of_query, lower, k[2 * j], k[2 * j + 1]);
      sl_block_product(of_key, upper, q[2 * j], q[2 * j + 1]);
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const int n = 8 * part + 4 * j + m;
        const uint32_t query = q[2 * j + m / 2], key = k[2 * j + m / 2] ^ 0x80008000u;
        sums.terms[n] = sl_fma(
            m & 1 ? sl_high(query) : sl_low(query), of_query[m],
            sl_fma(m & 1 ? sl_high(key) : sl_low(key), of_key[m], sums.terms[n]));
        sums.dq[n] = sl_fma(rise[4 * j + m], of_query[m], sums.dq[n]);
        sums.dk[n] = sl_fma(fall[4 * j + m], of_key[m], sums.dk[n]);
      }
    }
  }
}

// A level of `half` tokens, from 8 down: lanes say on which side of the border their rows are, or, at 8,
// whether they are the first or the second ones. Later than the border decays fall, and before it they
// rise.
template <const int half, class Maps>
SL_WORD void sl_block_level(
    uint32_t shared, sl_exact_sums &sums, float (&p)[8], const Maps maps) {
  shared = (uint32_t)sl_fresh((int)shared);
  const int group = sl_group(), row = sl_fresh(sl_row()), place = row & 7;
  const uint32_t logs = shared + sl_at_logs;
  // Columns 2 (l % 4) and 1 more that part from the lane's row at this level.
  const int apart = place ^ sl_fresh(sl_column());
  const uint32_t first = apart >= half && apart < 2 * half ? 0xffffu : 0u;
  const uint32_t second = (apart ^ 1) >= half && (apart ^ 1) < 2 * half ? 0xffff0000u : 0u;
  const uint32_t parts = first | second;
  float scores[8] = {};
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    // The second part's rows are not to be read before: registers have no room.
    if (part) sl_meet_warp();
    float factor[8];
    uint32_t x[4];
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int is_later = half == 8 ? h : place & half, n = 4 * j + 2 * h;
        const int own_row = row + 8 * h;
        const int border = half == 8 ? row - place + 7 : (own_row & -2 * half) + half - 1;
        const int column = sl_own_column(group, 8 * part + 4 * j);
        float own[2], middle[2], pair[2];
        sl_load_floats(own, logs + sl_in_sums(own_row, column));
        sl_load_floats(middle, logs + sl_in_sums(border, column));
        sl_pair(pair, sl_load_word(shared + (is_later ? 0 : sl_tile) + sl_in_tile(own_row, column)),
                [&](float z) __attribute__((always_inline)) {
                  // Both, and no branch.
                  const float query = maps.query(z), key = maps.key(z);
                  return is_later ? query : key;
                });
#pragma unroll
        for (int e = 0; e < 2; ++e) factor[n + e] = sl_power(-sl_abs(own[e] - middle[e]));
        x[n / 2] = sl_pack(pair[0] * factor[n], pair[1] * factor[n + 1]);
      }
    sl_block_scores(scores, x, x);
    uint32_t d[4];
    sl_block_pairs(d, shared);
    const uint32_t own_d[4] = {
        half == 8 ? 0u : d[0] & parts, half == 8 ? d[1] : 0u, half == 8 ? d[2] : 0u,
        half == 8 ? 0u : d[3] & parts};
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float r[4];
      sl_block_product(r, own_d, x[2 * j], x[2 * j + 1]);
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const int is_later = half == 8 ? m / 2 : place & half, n = 8 * part + 4 * j + m;
        const uint32_t word = x[2 * j + m / 2] ^ (is_later ? 0u : 0x80008000u);
        sums.terms[n] = sl_fma(m & 1 ? sl_high(word) : sl_low(word), r[m], sums.terms[n]);
        sums.dq[n] = sl_fma(is_later ? factor[4 * j + m] : 0.0f, r[m], sums.dq[n]);
        sums.dk[n] = sl_fma(is_later ? 0.0f : factor[4 * j + m], r[m], sums.dk[n]);
      }
    }
  }
  if (half == 8) {
    p[2] += scores[2];
    p[3] += scores[3];
  } else if (place & half) {
    p[0] += first ? scores[0] : 0.0f;
    p[1] += second ? scores[1] : 0.0f;
    p[6] += first ? scores[6] : 0.0f;
    p[7] += second ? scores[7] : 0.0f;
  }
}

// Tokens' own pairs: they have no decay, and q dq - k dk has nothing of them.
template <class Maps>
SL_WORD void sl_block_diagonal(
    uint32_t shared, sl_exact_sums &sums, float (&p)[8], const Maps maps) {
  const int group = sl_group(), row = sl_fresh(sl_row());
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int own_row = row + 8 * h;
    const uint32_t word =
        sl_load_word(shared + sl_at_levels + 2 * sl_panel + sl_in_panel(own_row, own_row & ~1));
    const float dp = row & 1 ? sl_high(word) : sl_low(word);
    float score = 0.0f;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t at = sl_in_tile(own_row, sl_own_column(group, 4 * j));
      float q[2], k[2];
      sl_pair(q, sl_load_word(shared + at),
              [&](float z) __attribute__((always_inline)) { return maps.query(z); });
      sl_pair(k, sl_load_word(shared + sl_tile + at),
              [&](float z) __attribute__((always_inline)) { return maps.key(z); });
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int n = 4 * j + 2 * h + e;
        score = sl_fma(q[e], k[e], score);
        sums.dq[n] = sl_fma(dp, k[e], sums.dq[n]);
        sums.dk[n] = sl_fma(dp, q[e], sums.dk[n]);
      }
    }
    score += sl_of_partner(score, 1);
    score += sl_of_partner(score, 2);
    if ((row & 7) == sl_column()) p[6 * h] += score;
    if ((row & 7) == sl_column() + 1) p[6 * h + 1] += score;
  }
}

// What the levels leave: a block for each warp, of which it has the warpgroup's keys. P comes out of the
// warpgroups' sums.
template <class Maps>
SL_WORD void sl_blocks(uint32_t shared, sl_exact_sums &sums, const Maps maps) {
  float p[8];
#pragma unroll
  for (int n = 0; n < 8; ++n) p[n] = 0.0f;
  const int cuts = sl_own_cuts(shared);
  if (cuts != sl_by_levels) {
    sl_anchored_block(shared, sums, p, cuts, maps);
  } else {
    sl_block_level<8>(shared, sums, p, maps);
    sl_block_level<4>(shared, sums, p, maps);
    sl_block_level<2>(shared, sums, p, maps);
    sl_block_level<1>(shared, sums, p, maps);
    sl_block_diagonal(shared, sums, p, maps);
  }
  const int group = sl_group(), warp = sl_uniform(SL_WARP % 4);
  const uint32_t partial = shared + sl_at_scaled + 1024 * (uint32_t)warp + 4 * (uint32_t)SL_LANE;
#pragma unroll
  for (int n = 0; n < 8; ++n)
    sl_store_word(partial + (uint32_t)(4096 * group + 128 * n), SL_BITS(p[n]));
  sl_sync();
  if (warp > group) return;
  const int own_cuts = sl_own_cuts(shared), lane = sl_fresh(SL_LANE);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int row = lane / 4 + (n & 2) * 4, column = n / 4 * 8 + 2 * (lane % 4) + (n & 1);
    p[n] = 0.0f;
    if (warp == group && row >= column && !sl_is_parted(own_cuts, row, column))
#pragma unroll
      for (int g = 0; g < 4; ++g) p[n] += sl_load_float(partial + (uint32_t)(4096 * g + 128 * n));
  }
  sl_leave_scores(shared, p);
}

// The chunk that was left (sl_leave_chunk).
template <class Maps>
SL_WORD void sl_gradient_exact(uint32_t scratch, const Maps maps, const sl_tensors t) {
  // Addresses are made anew for each chunk, and between its parts: kept, they would crowd sums out of
  // registers.
  uint32_t shared = (uint32_t)sl_fresh((int)scratch);
  const int group = sl_group();
  {
    const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
    if (own.rows == 0) return;
    sl_copy_rows<sl_exact_threads>(shared + 3 * sl_tile, t.d_o + own.at, own.step, own.rows);
    sl_copy_rows<sl_exact_threads>(shared + 2 * sl_tile, t.v + own.at, own.step, own.rows);
    sl_copy_rows<sl_exact_threads>(shared, t.q + own.at, own.step, own.rows);
    sl_copy_rows<sl_exact_threads>(shared + sl_tile, t.k + own.at, own.step, own.rows);
    sl_copies_commit();
    sl_copy_state<sl_exact_threads>(shared + sl_at_exact_state, t.states + own.slot * sl_state);
    sl_copies_commit();
    // What takes D's place later is on its way to the second-level cache.
    if (SL_THREAD == 0) sl_ask_ahead(t.adjoints + own.slot * sl_state, sl_state);
    for (int n = 0; n < 3 * sl_panel / 8 / sl_exact_threads; ++n)
      sl_store_floats(
          shared + sl_at_levels + 8 * (uint32_t)(n * sl_exact_threads + SL_THREAD), 0.0f, 0.0f);
    sl_leave_logs(shared, t.gate + own.gate, own.gate_step, own.rows, maps);
  }
  sl_copies_wait(1);
  sl_publish();
  sl_sync();

  sl_exact_sums sums;
#pragma unroll
  for (int n = 0; n < 16; ++n) sums.dq[n] = sums.dk[n] = sums.terms[n] = 0.0f;
  float scores[8];
  sl_products_begin();
  sl_own_scores(scores, shared + 3 * sl_tile, shared + 2 * sl_tile);
  sl_products_end();
  sl_leave_levels(shared, scores);
  sl_level<32>(shared, sums, maps);
  sl_level<16>(shared, sums, maps);
  sl_blocks(shared, sums, maps);

  // From the state before the chunk.
  shared = (uint32_t)sl_fresh((int)shared);
  const uint32_t q = shared, k = q + sl_tile, v = k + sl_tile, d_o = v + sl_tile;
  const uint32_t x = shared + sl_at_scaled, p = shared + sl_at_other;
  const uint32_t held = shared + sl_at_exact_state, logs = shared + sl_at_logs;
  int first = sl_fresh(sl_row());
  float sum[16];
  sl_copies_wait(0);
  sl_publish();
  sl_sync();
  // D has been used; its place takes the adjoint of the state.
  const uint32_t adjoint_held = shared + sl_at_levels;
  sl_copy_state<sl_exact_threads>(
      adjoint_held, t.adjoints + sl_chunk_left(shared + sl_at_chunk).slot * sl_state);
  sl_copies_commit();
  sl_products_begin();
  sl_by_state(sum, d_o, held);
  sl_products_end();
  first = sl_fresh(first);
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = first + (n & 2) * 4;
    float past[2], pair[2];
    sl_load_floats(past, logs + sl_in_sums(row, sl_own_column(group, n)));
    sl_pair(pair, sl_load_word(q + sl_in_tile(row, sl_own_column(group, n))),
            [&](float z) __attribute__((always_inline)) { return maps.query(z); });
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float adjoint = sl_power(past[e]) * sum[n + e];
      sums.terms[n + e] = sl_fma(pair[e], adjoint, sums.terms[n + e]);
      sums.dq[n + e] += adjoint;
    }
  }
  const sl_chunk query = sl_chunk_left(shared + sl_at_chunk);
  sl_write_own_mapped<SL_QUERY_BENDS>(
      t.d_q + query.at, t.q + query.at, query.step, query.rows, sums.dq,
      [&](float z) __attribute__((always_inline)) { return maps.query_slope(z); });
  // From the adjoint of the state after it; k^ reaches to the chunk's end.
  first = sl_fresh(first);
  const auto ahead = [&](float (&f)[2], int n) __attribute__((always_inline)) {
    float own[2], end[2];
    sl_load_floats(own, logs + sl_in_sums(first + (n & 2) * 4, sl_own_column(group, n)));
    sl_load_floats(end, logs + sl_in_sums(63, sl_own_column(group, n)));
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
  sl_copies_wait(0);
  sl_publish();
  sl_sync();
  sl_products_begin();
  sl_by_state(sum, v, adjoint_held);
  sl_products_commit();
  if (SL_GATE) {
    float pieces[sl_state / 16 / sl_exact_threads][4];
    sl_take_state<sl_exact_threads>(pieces, held);
    sl_row_sums<sl_exact_threads>(shared + sl_at_exact_whole, pieces, adjoint_held);
  }
  sl_products_wait(0);
  first = sl_fresh(first);
  float share[8];
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    float pair[2], f[2];
    ahead(f, n);
    sl_pair(pair, sl_load_word(k + sl_in_tile(first + (n & 2) * 4, sl_own_column(group, n))),
            [&](float z) __attribute__((always_inline)) { return maps.key(z); });
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float adjoint = f[e] * sum[n + e], term = pair[e] * adjoint;
      share[n / 4 * 2 + e] = (n & 2 ? share[n / 4 * 2 + e] : 0.0f) + term;
      sums.terms[n + e] -= term;
      sums.dk[n + e] += adjoint;
    }
  }
  const sl_chunk key = sl_chunk_left(shared + sl_at_chunk);
  sl_write_own_mapped<SL_KEY_BENDS>(
      t.d_k + key.at, t.k + key.at, key.step, key.rows, sums.dk,
      [&](float z) __attribute__((always_inline)) { return maps.key_slope(z); });
  sl_products_begin();
#pragma unroll
  for (int h = 0; h < 2; ++h)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product<0, 1>(
          sum, sl_operand(x, h * sl_panel + 32 * s),
          sl_operand(
              adjoint_held + (uint32_t)(sl_group() / 2 * (sl_state / 2) + sl_group() % 2 * 64),
              2048 * (4 * h + s)),
          h + s > 0);
  sl_by_tokens<1>(sum, p, d_o, 1);
  sl_by_tokens<1>(sum, p + sl_panel, d_o, 1);
  sl_products_end();
  const sl_chunk own = sl_chunk_left(shared + sl_at_chunk);
  sl_write_own(t.d_v + own.at, own.step, own.rows, sum);
  if (!SL_GATE) return;
  const uint32_t shares = shared + sl_at_exact_shares;
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int apart = 4; apart < 32; apart *= 2) share[n] += sl_of_partner(share[n], apart);
  if (SL_LANE < 4)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      sl_store_floats(
          shares + 512 * (uint32_t)(SL_WARP % 4) + 4 * (uint32_t)sl_own_column(group, 4 * j),
          share[2 * j], share[2 * j + 1]);
  sl_sync();
  float leaving[8];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const uint32_t column = 4 * (uint32_t)sl_own_column(group, 4 * j);
    float whole[2], decay[2], each[2];
    sl_load_floats(whole, shared + sl_at_exact_whole + column);
    sl_load_floats(decay, logs + sl_in_sums(63, sl_own_column(group, 4 * j)));
    whole[0] *= sl_power(decay[0]);
    whole[1] *= sl_power(decay[1]);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      sl_load_floats(each, shares + 512 * w + column);
      whole[0] += each[0];
      whole[1] += each[1];
    }
    leaving[2 * j] = whole[0];
    leaving[2 * j + 1] = whole[1];
  }
  sl_gate_adjoint(
      sums.terms, shared, t.gate + own.gate, t.d_gate + own.gate, own.gate_step, own.rows, leaving,
      maps);
}

}  // namespace sl_gradients

#endif
