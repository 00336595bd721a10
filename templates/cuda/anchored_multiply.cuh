// The other warpgroups: half of the values each; the state in registers.
#ifndef SL_ANCHORED_MULTIPLY_CUH
#define SL_ANCHORED_MULTIPLY_CUH

// u[m] holds keys 64 m + 16 w + l / 4 and 8 more; `sl_sums` is 64 rows of a warpgroup's values.
typedef float sl_sums[sl_columns / 2];

// Bytes of 16 rows of them.
enum { sl_sixteen = 32 * sl_columns };

// Sums in bf16, where products or copies find them: rows 16 w on of a panel.
SL_WORD void sl_anchored_hold(const sl_sums &sum, uint32_t panel, int lane_row, int lane) {
#pragma unroll
  for (int j = 0; j < sl_columns / 8; j += 2)
    sl_store_matrices(
        panel + sl_in_values(lane_row, 8 * (j + lane / 16)),
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

// Bytes to a number of 64 rows of floats, exchanged so that rows and columns find all banks.
SL_WORD uint32_t sl_in_rows(int row, int column) {
  return (uint32_t)(row * 4 * sl_columns + ((column * 4) ^ ((row & (sl_columns / 8 - 1)) << 5)));
}

// U = diag(factor) U; `total` keeps the product of factors.
template <const bool reads>
SL_WORD void sl_anchored_scale(sl_sums (&u)[2], float (&total)[4], uint32_t factors, int row) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float factor = sl_load_float(factors + 4 * (uint32_t)(64 * m + row + 8 * e));
      if (!reads) total[2 * m + e] *= factor;
#pragma unroll
      for (int j = 0; j < sl_columns / 8; ++j) {
        u[m][4 * j + 2 * e] *= factor;
        u[m][4 * j + 2 * e + 1] *= factor;
      }
    }
}

// sum = q~ U
SL_WORD void sl_anchored_read(sl_sums &sum, uint32_t at, uint32_t held) {
#pragma unroll
  for (int k = 0; k < 8; ++k)
    sl_product_across(
        sum, sl_operand(at, k / 4 * sl_panel + k % 4 * 32), sl_operand<sl_columns>(held, k * sl_sixteen),
        k > 0);
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
SL_WORD void sl_anchored_update(sl_sums (&u)[2], uint32_t at, uint32_t values) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      sl_product_outer(
          u[m], sl_operand(at, sl_tile + m * sl_panel + k * 2048),
          sl_operand<sl_columns>(values, k * sl_sixteen));
}

// sum += P v for 16 tokens' values: the scores up to the row's own token, `after` the thread's first
// column, in bf16, and what that leaves.
SL_WORD void sl_anchored_weigh(
    sl_sums &sum, const float *p, uint32_t values, const int after, const int from) {
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
  sl_product_held(sum, weights, sl_operand<sl_columns>(values, 2 * sl_columns * from));
  sl_product_held(sum, rest, sl_operand<sl_columns>(values, 2 * sl_columns * from));
}

template <const bool reads, class Walks>
SL_WORD void sl_anchored_multiply(
    uint32_t shared, const sl_cursor *const cursors, const Walks walks, const sl_tensors from,
    const int own) {
  int lane = SL_LANE, warp = SL_WARP % 4, thread = SL_THREAD % 128;
  asm volatile("" : "+r"(lane), "+r"(warp), "+r"(thread));
  int row = 16 * warp + lane / 4, column = 2 * (lane % 4);
  int lane_row = 16 * warp + lane % 16;
  const uint32_t held = shared + sl_at_state + 2 * sl_value_panel * own;
  int stage = 0, n = 0;
  uint32_t turn = 0;
  int begun = (int)SL_BLOCK;
  // The roles' first steps are alike; they are not to be made one before they part.
  asm volatile("" : "+r"(begun));
#pragma unroll 1
  for (int walk = begun; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    const int length = sl_uniform(place.length);
    sl_sums u[2];
    float total[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    asm volatile("" : "+r"(row), "+r"(column));
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < sl_columns / 2; ++n)
        u[m][n] = place.initial
                      ? place.initial[(64 * m + row + n / 2 % 2 * 8) * walks.state_row +
                                      sl_columns * own + column + n / 4 * 8 + n % 2]
                      : 0.0f;
#pragma unroll 1
    for (int done = 0; done < length; done += sl_chunk) {
      const uint32_t at = shared + stage * sl_stage, values = at + 2 * sl_tile + own * sl_value_panel;
      const uint32_t after = shared + sl_at_after + 512 * stage;
      sl_barrier_wait(sl_ready(shared, stage), turn);
      const int is_exact = sl_uniform((int)sl_load_word(shared + sl_at_level + 4 * stage));
      // Addresses are made anew for each chunk: kept, they would crowd the sums out of registers.
      asm volatile("" : "+r"(row), "+r"(column), "+r"(lane_row));
      const uint32_t staged = held + sl_value_panel;
      sl_anchored_scale<reads>(u, total, shared + sl_at_before + 512 * stage, row);
      sl_sums sum;
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
                sum, sl_operand(shared, sl_at_scores + 32 * k),
                sl_operand<sl_columns>(values, k * sl_sixteen), 1);
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
          if (thread == 0) {
            const sl_cursor at = cursors[sl_in_turn(n)];
            sl_copy_out(
                from.o, staged, at.value + sl_columns * own, at.query_head, at.token, at.batch);
          }
        } else {
          int again = walk;
          asm volatile("" : "+r"(again));
          uint16_t *const o = walks.at(again).o;
          for (int n = thread; n < sl_columns / 2 * rows; n += 128) {
            const int token = n / (sl_columns / 2), value = n % (sl_columns / 2) * 2;
            *(uint32_t *)(o + (done + token) * walks.o_token + sl_columns * own + value) =
                sl_load_word(staged + sl_in_values(token, value));
          }
        }
      }
      // The stage takes the chunk that comes next in it.
      if (!sl_has_copiers && lane == 0) {
        // Made of numbers that the compiler cannot follow, lest addresses be kept all the while.
        int which = 4 * own + warp, number = n;
        asm volatile("" : "+r"(which), "+r"(number));
        sl_barrier_wait(sl_free(shared, stage), turn);
        sl_copy_operand<reads>(
            shared, &cursors[sl_in_turn(number + sl_stages)], from, sl_stage_of(number), which);
      }
      ++n;
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
        for (int j = 0; j < sl_columns / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            sl_store_floats(
                held + sl_in_rows(row + 8 * e, 8 * j + column), u[m][4 * j + 2 * e],
                u[m][4 * j + 2 * e + 1]);
        sl_meet(8 + own, 128);
#pragma unroll
        for (int n = 0; n < sl_columns / 8; ++n) {
          const int across = sl_columns / 4;  // threads of a row
          const int key = 128 / across * n + thread / across, value = thread % across * 4;
          float x[4];
          sl_load_four(x, held + sl_in_rows(key, value));
          sl_write_four(ended.final + (64 * m + key) * walks.state_row + sl_columns * own + value, x);
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
    sl_give_registers(sl_columns == 64 ? 80 : 96);
    sl_anchored_prepare<reads>(shared, cursors, walks, from);
  } else if (sl_has_copiers && SL_WARP >= 16) {
    sl_give_registers(24);
    sl_anchored_copy<reads>(shared, cursors, from);
  } else {
    sl_take_registers(sl_columns == 64 ? 176 : 128);
    sl_anchored_multiply<reads>(shared, cursors, walks, from, sl_uniform(SL_WARP / 4) - 2);
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
