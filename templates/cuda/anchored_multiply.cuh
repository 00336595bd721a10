// The other warpgroups of walks with 128 values: half of them each; the state in registers. Those with 64
// (anchored_roles.cuh) go by the same words.
#ifndef SL_ANCHORED_MULTIPLY_CUH
#define SL_ANCHORED_MULTIPLY_CUH

// u[m] holds keys 64 m + 16 w + l / 4 and 8 more; `sl_sums` is 64 rows of a warpgroup's values.
typedef float sl_sums[sl_columns / 2];

// Bytes of 16 rows of them.
enum { sl_sixteen = 32 * sl_columns };

// Thread 32 w + l of a warpgroup, and where its sums lie: rows 16 w + l / 4 and 8 more, columns 8 j +
// 2 (l % 4) and 1 more. Found anew for each use: kept, places would crowd the sums out of registers.
typedef struct {
  int thread, lane, row, column;
} sl_seat;
SL_WORD sl_seat sl_seat_anew() {
  int thread = SL_THREAD % 128;
  asm volatile("" : "+r"(thread));
  const int lane = thread % 32;
  const sl_seat seat = {thread, lane, thread / 32 * 16 + lane / 4, 2 * (lane % 4)};
  return seat;
}

// Sums in bf16, where products or copies find them: rows 16 w on of a panel.
SL_WORD void sl_anchored_hold(const sl_sums &sum, uint32_t panel) {
  const sl_seat seat = sl_seat_anew();
  const int lane = seat.lane, lane_row = seat.thread / 32 * 16 + lane % 16;
#pragma unroll
  for (int j = 0; j < sl_columns / 8; j += 2)
    sl_store_matrices(
        panel + sl_in_panel(lane_row, 8 * (j + lane / 16)),
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

// Bytes to a number of 64 rows of floats, exchanged so that rows and columns find all banks.
SL_WORD uint32_t sl_in_rows(int row, int column) {
  return (uint32_t)(row * 4 * sl_columns + ((column * 4) ^ ((row & (sl_columns / 8 - 1)) << 5)));
}

// U = diag(factor) U; `total` keeps the product of factors.
template <const bool reads>
SL_WORD void sl_anchored_scale(sl_sums (&u)[2], float (&total)[4], uint32_t factors) {
  const int row = sl_seat_anew().row;
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
        sum, sl_operand(at, k / 4 * sl_panel + k % 4 * 32), sl_operand(held, k * sl_sixteen), k > 0);
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
          sl_operand(values, k * sl_sixteen));
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
  sl_product_held(sum, weights, sl_operand(values, 2 * sl_columns * from));
  sl_product_held(sum, rest, sl_operand(values, 2 * sl_columns * from));
}

// sum += P v where P has been found
SL_WORD void sl_anchored_weigh_exactly(sl_sums &sum, uint32_t scores, uint32_t values) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
    sl_product_across(sum, sl_operand(scores, 32 * k), sl_operand(values, k * sl_sixteen), 1);
}

// sum += P v of scores in registers
SL_WORD void sl_anchored_weigh_all(sl_sums &sum, const float (&p)[32], uint32_t values) {
  const sl_seat seat = sl_seat_anew();
  // Asked of the lane itself, lest all comparisons be made early and kept.
  const int after = sl_own(seat.row - seat.column);
#pragma unroll
  for (int k = 0; k < 4; ++k) sl_anchored_weigh(sum, &p[8 * k], values, after, 16 * k);
}

// The state before a walk, or zero: a warpgroup's values from `initial` on.
SL_WORD void sl_anchored_take(
    sl_sums (&u)[2], const float *const initial, const int state_row) {
  const sl_seat seat = sl_seat_anew();
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < sl_columns / 2; ++n)
      u[m][n] = initial ? initial[(64 * m + seat.row + n / 2 % 2 * 8) * state_row + seat.column +
                                  n / 4 * 8 + n % 2]
                        : 0.0f;
}

// The state after a walk, to `final` on: half of the keys at a time through `place`, so that whole rows
// are written.
SL_WORD void sl_anchored_keep(
    const sl_sums (&u)[2], float *const final, const int state_row, uint32_t place,
    const int barrier) {
  const sl_seat seat = sl_seat_anew();
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    sl_meet(barrier, 128);
#pragma unroll
    for (int j = 0; j < sl_columns / 8; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        sl_store_floats(
            place + sl_in_rows(seat.row + 8 * e, 8 * j + seat.column), u[m][4 * j + 2 * e],
            u[m][4 * j + 2 * e + 1]);
    sl_meet(barrier, 128);
#pragma unroll
    for (int n = 0; n < sl_columns / 8; ++n) {
      const int across = sl_columns / 4;  // threads of a row
      const int key = 128 / across * n + seat.thread / across, value = seat.thread % across * 4;
      float x[4];
      sl_load_four(x, place + sl_in_rows(key, value));
      sl_write_four(final + (64 * m + key) * state_row + value, x);
    }
  }
}

