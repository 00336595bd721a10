// Outputs and states for the walks of alike.cuh, by warpgroups of 64 values. v^T lies in registers too: it is
// multiplied with P, and, decayed, with k. P is rounded to bf16, but one score alone may be all of an output:
// what rounding leaves of the diagonal is multiplied in f32.
#ifndef SL_ALIKE_PRODUCTS_CUH
#define SL_ALIKE_PRODUCTS_CUH

// Two warpgroups take turns: while one multiplies the other one rounds, scales and stores. Left to
// themselves they go in step, and the tensor cores wait for both.
SL_WORD void sl_turn_take(const int own) {
  if (sl_groups == 2) sl_meet(12 + own, 256);
}
SL_WORD void sl_turn_pass(const int own) {
  if (sl_groups == 2) asm volatile("bar.arrive %0, 256;" ::"r"(13 - own) : "memory");
}

// v^T of the warpgroup: v[s] has tokens 16 s and on, as products take it on the left.
typedef uint32_t sl_turned_values[4][4];

SL_WORD void sl_values_take(sl_turned_values &v, uint32_t values) {
  const int lane = SL_LANE, value = SL_THREAD % 128 / 32 * 16 + lane / 8 % 2 * 8;
#pragma unroll
  for (int s = 0; s < 4; ++s)
    sl_load_turned(v[s], values + sl_in_panel(16 * s + lane / 16 * 8 + lane % 8, value));
}

// o^T = o^T diag(a_i 2^{c_i}) + v^T diag(what rounding leaves of P_ii)
SL_WORD void sl_output_scale(float (&sum)[32], const sl_turned_values &v, uint32_t numbers) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float entering[2], rest[2];
    const uint32_t token = 4 * (uint32_t)(8 * j + 2 * (SL_LANE % 4));
    sl_load_floats(entering, numbers + token);
    sl_load_floats(rest, numbers + sl_to_rest + token);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const uint32_t pair = v[j / 2][j % 2 * 2 + m];
      float *const of = sum + 4 * j + 2 * m;
      of[0] = SL_FMA(of[0], entering[0], rest[0] * sl_low(pair));
      of[1] = SL_FMA(of[1], entering[1], rest[1] * sl_high(pair));
    }
  }
}

// v_j b_j 2^{c_64 - c_j} of 16 tokens.
SL_WORD void sl_values_decay(uint32_t (&to)[4], const uint32_t (&v)[4], uint32_t numbers) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    uint32_t leaving[2] = {0, 0};
    if (SL_GATED || SL_KEYS_WEIGHED)
      sl_load_words(leaving, numbers + sl_to_leaving + 4 * (uint32_t)(8 * j + 2 * (SL_LANE % 4)));
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const uint32_t pair = v[2 * j + m];
      to[2 * j + m] = SL_GATED || SL_KEYS_WEIGHED ? sl_pair_times(pair, leaving) : pair;
    }
  }
}

// o^T = S^T q^T, and S = 2^{c_64} S: while half a panel of keys is multiplied, the next half is rounded, and
// its own decays. The products that are asked for here are not over yet.
SL_WORD void sl_state_read(
    float (&sum)[32], sl_state &u, uint32_t (&held)[2][2][4], uint32_t shared, uint32_t q, int n) {
  float decay = 1.0f;
#pragma unroll
  for (int half = 0; half < 2 * sl_key_panels; ++half) {
    const int p = half / 2, first = half % 2 * 16;
    if (half >= 2) sl_products_wait(1);
#pragma unroll
    for (int s = 0; s < 2; ++s)
#pragma unroll
      for (int m = 0; m < 4; ++m)
        held[half % 2][s][m] =
            sl_pack(u[p][first + 8 * s + 2 * m], u[p][first + 8 * s + 2 * m + 1]);
    sl_products_begin();
#pragma unroll
    for (int s = 0; s < 2; ++s)
      sl_product_of_held(
          sum, held[half % 2][s], sl_operand(q, p * sl_panel + 32 * (half % 2 * 2 + s)), half + s > 0);
    sl_products_commit();
    if (half == 0) {
      sl_wait_for(shared, sl_numbers_there, sl_number_barriers, n);
      if (SL_GATED) decay = sl_load_float(sl_numbers_at(shared, n) + sl_to_decay);
    }
    // Volatile, so that no compiler does all of it after the last product.
#pragma unroll
    for (int m = 0; SL_GATED && m < 16; ++m)
      asm volatile("mul.ftz.f32 %0, %0, %1;" : "+f"(u[p][first + m]) : "f"(decay));
  }
}

