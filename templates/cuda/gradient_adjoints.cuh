// The second kernel: a block has one chunk of one head, and finds all its adjoints from the state before
// it and the adjoint of the state after it, which takes the state's place as soon as that has been
// multiplied. What gradient.cuh says, in this order:
//
//     dO S~^T;  q~ and k~;  row sums of S dS;  dv;  v dS~^T (with its share of the row sums) and dP^T q~;
//     dP k~;  then dq and dk row by row, and the gate's
//
// Two such blocks share a multiprocessor: one waits for memory while the other one multiplies.
#ifndef SL_GRADIENT_ADJOINTS_CUH
#define SL_GRADIENT_ADJOINTS_CUH

namespace sl_gradients {

enum {
  // Places in shared memory: q~, k~, v, dO, then S~ and after it dS~; at the end tables of dq~ in place of
  // v and dO, of dk~ in that of dS~.
  sl_at_held = 4 * sl_tile,
  sl_at_sums = sl_at_held + sl_state,  // of log decays, then of E: 4 warps and the first token
  sl_at_shares = sl_at_sums + 2 * 5 * 256,  // of the row sums, from the chunk's own keys
  sl_at_whole = sl_at_shares + 2 * 4 * 256,  // row sums of S dS
  sl_at_terms = sl_at_sums,  // each quarter's sums of the gate's terms, where those of decays were
  sl_at_kept = sl_at_whole + 512,  // each thread's sums of log decays of so many of its tokens
  sl_kept_rows = 11,
  sl_at_own = sl_at_kept + sl_kept_rows * 1024,  // which chunk it is
  sl_adjoints_bytes = sl_at_own + sl_chunk_bytes,
};

// The row sums of the products of two states, 16 lanes a key: the first one's pieces were taken from
// shared memory, where the second one lies now.
SL_WORD uint32_t sl_own_piece() {
  const uint32_t piece = SL_THREAD % 16;
  return piece / 8 * (sl_state / 2) + SL_THREAD / 16 * 128 + piece % 8 * 16;
}
template <const int threads>
SL_WORD void sl_take_state(float (&x)[sl_state / 16 / threads][4], uint32_t held) {
#pragma unroll
  for (int n = 0; n < sl_state / 16 / threads; ++n)
    sl_load_four(x[n], held + sl_own_piece() + (uint32_t)(8 * n * threads));
}
template <const int threads>
SL_WORD void sl_row_sums(
    uint32_t to, const float (&x)[sl_state / 16 / threads][4], uint32_t held) {
  const uint32_t from = held + sl_own_piece();
#pragma unroll
  for (int n = 0; n < sl_state / 16 / threads; ++n) {
    float y[4], sum = 0.0f;
    sl_load_four(y, from + (uint32_t)(8 * n * threads));
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const uint32_t a = SL_BITS(x[n][m]), b = SL_BITS(y[m]);
      sum = sl_fma(sl_high(a), sl_high(b), sl_fma(sl_low(a), sl_low(b), sum));
    }
#pragma unroll
    for (int lanes = 1; lanes < 16; lanes *= 2) sum += sl_of_partner(sum, lanes);
    if (SL_THREAD % 16 == 0)
      sl_store_word(to + (uint32_t)(4 * (n * threads / 16 + SL_THREAD / 16)), SL_BITS(sum));
  }
}

// The columns' sums of a warp's rows: sums[warp of the group][column].
SL_WORD void sl_leave_shares(uint32_t shares, float (&x)[16]) {
#pragma unroll
  for (int n = 0; n < 16; ++n)
#pragma unroll
    for (int apart = 4; apart < 32; apart *= 2) x[n] += sl_of_partner(x[n], apart);
  if (SL_LANE < 4)
#pragma unroll
    for (int j = 0; j < 8; ++j)
      sl_store_floats(
          shares + 256 * (uint32_t)(SL_WARP % 4) + 4 * (uint32_t)(8 * j + sl_column()), x[2 * j],
          x[2 * j + 1]);
}

