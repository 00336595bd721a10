// The first two warpgroups: their rows, and the exact form of a chunk whose decays are too strong for
// an anchor (anchored.cuh). A warp has a quarter of the chunk's tokens and 64 keys, a thread two of them.
#ifndef SL_ANCHORED_EXACT_CUH
#define SL_ANCHORED_EXACT_CUH

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

#endif
