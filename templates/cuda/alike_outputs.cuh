// Outputs for the walks of alike.cuh where one warpgroup keeps the state: two warpgroups have every other
// chunk each, and two chunks' time for one. A chunk's q lies in registers and is multiplied with k and with
// the state before the chunk; its scores are weighed where they have been summed up, and multiplied with v
// from there.
#ifndef SL_ALIKE_OUTPUTS_CUH
#define SL_ALIKE_OUTPUTS_CUH

// P. Where a walk ends in few tokens, one score alone may be all that there is, the diagonal's: so that
// rounding leaves it as it is, its row is multiplied by the inverse of `exact`, and the output by `exact`,
// which bf16 would round to 1. In a whole chunk 64 tokens' roundings average out.
SL_WORD void sl_scores_take(
    float (&sum)[32], float (&inverse)[2], float (&exact)[2], const sl_score_factors &factors,
    uint32_t numbers, const int is_short) {
  const int lane = SL_LANE, own = sl_uniform(SL_THREAD % 128 / 32);
#pragma unroll
  for (int warp = 0; warp < 4; ++warp) {
    if (warp != own) continue;
    if (sl_factored) {
      sl_scores_scale(sum, factors, lane, warp);
    } else {
      sl_scores_weigh(sum, numbers, lane, warp);
    }
    if (__builtin_expect(!is_short, 1)) continue;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float score = sl_of_lane(sl_diagonal(sum, m, lane, warp), sl_diagonal_lane(lane));
      const float rounded = sl_low(sl_pack(score, 0.0f)), size = rounded * rounded;
      const int has_inverse = size > 0x1p-100f && size < 0x1p100f;
      inverse[m] = has_inverse ? rounded * sl_inverse(score) : 1.0f;
      exact[m] = has_inverse ? score * sl_inverse(rounded) : 1.0f;
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) sum[i] *= inverse[i / 2 % 2];
  }
}

// o = diag(a_i 2^{c_i}) o
SL_WORD void sl_output_weigh(float (&o)[32], const float (&inverse)[2], uint32_t numbers) {
  const int first = SL_THREAD % 128 / 32 * 16 + SL_LANE / 4;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const float entering = inverse[m] * sl_load_float(numbers + 4 * (uint32_t)(first + 8 * m));
#pragma unroll
    for (int j = 0; j < 8; ++j) o[4 * j + 2 * m] *= entering, o[4 * j + 2 * m + 1] *= entering;
  }
}

// A chunk's output in bf16, to where copies find it.
SL_WORD void sl_output_leave(const float (&o)[32], uint32_t staged) {
  const int lane = SL_LANE, row = SL_THREAD % 128 / 32 * 16 + lane % 16;
  sl_store_sums_in_panel(staged + sl_in_panel(row, 8 * (lane / 16)), o);
}