// Where a pair of the token `row` of a thread's quarter lies in a tile.
SL_WORD uint32_t sl_in_quarter(int row, int column) {
  return (uint32_t)(SL_WARP % 2 * sl_panel + sl_quarter() * 2048) + sl_in_panel(row, column);
}

// A pair of an adjoint through the slope of its map, at the number that was mapped.
template <const bool bends, class Slope>
SL_WORD void sl_write_mapped_pair(
    uint16_t *to, const uint16_t *from, const float (&x)[2], const Slope slope, const int there) {
  const uint32_t word = bends && there ? *(const uint32_t *)from : 0u;
  sl_write_word(to, sl_pack(x[0] * slope(sl_low(word)), x[1] * slope(sl_high(word))), there);
}

// The chunk that was left at sl_at_own.
template <class Maps>
SL_WORD void sl_gradient_adjoints(uint32_t shared, const Maps maps, const sl_tensors t) {
  const int group = sl_group(), quarter = sl_quarter();
  const uint32_t own_panel = (uint32_t)group * sl_panel;
  uint32_t q = shared, k = q + sl_tile, v = k + sl_tile, d_o = v + sl_tile;
  uint32_t held = shared + sl_at_held, sums = shared + sl_at_sums;
  float a[16][2];
  {
    const sl_chunk own = sl_chunk_left(shared + sl_at_own);
    sl_copy_rows<SL_THREADS>(d_o, t.d_o + own.at, own.step, own.rows);
    sl_copy_state<SL_THREADS>(held, t.states + own.slot * sl_state);
    sl_copies_commit();
    sl_copy_rows<SL_THREADS>(q, t.q + own.at, own.step, own.rows);
    sl_copy_rows<SL_THREADS>(k, t.k + own.at, own.step, own.rows);
    sl_copy_rows<SL_THREADS>(v, t.v + own.at, own.step, own.rows);
    sl_copies_commit();
    if (SL_THREAD == 0) sl_ask_ahead(t.adjoints + own.slot * sl_state, sl_state);
    sl_read_gates(a, t.gate + own.gate, own.gate_step, own.rows);
    sl_log_decays(a, maps, own.rows);
  }
  // q~ and k~ in place.
  // a, packed: of a token two keys' sums.
  uint32_t kept[16 - sl_kept_rows];
  const auto kept_of = [&](int n) __attribute__((always_inline)) {
    return n < sl_kept_rows
               ? sl_load_word(shared + sl_at_kept + (uint32_t)(1024 * n + 4 * SL_THREAD))
               : (uint32_t)sl_fresh((int)kept[n < sl_kept_rows ? 0 : n - sl_kept_rows]);
  };
  sl_leave_quarter(sums, a);
  // dq~ from the state, whose place the adjoint takes.
  float of_query[32], sum[32];
  sl_copies_wait(1);
  sl_publish();
  sl_sync();
  sl_products_begin();
  sl_rows_by_rows(of_query, d_o, sl_panel, held + own_panel, sl_state / 2);
  sl_products_end();
  float pieces[sl_state / 16 / SL_THREADS][4];
  if (SL_GATED) sl_take_state<SL_THREADS>(pieces, held);
  sl_copies_wait(0);
  sl_sync();
  sl_copy_state<SL_THREADS>(held, t.adjoints + sl_chunk_left(shared + sl_at_own).slot * sl_state);
  sl_copies_commit();
  sl_from_middle(a, sums);
  int column = sl_fresh(2 * SL_LANE);
#pragma unroll
  for (int from = 0; from < 16; from += 4) {
    uint32_t x[4], y[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      x[n] = sl_load_word(q + sl_in_quarter(from + n, column));
      y[n] = sl_load_word(k + sl_in_quarter(from + n, column));
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int row = from + n;
      float pair[2];
      sl_pair(pair, x[n], [&](float z) __attribute__((always_inline)) { return maps.query(z); });
      sl_store_word(
          q + sl_in_quarter(row, column),
          sl_pack(pair[0] * sl_power(a[row][0]), pair[1] * sl_power(a[row][1])));
      sl_pair(pair, y[n], [&](float z) __attribute__((always_inline)) { return maps.key(z); });
      sl_store_word(
          k + sl_in_quarter(row, column),
          sl_pack(pair[0] * sl_power(-a[row][0]), pair[1] * sl_power(-a[row][1])));
      const uint32_t packed = sl_pack_sums(a[row][0], a[row][1]);
      if (row < sl_kept_rows)
        sl_store_word(shared + sl_at_kept + (uint32_t)(1024 * row + 4 * SL_THREAD), packed);
      else
        kept[row - sl_kept_rows] = packed;
    }
  }
  sl_copies_wait(0);
  sl_publish();
  sl_sync();

  if (SL_GATED) sl_row_sums<SL_THREADS>(shared + sl_at_whole, pieces, held);

  // dv; addresses are made anew: kept since the chunk's begin, they would crowd registers.
  shared = (uint32_t)sl_fresh((int)shared);
  q = shared, k = q + sl_tile, v = k + sl_tile, d_o = v + sl_tile;
  held = shared + sl_at_held, sums = shared + sl_at_sums;
  uint32_t operand[16], rest[16];
  sl_products_begin();
  sl_rows_by_rows(sum, k, sl_panel, q, sl_panel);
  sl_products_end();
  sl_keep_past<true>(sum);
  sl_in_two_parts(operand, rest, sum);
  sl_products_begin();
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product_across(
          sum, sl_operand(k, p * sl_panel + 32 * s),
          sl_operand(held + (uint32_t)group * (sl_state / 2), 2048 * (4 * p + s)), p + s > 0);
  sl_held_by_panel(sum, operand, d_o + own_panel);
  sl_held_by_panel(sum, rest, d_o + own_panel);
  sl_products_end();
  {
    const sl_chunk own = sl_chunk_left(shared + sl_at_own);
    sl_write_rows(t.d_v + own.at + 64 * group, own.step, own.rows, sum);
  }

  // dk~. What rounding leaves of dP is multiplied too, as of P: few products may be all of an adjoint, and
  // what their factors err by its error.
  sl_products_begin();
  sl_rows_by_rows(sum, v, sl_panel, held + own_panel, sl_state / 2);
  sl_products_end();
  if (SL_GATED) {
    float share[16];
    const int own_row = sl_fresh(sl_row());
#pragma unroll
    for (int n = 0; n < 32; n += 2) {
      const uint32_t word = sl_load_word(
          k + own_panel + sl_in_panel(own_row + (n & 2) * 4, 8 * (n / 4) + sl_column()));
      const int own = n / 4 * 2;
      share[own] = sl_fma(sl_low(word), sum[n], n & 2 ? share[own] : 0.0f);
      share[own + 1] = sl_fma(sl_high(word), sum[n + 1], n & 2 ? share[own + 1] : 0.0f);
    }
    sl_leave_shares(shared + sl_at_shares + 1024 * (uint32_t)group, share);
  }
  float pairs[32];
  sl_products_begin();
  sl_rows_by_rows(pairs, v, sl_panel, d_o, sl_panel);
  sl_products_end();
  sl_keep_past<true>(pairs);
  sl_in_two_parts(operand, rest, pairs);
  sl_products_begin();
  sl_held_by_panel(sum, operand, q + own_panel);
  sl_held_by_panel(sum, rest, q + own_panel);
  sl_products_end();
  // All have read dS: its place takes dk~, for which registers have no room beside what follows.
  sl_sync();
  sl_store_table(held, sum);

  // dq~
  sl_products_begin();
  sl_rows_by_rows(pairs, d_o, sl_panel, v, sl_panel);
  sl_products_end();
  sl_keep_past<false>(pairs);
  sl_in_two_parts(operand, rest, pairs);
  sl_products_begin();
  sl_held_by_panel(of_query, operand, k + own_panel);
  sl_held_by_panel(of_query, rest, k + own_panel);
  sl_products_end();
  // v and dO have been read too: their place takes dq~.
  sl_sync();
  sl_store_table(v, of_query);
  sl_sync();
  const sl_chunk chunk = sl_chunk_left(shared + sl_at_own);
  const int rows = chunk.rows;
  float terms[16][2], later[2] = {0.0f, 0.0f};
  column = sl_fresh(64 * (SL_WARP % 2) + 2 * SL_LANE);
  int64_t own = (int64_t)(16 * quarter + 15) * chunk.step + column;
#pragma unroll
  for (int n = 15; n >= 0; --n, own = sl_fresh(own - chunk.step)) {
    float x[2], y[2];
    // Earlier rows are not to be read before: registers have no room.
    if (n % 4 == 3) sl_meet_warp();
    sl_load_floats(x, v + sl_in_table(16 * quarter + n, column));
    sl_load_floats(y, held + sl_in_table(16 * quarter + n, column));
    const uint32_t query = sl_load_word(q + sl_in_quarter(n, column & 63));
    const uint32_t key = sl_load_word(k + sl_in_quarter(n, column & 63));
    const uint32_t from_middle = kept_of(n);
    terms[n][0] = later[0] = sl_fma(sl_low(query), x[0], sl_fma(-sl_low(key), y[0], later[0]));
    terms[n][1] = later[1] = sl_fma(sl_high(query), x[1], sl_fma(-sl_high(key), y[1], later[1]));
    const float low = sl_low_sum(from_middle), high = sl_high_sum(from_middle);
    const float a_of[2] = {low, high};
#pragma unroll
    for (int e = 0; e < 2; ++e) x[e] *= sl_power(a_of[e]), y[e] *= sl_power(-a_of[e]);
    const int there = 16 * quarter + n < rows;
    sl_write_mapped_pair<SL_QUERY_BENDS>(
        t.d_q + chunk.at + own, t.q + chunk.at + own, x,
        [&](float z) __attribute__((always_inline)) { return maps.query_slope(z); }, there);
    sl_write_mapped_pair<SL_KEY_BENDS>(
        t.d_k + chunk.at + own, t.k + chunk.at + own, y,
        [&](float z) __attribute__((always_inline)) { return maps.key_slope(z); }, there);
  }
  if (!SL_GATED) return;

  // The gate's: a token's decay is passed by what comes from it on, and by what leaves the chunk.
  float other[2], first[2];
  const uint32_t own_sums = sums + 4 * (uint32_t)sl_key();
  sl_load_floats(first, own_sums + 2048);
  const uint32_t own_terms = shared + sl_at_terms + 4 * (uint32_t)sl_key();
  sl_store_floats(own_terms + 512 * (uint32_t)quarter, later[0], later[1]);
  sl_sync();
  sl_load_floats(later, shared + sl_at_whole + 4 * (uint32_t)sl_key());
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    sl_load_floats(
        other, shared + sl_at_shares + (uint32_t)(1024 * (SL_WARP % 2) + 256 * w + 8 * SL_LANE));
    later[0] += other[0], later[1] += other[1];
  }
#pragma unroll
  for (int w = 1; w < 4; ++w)
    if (w > quarter) {
      sl_load_floats(other, own_terms + 512 * w);
      later[0] += other[0], later[1] += other[1];
    }
  own = (int64_t)16 * quarter * chunk.step + sl_fresh(column);
#pragma unroll
  for (int n = 0; n < 16; ++n, own = sl_fresh(own + chunk.step)) {
    const int row = 16 * quarter + n;
    float x[2] = {terms[n][0] + later[0], terms[n][1] + later[1]};
    // A decay of zero passes nothing on.
    if (row == 0) {
      if (first[0] < -126.0f) x[0] = 0.0f;
      if (first[1] < -126.0f) x[1] = 0.0f;
    }
    if (SL_GATE_BENDS && row < rows) {
      x[0] *= maps.gate_slope(t.gate[chunk.gate + own]);
      x[1] *= maps.gate_slope(t.gate[chunk.gate + own + 1]);
    }
    sl_write_pair(t.d_gate + chunk.gate + own, x, row < rows);
  }
}

}  // namespace sl_gradients

#endif
