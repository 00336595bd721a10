// Most quarters of a chunk in the exact form (anchored_exact.cuh) keep within the range of an anchor of
// their own, the border between their first and their last eight tokens: strong decay of every token
// leaves it over a chunk's half, and not over eight tokens. Such a quarter needs no levels: with a_i the
// sum of log decays from the border to token i,
//
//     P = lower triangle of (q 2^{a_i}) (k 2^{-a_i})^T
//     q_i 2^{a_i} 2^{-a_0} d_0 and k_i 2^{-a_i} 2^{a_15} reach to the quarter's start and end
//
// where no |a_i| is above 62. A reset of all keys at one token, as between documents, is no decay at all
// but a cut: it is left out of the sums, and nothing passes it. A warp decides for its own keys.
#ifndef SL_ANCHORED_QUARTER_CUH
#define SL_ANCHORED_QUARTER_CUH

// How a warp takes its quarter and keys.
typedef enum { sl_by_levels, sl_by_anchor, sl_by_cuts } sl_quarter_form;

// The tokens at which all keys' decays are zero.
SL_WORD uint32_t sl_quarter_cuts(const float (&logarithms)[16][2]) {
  uint32_t cuts = 0u;
#pragma unroll
  for (int n = 0; n < 16; ++n)
    if (sl_max(logarithms[n][0], logarithms[n][1]) < -126.0f) cuts |= 1u << n;
  return sl_bits_of_all(cuts);
}
// Whether a key leaves the range on either side, of tokens 1 to 7 and of the last eight; cuts do not
// count.
SL_WORD int sl_quarter_leaves(const float (&logarithms)[16][2], const uint32_t cuts) {
  int leaves = 0;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    float early = 0.0f, late = 0.0f;
#pragma unroll
    for (int n = 1; n < 8; ++n) early += cuts >> n & 1 ? 0.0f : logarithms[n][e];
#pragma unroll
    for (int n = 8; n < 16; ++n) late += cuts >> n & 1 ? 0.0f : logarithms[n][e];
    leaves |= !(early >= -62.0f) | !(late >= -62.0f);
  }
  return leaves;
}

// A quarter's form and cuts, and its decays where the warp finds them as products want them: by levels
// those of single tokens; else the powers of sums from the border. The border's own are 1, and that
// place has d_0 2^{-a_0}. `early` is the sum of tokens 1 to 7, `whole` that of all but token 0.
SL_WORD sl_quarter_form sl_quarter_decays(
    uint32_t gates, float (&logarithms)[16][2], const float (&early)[2], const float (&whole)[2],
    uint32_t &cuts, const int panel, const int quarter) {
  const int lane = sl_lane_anew(), piece = lane / 4, pair = lane % 4;
  const uint32_t place = sl_exact_place(gates, quarter, panel, piece);
  sl_quarter_form form = sl_by_anchor;
  cuts = 0u;
  int leaves = 0;
#pragma unroll
  for (int e = 0; e < 2; ++e)
    leaves |= !(early[e] >= -62.0f) | !(whole[e] - early[e] >= -62.0f);
  if (sl_any(leaves)) {
    form = sl_by_levels;
    // A reset of all keys is in all their sums.
    const float far = sl_max(whole[0] + logarithms[0][0], whole[1] + logarithms[0][1]);
    if (!sl_any(!(far < -126.0f))) {
      cuts = sl_quarter_cuts(logarithms);
      if (!sl_any(sl_quarter_leaves(logarithms, cuts))) form = sl_by_cuts;
    }
  }
  if (form == sl_by_levels) {
#pragma unroll
    for (int n = 0; n < 16; ++n)
      sl_store_floats(
          place + sl_in_decays(piece, n, pair), sl_power(logarithms[n][0]),
          sl_power(logarithms[n][1]));
  } else {
    if (form == sl_by_cuts)
#pragma unroll
      for (int n = 0; n < 16; ++n)
        if (cuts >> n & 1) logarithms[n][0] = logarithms[n][1] = 0.0f;
    float a[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 8; n < 16; ++n) {
      a[0] += logarithms[n][0], a[1] += logarithms[n][1];
      sl_store_floats(place + sl_in_decays(piece, n, pair), sl_power(a[0]), sl_power(a[1]));
    }
    a[0] = a[1] = 0.0f;
#pragma unroll
    for (int n = 6; n >= 0; --n) {
      a[0] -= logarithms[n + 1][0], a[1] -= logarithms[n + 1][1];
      sl_store_floats(place + sl_in_decays(piece, n, pair), sl_power(a[0]), sl_power(a[1]));
    }
    sl_store_floats(
        place + sl_in_decays(piece, 7, pair), sl_power(logarithms[0][0] - a[0]),
        sl_power(logarithms[0][1] - a[1]));
  }
  sl_meet_warp();
  return form;
}

