// Outputs and states for the walks of alike_gradient.cuh, by warpgroups of 64 values, and the walks
// themselves.
#ifndef SL_ALIKE_GRADIENT_PRODUCTS_CUH
#define SL_ALIKE_GRADIENT_PRODUCTS_CUH

namespace sl_alike_gradients {

// Two warpgroups take turns: while one multiplies the other one rounds, scales and stores.
SL_WORD void sl_turn_take(const int own) { sl_meet(12 + own, 256); }
SL_WORD void sl_turn_pass(const int own) { sl_pass(13 - own, 256); }

// ---- Products ----

// A state's keys in bf16 for two products: 32 keys or, where it is held as two numbers, 16 of them and what
// rounding leaves of those.
SL_WORD void sl_state_hold(
    uint32_t (&held)[2][4], const float (&u)[32], const int first, const int parts) {
#pragma unroll
  for (int m = 0; m < 8 / parts; ++m) {
    const float low = u[first + 2 * m], high = u[first + 2 * m + 1];
    const uint32_t pair = sl_pack(low, high);
    held[m / 4][m % 4] = pair;
    if (parts > 1) held[1][m % 4] = sl_pack(low - sl_low(pair), high - sl_high(pair));
  }
}

// o^T = S^T q^T, and S = 2^{c_64} S: while some keys are multiplied, the next ones are rounded, and their own
// decay. Where sums are wanted S is multiplied as two bf16 numbers, for of these sums those of a long
// sequence must cancel. The products that are asked for here are not over yet.
template <class Places>
SL_WORD void sl_state_read(
    float (&sum)[32], sl_turned_state<Places::panels> &u, uint32_t (&held)[2][2][4],
    uint32_t shared, uint32_t q, int n) {
  constexpr int parts = Places::sums ? 2 : 1;
  float decay = 1.0f;
#pragma unroll
  for (int step = 0; step < 2 * parts * Places::panels; ++step) {
    const int p = step / (2 * parts), part = step % (2 * parts), first = 16 / parts * part;
    if (step >= 2) sl_products_wait(1);
    sl_state_hold(held[step % 2], u.of[p], first, parts);
    sl_products_begin();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int slice = parts > 1 ? part : 2 * part + i;
      sl_product_of_held(
          sum, held[step % 2][i], sl_operand(q, p * sl_panel + 32 * slice), step + i > 0);
    }
    sl_products_commit();
    if (step == 0) {
      sl_wait_for<Places>(shared, Places::numbers_there, 2, n);
      if (SL_WALK_GATED)
        decay = sl_load_float(sl_numbers_at<Places>(shared, n) + sl_to_decay);
    }
    // Volatile, so that no compiler does all of it after the last product.
#pragma unroll
    for (int m = 0; SL_WALK_GATED && m < 16 / parts; ++m)
      asm volatile("mul.ftz.f32 %0, %0, %1;" : "+f"(u.of[p][first + m]) : "f"(decay));
  }
}

// Where a thread has its row of a turned panel's first matrices, found for each chunk anew: nothing of it
// takes registers during products.
SL_WORD uint32_t sl_in_turned() {
  const int lane = sl_own(SL_LANE), warp = sl_uniform(SL_THREAD % 128 / 32);
  return sl_in_panel(lane / 16 * 8 + lane % 8, warp * 16 + lane / 8 % 2 * 8);
}

// o^T = o^T diag(its factors); then + v^T diag(what rounding leaves of P_ii). Before, for tokens before
// `rows`, products with the partner's rows are added up: as they are rounded in the other walk's state, and
// how much more there is of the others.
SL_WORD void sl_output_scale(
    float (&sum)[32], const uint32_t (&v)[4][4], uint32_t numbers, const int adds_up,
    uint32_t partner, const int rows, float (&totals)[2]) {
  float rounded = 0.0f, total = 0.0f;
  (void)partner, (void)rows;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t own[4];
    if (adds_up) sl_load_turned(own, partner + 2048 * (uint32_t)s);
#pragma unroll
    for (int j = 2 * s; j < 2 * s + 2; ++j) {
      float entering[2], rest[2];
      const int token = 8 * j + 2 * (SL_LANE % 4);
      sl_load_floats(entering, numbers + 4 * (uint32_t)token);
      sl_load_floats(rest, numbers + sl_to_rest + 4 * (uint32_t)token);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        float *const of = sum + 4 * j + 2 * m;
        if (adds_up) {
          const uint32_t pair = own[j % 2 * 2 + m], scaled = sl_pair_times(pair, entering);
          // Past the sequence's end may be anything.
          if (token >= rows) of[0] = 0.0f;
          if (token + 1 >= rows) of[1] = 0.0f;
          rounded = SL_FMA(of[0], sl_low(scaled), rounded);
          rounded = SL_FMA(of[1], sl_high(scaled), rounded);
          of[0] *= entering[0], of[1] *= entering[1];
          total = SL_FMA(of[0], sl_low(pair), total);
          total = SL_FMA(of[1], sl_high(pair), total);
        } else {
          of[0] *= entering[0], of[1] *= entering[1];
        }
        const uint32_t pair = v[s][j % 2 * 2 + m];
        of[0] = SL_FMA(rest[0], sl_low(pair), of[0]);
        of[1] = SL_FMA(rest[1], sl_high(pair), of[1]);
      }
    }
  }
  totals[0] = rounded, totals[1] = total - rounded;
}

