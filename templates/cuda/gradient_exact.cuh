// The third kernel: chunks whose decay leaves the range of one anchor, by factors in [0, 1] alone, which
// is right for every decay. Pairs of tokens go by the level at which they part: between the two halves
// of the chunk, of a half, of a quarter. At a level whose halves hold h tokens, with A_i the sum of log
// decays from the chunk's begin to token i (its own too) and m the last token before the border:
//
//     x_i = q_i 2^{A_i - A_m} of later tokens, x_j = k_j 2^{A_m - A_j} of earlier ones
//     P, dP = x x^T, dO v^T, where i and j part at this level;  R = (dP + dP^T) x
//     dq_i += 2^{A_i - A_m} R_i    dk_j += 2^{A_m - A_j} R_j
//
// What is left are blocks of 8 tokens: pair by pair, a factor for each. Where all blocks of 8, 16 or 32
// keep within 2^-62 of their middle, one anchor there does for each instead, as gradient.cuh has it for
// the whole chunk.
#ifndef SL_GRADIENT_EXACT_CUH
#define SL_GRADIENT_EXACT_CUH

namespace sl_gradients {

// The chunk's sums as they grow, of the thread's numbers; P of its rows and 16 columns.
typedef struct {
  float dq[16], dk[16], terms[16], p[8];
} sl_exact_sums;

// A level: `half` tokens on each side of the border.
template <class Maps>
SL_WORD void sl_level(uint32_t shared, sl_exact_sums &sums, const int half, const Maps maps) {
  const int group = sl_group();
  const uint32_t x = shared + sl_at_scaled, logs = shared + sl_at_logs;
  const int first = sl_fresh(sl_row());
  const auto factors = [&](float (&f)[2], int n) __attribute__((always_inline)) {
    const int row = first + (n & 2) * 4, border = (row & -2 * half) + half - 1;
    float own[2], other[2];
    sl_load_floats(own, logs + sl_in_sums(row, sl_own_column(group, n)));
    sl_load_floats(other, logs + sl_in_sums(border, sl_own_column(group, n)));
#pragma unroll
    for (int e = 0; e < 2; ++e)
      f[e] = sl_power(row & half ? own[e] - other[e] : other[e] - own[e]);
  };
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = first + (n & 2) * 4, is_later = row & half;
    const uint32_t at = sl_in_tile(row, sl_own_column(group, n));
    const uint32_t word = sl_load_word(shared + (is_later ? 0 : sl_tile) + at);
    float f[2], pair[2];
    factors(f, n);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float value = e ? sl_high(word) : sl_low(word);
      pair[e] = f[e] * (is_later ? maps.query(value) : maps.key(value));
    }
    sl_store_word(x + at, sl_pack(pair[0], pair[1]));
  }
  sl_publish();
  sl_sync();
  float p[8], r[16];
  const int level = half == 32 ? 0 : half == 16 ? 1 : 2;
  sl_products_begin();
  sl_own_scores(p, x, x);
  sl_by_tokens<0>(r, shared + sl_at_levels + (uint32_t)level * sl_panel, x, 0);
  sl_products_end();
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int row = first + (n & 2) * 4;
    const int column = 16 * group + 8 * (n / 4) + sl_column() + (n & 1), apart = row ^ column;
    sums.p[n] += (int)(apart >= half) & (int)(apart < 2 * half) & (int)(row > column) ? p[n] : 0.0f;
  }
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = first + (n & 2) * 4, is_later = row & half;
    const uint32_t word = sl_load_word(x + sl_in_tile(row, sl_own_column(group, n)));
    float f[2];
    factors(f, n);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float term = (e ? sl_high(word) : sl_low(word)) * r[n + e], adjoint = f[e] * r[n + e];
      sums.terms[n + e] += is_later ? term : -term;
      sums.dq[n + e] += is_later ? adjoint : 0.0f;
      sums.dk[n + e] += is_later ? 0.0f : adjoint;
    }
  }
  sl_sync();
}

