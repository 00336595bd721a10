// A chunk's scores for the walks of alike.cuh, by a warpgroup: rows of q times rows of k, weighed with the
// decay between the two tokens, in bf16.
#ifndef SL_ALIKE_SCORES_CUH
#define SL_ALIKE_SCORES_CUH

// Scores weighed and rounded, to where products find them.
SL_WORD void sl_alike_scores(uint32_t numbers, uint32_t scores, float (&sum)[32]) {
  // Found for each chunk anew: nothing of it takes registers during products.
  const int lane = sl_own(SL_LANE), warp = sl_uniform(SL_THREAD % 128 / 32);
  const int first = 16 * warp + lane / 4, column = 2 * (lane % 4);
  float up_to[2][2], query[2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t token = (uint32_t)(first + 8 * m);
    if (SL_GATED) sl_load_floats(up_to[m], numbers + sl_to_sums + 8 * token);
    query[m] =
        sl_load_float(numbers + (SL_QUERIES_WEIGHED ? sl_to_queries + 4 * token : sl_to_decay + 4));
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    // Later tokens than all of the warp's.
    if (j / 2 > warp) {
#pragma unroll
      for (int n = 0; n < 4; ++n) sum[4 * j + n] = 0.0f;
      continue;
    }
    float from[4], key[2] = {1.0f, 1.0f};
    if (SL_GATED) sl_load_four(from, numbers + sl_to_sums + 8 * (uint32_t)(8 * j + column));
    if (SL_KEYS_WEIGHED)
      sl_load_floats(key, numbers + sl_to_keys + 4 * (uint32_t)(8 * j + column));
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int m = n / 2, e = n % 2;
      float &score = sum[4 * j + n];
      score *= query[m];
      if (SL_KEYS_WEIGHED) score *= key[e];
      if (SL_GATED)
        score *= sl_power((up_to[m][0] - from[2 * e]) + (up_to[m][1] - from[2 * e + 1]));
    }
    if (j / 2 < warp) continue;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int i = first + n / 2 * 8, of = 8 * j + column + n % 2;
      float &score = sum[4 * j + n];
      if (of > i) score = 0.0f;
      if (of != i) continue;
      const uint32_t rest = numbers + sl_to_rest + 4 * (uint32_t)i;
      if (SL_SKIPS) score += sl_load_float(rest);
      sl_store_word(rest, SL_BITS(score - sl_low(sl_pack(score, 0.0f))));
    }
  }
  // Columns 8 j further in the panel: exchanged likewise.
  const uint32_t at = scores + sl_in_panel(16 * warp + lane % 16, 8 * (lane / 16));
#pragma unroll
  for (int j = 0; j < 8; j += 2)
    sl_store_matrices(
        at ^ (uint32_t)(16 * j),
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

template <class Walks>
SL_WORD void sl_alike_score_walks(uint32_t shared, const Walks walks, const int meeting) {
  const int thread = SL_THREAD % 128;
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const int length = walks.at(walk).length;
#pragma unroll 1
    for (int done = 0; done < length; done += 64, ++n) {
      const int rows = sl_uniform(length - done);
      const uint32_t q = shared + (uint32_t)(n % SL_QUERY_STAGES * sl_tile);
      const uint32_t k = shared + sl_at_keys + (uint32_t)(n % SL_KEY_STAGES * sl_tile);
      sl_wait_for(shared, sl_keys_landed, SL_KEY_STAGES, n);
      // Past the walk's end lies another sequence: no key of it may be multiplied by 0.
      if (rows < 64) {
#pragma unroll 1
        for (int p = 0; p < sl_key_panels; ++p)
          for (int word = 32 * rows + sl_own(thread); word < 32 * 64; word += 128)
            sl_store_word(k + (uint32_t)(p * sl_panel + 4 * word), 0u);
        sl_publish();
        sl_meet(meeting, 128);
      }
      sl_wait_for(shared, 0, SL_QUERY_STAGES, n);
      float sum[32];
      sl_products_begin();
#pragma unroll
      for (int p = 0; p < sl_key_panels; ++p)
#pragma unroll
        for (int s = 0; s < 4; ++s)
          sl_product_rows(
              sum, sl_operand(q, p * sl_panel + 32 * s), sl_operand(k, p * sl_panel + 32 * s), p + s > 0);
      sl_products_commit();
      // That its numbers are there says that the place of two chunks ago is free.
      sl_wait_for(shared, sl_numbers_there, 2, n);
      sl_products_wait(0);
      sl_tell(sl_barrier_at(shared, SL_QUERY_STAGES, n % SL_QUERY_STAGES));
      sl_tell(sl_barrier_at(shared, sl_keys_landed + SL_KEY_STAGES, n % SL_KEY_STAGES));
      sl_alike_scores(
          sl_numbers_at(shared, n), shared + sl_at_scores + (uint32_t)(n % 2 * sl_panel), sum);
      sl_publish();
      sl_tell(sl_barrier_at(shared, sl_scores_there, n % 2));
    }
  }
}

#endif
