// The first two warpgroups: decays, and operands scaled in place or, by anchored_exact.cuh, exactly.
#ifndef SL_ANCHORED_PREPARE_CUH
#define SL_ANCHORED_PREPARE_CUH

// A chunk's operands about its middle; the sum `a` belongs to token 0 of the quarter.
template <const bool reads, class Maps>
SL_WORD void sl_anchored_scaled(
    uint32_t queries, const Maps maps, const float (&decay)[16][2], float (&a)[2],
    const int column) {
  const uint32_t keys = queries + sl_tile;
  const auto query = [&](float x) __attribute__((always_inline)) { return maps.query(x); };
  const auto key = [&](float x) __attribute__((always_inline)) { return maps.key(x); };
#pragma unroll
  for (int from = 0; from < 16; from += 8) {
    uint32_t q[8], k[8];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (reads) q[n] = sl_load_word(queries + sl_in_panel(from + n, column));
      k[n] = sl_load_word(keys + sl_in_panel(from + n, column));
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (from + n > 0) a[0] += decay[from + n][0], a[1] += decay[from + n][1];
      if (reads) q[n] = sl_scaled(q[n], query, sl_power(a[0]), sl_power(a[1]));
      k[n] = sl_scaled(k[n], key, sl_power(-a[0]), sl_power(-a[1]));
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (reads) sl_store_word(queries + sl_in_panel(from + n, column), q[n]);
      sl_store_word(keys + sl_in_panel(from + n, column), k[n]);
    }
  }
}

