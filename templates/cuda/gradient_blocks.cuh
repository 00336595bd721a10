// The blocks of 16 tokens that the levels of the third kernel leave (gradient_exact.cuh): a block belongs to
// a warp, whose operands stay in registers and which waits for no other one. A block that keeps within 2^-62
// of its middle takes one anchor there, as gradient.cuh has it for the chunk; a reset of all keys at one
// token, which nothing passes, does not count. Others go down by levels of 8, 4, 2 and 1 tokens.
#ifndef SL_GRADIENT_BLOCKS_CUH
#define SL_GRADIENT_BLOCKS_CUH

namespace sl_gradients {

// p[4 t + 2 (the later row) + (the later column)] is of rows l / 4 and 8 more, columns 8 t + 2 (l % 4)
// and 1 more; d[2 t + (the later row)] has the same pairs of D = dP + dP^T, without its diagonal.

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

// A token's own pair: dP_ii of the lane's rows. With strong decay it is nearly all of dq and dk, and goes by
// f32: k and q themselves are multiplied, and nothing is rounded but what is written.
SL_WORD void sl_own_pairs(float (&dp)[2], uint32_t shared) {
  const uint32_t at = shared + sl_at_own_pairs + 4 * (uint32_t)sl_fresh(sl_row());
  dp[0] = sl_load_float(at), dp[1] = sl_load_float(at + 32);
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
    float rise[8], fall[8], dp[2];
    sl_own_pairs(dp, shared);
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
        float *const dq = sums.dq + 8 * part + n, *const dk = sums.dk + 8 * part + n;
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
        dk[0] = sl_fma(dp[h], pair[0], dk[0]), dk[1] = sl_fma(dp[h], pair[1], dk[1]);
        sl_pair(pair, sl_load_word(shared + sl_tile + at),
                [&](float z) __attribute__((always_inline)) { return maps.key(z); });
        k[n / 2] = sl_pack(pair[0] * fall[n], pair[1] * fall[n + 1]);
        dq[0] = sl_fma(dp[h], pair[0], dq[0]), dq[1] = sl_fma(dp[h], pair[1], dq[1]);
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
    // A part's rows are not to be read before: registers have no room.
    sl_meet_warp();
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
  float dp[2];
  sl_own_pairs(dp, shared);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int own_row = row + 8 * h;
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
        sums.dq[n] = sl_fma(dp[h], k[e], sums.dq[n]);
        sums.dk[n] = sl_fma(dp[h], q[e], sums.dk[n]);
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

}  // namespace sl_gradients

#endif