template <class Walks>
SL_WORD void sl_alike_products(
    uint32_t shared, const Walks walks, sl_place place, const sl_tensor *const outputs,
    const int own) {
  const int thread = SL_THREAD % 128;
  const uint32_t staged = shared + sl_at_staged + (uint32_t)(own * sl_panel);
  int n = 0;
  if (own == 1) sl_turn_pass(own);
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk = sl_walk_on(walks, walk, place)) {
    // What the chunks need of where the walk lies stays in registers; the rest is found again.
    const int length = place.length, value = place.value + 64 * own, token = place.begin;
    const int head = place.query_head, batch = place.batch;
    // The warpgroup's values may lie past the last one.
    sl_state u;
    sl_state_take(u, place.initial ? place.initial + value : NULL, sl_values_from(value));
#pragma unroll 1
    for (int done = 0; done < length; done += 64, ++n) {
      const int rows = sl_uniform(length - done);
      const int query_stage = n % SL_QUERY_STAGES, key_stage = n % SL_KEY_STAGES;
      const int value_stage = n % SL_VALUE_STAGES;
      const uint32_t q = shared + (uint32_t)(query_stage * sl_tile);
      const uint32_t k = shared + sl_at_keys + (uint32_t)(key_stage * sl_tile);
      const uint32_t values_at =
          shared + sl_at_values + (uint32_t)((value_stage * sl_groups + own) * sl_panel);
      const uint32_t numbers = sl_numbers_at(shared, n);
      const uint32_t scores = shared + sl_at_handed + (uint32_t)(n % 2 * sl_panel);
      float sum[32];
      uint32_t held[2][2][4];
      // The last chunk's products are over: said here, where all that comes after can be seen to know it.
      sl_products_wait(0);
      sl_wait_for(shared, 0, SL_QUERY_STAGES, n);
      sl_turn_take(own);
      sl_state_read(sum, u, held, shared, q, n);
      sl_turn_pass(own);
      sl_products_wait(0);
      sl_turned_values v;
      sl_wait_for(shared, sl_values_landed, SL_VALUE_STAGES, n);
      // Past the walk's end lies another sequence: no value of it may be multiplied by 0.
      if (rows < 64) {
        for (int word = 32 * rows + sl_own(thread); word < 32 * 64; word += 128)
          sl_store_word(values_at + 4 * (uint32_t)word, 0u);
        sl_publish();
        sl_meet(8 + own, 128);
      }
      sl_values_take(v, values_at);
      sl_wait_for(shared, sl_handed_there, 2, n);
      sl_tell(sl_barrier_at(shared, sl_queries_free, query_stage));
      sl_output_scale(sum, v, numbers);
      // o^T += v^T P^T
      sl_turn_take(own);
      sl_products_begin();
#pragma unroll
      for (int s = 0; s < 4; ++s) sl_product_of_held(sum, v[s], sl_operand(scores, 32 * s), 1);
      sl_products_commit();
      // S^T += (decayed v)^T k, by 16 tokens. The output's products are over before v decays where it lies.
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        uint32_t leaving[4];
        sl_values_decay(leaving, v[s], numbers + 64 * s);
        sl_products_begin();
#pragma unroll
        for (int p = 0; p < sl_key_panels; p += 2)
          if (p + 1 < sl_key_panels)
            sl_product_held_twice(u[p], u[p + 1], leaving, k, p * sl_panel + 2048 * s);
          else
            sl_product_held(u[p], leaving, sl_operand(k, p * sl_panel + 2048 * s));
        sl_products_commit();
        if (s == 0) sl_products_wait(1);
      }
      sl_turn_pass(own);
      // v, scores and numbers are free, by all lanes: each has loaded of them. While products go on, the output
      // leaves.
      sl_barrier_arrive(sl_barrier_at(shared, sl_values_free, value_stage));
      // What was staged for the last chunk has been copied out before it is overwritten.
      if (thread == 0) sl_copied_out();
      sl_meet(8 + own, 128);
      sl_output_stage(sum, staged);
      sl_publish();
      sl_meet(8 + own, 128);
      if (rows >= 64 && thread == 0)
        sl_copy_out(outputs, staged, value, head, token + done, batch);
      sl_products_wait(0);
      sl_tell(sl_barrier_at(shared, sl_keys_free, key_stage));
      if (rows >= 64) continue;
      uint16_t *const o = walks.at(sl_uniform(walk)).o + 64 * own;
      sl_alike_last(o, walks.o_token, done, rows, SL_OWN_VALUES - value, staged, thread);
    }
    float *const final = walks.at(sl_uniform(walk)).final;
    if (final) sl_state_keep(u, final + value, sl_values_from(value));
  }
  if (thread == 0) sl_copied_out();
}

template <class Walks>
SL_WORD void sl_alike_work(
    uint32_t shared, const Walks walks, const sl_place &first, const sl_tensor *const outputs,
    const int role) {
  if (role < sl_groups) {
    sl_take_registers(SL_STATE_REGISTERS);
    sl_alike_products(shared, walks, first, outputs, role);
  } else {
    sl_give_registers(SL_SCORE_REGISTERS);
    sl_alike_score_walks(shared, walks, first, 8 + sl_groups);
  }
}

#endif
