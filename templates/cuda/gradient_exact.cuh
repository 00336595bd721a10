// The third kernel: chunks whose decay leaves the range of one anchor, by factors in [0, 1] alone, which
// is right for every decay. Pairs of tokens go by the level at which they part: between the two halves
// of the chunk, of a half, and so on down to two tokens, and last each token with itself. At a level
// whose halves hold h tokens, with p_i the sum of log decays from the middle to a later token i (its own
// too) and e_j that from after an earlier token j to the middle:
//
//     q^_i = q_i 2^{p_i} of later tokens, 0 of earlier   k^_j = k_j 2^{e_j} of earlier, 0 of later
//     P, dP = q^ k^^T, dO v^T, where i and j part at this level
//     dq_i += 2^{p_i} (dP k^)_i   dk_j += 2^{e_j} (dP^T q^)_j   dv += P^T dO
//
// Where the tokens of blocks of 2 h all keep within 2^-62 of their block's middle, one anchor there does for
// the levels up to h, as gradient.cuh has it for the whole chunk: `anchored` is the largest such h, 0
// for none (then it is each token with itself).
//
// At the end p_i and e_j reach from the chunk's start and to its end: what S and dS are scaled by.
#ifndef SL_GRADIENT_EXACT_CUH
#define SL_GRADIENT_EXACT_CUH

namespace sl_gradients {

enum {
  // Places in shared memory: q, k, v, dO, then q^, k^, the state or its adjoint, p and e.
  sl_at_scaled = 4 * sl_tile,
  sl_at_exact_state = sl_at_scaled + 2 * sl_tile,
  sl_sum_row = 544,  // bytes from a token's sums to the next token's
  sl_at_past = sl_at_exact_state + sl_state,
  sl_at_ahead = sl_at_past + 64 * sl_sum_row,
  sl_at_exact_sums = sl_at_ahead + 64 * sl_sum_row,
  sl_at_found = sl_at_exact_sums + (sl_at_kept - sl_at_sums),  // a bit for each thread
  sl_exact_threads = 256,
  sl_exact_bytes = sl_at_found + sl_exact_threads / 8,
};

// What each thread found, for all to see.
SL_WORD void sl_leave_found(uint32_t shared, int found) {
  uint32_t all;
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %1, 0;\nvote.sync.ballot.b32 %0, p, 0xffffffff;\n}"
               : "=r"(all)
               : "r"(found)
               : "memory");
  sl_sync();
  if (SL_LANE == 0) sl_store_word(shared + sl_at_found + 4 * (uint32_t)SL_WARP, all);
  sl_sync();
}
SL_WORD uint32_t sl_found(uint32_t shared, int word) {
  return sl_load_word(shared + sl_at_found + 4 * (uint32_t)word);
}
// Takes the first of the bits that are left.
SL_WORD int sl_next(uint32_t &bits) {
  int first;
  asm("{\n.reg .b32 x;\nbrev.b32 x, %1;\nbfind.shiftamt.u32 %0, x;\n}" : "=r"(first) : "r"(bits));
  bits &= bits - 1;
  return first;
}

// x[i] becomes the sum over the warp's sixteen rows up to its own, or from it on. Both ways add a
// warp's rows in the same tree: the sums of all are equal bit by bit.
template <const bool backward>
SL_WORD void sl_sum_along(float (&x)[32]) {
  const int place = SL_LANE / 4;
#pragma unroll
  for (int n = 0; n < 32; ++n) {
#pragma unroll
    for (int apart = 1; apart < 8; apart *= 2) {
      const float other =
          backward ? sl_from_below(x[n], 4 * apart) : sl_from_above(x[n], 4 * apart);
      x[n] += (backward ? place + apart < 8 : place >= apart) ? other : 0.0f;
    }
  }
#pragma unroll
  for (int n = 0; n < 32; ++n) {
    if ((n & 2) != (backward ? 0 : 2)) continue;
    const int end = backward ? SL_LANE % 4 : 28 + SL_LANE % 4;
    x[n] += sl_of_lane(x[n ^ 2], end);
  }
}

// Each warp's whole sums to shared memory: sums[warp of the group][column].
template <const bool backward>
SL_WORD void sl_leave_sums(uint32_t sums, const float (&x)[32]) {
  const int warp = SL_WARP % 4;
  if (SL_LANE / 4 == (backward ? 0 : 7))
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int from = 4 * j + (backward ? 0 : 2);
      sl_store_floats(
          sums + 256 * (uint32_t)warp + 4 * (uint32_t)(8 * j + sl_column()), x[from], x[from + 1]);
    }
}

