// Segments summed up from zero, side by side, before all of them are walked (alike.cuh): what a segment adds to
// the state, and how it decays what came before,
//
//     S = 2^{c_64} S + k^T diag(b_j 2^{c_64 - c_j}) v    A = 2^{c_64} A
//
// chunk by chunk: no q, no scores and no outputs. A warpgroup has 64 values and S^T in registers; one warp has
// the factors of tokens, and a thread of another asks for copies, some chunks ahead.
#ifndef SL_ALIKE_SUMS_CUH
#define SL_ALIKE_SUMS_CUH

enum {
  // A stage: panels of v and of k; b_j 2^{c_64 - c_j} of each token, and 2^{c_64}.
  sl_summed_keys = sl_groups * sl_panel,
  sl_summed_numbers = sl_summed_keys + sl_tile,
  sl_summed_stage = sl_summed_numbers + 1024,
  // Barriers of stages: all of it is there; it is free.
  sl_summed_barriers = SL_SUM_STAGES * sl_summed_stage,
};

SL_WORD uint32_t sl_summed_there(uint32_t shared, int stage) {
  return shared + sl_summed_barriers + 8 * (uint32_t)stage;
}
SL_WORD uint32_t sl_summed_free(uint32_t shared, int stage) {
  return sl_summed_there(shared, SL_SUM_STAGES + stage);
}
SL_WORD uint32_t sl_summed_at(uint32_t shared, int n) {
  return shared + (uint32_t)(n % SL_SUM_STAGES * sl_summed_stage);
}
// Waits until the n-th chunk's stage is free for it.
SL_WORD void sl_summed_wait_to_fill(uint32_t shared, int n) {
  const int before = n - SL_SUM_STAGES;
  if (before >= 0)
    sl_barrier_wait(
        sl_summed_free(shared, n % SL_SUM_STAGES), (uint32_t)(before / SL_SUM_STAGES) & 1);
}

// ---- Copies, by one thread ----

template <class Walks>
SL_WORD void sl_sum_copies(
    uint32_t shared, const Walks walks, const sl_tensor *const keys, const sl_tensor *const values) {
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
#pragma unroll 1
    for (int done = 0; done < place.length; done += 64, ++n) {
      const uint32_t to = sl_summed_at(shared, n), there = sl_summed_there(shared, n % SL_SUM_STAGES);
      const int token = place.begin + done;
      sl_summed_wait_to_fill(shared, n);
      sl_barrier_expect(there, sl_summed_numbers);
#pragma unroll
      for (int group = 0; group < sl_groups; ++group)
        sl_copy_in(
            to + (uint32_t)(group * sl_panel), values, there, place.value + 64 * group, place.head,
            token, place.batch);
#pragma unroll
      for (int p = 0; p < sl_key_panels; ++p)
        sl_copy_in(
            to + (uint32_t)(sl_summed_keys + p * sl_panel), keys, there, 64 * p, place.head, token,
            place.batch);
    }
  }
}

// ---- Factors of tokens, by a warp ----

// A lane has two tokens, the chunk's last one the first lane: sums of log decays after a token are of numbers
// of one sign, so that a reset takes no digits of those beside it.
template <class Walks> SL_WORD void sl_sum_factors(uint32_t shared, const Walks walks) {
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    const typename Walks::maps maps = walks.maps_at(place);
    const int last = place.length - 1, own = 63 - SL_LANE;
    typename Walks::maps::token_numbers next[2];
#pragma unroll
    for (int m = 0; m < 2; ++m)
      if (last >= 0) next[m] = maps.token_at((int)sl_least(own - 32 * m, last));
#pragma unroll 1
    for (int done = 0; done < place.length; done += 64, ++n) {
      const uint32_t numbers = sl_summed_at(shared, n) + sl_summed_numbers;
      float from[2], after[2], sum = 0.0f;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const bool is_there = done + own - 32 * m <= last;
        const float logarithm =
            SL_GATED && is_there ? 0x1.715476p0f * maps.log_decay(next[m]) : 0.0f;
        from[m] = sl_sum_up_to(logarithm) + sum;
        after[m] = sl_of_lane(from[m], SL_LANE > 0 ? SL_LANE - 1 : 0);
        if (SL_LANE == 0) after[m] = sum;
        sum = sl_of_lane(from[m], 31);
      }
      float factor[2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        factor[m] = maps.key_weight(next[m]) * sl_power(after[m]);
        // Past the walk's end its last token is read, and not used.
        next[m] = maps.token_at((int)sl_least((int64_t)done + 64 + own - 32 * m, last));
      }
      sl_summed_wait_to_fill(shared, n);
#pragma unroll
      for (int m = 0; m < 2; ++m)
        sl_store_word(numbers + 4 * (uint32_t)(own - 32 * m), SL_BITS(factor[m]));
      if (SL_LANE == 0) sl_store_word(numbers + 256, SL_BITS(sl_power(sum)));
      sl_barrier_arrive(sl_summed_there(shared, n % SL_SUM_STAGES));
    }
  }
}