template <const bool reads, class Walks>
SL_WORD void sl_anchored_prepare(
    uint32_t shared, sl_cursor *const cursors, const Walks walks, const sl_tensors from) {
  const int panel = sl_uniform(SL_WARP % 2), quarter = sl_uniform(SL_WARP / 2), first = 16 * quarter;
  int column = 2 * SL_LANE;
  // What else is known of a chunk is read or made anew for each: kept, it would crowd the decays out of
  // registers.
#pragma unroll 1
  for (int n = 0;; ++n) {
    sl_place place = {};
    int rows, token;
    {
      const sl_cursor at = cursors[sl_in_turn(n)];
      if (sl_uniform(at.walk) < 0) break;
      place.head = at.head, place.batch = at.batch;
      token = sl_uniform(at.token), rows = sl_uniform(at.left < sl_chunk ? at.left : sl_chunk);
    }
    const auto maps = walks.maps(place);
    asm volatile("" : "+r"(column));
    const int stage = sl_stage_of(n), key = 64 * panel + column;
    const uint32_t queries = shared + stage * sl_stage + panel * sl_panel + first * 128;
    const uint32_t sums = shared + sl_at_sums + 2048 * (n & 1) + 4 * (uint32_t)key;
    float decay[16][2], early[2] = {0.0f, 0.0f}, whole[2], first_decay[2];
    if (SL_GATES_COPIED) {
      sl_barrier_wait(sl_gates_landed(shared, n), sl_gates_turn_of(n));
      sl_gates_take(decay, sl_gates_of(shared, n) + (uint32_t)(512 * first + 4 * key));
    }
    maps.logarithms(decay, token, first, rows - first);
    int fails = 0;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (int m = 1; m < 8; ++m) early[e] += decay[m][e];
      whole[e] = early[e];
#pragma unroll
      for (int m = 8; m < 16; ++m) whole[e] += decay[m][e];
      // A quarter may take half of what a half may: 62.
      const float inner = quarter == 0 ? whole[e] : whole[e] + decay[0][e];
      fails |= !(inner >= -31.0f);
      first_decay[e] = decay[0][e];
    }
    sl_store_floats(sums + 512 * quarter, whole[0] + first_decay[0], whole[1] + first_decay[1]);
    const int is_exact = sl_uniform(sl_meet_any(1, 256, fails));
    if (sl_releases_gates()) {
      if (!(reads && is_exact)) sl_release_gates(shared, cursors, from, n);
      else if (!sl_is_narrow) sl_gates_ahead(cursors, from, n + 1);
    }
    // What the multiplying warps will ask for next.
    if (SL_THREAD == 128)
      cursors[sl_in_turn(n + sl_stages)] = sl_next(cursors[sl_in_turn(n + sl_stages - 1)], walks);
    sl_barrier_wait(sl_landed(shared, stage), sl_turn_of(n));
    // Past the walk's end lies another sequence, or nothing: no value of it may be multiplied by 0.
    if (rows < sl_chunk)
      for (int row = 0; row < 16; ++row)
        if (first + row >= rows) {
          for (uint32_t tile = 0; tile < 2; ++tile)
            sl_store_word(queries + tile * sl_tile + sl_in_panel(row, column), 0u);
          if (panel < sl_value_panels)
            sl_store_word(
                shared + stage * sl_stage + 2 * sl_tile + panel * sl_panel +
                    sl_in_panel(first + row, column), 0u);
        }
    // The factors of U, from what the two outer quarters know of their own keys.
    if (quarter == 0) {
      const int is_first = cursors[sl_in_turn(n)].chunk == 0;
      float next[2], sum[2];
      sl_load_floats(sum, sl_later(shared, n - 1) + 4 * (uint32_t)key);
      sl_load_floats(next, sums + 512);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (is_first) sum[e] = 0.0f;
        if (!is_exact) sum[e] += whole[e] + first_decay[e] + next[e];
      }
      sl_store_floats(
          shared + sl_at_before + 512 * stage + 4 * (uint32_t)key, sl_power(sum[0]),
          sl_power(sum[1]));
    } else if (quarter == 3) {
      float last[2], sum[2];
      sl_load_floats(last, sums + 1024);
#pragma unroll
      for (int e = 0; e < 2; ++e) sum[e] = last[e] + whole[e] + first_decay[e];
      sl_store_floats(
          sl_later(shared, n) + 4 * (uint32_t)key, is_exact ? 0.0f : sum[0],
          is_exact ? 0.0f : sum[1]);
      if (is_exact) {
        float early[2], next[2];
        sl_load_floats(early, sums);
        sl_load_floats(next, sums + 512);
#pragma unroll
        for (int e = 0; e < 2; ++e) sum[e] += early[e] + next[e];
      }
      sl_store_floats(
          shared + sl_at_after + 512 * stage + 4 * (uint32_t)key, sl_power(sum[0]),
          sl_power(sum[1]));
    }
    if (__builtin_expect(is_exact, 0)) {
      if (reads) {
        sl_quarter_scores found;
        // Found anew, as the lane is.
        const uint32_t own = (uint32_t)sl_anew((int)shared);
        const int own_panel = sl_anew(panel), own_quarter = sl_anew(quarter);
        const uint32_t last_sums = own + sl_at_sums + 2048 * (~n & 1);
        const uint32_t all_sums = own + sl_at_sums + 2048 * (n & 1);
        const uint32_t gates = sl_gates_of(own, n);
        const uint32_t outer = own + sl_at_outer;
        sl_exact_operands(
            gates, queries, all_sums, last_sums, outer, maps, decay, early, whole, found, own_panel,
            own_quarter);
        sl_meet(4 + own_quarter, 64);
        if (own_panel == 1) sl_exact_leave(last_sums, outer, found, own_quarter);
        sl_meet(2, 256);
        // The last chunk's scores have been used.
        if (n > 0) sl_barrier_wait(sl_free(own, sl_stage_of(n - 1)), sl_turn_of(n - 1));
        sl_exact_scores(
            own, gates, last_sums, outer, found, own_panel, own_quarter,
            [&]() __attribute__((always_inline)) { sl_exact_used(own, cursors, from, n); });
      } else {
        float later[2] = {0.0f, 0.0f};
#pragma unroll
        for (int other = 1; other < 4; ++other)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (other > quarter) later[e] += sl_load_float(sums + 512 * other + 4 * e);
        sl_exact_keys(queries + sl_tile, maps, decay, later, column);
      }
    } else {
      // Of the quarter's first token: from the anchor at the start of the third one.
      float a[2], beside[2];
      sl_load_floats(beside, sums + (quarter < 2 ? 512 : 1024));
#pragma unroll
      for (int e = 0; e < 2; ++e)
        a[e] = quarter == 0   ? -(whole[e] + beside[e])
               : quarter == 1 ? -whole[e]
               : quarter == 2 ? first_decay[e]
                              : first_decay[e] + beside[e];
      sl_anchored_scaled<reads>(queries, maps, decay, a, column);
    }
    if (SL_THREAD == 0)
      sl_store_word(shared + sl_at_level + 4 * stage, (uint32_t)(is_exact ? 1 : 0));
    sl_publish();
    sl_barrier_arrive(sl_ready(shared, stage));
  }
}

#endif