// Base-2 logarithms of the decays, 0 past the sequence's end, from a gate of every key.
template <class Maps>
SL_WORD void sl_logs_of_sums(
    float (&x)[32], const Maps maps, const float *gate, int step, int rows) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = sl_row() + 8 * h;
    if (SL_GATE == 2) {
      const float *from = gate + (row < rows ? (int64_t)row * step : 0) + 64 * sl_group() + sl_column();
      float read[8][2];
#pragma unroll
      for (int j = 0; j < 8; ++j)
        asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];"
                     : "=f"(read[j][0]), "=f"(read[j][1])
                     : "l"(from + 8 * j));
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          x[4 * j + 2 * h + e] =
              row < rows ? 0x1.715476p0f * maps.log_decay(read[j][e]) : 0.0f;
    } else {
      const float own =
          SL_GATE && row < rows ? 0x1.715476p0f * maps.log_decay(gate[(int64_t)row * step]) : 0.0f;
#pragma unroll
      for (int j = 0; j < 8; ++j) x[4 * j + 2 * h] = x[4 * j + 2 * h + 1] = own;
    }
  }
}

// The gate's adjoint, from E, the terms q~ dq~ - k~ dk~: what passes a token's decay is the sum of those
// from it on and of what leaves the chunk. `vanishes(row)`: where the decay itself is zero.
template <class Maps, class Vanishes>
SL_WORD void sl_gate_adjoint(
    float (&terms)[32], uint32_t shared, const float *gate, float *d_gate, int64_t step, int rows,
    const float (&leaving)[16], const Maps maps, const Vanishes vanishes) {
  const int group = sl_group(), warp = sl_uniform(SL_WARP % 4);
  const uint32_t sums = shared + sl_at_sums + 1280 * (uint32_t)group;
  sl_sum_along<true>(terms);
  sl_leave_sums<true>(sums, terms);
  sl_sync();
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float later[2] = {leaving[2 * j], leaving[2 * j + 1]};
#pragma unroll
    for (int w = 1; w < 4; ++w)
      if (w > warp) {
        float each[2];
        sl_load_floats(each, sums + 256 * w + 4 * (uint32_t)(8 * j + sl_column()));
        later[0] += each[0];
        later[1] += each[1];
      }
#pragma unroll
    for (int n = 0; n < 4; ++n) terms[4 * j + n] += later[n & 1];
  }
#pragma unroll
  for (int n = 0; n < 32; ++n)
    if (vanishes(n)) terms[n] = 0.0f;
  if (SL_GATE == 2) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = sl_row() + 8 * h;
      if (row >= rows) continue;
      const int64_t at = (int64_t)row * step + 64 * group + sl_column();
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float own[2] = {terms[4 * j + 2 * h], terms[4 * j + 2 * h + 1]};
        if (SL_GATE_BENDS) {
          own[0] *= maps.gate_slope(gate[at + 8 * j]);
          own[1] *= maps.gate_slope(gate[at + 8 * j + 1]);
        }
        asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(d_gate + at + 8 * j), "f"(own[0]),
                     "f"(own[1])
                     : "memory");
      }
    }
  } else if (SL_GATE == 1) {
    // All keys have one gate: both groups' rows are added.
    sl_sync();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += terms[4 * j + 2 * h] + terms[4 * j + 2 * h + 1];
      sum += sl_of_partner(sum, 1);
      sum += sl_of_partner(sum, 2);
      if (SL_LANE % 4 == 0)
        sl_store_word(sums + 4 * (uint32_t)(sl_row() + 8 * h), SL_BITS(sum));
    }
    sl_sync();
    if (SL_THREAD < rows && SL_THREAD < 64) {
      const uint32_t at = shared + sl_at_sums + 4 * (uint32_t)SL_THREAD;
      const float sum = sl_load_float(at) + sl_load_float(at + 1280);
      const int64_t own = SL_THREAD * step;
      d_gate[own] = SL_GATE_BENDS ? sum * maps.gate_slope(gate[own]) : sum;
    }
  }
}

// Adjoints of rows of q or k to memory, through the slope of their map.
template <const bool bends, class Slope>
SL_WORD void sl_write_mapped(
    uint16_t *to, const uint16_t *from, int64_t step, int rows, float (&x)[32], const Slope slope) {
  const int column = 64 * sl_group();
#pragma unroll
  for (int n = 0; n < 32; n += 2) {
    const int row = sl_row() + (n & 2) * 4;
    uint32_t word = 0;
    if (bends && row < rows)
      word = *(const uint32_t *)(from + (int64_t)row * step + column + 8 * (n / 4) + sl_column());
    x[n] *= slope(sl_low(word));
    x[n + 1] *= slope(sl_high(word));
  }
  sl_write_rows(to + column, step, rows, x);
}