// Blocks of two halves about their middle.
template <class Maps>
SL_WORD void sl_anchored_blocks(
    uint32_t shared, sl_exact_sums &sums, const int half, const Maps maps) {
  const int group = sl_group();
  const uint32_t x = shared + sl_at_scaled, y = shared + sl_at_other, logs = shared + sl_at_logs;
  const int first = sl_fresh(sl_row());
  const auto from_middle = [&](float (&a)[2], int n) __attribute__((always_inline)) {
    const int row = first + (n & 2) * 4, border = (row & -2 * half) + half - 1;
    float other[2];
    sl_load_floats(a, logs + sl_in_sums(row, sl_own_column(group, n)));
    sl_load_floats(other, logs + sl_in_sums(border, sl_own_column(group, n)));
    a[0] -= other[0];
    a[1] -= other[1];
  };
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const uint32_t at = sl_in_tile(first + (n & 2) * 4, sl_own_column(group, n));
    float a[2], pair[2];
    from_middle(a, n);
    sl_pair(pair, sl_load_word(shared + at),
            [&](float z) __attribute__((always_inline)) { return maps.query(z); });
    sl_store_word(x + at, sl_pack(pair[0] * sl_power(a[0]), pair[1] * sl_power(a[1])));
    sl_pair(pair, sl_load_word(shared + sl_tile + at),
            [&](float z) __attribute__((always_inline)) { return maps.key(z); });
    sl_store_word(y + at, sl_pack(pair[0] * sl_power(-a[0]), pair[1] * sl_power(-a[1])));
  }
  sl_publish();
  sl_sync();
  float p[8], r[16];
  const uint32_t rest = shared + sl_at_levels + 3 * sl_panel;
  sl_products_begin();
  sl_own_scores(p, x, y);
  sl_by_tokens<0>(r, rest, y, 0);
  sl_products_end();
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int row = first + (n & 2) * 4;
    const int column = 16 * group + 8 * (n / 4) + sl_column() + (n & 1), apart = row ^ column;
    sums.p[n] += (int)(apart < 2 * half) & (int)(row >= column) ? p[n] : 0.0f;
  }
#pragma unroll
  for (int way = 0; way < 2; ++way) {
    if (way) {
      sl_products_begin();
      sl_by_tokens<1>(r, rest, x, 0);
      sl_products_end();
    }
#pragma unroll
    for (int n = 0; n < 16; n += 2) {
      const uint32_t at = sl_in_tile(first + (n & 2) * 4, sl_own_column(group, n));
      const uint32_t word = sl_load_word((way ? y : x) + at);
      float a[2];
      from_middle(a, n);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float term = (e ? sl_high(word) : sl_low(word)) * r[n + e];
        sums.terms[n + e] += way ? -term : term;
        float &adjoint = way ? sums.dk[n + e] : sums.dq[n + e];
        adjoint = sl_fma(sl_power(way ? -a[e] : a[e]), r[n + e], adjoint);
      }
    }
  }
  sl_sync();
}

// Blocks of eight tokens pair by pair. P comes out of the warpgroups' sums.
template <class Maps>
SL_WORD void sl_blocks_of_pairs(uint32_t shared, sl_exact_sums &sums, const Maps maps) {
  const int group = sl_group();
  const uint32_t partial = shared + sl_at_other, logs = shared + sl_at_logs;
  const int first = sl_fresh(sl_row()), place = first & 7;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first + 8 * h;
    float q[4][2], k[4][2], a[4][2];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t at = sl_in_tile(row, sl_own_column(group, 4 * j));
      sl_load_floats(a[j], logs + sl_in_sums(row, sl_own_column(group, 4 * j)));
      sl_pair(q[j], sl_load_word(shared + at),
              [&](float z) __attribute__((always_inline)) { return maps.query(z); });
      sl_pair(k[j], sl_load_word(shared + sl_tile + at),
              [&](float z) __attribute__((always_inline)) { return maps.key(z); });
    }
