// The other warpgroups: 64 values each; the state in registers.
#ifndef SL_ANCHORED_MULTIPLY_CUH
#define SL_ANCHORED_MULTIPLY_CUH

// u[m] holds keys 64 m + 16 w + l / 4 and 8 more.

// Sums in bf16, where products or copies find them: rows 16 w on of a panel.
SL_WORD void sl_anchored_hold(const float (&sum)[32], uint32_t panel, uint32_t lane_row, int lane) {
#pragma unroll
  for (int j = 0; j < 8; j += 2)
    sl_store_matrices(
        panel + lane_row * 128 + (((uint32_t)(j + lane / 16) ^ (lane_row & 7)) << 4),
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

// Bytes to a number of 64 rows of 64 floats, exchanged so that rows and columns find all banks.
SL_WORD uint32_t sl_in_rows(int row, int column) {
  return (uint32_t)(row * 256 + ((column * 4) ^ ((row & 7) << 5)));
}

// U = diag(factor) U; `total` keeps the product of factors.
template <const bool reads>
SL_WORD void sl_anchored_scale(float (&u)[2][32], float (&total)[4], uint32_t factors, int row) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float factor = sl_load_float(factors + 4 * (uint32_t)(64 * m + row + 8 * e));
      if (!reads) total[2 * m + e] *= factor;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        u[m][4 * j + 2 * e] *= factor;
        u[m][4 * j + 2 * e + 1] *= factor;
      }
    }
}

// sum = q~ U
SL_WORD void sl_anchored_read(float (&sum)[32], uint32_t at, uint32_t held) {
#pragma unroll
  for (int k = 0; k < 8; ++k)
    sl_product_across(
        sum, sl_operand(at, k / 4 * sl_panel + k % 4 * 32), sl_operand(held, k * 2048), k > 0);
}

// p = q~ k~^T
SL_WORD void sl_anchored_scores(float (&p)[32], uint32_t at) {
#pragma unroll
  for (int k = 0; k < 8; ++k)
    sl_product_rows(
        p, sl_operand(at, k / 4 * sl_panel + k % 4 * 32),
        sl_operand(at, sl_tile + k / 4 * sl_panel + k % 4 * 32), k > 0);
}

// U += k~^T v
SL_WORD void sl_anchored_update(float (&u)[2][32], uint32_t at, uint32_t values) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      sl_product_outer(
          u[m], sl_operand(at, sl_tile + m * sl_panel + k * 2048), sl_operand(values, k * 2048));
}

// sum += P v for 16 tokens' values: the scores up to the row's own token, `after` the thread's first
// column, in bf16, and what that leaves.
SL_WORD void sl_anchored_weigh(
    float (&sum)[32], const float *p, uint32_t values, const int after, const int from) {
  uint32_t weights[4], rest[4];
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int own = from + 8 * j - 8 * e;
      const float x = own <= after ? p[4 * j + 2 * e] : 0.0f;
      const float y = own < after ? p[4 * j + 2 * e + 1] : 0.0f;
      const uint32_t pair = sl_pack(x, y);
      weights[2 * j + e] = pair;
      rest[2 * j + e] = sl_pack(x - sl_low(pair), y - sl_high(pair));
    }
  sl_products_begin();
  sl_product_held(sum, weights, sl_operand(values, 128 * from));
  sl_product_held(sum, rest, sl_operand(values, 128 * from));
}