// Entries of tokens that part at the level of `half` tokens, the later one's row (`upper`: column); or of
// all pairs of a block of two halves, and of each token with itself, where one anchor does for them.
template <const bool upper>
SL_WORD void sl_keep_level(float (&x)[32], const int half, const int is_anchored) {
  const int first = sl_fresh(sl_row());
  const int least = is_anchored ? 0 : half, most = half ? 2 * half : 1;
#pragma unroll
  for (int n = 0; n < 32; ++n) {
    const int row = first + (n & 2) * 4, column = 8 * (n / 4) + sl_column() + (n & 1);
    const int apart = row ^ column, ahead = upper ? column - row : row - column;
    // Without a branch: a thread has many of these.
    const int is_one = (int)(apart >= least) & (int)(apart < most) & (int)(ahead >= 0);
    x[n] = is_one ? x[n] : 0.0f;
  }
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
  const uint32_t scaled_q = shared + sl_at_scaled, scaled_k = scaled_q + sl_tile;
  const uint32_t held = shared + sl_at_exact_state;
  // sl_gate_adjoint finds its sums from where the other kernel has them.
  const uint32_t common = shared + (sl_at_exact_sums - sl_at_sums);
  const char *const state = t.states + slot * sl_state, *const adjoint = t.adjoints + slot * sl_state;
  sl_copy_rows<SL_THREADS>(d_o, t.d_o + at, place.step, rows);
  sl_copy_rows<SL_THREADS>(v, t.v + at, place.step, rows);
  sl_copy_rows<SL_THREADS>(q, t.q + at, place.step, rows);
  sl_copy_rows<SL_THREADS>(k, t.k + at, place.step, rows);
  sl_copy_state(held, state);
  sl_copies_commit();

  // Made anew in each loop over a thread's numbers: addresses are not to stay in registers.
  int first = sl_row();
  const auto in_panel = [&](int n) __attribute__((always_inline)) {
    return (uint32_t)group * sl_panel
           + sl_in_panel(first + (n & 2) * 4, 8 * (n / 4) + sl_column());
  };
  const auto in_sums = [&](int row, int n) __attribute__((always_inline)) {
    return (uint32_t)row * sl_sum_row + 4 * (uint32_t)(64 * group + 8 * (n / 4) + sl_column());
  };
  const auto query = [&](float x) __attribute__((always_inline)) { return maps.query(x); };
  const auto key = [&](float x) __attribute__((always_inline)) { return maps.key(x); };

  float x[32];
  const auto begin_sums = [&]() __attribute__((always_inline)) {
    sl_logs_of_sums(x, maps, t.gate + gate_at, gate_step, rows);
    first = sl_fresh(first);
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      const uint32_t own = in_sums(first + (n & 2) * 4, n);
      sl_store_floats(shared + sl_at_past + own, x[n], x[n + 1]);
      sl_store_floats(shared + sl_at_ahead + own, 0.0f, 0.0f);
    }
    sl_sync();
  };
  // The sums of a level, from its middle to each token.
  const auto sums_of = [&](int half) __attribute__((always_inline)) {
    first = sl_fresh(first);
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      const int row = first + (n & 2) * 4;
      float sums[2] = {0.0f, 0.0f};
      if (half)
        sl_load_floats(
            sums, shared + (row & half ? sl_at_past : sl_at_ahead) + in_sums(row, n));
      x[n] = sums[0];
      x[n + 1] = sums[1];
    }
  };
  // The other half's sum goes to each token's own: over the border, and on.
  const auto go_on = [&](int half) __attribute__((always_inline)) {
    first = sl_fresh(first);
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      const int row = first + (n & 2) * 4;
      const int last = ((row & half ? row - half : row + half) | (half - 1)) & 63;
      float other[2];
      sl_load_floats(other, shared + sl_at_past + in_sums(last, n));
      x[n] += other[0];
      x[n + 1] += other[1];
    }
    sl_sync();
    first = sl_fresh(first);
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      const int row = first + (n & 2) * 4;
      sl_store_floats(
          shared + (row & half ? sl_at_past : sl_at_ahead) + in_sums(row, n), x[n], x[n + 1]);
    }
    sl_sync();
  };
  begin_sums();
  int anchored = 0;