// A chunk's output, staged in bf16: the values from `value` on of whole chunks as a copy, of the walk's
// last tokens one by one.
template <class Walks>
SL_WORD void sl_anchored_put(
    uint32_t staged, const sl_cursor *const cursor, const Walks walks, const sl_tensors from,
    const int value, const int rows) {
  const int thread = sl_seat_anew().thread;
  if (rows >= sl_chunk) {
    if (thread == 0) {
      const sl_cursor at = *cursor;
      sl_copy_out(from.o, staged, at.value + value, at.query_head, at.token, at.batch);
    }
    return;
  }
  const int walk = cursor->walk, done = sl_chunk * cursor->chunk;
  uint16_t *const o = walks.at(walk).o;
  for (int n = thread; n < sl_columns / 2 * rows; n += 128) {
    const int token = n / (sl_columns / 2), column = n % (sl_columns / 2) * 2;
    *(uint32_t *)(o + (int64_t)(done + token) * walks.o_token + value + column) =
        sl_load_word(staged + sl_in_panel(token, column));
  }
}

// The walk's whole decay, by lanes that have factors of its keys.
SL_WORD void sl_anchored_keep_decay(float *const decay, const float (&total)[4]) {
  const sl_seat seat = sl_seat_anew();
  if (seat.lane % 4) return;
#pragma unroll
  for (int m = 0; m < 4; ++m) decay[64 * (m / 2) + seat.row + 8 * (m % 2)] = total[m];
}

// Where a warpgroup holds its U, found anew for each chunk.
SL_WORD uint32_t sl_held_anew(uint32_t shared, int own) {
  asm volatile("" : "+r"(own));
  return shared + sl_at_state + (uint32_t)(2 * sl_panel * own);
}

template <const bool reads, class Walks>
SL_WORD void sl_anchored_multiply(
    uint32_t shared, const sl_cursor *const cursors, const Walks walks, const sl_tensors from,
    const int own) {
  int n = 0;
  int begun = (int)SL_BLOCK;
  // The roles' first steps are alike; they are not to be made one before they part.
  asm volatile("" : "+r"(begun));
#pragma unroll 1
  for (int walk = begun; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    sl_sums u[2];
    float total[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    sl_anchored_take(
        u, place.initial ? place.initial + sl_columns * own : NULL, walks.state_row);
#pragma unroll 1
    for (int left = sl_uniform(place.length); left > 0; left -= sl_chunk) {
      const int stage = sl_stage_of(n);
      const uint32_t held = sl_held_anew(shared, own), staged = held + sl_panel;
      const uint32_t at = shared + stage * sl_stage, values = at + 2 * sl_tile + own * sl_panel;
      const uint32_t after = shared + sl_at_after + 512 * stage;
      sl_barrier_wait(sl_ready(shared, stage), sl_turn_of(n));
      const int is_exact = sl_uniform((int)sl_load_word(shared + sl_at_level + 4 * stage));
      sl_anchored_scale<reads>(u, total, shared + sl_at_before + 512 * stage);
      sl_sums sum;
      if (reads) {
        sl_anchored_hold(u[0], held);
        // What was staged for the last chunk has been copied out before it is overwritten.
        if (sl_seat_anew().thread == 0) sl_copied_out();
        sl_meet(8 + own, 128);
        sl_anchored_hold(u[1], staged);
        sl_publish();
        sl_meet(8 + own, 128);
      }
      if (is_exact) {
        if (reads) {
          sl_products_begin();
          sl_anchored_read(sum, at, held);
          sl_anchored_weigh_exactly(sum, shared + sl_at_scores, values);
          sl_products_end();
        }
        sl_anchored_scale<reads>(u, total, after);
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
          sl_anchored_weigh_all(sum, p, values);
          sl_products_commit();
        }
        sl_anchored_update(u, at, values);
        sl_products_end();
      }
      if (reads) {
        sl_meet(8 + own, 128);
        sl_anchored_hold(sum, staged);
        sl_publish();
      }
      // At the end of the walk the state is wanted as it is there.
      if (left <= sl_chunk && !is_exact) sl_anchored_scale<reads>(u, total, after);
      // One lane speaks for the reads of all.
      sl_meet_warp();
      if (sl_seat_anew().lane == 0) sl_barrier_arrive(sl_free(shared, stage));
      if (reads) {
        sl_meet(8 + own, 128);
        sl_anchored_put(
            staged, &cursors[sl_in_turn(n)], walks, from, sl_columns * own, left);
      }
      // The stage takes the chunk that comes next in it.
      if (sl_seat_anew().lane == 0) {
        // Made of numbers that the compiler cannot follow, lest addresses be kept all the while.
        int which = 4 * own + SL_WARP % 4, number = n;
        asm volatile("" : "+r"(which), "+r"(number));
        sl_barrier_wait(sl_free(shared, stage), sl_turn_of(number));
        sl_copy_operand<reads>(
            shared, &cursors[sl_in_turn(number + sl_stages)], from, sl_stage_of(number), which);
      }
      ++n;
    }
    const sl_place ended = walks.at(walk);
    if (ended.final) {
      if (reads && sl_seat_anew().thread == 0) sl_copied_out();
      sl_anchored_keep(
          u, ended.final + sl_columns * own, walks.state_row, sl_held_anew(shared, own), 8 + own);
      if (!reads && ended.decay && own == 0) sl_anchored_keep_decay(ended.decay, total);
      // The next walk's products find U here.
      sl_meet(8 + own, 128);
    }
  }
  if (reads && sl_seat_anew().thread == 0) sl_copied_out();
}

#endif
