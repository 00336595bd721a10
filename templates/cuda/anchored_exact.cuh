// The exact form of a chunk whose decays are too strong for an anchor (anchored.cuh), by the preparing
// warps: one has a quarter of the chunk's tokens, 16, and 64 keys.
//
// With Q_h(i) the decays from the start of token i's run of h tokens to i, and S_h(j) those after j to
// the end of its run, all in [0, 1],
//
//     P_ij = sum over keys of q_i Q_h(i) S_h(j) k_j   where i and j lie in the two halves, of h, of a run
//
// Runs grow by doubling: Q_2h(i) = T Q_h(i) in a later half, and S_2h(j) = S_h(j) T in an earlier one, T
// the decay of the other half. Lanes hold what a warp's product wants, its rows in lanes 4, 8 and 16
// apart, so that up to 16 tokens no operand leaves the registers. Quarters meet in shared memory. Most
// quarters need no levels (anchored_quarter.cuh): this is the last resort, which is right for all.
#ifndef SL_ANCHORED_EXACT_CUH
#define SL_ANCHORED_EXACT_CUH

// Two bf16 through a map, times so much.
template <class Map>
SL_WORD uint32_t sl_scaled(uint32_t pair, const Map map, const float x, const float y) {
  return sl_pack(map(sl_low(pair)) * x, map(sl_high(pair)) * y);
}

// A number, found anew: addresses that come from it are not kept from chunk to chunk, where they would
// crowd the mild form's decays out of registers.
SL_WORD int sl_anew(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
SL_WORD int sl_lane_anew() { return sl_anew(SL_LANE); }

// Where the gates were: for a quarter, a half of the keys and eight of them, decays in f32, exchanged so
// that rows and columns find all banks; later two operands in bf16.
SL_WORD uint32_t sl_exact_place(uint32_t gates, int quarter, int panel, int piece) {
  return gates + (uint32_t)(8192 * quarter + 4096 * panel + 512 * piece);
}
// Bytes to a token's decays of keys 2 pair and 1 more.
SL_WORD uint32_t sl_in_decays(int piece, int token, int pair) {
  return (uint32_t)(32 * (token ^ (piece & 3)) + 8 * pair);
}

// Where a lane has places in the first piece: of q and k, of the decays of its first token, of the eighth
// token's, and of the two operands.
typedef struct {
  uint32_t operands, decays, ends, shared;
} sl_exact_places;
// From a place in the first piece to the same one in another.
SL_WORD uint32_t sl_operands_of(uint32_t first, int piece) { return first ^ (uint32_t)(16 * piece); }
SL_WORD uint32_t sl_decays_of(uint32_t first, int piece) {
  return (first ^ (uint32_t)(32 * (piece & 3))) + 512 * (uint32_t)piece;
}

// What a lane has of 16 tokens and 8 keys: tokens l / 4 and 8 more, keys 2 (l % 4) and one more.
typedef float sl_exact_held[2][2];

// The decays of the other half, `apart` lanes from here.
SL_WORD void sl_exact_ask(sl_exact_held &other, const sl_exact_held &all, const int apart) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 2; ++e) other[m][e] = sl_of_other(all[m][e], apart);
}

// Both halves become one run: q of the later one and k of the earlier one decay by the other half.
SL_WORD void sl_exact_join(
    sl_exact_held &all, sl_exact_held &queries, sl_exact_held &keys, const sl_exact_held &other,
    const bool is_later) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      queries[m][e] *= is_later ? other[m][e] : 1.0f;
      keys[m][e] *= is_later ? 1.0f : other[m][e];
      all[m][e] *= other[m][e];
    }
}

// sum += the products between two halves of runs, and others that do not count; the first eight tokens
// and the last eight apart.
SL_WORD void sl_exact_between(
    float (&sum)[4], const sl_exact_held &queries, const sl_exact_held &keys, const bool is_later) {
  uint32_t pairs[2];
#pragma unroll
  for (int m = 0; m < 2; ++m)
    pairs[m] = sl_pack(
        is_later ? queries[m][0] : keys[m][0], is_later ? queries[m][1] : keys[m][1]);
  sl_warp_product_of_eight(sum, pairs[0], 0u, pairs[0]);
  sl_warp_product_of_eight(sum, 0u, pairs[1], pairs[1]);
}

// What a warp finds of its quarter's scores, summed over its keys: tokens of one eight (the first one's
// in [0] and [1], as products leave them), and of the last eight with the first.
typedef struct {
  float within[4], across[4];
} sl_quarter_scores;