// Past the sequence's end lies another one: no value of it may be multiplied by 0.
SL_WORD void sl_values_clear(uint32_t panel, const int rows, const int own) {
#pragma unroll 1
  for (int word = 32 * rows + sl_own(SL_THREAD) % 128; word < 32 * 64; word += 128)
    sl_store_word(panel + 4 * (uint32_t)word, 0u);
  sl_publish();
  sl_meet(8 + own, 128);
}

// What 16 tokens' values are in the state.
SL_WORD void sl_values_leave(uint32_t (&to)[4], const uint32_t (&v)[4], uint32_t numbers) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    float leaving[2];
    sl_load_floats(leaving, numbers + sl_to_leaving + 4 * (uint32_t)(8 * j + 2 * (SL_LANE % 4)));
#pragma unroll
    for (int m = 0; m < 2; ++m) to[2 * j + m] = sl_pair_times(v[2 * j + m], leaving);
  }
}

// The rows of o times the partner's, over the warp's sixteen values, and two numbers of all threads, to
// shared memory. Halves of the tokens go to lanes that differ in a bit, three times over.
SL_WORD void sl_sums_leave(
    const float (&sum)[32], uint32_t partner, const float (&totals)[2], uint32_t sums) {
  const int lane = sl_own(SL_LANE), warp = sl_uniform(SL_THREAD % 128 / 32);
  float x[16];
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t own[4];
    sl_load_turned(own, partner + 2048 * (uint32_t)s);
#pragma unroll
    for (int j = 2 * s; j < 2 * s + 2; ++j) {
      x[2 * j] = sum[4 * j] * sl_low(own[j % 2 * 2]);
      x[2 * j] = SL_FMA(sum[4 * j + 2], sl_low(own[j % 2 * 2 + 1]), x[2 * j]);
      x[2 * j + 1] = sum[4 * j + 1] * sl_high(own[j % 2 * 2]);
      x[2 * j + 1] = SL_FMA(sum[4 * j + 3], sl_high(own[j % 2 * 2 + 1]), x[2 * j + 1]);
    }
  }
#pragma unroll
  for (int half = 8; half >= 2; half /= 2) {
    const int later = lane & 2 * half;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float low = x[i], high = x[half + i];
      x[i] = (later ? high : low) + sl_of_other(later ? low : high, 2 * half);
    }
  }
  const int j = lane / 16 * 4 + lane / 8 % 2 * 2 + lane / 4 % 2;
  sl_store_floats(sums + (uint32_t)(256 * warp + 4 * (8 * j + 2 * (lane % 4))), x[0], x[1]);
  // Half the lanes have the first of the two numbers, half the second.
  const int second = lane & 16;
  float all = (second ? totals[1] : totals[0]) + sl_of_other(second ? totals[0] : totals[1], 16);
#pragma unroll
  for (int bit = 8; bit >= 1; bit /= 2) all += sl_of_other(all, bit);
  if (lane % 16 == 0) sl_store_word(sums + (uint32_t)(1024 + lane + 4 * warp), SL_BITS(all));
}
// A number is left, or added to what an earlier launch left, which no thread has to wait for.
SL_WORD void sl_sum_keep(float *const to, const float x, const int adds) {
  if (adds) asm volatile("red.global.add.f32 [%0], %1;" ::"l"(to), "f"(x) : "memory");
  else *to = x;
}
// Those of the four warps, to memory.
SL_WORD void sl_sums_add(float *const to, uint32_t sums, const int adds) {
  const int thread = sl_own(SL_THREAD % 128);
  if (thread > sl_unrounded_sum) return;
  const uint32_t at =
      thread < 64 ? sums + 4 * (uint32_t)thread : sums + 1024 + 16 * (uint32_t)(thread - 64);
  const uint32_t next = thread < 64 ? 256 : 4;
  sl_sum_keep(
      to + thread,
      (sl_load_float(at) + sl_load_float(at + next))
          + (sl_load_float(at + 2 * next) + sl_load_float(at + 3 * next)),
      adds);
}