// ---- Products, by a warpgroup ----

// Whether v is multiplied with anything before k.
enum { sl_sums_weighed = SL_GATED || SL_KEYS_WEIGHED };

// Past a walk's end lies another sequence: no row of it may be multiplied by 0.
SL_WORD void sl_summed_end(uint32_t at, const int rows, const int own) {
  const int thread = SL_THREAD % 128;
  uint32_t panel = at + (uint32_t)(own * sl_panel);
#pragma unroll 1
  for (int p = 0; p < (own == 0 ? 1 + sl_key_panels : 1); ++p) {
    for (int word = 32 * rows + thread; word < 32 * 64; word += 128)
      sl_store_word(panel + 4 * (uint32_t)word, 0u);
    panel = at + (uint32_t)(sl_summed_keys + p * sl_panel);
  }
  sl_publish();
  sl_meet(8, 128 * sl_groups);
}

template <class Walks> SL_WORD void sl_sum_products(uint32_t shared, const Walks walks, const int own) {
  const int thread = SL_THREAD % 128, lane = SL_LANE;
  const int row = thread / 32 * 16 + lane / 8 % 2 * 8;
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    const int value = place.value + 64 * own, values = sl_values_from(value);
    sl_state u;
    sl_state_take(u, NULL, values);
    float whole = 1.0f;
#pragma unroll 1
    for (int done = 0; done < place.length; done += 64, ++n) {
      const int stage = n % SL_SUM_STAGES, rows = sl_uniform(place.length - done);
      const uint32_t at = sl_summed_at(shared, n), numbers = at + sl_summed_numbers;
      sl_barrier_wait(sl_summed_there(shared, stage), (uint32_t)(n / SL_SUM_STAGES) & 1);
      if (rows < 64) sl_summed_end(at, rows, own);
      uint32_t v[4][4];
#pragma unroll
      for (int s = 0; s < 4; ++s)
        sl_load_turned(
            v[s], at + (uint32_t)(own * sl_panel)
                      + sl_in_panel(16 * s + lane / 16 * 8 + lane % 8, row));
#pragma unroll
      for (int j = 0; sl_sums_weighed && j < 8; ++j) {
        float factors[2];
        sl_load_floats(factors, numbers + 4 * (uint32_t)(8 * j + 2 * (lane % 4)));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          uint32_t &pair = v[j / 2][j % 2 * 2 + m];
          pair = sl_pair_times(pair, factors);
        }
      }
      if (SL_GATED) {
        const float decay = sl_load_float(numbers + 256);
        whole *= decay;
#pragma unroll
        for (int p = 0; p < sl_key_panels; ++p)
#pragma unroll
          for (int i = 0; i < 32; ++i) u[p][i] *= decay;
      }
      // S^T += (decayed v)^T k, by 16 tokens.
      const uint32_t k = at + sl_summed_keys;
      sl_products_begin();
#pragma unroll
      for (int s = 0; s < 4; ++s)
#pragma unroll
        for (int p = 0; p < sl_key_panels; p += 2)
          if (p + 1 < sl_key_panels)
            sl_product_held_twice(
                u[p], u[p + 1 < sl_key_panels ? p + 1 : p], v[s], k + (uint32_t)(p * sl_panel),
                2048 * s);
          else
            sl_product_held(u[p], v[s], sl_operand(k, p * sl_panel + 2048 * s));
      sl_products_end();
      sl_barrier_arrive(sl_summed_free(shared, stage));
    }
    sl_state_keep(u, place.final + value, values);
    for (int key = thread; SL_GATED && place.key_decay && own == 0 && key < SL_OWN_KEYS; key += 128)
      place.key_decay[key] = whole;
  }
}

template <class Walks>
SL_WORD void sl_alike_sums(
    const Walks walks, const sl_tensor *const keys, const sl_tensor *const values) {
  SL_SHARED scratch[];
  const uint32_t shared = sl_address(scratch);
  if (SL_THREAD == 0) {
    for (int stage = 0; stage < SL_SUM_STAGES; ++stage) {
      sl_barrier_init(sl_summed_there(shared, stage), 1 + 32);
      sl_barrier_init(sl_summed_free(shared, stage), 128 * sl_groups);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  sl_sync();
  const int warp = sl_uniform(SL_WARP);
  if (warp < 4 * sl_groups) {
    if (sl_groups > 1) sl_take_registers(232);
    sl_sum_products(shared, walks, sl_uniform(warp / 4));
  } else {
    if (sl_groups > 1) sl_give_registers(40);
    if (warp == 4 * sl_groups) {
      if (SL_LANE == 0) sl_sum_copies(shared, walks, keys, values);
    } else if (warp == 4 * sl_groups + 1) {
      sl_sum_factors(shared, walks);
    }
  }
}

#endif