#pragma unroll 1
    for (int s = 0; s < 8; ++s) {
      const int is_later = place > s, is_own = place == s, other = sl_fresh(row - place + s);
      const uint32_t pair =
          sl_load_word(shared + sl_at_levels + 3 * sl_panel + sl_in_panel(row, other & ~1));
      const float dp = s & 1 ? sl_high(pair) : sl_low(pair), sign = is_later ? dp : is_own ? 0.0f : -dp;
      const float for_query = is_later || is_own ? dp : 0.0f, for_key = is_later ? 0.0f : dp;
      float score = 0.0f;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float sum[2];
        sl_load_floats(sum, logs + sl_in_sums(other, sl_own_column(group, 4 * j)));
        const uint32_t word = sl_load_word(
            shared + (is_later ? sl_tile : 0) + sl_in_tile(other, sl_own_column(group, 4 * j)));
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int n = 4 * j + 2 * h + e;
          const float raw = e ? sl_high(word) : sl_low(word);
          // Both, and no branch.
          const float as_key = maps.key(raw), as_query = maps.query(raw);
          const float value = is_later ? as_key : as_query;
          const float passed = value * sl_power(-sl_abs(a[j][e] - sum[e]));
          const float mine = is_later ? q[j][e] : k[j][e];
          score = sl_fma(mine, passed, score);
          // A token's own pair is in both: q dq - k dk has nothing of it.
          sums.dq[n] = sl_fma(for_query, is_own ? k[j][e] : passed, sums.dq[n]);
          sums.dk[n] = sl_fma(for_key, passed, sums.dk[n]);
          sums.terms[n] = sl_fma(sign * mine, passed, sums.terms[n]);
        }
      }
      score += sl_of_partner(score, 1);
      score += sl_of_partner(score, 2);
      if (SL_LANE % 4 == 0)
        sl_store_word(
            partial + (uint32_t)(2048 * group + 32 * row + 4 * s), SL_BITS(score));
    }
  }
  sl_sync();
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int row = first + (n & 2) * 4;
    const int column = 16 * group + 8 * (n / 4) + sl_column() + (n & 1);
    if ((row ^ column) < 8 && row >= column)
#pragma unroll
      for (int g = 0; g < 4; ++g)
        sums.p[n] += sl_load_float(partial + (uint32_t)(2048 * g + 32 * row + 4 * (column & 7)));
  }
  sl_sync();
}