// What a warpgroup's threads have in all, for its first one.
SL_WORD float sl_sum_of_group(float x, uint32_t sums, const int own) {
#pragma unroll
  for (int bit = 16; bit >= 1; bit /= 2) x += sl_of_other(x, bit);
  if (SL_LANE == 0) sl_store_word(sums + 4 * (uint32_t)(SL_WARP % 4), SL_BITS(x));
  sl_meet(8 + own, 128);
  return (sl_load_float(sums) + sl_load_float(sums + 4))
         + (sl_load_float(sums + 8) + sl_load_float(sums + 12));
}

// A chunk's output, turned, to where copies find it in bf16.
SL_WORD void sl_chunk_stage(const float (&sum)[32], uint32_t staged) {
#pragma unroll
  for (int j = 0; j < 8; j += 2)
    sl_store_turned(
        staged + 1024 * (uint32_t)j,
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

// sum += what an earlier part left of it, and is left for the next one.
SL_WORD void sl_parts_add(
    float (&sum)[32], char *const parts, const int adds, const int keeps) {
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    uint32_t x[4][4];
    if (adds) {
#pragma unroll
      for (int s = 0; s < 4; ++s) sl_fetch_words(x[s], parts + 2048 * (i + s));
#pragma unroll
      for (int s = 0; s < 4; ++s)
#pragma unroll
        for (int m = 0; m < 4; ++m) sum[4 * (i + s) + m] += SL_FROM_BITS(x[s][m]);
    }
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int m = 0; m < 4; ++m) x[s][m] = SL_BITS(sum[4 * (i + s) + m]);
      sl_keep_words(parts + 2048 * (i + s), x[s], keeps);
    }
  }
}