#pragma unroll 1
  for (int half = 1; half <= 16; half *= 2) {
    sums_of(half);
    int fails = 0;
#pragma unroll
    for (int n = 0; n < 32; ++n) fails |= !(x[n] >= -62.0f);
    if (sl_meet_any(0, SL_THREADS, fails)) break;
    anchored = half;
    go_on(half);
  }
  begin_sums();
  sl_copies_wait(0);
  sl_sync();

  float sum[32], dq[32], dk[32], dv[32], terms[32];
  uint32_t operand[16];
#pragma unroll
  for (int n = 0; n < 32; ++n) dq[n] = dk[n] = dv[n] = terms[n] = 0.0f;
#pragma unroll 1
  for (int half = anchored ? 1 : 0; half <= 32; half = half ? 2 * half : 1) {
    sums_of(half);
    if (half < anchored) {
      go_on(half);
      continue;
    }
    const int is_anchored = half == anchored;
    // What the other half's tokens are scaled by: nothing is left of them, or as about an anchor.
    const float other = is_anchored ? -1.0f : SL_INF;
    const auto factor = [&](int n, int of_query) __attribute__((always_inline)) {
      const int later = (first + (n & 2) * 4) & half;
      const int is_own = of_query ? later | (half == 0) : !later;
      // No sum is above 0: the least one makes a product with infinity minus infinity.
      return sl_power(is_own ? x[n] : other * sl_min(x[n], -0x1p-60f));
    };
    first = sl_fresh(first);
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      float pair[2];
      sl_pair(pair, sl_load_word(q + in_panel(n)), query);
      sl_store_word(
          scaled_q + in_panel(n), sl_pack(pair[0] * factor(n, 1), pair[1] * factor(n + 1, 1)));
      sl_pair(pair, sl_load_word(k + in_panel(n)), key);
      sl_store_word(
          scaled_k + in_panel(n), sl_pack(pair[0] * factor(n, 0), pair[1] * factor(n + 1, 0)));
    }
    sl_publish();
    sl_sync();
    sl_products_begin();
    sl_rows_by_rows(sum, d_o, sl_panel, v, sl_panel);
    sl_products_end();
    sl_keep_level<false>(sum, half, is_anchored);
    sl_as_operand(operand, sum);
#pragma unroll
    for (int n = 0; n < 32; ++n) sum[n] = 0.0f;
    sl_products_begin();
    sl_held_by_panel(sum, operand, scaled_k + (uint32_t)group * sl_panel);
    sl_products_end();
    first = sl_fresh(first);
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      const uint32_t word = sl_load_word(scaled_q + in_panel(n));
      terms[n] = sl_fma(sl_low(word), sum[n], terms[n]);
      terms[n + 1] = sl_fma(sl_high(word), sum[n + 1], terms[n + 1]);
      dq[n] = sl_fma(factor(n, 1), sum[n], dq[n]);
      dq[n + 1] = sl_fma(factor(n + 1, 1), sum[n + 1], dq[n + 1]);
    }
    sl_products_begin();
    sl_rows_by_rows(sum, v, sl_panel, d_o, sl_panel);
    sl_products_end();
    sl_keep_level<true>(sum, half, is_anchored);
    sl_as_operand(operand, sum);
#pragma unroll
    for (int n = 0; n < 32; ++n) sum[n] = 0.0f;
    sl_products_begin();
    sl_held_by_panel(sum, operand, scaled_q + (uint32_t)group * sl_panel);
    sl_products_end();
    first = sl_fresh(first);
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      const uint32_t word = sl_load_word(scaled_k + in_panel(n));
      terms[n] = sl_fma(-sl_low(word), sum[n], terms[n]);
      terms[n + 1] = sl_fma(-sl_high(word), sum[n + 1], terms[n + 1]);
      dk[n] = sl_fma(factor(n, 0), sum[n], dk[n]);
      dk[n + 1] = sl_fma(factor(n + 1, 0), sum[n + 1], dk[n + 1]);
    }
    sl_products_begin();
    sl_rows_by_rows(sum, scaled_k, sl_panel, scaled_q, sl_panel);
    sl_products_end();
    sl_keep_level<true>(sum, half, is_anchored);
    sl_as_operand(operand, sum);
    sl_products_begin();
    sl_held_by_panel(dv, operand, d_o + (uint32_t)group * sl_panel);
    sl_products_end();
    sl_as_rest(operand, operand, sum);
    sl_products_begin();
    sl_held_by_panel(dv, operand, d_o + (uint32_t)group * sl_panel);
    sl_products_end();
    if (half) go_on(half);
    else sl_sync();
  }
  // From the state before the chunk.
  sl_products_begin();
  sl_rows_by_rows(sum, d_o, sl_panel, held + (uint32_t)group * sl_panel, sl_state / 2);
  sl_products_end();
  float pieces[sl_state_pieces][4];
  if (SL_GATE) sl_take_state(pieces, held);
  sl_sync();
  sl_copy_state(held, adjoint);
  sl_copies_commit();
  first = sl_fresh(first);