// The decay of two keys over the quarters from one up to another.
SL_WORD void sl_exact_outer(float (&decay)[2], uint32_t sums, const int begin, const int end) {
  decay[0] = decay[1] = 0.0f;
#pragma unroll
  for (int quarter = 0; quarter < 4; ++quarter) {
    if (quarter < begin || quarter >= end) continue;
    float sum[2];
    sl_load_floats(sum, sums + 512 * quarter);
    decay[0] += sum[0], decay[1] += sum[1];
  }
  decay[0] = sl_power(decay[0]), decay[1] = sl_power(decay[1]);
}

// For each key the decay before the quarter, and that after it; of the first and the last quarter, which
// have none, that of the one beside them.
SL_WORD void sl_exact_outside(
    uint32_t before_at, uint32_t after_at, uint32_t sums, const int panel, const int quarter) {
  const int lane = sl_lane_anew();
  float before[2], after[2];
  const uint32_t own_sums = sums + 4 * (uint32_t)(64 * panel + 2 * lane);
  sl_exact_outer(before, own_sums, quarter == 0 ? 1 : 0, quarter == 0 ? 2 : quarter);
  sl_exact_outer(after, own_sums, quarter == 3 ? 2 : quarter + 1, quarter == 3 ? 3 : 4);
  sl_store_floats(before_at + 8 * (uint32_t)lane, before[0], before[1]);
  sl_store_floats(after_at + 8 * (uint32_t)lane, after[0], after[1]);
  sl_meet_warp();
}

// Where a lane's q and k of a piece lie, tokens lane % 16.
SL_WORD uint32_t sl_exact_at(uint32_t queries, const int lane, const int piece) {
  return queries + (uint32_t)(lane / 16) * sl_tile + sl_in_panel(lane % 16, 8 * piece);
}

SL_WORD sl_exact_places sl_exact_seat(
    uint32_t gates, uint32_t queries, const int lane, const int panel, const int quarter) {
  const uint32_t place = sl_exact_place(gates, quarter, panel, 0);
  const sl_exact_places places = {
      sl_exact_at(queries, lane, 0), place + sl_in_decays(0, lane / 4, lane % 4),
      place + sl_in_decays(0, 7, lane % 4), place + 16 * (uint32_t)lane};
  return places;
}
// Of a piece's decays, of the lane's first token and of its second one, eight rows on.
SL_WORD void sl_exact_decays(sl_exact_held &decays, uint32_t first, const int piece) {
#pragma unroll
  for (int m = 0; m < 2; ++m) sl_load_floats(decays[m], sl_decays_of(first, piece) + 256 * m);
}

// Of q decayed from the quarter's start and k to its end, a piece's operands: `done` reaches to the
// chunk's start and end; `shared` is what quarters need of each other: of the first one k decayed to
// its end, and to that of the second; of the last one q decayed from its start, and from that of the
// third; of others both.
SL_WORD void sl_exact_reach(
    uint32_t (&done)[4], uint32_t (&shared)[4], const sl_exact_held &q, const sl_exact_held &k,
    const float (&before)[2], const float (&after)[2], const int quarter) {
  if (quarter == 0) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      done[m] = sl_pack(q[m][0], q[m][1]);
      shared[m] = sl_pack(k[m][0], k[m][1]);
      shared[2 + m] = sl_pack(k[m][0] * before[0], k[m][1] * before[1]);
      done[2 + m] = sl_pack(k[m][0] * after[0], k[m][1] * after[1]);
    }
  } else if (quarter == 3) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      done[m] = sl_pack(q[m][0] * before[0], q[m][1] * before[1]);
      shared[m] = sl_pack(q[m][0], q[m][1]);
      shared[2 + m] = sl_pack(q[m][0] * after[0], q[m][1] * after[1]);
      done[2 + m] = sl_pack(k[m][0], k[m][1]);
    }
  } else {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      done[m] = sl_pack(q[m][0] * before[0], q[m][1] * before[1]);
      shared[m] = sl_pack(q[m][0], q[m][1]);
      shared[2 + m] = sl_pack(k[m][0], k[m][1]);
      done[2 + m] = sl_pack(k[m][0] * after[0], k[m][1] * after[1]);
    }
  }
}

// Scores of a token with itself, of which each of a row's four lanes has a part, in their place; and
// none of a token with a later one.
SL_WORD void sl_exact_diagonal(sl_quarter_scores &found, float (&own)[2]) {
  const int lane = sl_lane_anew();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    own[half] += sl_of_other(own[half], 1);
    own[half] += sl_of_other(own[half], 2);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int apart = lane / 4 - 2 * (lane % 4) - e;
      float &score = found.within[2 * half + e];
      if (apart == 0) score = own[half];
      if (apart < 0) score = 0.0f;
    }
  }
}