template <const bool reads, class Walks>
SL_WORD void sl_anchored_multiply(
    uint32_t shared, const Walks walks, const sl_tensors from, const int own) {
  int lane = SL_LANE, warp = SL_WARP % 4, thread = SL_THREAD % 128;
  asm volatile("" : "+r"(lane), "+r"(warp), "+r"(thread));
  int row = 16 * warp + lane / 4, column = 2 * (lane % 4);
  uint32_t lane_row = (uint32_t)(16 * warp + lane % 16), held = shared + sl_at_state + own * sl_tile;
  int stage = 0;
  uint32_t turn = 0;
  int begun = (int)SL_BLOCK;
  // The roles' first steps are alike; they are not to be made one before they part.
  asm volatile("" : "+r"(begun));
#pragma unroll 1
  for (int walk = begun; walk < walks.count(); walk += (int)SL_BLOCKS) {
    sl_place place = walks.at(walk);
    place.begin = sl_uniform(place.begin);
    const int length = sl_uniform(place.length);
    float u[2][32], total[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    asm volatile("" : "+r"(row), "+r"(column));
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 32; ++n)
        u[m][n] = place.initial
                      ? place.initial[(64 * m + row + n / 2 % 2 * 8) * walks.state_row + 64 * own +
                                      column + n / 4 * 8 + n % 2]
                      : 0.0f;
#pragma unroll 1
    for (int done = 0; done < length; done += sl_chunk) {
      const uint32_t at = shared + stage * sl_stage, values = at + 2 * sl_tile + own * sl_panel;
      const uint32_t after = shared + sl_at_after + 512 * stage;
      sl_barrier_wait(sl_ready(shared, stage), turn);
      const int is_exact = sl_uniform((int)sl_load_word(shared + sl_at_level + 4 * stage));
      // Addresses are made anew for each chunk: kept, they would crowd the sums out of registers.
      asm volatile("" : "+r"(row), "+r"(column), "+r"(lane_row));
      const uint32_t staged = held + sl_panel;
      sl_anchored_scale<reads>(u, total, shared + sl_at_before + 512 * stage, row);
      float sum[32];
      if (reads) {
        sl_anchored_hold(u[0], held, lane_row, lane);
        // What was staged for the last chunk has been copied out before it is overwritten.
        if (thread == 0) sl_copied_out();
        sl_meet(8 + own, 128);
        sl_anchored_hold(u[1], staged, lane_row, lane);
        sl_publish();
        sl_meet(8 + own, 128);
      }
      if (is_exact) {
        if (reads) {
          sl_products_begin();
          sl_anchored_read(sum, at, held);
#pragma unroll
          for (int k = 0; k < 4; ++k)
            sl_product_across(
                sum, sl_operand(shared, sl_at_scores + 32 * k), sl_operand(values, k * 2048), 1);
          sl_products_end();
        }
        sl_anchored_scale<reads>(u, total, after, row);
        sl_products_begin();
        sl_anchored_update(u, at, values);
        sl_products_end();
      } else {
        sl_products_begin();
        if (reads) {
          float p[32];
          sl_anchored_scores(p, at);
          sl_products_commit();
          sl_anchored_read(sum, at, held);
          sl_products_commit();
          sl_products_wait(1);
          // Asked of the lane itself, lest all comparisons be made early and kept.
          const int after = sl_own(row - column);
#pragma unroll
          for (int k = 0; k < 4; ++k) sl_anchored_weigh(sum, &p[8 * k], values, after, 16 * k);
          sl_products_commit();
        }
        sl_anchored_update(u, at, values);
        sl_products_end();
      }
      if (reads) {
        sl_meet(8 + own, 128);
        sl_anchored_hold(sum, staged, lane_row, lane);
        sl_publish();
      }
      // At the end of the walk the state is wanted as it is there.
      if (done + sl_chunk >= length && !is_exact) sl_anchored_scale<reads>(u, total, after, row);
      // One lane speaks for the reads of all.
      sl_meet_warp();
      if (lane == 0) sl_barrier_arrive(sl_free(shared, stage));
      if (reads) {
        sl_meet(8 + own, 128);
        const int rows = length - done;
        if (rows >= sl_chunk) {
          if (thread == 0)
            sl_copy_out(from.o, staged, place.value + 64 * own, place.query_head,
                        place.begin + done, place.batch);
        } else {
          for (int n = thread; n < 32 * rows; n += 128)
            *(uint32_t *)(place.o + (done + n / 32) * walks.o_token + 64 * own + n % 32 * 2) =
                sl_load_word(staged + sl_in_panel(n / 32, n % 32 * 2));
        }
      }
      if (++stage == sl_stages) stage = 0, turn ^= 1;
    }
    // Made anew, not kept all the while.
    asm volatile("" : "+r"(row), "+r"(column), "+r"(thread), "+r"(lane));
    const sl_place ended = walks.at(walk);
    if (ended.final) {
      // Half of the keys at a time through the place of U, so that whole rows are written.
      if (reads && thread == 0) sl_copied_out();
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        sl_meet(8 + own, 128);
#pragma unroll
        for (int j = 0; j < 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            sl_store_floats(
                held + sl_in_rows(row + 8 * e, 8 * j + column), u[m][4 * j + 2 * e],
                u[m][4 * j + 2 * e + 1]);
        sl_meet(8 + own, 128);
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const int key = 8 * n + thread / 16, value = thread % 16 * 4;
          float x[4];
          sl_load_four(x, held + sl_in_rows(key, value));
          sl_write_four(ended.final + (64 * m + key) * walks.state_row + 64 * own + value, x);
        }
      }
      if (!reads && ended.decay && own == 0 && lane % 4 == 0)
#pragma unroll
        for (int m = 0; m < 4; ++m) ended.decay[64 * (m / 2) + row + 8 * (m % 2)] = total[m];
      // The next walk's products find U here.
      sl_meet(8 + own, 128);
    }
  }
  if (reads && thread == 0) sl_copied_out();
}

// ---- All walks of a phase ----

template <const bool reads, class Walks>
SL_WORD void sl_anchored(const Walks walks, const sl_tensors from) {
  SL_SHARED scratch[];
  const uint32_t shared = sl_address(scratch);
  sl_cursor *const cursors = (sl_cursor *)(scratch + sl_at_cursors);
  sl_anchored_begin<reads>(shared, cursors, walks, from);
  if (SL_WARP < 8) {
    sl_give_registers(80);
    sl_anchored_prepare<reads>(shared, cursors, walks, from);
  } else {
    sl_take_registers(176);
    sl_anchored_multiply<reads>(shared, walks, from, sl_uniform(SL_WARP / 4) - 2);
  }
}

// The states before segments, and after the last, from what they add and their decays: one number a
// thread. Those of a segment lie a step from the last one's; at most `most` segments.
template <const int most>
SL_WORD void sl_anchored_combine(
    float *const added, const float *const decays, const int segments, const int64_t added_step,
    const int64_t decay_step, const float *const initial, float *const final) {
  float own[most], decay[most], state = initial ? *initial : 0.0f;
#pragma unroll
  for (int j = 0; j < most; ++j) {
    own[j] = j < segments ? added[j * added_step] : 0.0f;
    decay[j] = j < segments && decays ? decays[j * decay_step] : 1.0f;
  }
#pragma unroll
  for (int j = 0; j < most; ++j) {
    if (j < segments) added[j * added_step] = state;
    state = SL_FMA(decay[j], state, own[j]);
  }
  if (final) *final = state;
}

#endif