// A quarter about its own anchor; what sl_exact_levels leaves.
template <const bool has_cuts, class Maps>
SL_WORD void sl_quarter_anchored(
    uint32_t gates, uint32_t queries, uint32_t before_at, uint32_t after_at, const Maps maps,
    sl_quarter_scores &found, const uint32_t cuts, const int panel, const int quarter) {
  const int lane = sl_lane_anew();
  float early[4], late[4], own[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 4; ++n) early[n] = late[n] = 0.0f;
  // Whether the lane's tokens see the quarter's start and end.
  float sees_start[2], sees_end[2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t later = 0xfffffffeu << (lane / 4 + 8 * m);
    sees_start[m] = cuts & ~later ? 0.0f : 1.0f;
    sees_end[m] = cuts & later ? 0.0f : 1.0f;
  }
  uint32_t pairs[4];
  sl_exact_held next;
  const sl_exact_places places = sl_exact_seat(gates, queries, lane, panel, quarter);
  sl_load_matrices(pairs, places.operands);
  sl_exact_decays(next, places.decays, 0);
  // Where there are cuts, both loops may run side by side: they are not to crowd out instructions.
  constexpr int pieces_at_once = has_cuts ? 1 : 2;
#pragma unroll pieces_at_once
  for (int piece = 0; piece < 8; ++piece) {
    sl_exact_held q, k;
    float to_start[2], to_end[2], before[2], after[2];
    const uint32_t key = 8 * (uint32_t)(4 * piece + lane % 4);
    sl_load_floats(before, before_at + key);
    sl_load_floats(after, after_at + key);
    sl_load_floats(to_start, sl_decays_of(places.ends, piece));
    sl_load_floats(to_end, sl_decays_of(places.ends, piece) + 256);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      q[m][0] = maps.query(sl_low(pairs[m])), q[m][1] = maps.query(sl_high(pairs[m]));
      k[m][0] = maps.key(sl_low(pairs[2 + m])), k[m][1] = maps.key(sl_high(pairs[2 + m]));
      own[m] = SL_FMA(q[m][0], k[m][0], SL_FMA(q[m][1], k[m][1], own[m]));
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float power = m == 0 && lane / 4 == 7 ? 1.0f : next[m][e];
        q[m][e] *= power;
        k[m][e] *= sl_inverse(power);
      }
    }
    if (piece < 7) {
      sl_load_matrices(pairs, sl_operands_of(places.operands, piece + 1));
      sl_exact_decays(next, places.decays, piece + 1);
    }
    {
      const uint32_t first = sl_pack(q[0][0], q[0][1]), second = sl_pack(q[1][0], q[1][1]);
      sl_warp_product_of_eight(early, first, second, sl_pack(k[0][0], k[0][1]));
      sl_warp_product_of_eight(late, first, second, sl_pack(k[1][0], k[1][1]));
    }
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        q[m][e] *= has_cuts ? to_start[e] * sees_start[m] : to_start[e];
        k[m][e] *= has_cuts ? to_end[e] * sees_end[m] : to_end[e];
      }
    uint32_t done[4], shared[4];
    sl_exact_reach(done, shared, q, k, before, after, quarter);
    sl_store_matrices(
        sl_operands_of(places.operands, piece), done[0], done[1], done[2], done[3]);
    sl_meet_warp();
    sl_store_matrices(
        places.shared + 512 * (uint32_t)piece, shared[0], shared[1], shared[2], shared[3]);
  }
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    found.within[e] = early[e], found.within[2 + e] = late[2 + e];
    found.across[e] = 0.0f, found.across[2 + e] = early[2 + e];
    if (!has_cuts) continue;
    // A token sees those that no cut parts from it.
    const auto run = [&](int token) { return sl_count(cuts & ~(0xfffffffeu << token)); };
    const int row = lane / 4, column = 2 * (lane % 4) + e;
    if (run(row) != run(column)) found.within[e] = 0.0f;
    if (run(8 + row) != run(8 + column)) found.within[2 + e] = 0.0f;
    if (run(8 + row) != run(column)) found.across[2 + e] = 0.0f;
  }
  sl_exact_diagonal(found, own);
}

// A quarter's scores, its operands in their place, and what other quarters need of it.
template <class Maps>
SL_WORD void sl_exact_operands(
    uint32_t gates, uint32_t queries, uint32_t sums, uint32_t last_sums, uint32_t outer,
    const Maps maps, float (&logarithms)[16][2], const float (&early)[2], const float (&whole)[2],
    sl_quarter_scores &found, const int panel, const int quarter) {
  uint32_t cuts;
  const sl_quarter_form form =
      sl_quarter_decays(gates, logarithms, early, whole, cuts, panel, quarter);
  const uint32_t before_at = last_sums + (uint32_t)(512 * quarter + 256 * panel);
  const uint32_t after_at = outer + (uint32_t)(512 * quarter + 256 * panel);
  sl_exact_outside(before_at, after_at, sums, panel, quarter);
  if (form == sl_by_anchor)
    sl_quarter_anchored<false>(
        gates, queries, before_at, after_at, maps, found, 0u, panel, quarter);
  else if (form == sl_by_cuts)
    sl_quarter_anchored<true>(
        gates, queries, before_at, after_at, maps, found, cuts, panel, quarter);
  else
    sl_exact_levels(gates, queries, before_at, after_at, maps, found, panel, quarter);
}

#endif
