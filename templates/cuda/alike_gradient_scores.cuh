// A chunk's scores for the walks of alike_gradient.cuh, by a warpgroup: rows of queries times rows of keys,
// weighed with the decay between the two tokens, in bf16. Walks in both directions find the same number of
// the same two tokens, for they multiply and round in the same order.
#ifndef SL_ALIKE_GRADIENT_SCORES_CUH
#define SL_ALIKE_GRADIENT_SCORES_CUH

namespace sl_alike_gradients {

// Scores weighed and rounded, to where products find them.
template <bool back>
SL_WORD void sl_chunk_scores(uint32_t numbers, uint32_t scores, float (&sum)[32]) {
  // Found for each chunk anew: nothing of it takes registers during products.
  const int lane = sl_own(SL_LANE), warp = sl_uniform(SL_THREAD % 128 / 32);
  const int first = 16 * warp + lane / 4, column = 2 * (lane % 4);
  const float weight = sl_load_float(numbers + sl_to_decay + 4);
  float own[2][2];
#pragma unroll
  for (int m = 0; SL_WALK_GATED && m < 2; ++m)
    sl_load_floats(own[m], numbers + sl_to_sums + 8 * (uint32_t)(first + 8 * m));
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    // No token of these follows, or comes before, any of the warp's.
    if (back ? j / 2 < warp : j / 2 > warp) {
#pragma unroll
      for (int n = 0; n < 4; ++n) sum[4 * j + n] = 0.0f;
      continue;
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float other[2];
      if (SL_WALK_GATED)
        sl_load_floats(other, numbers + sl_to_sums + 8 * (uint32_t)(8 * j + column + e));
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        float &score = sum[4 * j + 2 * m + e];
        score *= weight;
        if (SL_WALK_GATED) {
          const float between = (own[m][0] - other[0]) + (own[m][1] - other[1]);
          // Back in time a row is the earlier token.
          score *= sl_power(back ? -between : between);
        }
      }
    }
    if (j / 2 != warp) continue;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int row = first + n / 2 * 8, of = 8 * j + column + n % 2;
      float &score = sum[4 * j + n];
      if (back ? of < row : of > row) score = 0.0f;
      if (of == row)
        sl_store_word(
            numbers + sl_to_rest + 4 * (uint32_t)row,
            SL_BITS(score - sl_low(sl_pack(score, 0.0f))));
    }
  }
  sl_store_sums_in_panel(scores + sl_in_panel(16 * warp + lane % 16, 8 * (lane / 16)), sum);
}

// Past the sequence's end lies another one: no key of it may be multiplied by 0.
template <class Places>
SL_WORD void sl_keys_clear(uint32_t k, const int rows) {
#pragma unroll 1
  for (int p = 0; p < Places::panels; ++p)
#pragma unroll 1
    for (int word = 32 * rows + sl_own(SL_THREAD) % 128; word < 32 * 64; word += 128)
      sl_store_word(k + (uint32_t)(p * sl_panel + 4 * word), 0u);
  sl_publish();
  sl_meet(8 + sl_groups, 128);
}

template <class Places>
SL_WORD void sl_walk_scores(uint32_t shared, const volatile sl_walk *const walk) {
#pragma unroll 1
  for (int n = 0; n < sl_uniform(walk->count); ++n) {
    const int rows = sl_uniform(walk->length - sl_token_of(walk, n));
    const uint32_t q = shared + (uint32_t)(n % Places::query_stages * Places::tile);
    const uint32_t k =
        shared + (uint32_t)(Places::at_keys + n % Places::key_stages * Places::tile);
    sl_wait_for<Places>(shared, Places::keys_landed, Places::key_stages, n);
    if (rows < 64) sl_keys_clear<Places>(k, rows);
    sl_wait_for<Places>(shared, Places::queries_landed, Places::query_stages, n);
    float sum[32];
    sl_products_begin();
#pragma unroll
    for (int p = 0; p < Places::panels; ++p)
#pragma unroll
      for (int s = 0; s < 4; ++s)
        sl_product_rows(
            sum, sl_operand(q, p * sl_panel + 32 * s), sl_operand(k, p * sl_panel + 32 * s),
            p + s > 0);
    sl_products_commit();
    // That its numbers are there says that the place of two chunks ago is free.
    sl_wait_for<Places>(shared, Places::numbers_there, 2, n);
    sl_products_wait(0);
    const int now = sl_again(n);
    sl_tell_each(sl_barrier_at<Places>(shared, Places::queries_free, now % Places::query_stages));
    sl_tell_each(sl_barrier_at<Places>(shared, Places::keys_free, now % Places::key_stages));
    const uint32_t numbers = sl_numbers_at<Places>(shared, now);
    const uint32_t scores = shared + (uint32_t)(Places::at_scores + now % 2 * sl_panel);
    if (sl_uniform(walk->step) < 0) sl_chunk_scores<true>(numbers, scores, sum);
    else sl_chunk_scores<false>(numbers, scores, sum);
    sl_publish();
    sl_tell_each(sl_barrier_at<Places>(shared, Places::scores_there, sl_again(n) % 2));
  }
}

}  // namespace sl_alike_gradients

#endif
