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
  const int panel = sl_uniform(SL_WARP % 2), quarter = sl_uniform(SL_WARP / 2);
  int column = 2 * SL_LANE;
  int n = 0, stage = 0;
  int owed = 0;       // whether a chunk's operands have yet to be asked for
  uint32_t turn = 0;  // the parity of the stage's use
  int begun = (int)SL_BLOCK;
  // The roles' first steps are alike; they are not to be made one before they part.
  asm volatile("" : "+r"(begun));
#pragma unroll 1
  for (int walk = begun; walk < walks.count(); walk += (int)SL_BLOCKS) {
    sl_place place = walks.at(walk);
    place.begin = sl_uniform(place.begin);
    place.length = sl_uniform(place.length);
    const auto maps = walks.maps(place);
#pragma unroll 1
    for (int done = 0; done < place.length; done += sl_chunk) {
      const int rows = place.length - done < sl_chunk ? place.length - done : sl_chunk;
      // Addresses are made anew for each chunk: kept, they would crowd the decays out of registers.
      asm volatile("" : "+r"(column));
      const int key = 64 * panel + column, first = 16 * quarter;
      const uint32_t queries = shared + stage * sl_stage + panel * sl_panel + first * 128;
      const uint32_t sums = shared + sl_at_sums + 2048 * (n & 1) + 4 * (uint32_t)key;
      float decay[16][2], whole[2] = {0.0f, 0.0f}, first_decay[2];
      if (SL_GATES_COPIED) sl_barrier_wait(sl_gates_landed(shared), n & 1);
      maps.logarithms(
          decay, shared + sl_at_gates, place.begin + done, first, key, rows - first);
      int fails = 0;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
#pragma unroll
        for (int m = 1; m < 16; ++m) whole[e] += decay[m][e];
        // A quarter may take half of what a half may: 62.
        const float inner = quarter == 0 ? whole[e] : whole[e] + decay[0][e];
        fails |= !(inner >= -31.0f);
        first_decay[e] = decay[0][e];
        sl_store_word(sums + 512 * quarter + 4 * e, SL_BITS(whole[e] + first_decay[e]));
      }
      const int is_exact = sl_uniform(sl_meet_any(1, 256, fails));
      const int last = stage == 0 ? sl_stages - 1 : stage - 1;
      const int next = stage == sl_stages - 1 ? 0 : stage + 1;
      const uint32_t last_turn = stage == 0 ? turn ^ 1 : turn;
      const uint32_t next_turn = next == 0 ? turn : turn ^ 1;
      if (SL_THREAD == 0) {
        if (!is_exact) sl_copy_gates(shared, &cursors[(n + 1) & 3], from);
        if (owed && sl_barrier_is_over(sl_free(shared, next), next_turn)) {
          sl_copy_operands<reads>(shared, &cursors[(n + 1) & 3], from, next);
          owed = 0;
        }
      }
      sl_barrier_wait(sl_landed(shared, stage), turn);
      // Past the walk's end lies another sequence, or nothing: no value of it may be multiplied by 0.
      if (rows < sl_chunk)
        for (int row = 0; row < 16; ++row)
          if (first + row >= rows)
            for (uint32_t tile = 0; tile < 3; ++tile)
              sl_store_word(queries + tile * sl_tile + sl_in_panel(row, column), 0u);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint32_t later = shared + sl_at_later + 4 * (uint32_t)(key + e);
        if (quarter == 0) {
          float sum = done == 0 ? 0.0f : sl_load_float(later + 512 * (~n & 1));
          if (!is_exact)
            sum += sl_load_float(sums + 4 * e) + sl_load_float(sums + 512 + 4 * e);
          sl_store_word(
              shared + sl_at_before + 512 * stage + 4 * (uint32_t)(key + e),
              SL_BITS(sl_power(sum)));
        }
        if (quarter == 3) {
          const float sum = sl_load_float(sums + 1024 + 4 * e) + sl_load_float(sums + 1536 + 4 * e);
          float all = sum;
          if (is_exact) all += sl_load_float(sums + 4 * e) + sl_load_float(sums + 512 + 4 * e);
          sl_store_word(
              shared + sl_at_after + 512 * stage + 4 * (uint32_t)(key + e),
              SL_BITS(sl_power(all)));
          sl_store_word(later + 512 * (n & 1), SL_BITS(is_exact ? 0.0f : sum));
        }
      }
      if (is_exact) {
        // The last chunk's scores have been used, and its stage is not asked for yet.
        if (n > 0) sl_barrier_wait(sl_free(shared, last), last_turn);
        sl_anchored_exact<reads>(
            shared, queries, shared + last * sl_stage, sums, maps, decay, column, panel, quarter);
        if (SL_THREAD == 0) sl_copy_gates(shared, &cursors[(n + 1) & 3], from);
      } else {
        float a[2];
#pragma unroll
        for (int e = 0; e < 2; ++e)
          a[e] = quarter == 0   ? -(whole[e] + sl_load_float(sums + 512 + 4 * e))
                 : quarter == 1 ? -whole[e]
                 : quarter == 2 ? first_decay[e]
                                : first_decay[e] + sl_load_float(sums + 1024 + 4 * e);
        sl_anchored_scaled<reads>(queries, maps, decay, a, column);
      }
      if (SL_THREAD == 0)
        sl_store_word(shared + sl_at_level + 4 * stage, (uint32_t)(is_exact ? 1 : 0));
      sl_publish();
      sl_barrier_arrive(sl_ready(shared, stage));
      if (SL_THREAD == 0) {
        // The next chunk is asked for at the latest; the one after it where that needs no waiting.
        if (owed) {
          sl_barrier_wait(sl_free(shared, next), next_turn);
          sl_copy_operands<reads>(shared, &cursors[(n + 1) & 3], from, next);
        }
        cursors[(n + 2) & 3] = sl_next(cursors[(n + 1) & 3], walks);
        owed = n > 0 && !sl_barrier_is_over(sl_free(shared, last), last_turn);
        if (!owed) sl_copy_operands<reads>(shared, &cursors[(n + 2) & 3], from, last);
      }
      ++n;
      if (++stage == sl_stages) stage = 0, turn ^= 1;
    }
  }
}

#endif
