// The scores of a warpgroup that hands them on, in bf16, for the walks of alike.cuh.
#ifndef SL_ALIKE_HANDED_CUH
#define SL_ALIKE_HANDED_CUH

// Scores weighed and rounded, to where products find them.
SL_WORD void sl_scores_hand(uint32_t numbers, uint32_t scores, float (&sum)[32]) {
  // Found for each chunk anew: nothing of it takes registers during products.
  const int lane = sl_own(SL_LANE), own = sl_uniform(SL_THREAD % 128 / 32);
  float diagonal[2];
#pragma unroll
  for (int warp = 0; warp < 4; ++warp) {
    if (warp != own) continue;
    sl_scores_weigh(sum, numbers, lane, warp);
#pragma unroll
    for (int m = 0; m < 2; ++m) diagonal[m] = sl_diagonal(sum, m, lane, warp);
  }
#pragma unroll
  for (int m = 0; m < 2; ++m)
    if (lane == sl_diagonal_lane(lane))
      sl_store_word(
          numbers + sl_to_rest + 4 * (uint32_t)(16 * own + lane / 4 + 8 * m),
          SL_BITS(diagonal[m] - sl_low(sl_pack(diagonal[m], 0.0f))));
  sl_store_sums_in_panel(scores + sl_in_panel(16 * own + lane % 16, 8 * (lane / 16)), sum);
}

template <class Walks>
SL_WORD void sl_alike_score_walks(
    uint32_t shared, const Walks walks, sl_place place, const int meeting) {
  const int thread = SL_THREAD % 128;
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk = sl_walk_on(walks, walk, place)) {
    const int length = place.length;
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
      // That they are there says that what was handed on two chunks ago has been read.
      sl_wait_for(shared, sl_numbers_there, sl_number_barriers, n);
      sl_products_wait(0);
      sl_tell(sl_barrier_at(shared, sl_queries_free, n % SL_QUERY_STAGES));
      // Each lane may have cleared of k what will be overwritten.
      sl_barrier_arrive(sl_barrier_at(shared, sl_keys_free, n % SL_KEY_STAGES));
      sl_scores_hand(
          sl_numbers_at(shared, n), shared + sl_at_handed + (uint32_t)(n % 2 * sl_panel), sum);
      // Numbers have been read.
      sl_barrier_arrive(sl_barrier_at(shared, sl_values_free, n % SL_VALUE_STAGES));
      sl_publish();
      // By the lanes that have left rests of the diagonal, after the warp's other ones.
      sl_meet_warp();
      if (SL_LANE == sl_diagonal_lane(SL_LANE))
        sl_barrier_arrive(sl_barrier_at(shared, sl_handed_there, n % 2));
    }
  }
}

#endif