template <class Maps>
SL_WORD void sl_gradient_exact(
    uint32_t shared, const sl_place place, int chunk, const Maps maps, const sl_tensors t) {
  const int64_t slot = place.slot + chunk * place.slot_step;
  const int group = sl_group();
  const int rows = (int)sl_least(64, place.length - 64 * (int64_t)chunk);
  const int64_t at = place.at + 64 * (int64_t)chunk * place.step;
  const int gate_step = SL_GATE == 2 ? place.step : place.gate_step;
  const int64_t gate_at = (SL_GATE == 2 ? place.at : place.gate) + 64 * (int64_t)chunk * gate_step;
  const uint32_t q = shared, k = q + sl_tile, v = k + sl_tile, d_o = v + sl_tile;
  const uint32_t x = shared + sl_at_scaled, p = shared + sl_at_other;
  const uint32_t held = shared + sl_at_exact_state, logs = shared + sl_at_logs;
  const uint32_t levels = shared + sl_at_levels;
  sl_copy_rows<sl_exact_threads>(d_o, t.d_o + at, place.step, rows);
  sl_copy_rows<sl_exact_threads>(v, t.v + at, place.step, rows);
  sl_copy_rows<sl_exact_threads>(q, t.q + at, place.step, rows);
  sl_copy_rows<sl_exact_threads>(k, t.k + at, place.step, rows);
  sl_copies_commit();
  sl_copy_state<sl_exact_threads>(held, t.states + slot * sl_state);
  sl_copies_commit();
  if (SL_THREAD == 0) sl_ask_ahead(t.adjoints + slot * sl_state, sl_state);
  for (int n = 0; n < 4 * sl_panel / 8 / sl_exact_threads; ++n)
    sl_store_floats(levels + 8 * (uint32_t)(n * sl_exact_threads + SL_THREAD), 0.0f, 0.0f);
  const int anchored = sl_leave_logs(shared, t.gate + gate_at, gate_step, rows, maps);
  sl_copies_wait(1);
  sl_publish();
  sl_sync();

  sl_exact_sums sums;
#pragma unroll
  for (int n = 0; n < 16; ++n) sums.dq[n] = sums.dk[n] = sums.terms[n] = 0.0f;
#pragma unroll
  for (int n = 0; n < 8; ++n) sums.p[n] = 0.0f;
  float scores[8];
  sl_products_begin();
  sl_own_scores(scores, d_o, v);
  sl_products_end();
  sl_leave_levels(levels, scores, anchored);
#pragma unroll 1
  for (int half = 32; half >= 8 && half > anchored; half /= 2) sl_level(shared, sums, half, maps);
  if (anchored)
    sl_anchored_blocks(shared, sums, anchored, maps);
  else
    sl_blocks_of_pairs(shared, sums, maps);

  // From the state before the chunk.
  const int first = sl_fresh(sl_row());
  float sum[16];
  sl_copies_wait(0);
  sl_publish();
#pragma unroll
  for (int n = 0; n < 8; n += 2) {
    const int column = 16 * group + 8 * (n / 4) + sl_column();
    const uint32_t to = p + sl_in_panel(first + (n & 2) * 4, column);
    const uint32_t pair = sl_pack(sums.p[n], sums.p[n + 1]);
    sl_store_word(to, pair);
    sl_store_word(
        to + sl_panel, sl_pack(sums.p[n] - sl_low(pair), sums.p[n + 1] - sl_high(pair)));
  }
  sl_sync();
  sl_products_begin();
  sl_by_state(sum, d_o, held);
  sl_products_end();
  float pieces[sl_state / 16 / sl_exact_threads][4];
  if (SL_GATE) sl_take_state<sl_exact_threads>(pieces, held);
  sl_sync();
  sl_copy_state<sl_exact_threads>(held, t.adjoints + slot * sl_state);
  sl_copies_commit();
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
  sl_write_own_mapped<SL_QUERY_BENDS>(
      t.d_q + at, t.q + at, place.step, rows, sums.dq,
      [&](float z) __attribute__((always_inline)) { return maps.query_slope(z); });
  // From the adjoint of the state after it; k^ reaches to the chunk's end.
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
  sl_by_state(sum, v, held);
  sl_products_commit();
  if (SL_GATE) sl_row_sums<sl_exact_threads>(shared + sl_at_exact_whole, pieces, held);
  sl_products_wait(0);
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
  sl_write_own_mapped<SL_KEY_BENDS>(
      t.d_k + at, t.k + at, place.step, rows, sums.dk,
      [&](float z) __attribute__((always_inline)) { return maps.key_slope(z); });
  sl_products_begin();
#pragma unroll
  for (int h = 0; h < 2; ++h)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product<0, 1>(
          sum, sl_operand(x, h * sl_panel + 32 * s),
          sl_operand(
              held + (uint32_t)(sl_group() / 2 * (sl_state / 2) + sl_group() % 2 * 64),
              2048 * (4 * h + s)),
          h + s > 0);
  sl_by_tokens<1>(sum, p, d_o, 1);
  sl_by_tokens<1>(sum, p + sl_panel, d_o, 1);
  sl_products_end();
  sl_write_own(t.d_v + at, place.step, rows, sum);
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
      sums.terms, shared, t.gate + gate_at, t.d_gate + gate_at, gate_step, rows, leaving, maps);
}

}  // namespace sl_gradients

#endif