// A quarter level by level: its scores, q and k decayed from the chunk's start and to its end in their
// place, and what quarters need of each other where the decays were.
template <class Maps>
SL_WORD void sl_exact_levels(
    uint32_t gates, uint32_t queries, uint32_t before_at, uint32_t after_at, const Maps maps,
    sl_quarter_scores &found, const int panel, const int quarter) {
  const int lane = sl_lane_anew();
  float pairs_sum[4], two[4], own[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 4; ++n)
    pairs_sum[n] = two[n] = found.within[n] = found.across[n] = 0.0f;
  // q and k of a piece of eight keys, and their decays, which are asked for a piece ahead.
  uint32_t pairs[4];
  sl_exact_held next;
  const sl_exact_places places = sl_exact_seat(gates, queries, lane, panel, quarter);
  sl_load_matrices(pairs, places.operands);
  sl_exact_decays(next, places.decays, 0);
#pragma unroll 1
  for (int piece = 0; piece < 8; ++piece) {
    sl_exact_held q, k, all;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      all[m][0] = next[m][0], all[m][1] = next[m][1];
      q[m][0] = maps.query(sl_low(pairs[m])), q[m][1] = maps.query(sl_high(pairs[m]));
      k[m][0] = maps.key(sl_low(pairs[2 + m])), k[m][1] = maps.key(sl_high(pairs[2 + m]));
      own[m] = SL_FMA(q[m][0], k[m][0], SL_FMA(q[m][1], k[m][1], own[m]));
#pragma unroll
      for (int e = 0; e < 2; ++e) q[m][e] *= all[m][e];
    }
    // What is asked of other lanes is on its way during a product.
    sl_exact_held other;
    sl_exact_ask(other, all, 4);
    sl_exact_between(pairs_sum, q, k, lane & 4);
    sl_exact_join(all, q, k, other, lane & 4);
    sl_exact_ask(other, all, 8);
    sl_exact_between(two, q, k, lane & 8);
    sl_exact_join(all, q, k, other, lane & 8);
    sl_exact_ask(other, all, 16);
    sl_exact_between(found.within, q, k, lane & 16);
    sl_exact_join(all, q, k, other, lane & 16);
    // The last eight tokens with the first; then all sixteen, and what lies before and after them.
    sl_warp_product_of_eight(
        found.across, 0u, sl_pack(q[1][0], q[1][1]), sl_pack(k[0][0], k[0][1]));
#pragma unroll
    for (int e = 0; e < 2; ++e) q[1][e] *= all[0][e], k[0][e] *= all[1][e];
    uint32_t done[4], shared[4];
    const uint32_t key = 8 * (uint32_t)(4 * piece + lane % 4);
    float before[2], after[2];
    sl_load_floats(before, before_at + key);
    sl_load_floats(after, after_at + key);
    sl_exact_reach(done, shared, q, k, before, after, quarter);
    if (piece < 7) {
      sl_load_matrices(pairs, sl_operands_of(places.operands, piece + 1));
      sl_exact_decays(next, places.decays, piece + 1);
    }
    sl_store_matrices(
        sl_operands_of(places.operands, piece), done[0], done[1], done[2], done[3]);
    sl_meet_warp();
    sl_store_matrices(
        places.shared + 512 * (uint32_t)piece, shared[0], shared[1], shared[2], shared[3]);
  }
  // Each level's own products.
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int apart = (lane / 4) ^ (2 * (lane % 4) + n % 2);
    if (apart / 2 == 1) found.within[n] = two[n];
    if (apart == 1) found.within[n] = pairs_sum[n];
  }
  sl_exact_diagonal(found, own);
}

// sum = products of 16 tokens' operands with others' over all keys, the latter's first eight and last
// eight apart.
SL_WORD void sl_exact_product(float (&sum)[2][4], uint32_t left, uint32_t right) {
  const int lane = sl_lane_anew();
  const uint32_t at = (uint32_t)(lane / 16 * 512 + lane % 16 * 16);
#pragma unroll
  for (int n = 0; n < 4; ++n) sum[0][n] = sum[1][n] = 0.0f;
  float more[2][4] = {};
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    uint32_t a[4], b[4];
    sl_load_matrices(a, left + 1024 * n + at);
    sl_load_matrices(b, right + 1024 * n + at);
    sl_warp_product(n % 2 ? more[0] : sum[0], a, b[0], b[2]);
    sl_warp_product(n % 2 ? more[1] : sum[1], a, b[1], b[3]);
  }
#pragma unroll
  for (int n = 0; n < 4; ++n) sum[0][n] += more[0][n], sum[1][n] += more[1][n];
}