template <class Places>
SL_WORD void sl_walk_products(
    uint32_t shared, const volatile sl_walk *const walk, const sl_tensors *const tensors,
    const int own) {
  const int thread = SL_THREAD % 128;
  sl_turned_state<Places::panels> u;
  sl_state_begin(u, walk, own);
  if (own == 1) sl_turn_pass(own);
#pragma unroll 1
  for (int n = 0; n < sl_uniform(walk->count); ++n) {
    const int rows = sl_uniform(walk->length - sl_token_of(walk, n));
    float sum[32], totals[2];
    uint32_t held[2][2][4];
    // The last chunk's products are over: said here, where all that comes after can be seen to know it.
    sl_products_wait(0);
    sl_wait_for<Places>(shared, Places::queries_landed, Places::query_stages, n);
    sl_turn_take(own);
    sl_state_read<Places>(
        sum, u, held, shared, shared + (uint32_t)(n % Places::query_stages * Places::tile), n);
    sl_turn_pass(own);
    sl_products_wait(0);
    // What is found from here on is not found before.
    const int now = sl_again(n);
    const uint32_t numbers = sl_numbers_at<Places>(shared, now);
    const uint32_t values_at =
        shared
        + (uint32_t)(Places::at_values + (now % sl_value_stages * sl_groups + own) * sl_panel);
    const uint32_t partner = shared + (uint32_t)(Places::at_partners + own * sl_panel);
    uint32_t v[4][4];
    const uint32_t in_turned = sl_in_turned();
    sl_wait_for<Places>(shared, Places::values_landed, sl_value_stages, n);
    if (rows < 64) {
      sl_values_clear(values_at, rows, own);
      if (Places::sums) {
        sl_wait_for<Places>(shared, Places::partners_landed, 1, n);
        sl_values_clear(partner, rows, own);
      }
    }
#pragma unroll
    for (int s = 0; s < 4; ++s) sl_load_turned(v[s], values_at + in_turned + 2048 * (uint32_t)s);
    if (Places::sums) sl_wait_for<Places>(shared, Places::partners_landed, 1, n);
    sl_wait_for<Places>(shared, Places::scores_there, 2, n);
    sl_tell_each(sl_barrier_at<Places>(shared, Places::queries_free, now % Places::query_stages));
    sl_output_scale(sum, v, numbers, Places::sums, partner + in_turned, rows, totals);
    // Said once v has been computed with: a load that is under way may still find what is copied next.
    sl_tell_each(sl_barrier_at<Places>(shared, Places::values_free, now % sl_value_stages));
    // o^T += v^T P^T
    const int then = sl_again(n);
    const uint32_t scores = shared + (uint32_t)(Places::at_scores + then % 2 * sl_panel);
    const uint32_t k =
        shared + (uint32_t)(Places::at_keys + then % Places::key_stages * Places::tile);
    sl_turn_take(own);
    sl_products_begin();
#pragma unroll
    for (int s = 0; s < 4; ++s) sl_product_of_held(sum, v[s], sl_operand(scores, 32 * s), 1);
    sl_products_commit();
    // S^T += (decayed v)^T k, by 16 tokens. The output's products are over before v decays where it lies.
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      uint32_t leaving[4];
      sl_values_leave(leaving, v[s], numbers + 64 * s);
      sl_products_begin();
#pragma unroll
      for (int p = 0; p < Places::panels; p += 2)
        if (p + 1 < Places::panels)
          sl_product_held_twice(u.of[p], u.of[p + 1], leaving, k, p * sl_panel + 2048 * s);
        else
          sl_product_held(u.of[p], leaving, sl_operand(k, p * sl_panel + 2048 * s));
      sl_products_commit();
      if (s == 0) sl_products_wait(1);
    }
    sl_turn_pass(own);
    // While they go on, the output leaves.
    const int last = sl_again(n);
    const uint32_t staged = shared + (uint32_t)(Places::at_staged + own * sl_panel);
    const uint32_t sums = shared + (uint32_t)(Places::at_sums + own * sl_group_sums);
    sl_tell_each(sl_barrier_at<Places>(shared, Places::scores_free, last % 2));
    if (Places::sums) {
      // Of this part alone.
      sl_sums_leave(sum, partner + in_turned, totals, sums);
      sl_tell_each(sl_barrier_at<Places>(shared, Places::partners_free, 0));
    }
    const int keeps = walk->keeps;
    if (keeps || walk->adds)
      sl_parts_add(
          sum,
          sl_of_chunk(walk, n, own, (char *)walk->parts, 4 * sl_tile_parts) + 16 * sl_own(thread),
          walk->adds, keeps);
    // What was staged for the last chunk has been copied out before it is overwritten.
    if (thread == 0) sl_copied_out();
    sl_meet(8 + own, 128);
    if (Places::sums)
      sl_sums_add(
          (float *)sl_of_chunk(walk, n, own, (char *)walk->sums, 4 * sl_chunk_sums), sums,
          walk->adds_sums);
    sl_chunk_stage(sum, staged + in_turned);
    sl_publish();
    sl_meet(8 + own, 128);
    if (!keeps && rows >= 64 && thread == 0)
      sl_copy_out(
          tensors->of + walk->outputs, staged, walk->value + 64 * own, walk->output_head,
          walk->begin + sl_token_of(walk, last), walk->batch);
    sl_products_wait(0);
    sl_tell_each(sl_barrier_at<Places>(shared, Places::keys_free, last % Places::key_stages));
    if (keeps || rows >= 64) continue;
    // The sequence's last tokens one by one.
    uint16_t *const output = walk->output + 64 * own;
    const int values = walk->own_values - 64 * own, step = walk->output_step;
    const int done = sl_token_of(walk, n);
#pragma unroll 1
    for (int word = sl_own(thread); word < 32 * rows; word += 128) {
      const int row = word / 32, column = word % 32 * 2;
      if (column < values)
        *(uint32_t *)(output + (int64_t)(done + row) * step + column) =
            sl_load_word(staged + sl_in_panel(row, column));
    }
  }
  if (Places::sums && walk->met && walk->count > 0) {
    const float own_sum = sl_state_meet(u, walk, own);
    const uint32_t sums = shared + (uint32_t)(Places::at_sums + own * sl_group_sums);
    sl_meet(8 + own, 128);
    const float sum = sl_sum_of_group(own_sum, sums, own);
    if (thread == 0)
      sl_sum_keep(
          (float *)sl_of_chunk(walk, walk->count - 1, own, (char *)walk->sums, 4 * sl_chunk_sums)
              + sl_final_sum,
          sum, walk->adds_sums);
  }
  sl_state_end(u, walk, own);
  if (thread == 0) sl_copied_out();
}

}  // namespace sl_alike_gradients

#endif