#pragma unroll
  for (int n = 0; n < 32; n += 2) {
    float past[2], pair[2];
    sl_load_floats(past, shared + sl_at_past + in_sums(first + (n & 2) * 4, n));
    sl_pair(pair, sl_load_word(q + in_panel(n)), query);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float adjoint_of_query = sl_power(past[e]) * sum[n + e];
      terms[n + e] = sl_fma(pair[e], adjoint_of_query, terms[n + e]);
      dq[n + e] += adjoint_of_query;
    }
  }
  sl_write_mapped<SL_QUERY_BENDS>(
      t.d_q + at, t.q + at, place.step, rows, dq, [&](float from) { return maps.query_slope(from); });
  // From the adjoint of the state after it; k^ reaches to the chunk's end.
  first = sl_fresh(first);
#pragma unroll
  for (int n = 0; n < 32; n += 2) {
    float pair[2];
    sl_load_floats(*(float(*)[2]) & x[n], shared + sl_at_ahead + in_sums(first + (n & 2) * 4, n));
    sl_pair(pair, sl_load_word(k + in_panel(n)), key);
    sl_store_word(
        scaled_k + in_panel(n), sl_pack(pair[0] * sl_power(x[n]), pair[1] * sl_power(x[n + 1])));
  }
  sl_copies_wait(0);
  sl_publish();
  sl_sync();
  sl_products_begin();
  sl_rows_by_rows(sum, v, sl_panel, held + (uint32_t)group * sl_panel, sl_state / 2);
  sl_products_commit();
  if (SL_GATE) sl_row_sums(common + sl_at_whole, pieces, held);
  sl_products_wait(0);
  float share[16];
  first = sl_fresh(first);
#pragma unroll
  for (int n = 0; n < 32; n += 2) {
    float pair[2];
    sl_pair(pair, sl_load_word(k + in_panel(n)), key);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float adjoint_of_key = sl_power(x[n + e]) * sum[n + e], term = pair[e] * adjoint_of_key;
      share[n / 4 * 2 + e] = (n & 2 ? share[n / 4 * 2 + e] : 0.0f) + term;
      terms[n + e] -= term;
      dk[n + e] += adjoint_of_key;
    }
  }
  sl_write_mapped<SL_KEY_BENDS>(
      t.d_k + at, t.k + at, place.step, rows, dk, [&](float from) { return maps.key_slope(from); });
  sl_products_begin();
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product_across(
          dv, sl_operand(scaled_k, p * sl_panel + 32 * s),
          sl_operand(held + (uint32_t)group * (sl_state / 2), 2048 * (4 * p + s)), 1);
  sl_products_end();
  sl_write_rows(t.d_v + at + 64 * group, place.step, rows, dv);
  if (!SL_GATE) return;
  sl_leave_shares(common + sl_at_shares + 1024 * (uint32_t)group, share);
  sl_logs_of_sums(x, maps, t.gate + gate_at, gate_step, rows);
  sl_sync();
  float leaving[16];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const uint32_t column = 4 * (uint32_t)(8 * j + sl_column());
    float whole[2], decay[2], each[2];
    sl_load_floats(whole, common + sl_at_whole + 256 * (uint32_t)group + column);
    sl_load_floats(decay, shared + sl_at_past + in_sums(63, 4 * j));
    whole[0] *= sl_power(decay[0]);
    whole[1] *= sl_power(decay[1]);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      sl_load_floats(each, common + sl_at_shares + 1024 * (uint32_t)group + 256 * w + column);
      whole[0] += each[0];
      whole[1] += each[1];
    }
    leaving[2 * j] = whole[0];
    leaving[2 * j + 1] = whole[1];
  }
  sl_gate_adjoint(
      terms, common, t.gate + gate_at, t.d_gate + gate_at, gate_step, rows, leaving, maps,
      [&](int n) { return x[n] < -126.0f; });
}

}  // namespace sl_gradients

#endif