template <class Walks>
SL_WORD void sl_alike_outputs(
    uint32_t shared, const Walks walks, sl_place place, const sl_tensor *const outputs,
    const int own) {
  const int thread = SL_THREAD % 128;
  const uint32_t staged = shared + sl_at_staged + (uint32_t)(own * sl_panel);
  uint32_t before = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk = sl_walk_on(walks, walk, place)) {
    const int chunks = (place.length + 63) / 64;
#pragma unroll 1
    for (int chunk = (int)(before + (uint32_t)own) % 2; chunk < chunks; chunk += 2) {
      const uint32_t n = before + (uint32_t)chunk;
      const int done = 64 * chunk, rows = sl_uniform(place.length - done);
      const uint32_t q = shared + n % SL_QUERY_STAGES * sl_tile;
      const uint32_t k = shared + sl_at_keys + n % SL_KEY_STAGES * sl_tile;
      const uint32_t values = shared + sl_at_values + n % SL_VALUE_STAGES * sl_panel;
      const uint32_t state = shared + sl_at_handed + n % 2 * sl_handed;
      const uint32_t numbers = sl_numbers_at(shared, n);
      // The last chunk's products are over: said here, where all that comes after can be seen to know it.
      sl_products_wait(0);
      uint32_t held[4 * sl_key_panels][4];
      float sum[32], o[32];
      {
        const int lane = SL_LANE;
        const uint32_t at = q + sl_in_panel(thread / 32 * 16 + lane % 16, 8 * (lane / 16));
        sl_wait_for(shared, 0, SL_QUERY_STAGES, n);
#pragma unroll
        for (int s = 0; s < 4 * sl_key_panels; ++s)
          sl_load_matrices(held[s], (at + (uint32_t)(s / 4 * sl_panel)) ^ (uint32_t)(32 * (s % 4)));
      }
      // q k^T, and q S.
      sl_wait_for(shared, sl_numbers_there, sl_number_barriers, n);
      sl_products_begin();
#pragma unroll
      for (int s = 0; s < 4 * sl_key_panels; ++s)
        sl_product_of_held(sum, held[s], sl_operand(k, s / 4 * sl_panel + 32 * (s % 4)), s > 0);
      sl_products_commit();
      // Said once products have asked for q: a load that is under way may still find what is copied next.
      sl_barrier_arrive(sl_barrier_at(shared, sl_queries_free, n % SL_QUERY_STAGES));
      sl_score_factors factors;
      sl_factors_take(factors, numbers);
      sl_wait_for(shared, sl_handed_there, 2, n);
      sl_products_begin();
#pragma unroll
      for (int s = 0; s < 4 * sl_key_panels; ++s)
        sl_product_of_held(o, held[s], sl_operand(state, s / 4 * sl_panel + 32 * (s % 4)), s > 0);
      sl_products_commit();
      sl_products_wait(1);
      sl_sums_are_there(sum);
      sl_tell(sl_barrier_at(shared, sl_keys_free, n % sl_key_barriers));
      float inverse[2] = {1.0f, 1.0f}, exact[2] = {1.0f, 1.0f};
      sl_scores_take(sum, inverse, exact, factors, numbers, rows < 64);
      sl_products_wait(0);
      sl_sums_are_there(o);
      sl_sums_are_there(sum);
      sl_tell(sl_barrier_at(shared, sl_handed_free, n % 2));
      // What products read in registers is made while none is under way.
      uint32_t scores[4][4];
#pragma unroll
      for (int i = 0; i < 16; ++i) scores[i / 4][i % 4] = sl_pack(sum[2 * i], sum[2 * i + 1]);
      sl_output_weigh(o, inverse, numbers);
      // o += P v
      sl_products_begin();
#pragma unroll
      for (int s = 0; s < 4; ++s) sl_product_held(o, scores[s], sl_operand(values, 2048 * s));
      sl_products_commit();
      // What was staged for the chunk before has been copied out before it is overwritten.
      if (thread == 0) sl_copied_out();
      sl_meet(10 + own, 128);
      sl_products_wait(0);
      sl_sums_are_there(o);
      sl_barrier_arrive(sl_barrier_at(shared, sl_values_free, n % SL_VALUE_STAGES));
      if (__builtin_expect(rows < 64, 0)) {
#pragma unroll
        for (int i = 0; i < 32; ++i) o[i] *= exact[i / 2 % 2];
      }
      sl_output_leave(o, staged);
      sl_publish();
      sl_meet(10 + own, 128);
      if (__builtin_expect(rows >= 64, 1)) {
        if (thread == 0)
          sl_copy_out(outputs, staged, place.value, place.query_head, place.begin + done, place.batch);
        continue;
      }
      sl_alike_last(place.o, walks.o_token, done, rows, SL_OWN_VALUES - place.value, staged, thread);
    }
    before += (uint32_t)chunks;
  }
  if (thread == 0) sl_copied_out();
}

template <class Walks>
SL_WORD void sl_alike_work(
    uint32_t shared, const Walks walks, const sl_place &first, const sl_tensor *const outputs,
    const int role) {
  if (role < sl_groups) {
    sl_take_registers(SL_STATE_REGISTERS);
    sl_alike_states(shared, walks, first);
  } else {
    sl_take_registers(SL_SCORE_REGISTERS);
    sl_alike_outputs(shared, walks, first, outputs, role - sl_groups);
  }
}

#endif