// Scores of 16 x 16 tokens in bf16.
SL_WORD void sl_exact_write(uint32_t shared, const float (&sum)[2][4], const int row, const int column) {
  const int lane = sl_lane_anew();
  sl_store_matrices(
      shared + sl_at_scores + sl_in_panel(row + lane % 16, column + lane / 16 * 8),
      sl_pack(sum[0][0], sum[0][1]), sl_pack(sum[0][2], sum[0][3]), sl_pack(sum[1][0], sum[1][1]),
      sl_pack(sum[1][2], sum[1][3]));
}

// Scores within a quarter, of its two warps together; a warp of the later keys leaves its own where the
// other one finds them, in places of factors that are used up: those of the first eight tokens where the
// earlier keys' decays before the quarter were, the others where decays after it were. The next chunk's sums
// come to the former place, where a lane stores just what it has read from: no warp has to wait for that.
SL_WORD void sl_exact_leave(
    uint32_t before_at, uint32_t after_at, const sl_quarter_scores &found, const int quarter) {
  const uint32_t own = (uint32_t)(512 * quarter + 8 * sl_lane_anew());
  sl_store_floats(before_at + own, found.within[0], found.within[1]);
  sl_store_floats(after_at + own + 256, found.within[2], found.within[3]);
  sl_store_floats(after_at + own, found.across[2], found.across[3]);
}

// What quarters need of each other has been read: the gates' place may be filled again once all warps say
// so. Where one of them asks for the next gates they all wait: next they would wait for those.
SL_WORD void sl_exact_used(
    uint32_t shared, const sl_cursor *const cursors, const sl_tensors from, const int n) {
  if (!SL_GATES_COPIED) return;
  sl_publish();
  if (!sl_is_narrow) sl_meet(3, 256);
  if (sl_releases_gates()) sl_release_gates(shared, cursors, from, n);
}

// All scores of the chunk, each warp's share: of the quarter with itself, and then of a later quarter of a
// half with the earlier one; or, of the other half of the keys' warps, of a later half's quarter with an
// earlier half's.
template <class Used>
SL_WORD void sl_exact_scores(
    uint32_t shared, uint32_t gates, uint32_t before_at, uint32_t after_at,
    const sl_quarter_scores &found, const int panel, const int quarter, const Used used) {
  if (panel == 0) {
    const uint32_t own = (uint32_t)(512 * quarter + 8 * sl_lane_anew());
    float early[2], late[2], across[2], sum[2][4];
    sl_load_floats(early, before_at + own);
    sl_load_floats(late, after_at + own + 256);
    sl_load_floats(across, after_at + own);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      sum[0][e] = found.within[e] + early[e];
      sum[0][2 + e] = found.across[2 + e] + across[e];
      sum[1][e] = 0.0f;
      sum[1][2 + e] = found.within[2 + e] + late[e];
    }
    sl_exact_write(shared, sum, 16 * quarter, 16 * quarter);
  }
  const int later = panel == 0 ? quarter : 2 + quarter / 2;
  const int earlier = panel == 0 ? quarter - 1 : quarter % 2;
  const bool has_product = panel != 0 || quarter % 2 == 1;
  // Zeros for warps without a product: what one way leaves undefined is kept in registers from chunk to chunk.
  float sum[2][4] = {};
  // A quarter's q lies first and its k second. The first one has k alone, decayed to its own end and to the
  // second one's, the last one q alone, from its own start and from the third one's.
  if (has_product)
    sl_exact_product(
        sum, sl_exact_place(gates, later, 0, 0) + (panel != 0 && later == 3 ? 256 : 0),
        sl_exact_place(gates, earlier, 0, 0) + (panel != 0 || later == 3 ? 256 : 0));
  used();
  if (has_product) sl_exact_write(shared, sum, 16 * later, 16 * earlier);
}

// Keys alone, decayed to the chunk's end; `later` is the sum of what follows the quarter.
template <class Maps>
SL_WORD void sl_exact_keys(
    uint32_t keys, const Maps maps, const float (&logarithms)[16][2], const float (&later)[2],
    const int column) {
  const auto key = [&](float x) __attribute__((always_inline)) { return maps.key(x); };
  float left[2] = {sl_power(later[0]), sl_power(later[1])};
#pragma unroll
  for (int n = 15; n >= 0; --n) {
    const uint32_t at = keys + sl_in_panel(n, column);
    sl_store_word(at, sl_scaled(sl_load_word(at), key, left[0], left[1]));
#pragma unroll
    for (int e = 0; e < 2; ++e) left[e] *= sl_power(logarithms[n][e]);
  }
}

#endif
