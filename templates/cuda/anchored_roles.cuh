// The other warpgroups of walks with 64 values: one keeps the state in registers and holds it out, the
// other one reads it out; the two are a chunk apart. And all walks of a phase.
#ifndef SL_ANCHORED_ROLES_CUH
#define SL_ANCHORED_ROLES_CUH

// The state: U is scaled, held out in bf16, and added to.
template <const bool reads, class Walks>
SL_WORD void sl_narrow_state(uint32_t shared, const Walks walks) {
  const uint32_t held = shared + sl_at_state;
  int n = 0;
  int begun = (int)SL_BLOCK;
  asm volatile("" : "+r"(begun));
#pragma unroll 1
  for (int walk = begun; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    sl_sums u[2];
    float total[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    sl_anchored_take(u, place.initial, walks.state_row);
#pragma unroll 1
    for (int left = sl_uniform(place.length); left > 0; left -= sl_chunk) {
      const int stage = sl_stage_of(n);
      const uint32_t at = shared + stage * sl_stage, values = at + 2 * sl_tile;
      const uint32_t after = shared + sl_at_after + 512 * stage;
      sl_barrier_wait(sl_ready(shared, stage), sl_turn_of(n));
      const int is_exact = sl_uniform((int)sl_load_word(shared + sl_at_level + 4 * stage));
      sl_anchored_scale<reads>(u, total, shared + sl_at_before + 512 * stage);
      if (reads) {
        // The last chunk's U has been read.
        if (n > 0) sl_barrier_wait(sl_state_free(shared), (uint32_t)(n - 1) & 1);
#pragma unroll
        for (int m = 0; m < 2; ++m)
          sl_anchored_hold(u[m], held + (uint32_t)(m * sl_panel));
        sl_publish();
        sl_barrier_arrive(sl_state_ready(shared));
      }
      if (is_exact) sl_anchored_scale<reads>(u, total, after);
      sl_products_begin();
      sl_anchored_update(u, at, values);
      sl_products_end();
      // At the end of the walk the state is wanted as it is there.
      if (left <= sl_chunk && !is_exact) sl_anchored_scale<reads>(u, total, after);
      sl_meet_warp();
      if (sl_seat_anew().lane == 0) sl_barrier_arrive(sl_free(shared, stage));
      ++n;
    }
    const sl_place ended = walks.at(walk);
    if (ended.final) {
      if (reads && n > 0) sl_barrier_wait(sl_state_free(shared), (uint32_t)(n - 1) & 1);
      sl_anchored_keep(u, ended.final, walks.state_row, held, 9);
      if (!reads && ended.decay) sl_anchored_keep_decay(ended.decay, total);
      // The next walk's U comes here.
      sl_meet(9, 128);
    }
  }
}

// The read-out: o = q~ U + P v.
template <class Walks>
SL_WORD void sl_narrow_read(
    uint32_t shared, const sl_cursor *const cursors, const Walks walks, const sl_tensors from) {
  const uint32_t held = shared + sl_at_state, staged = held + 2 * sl_panel;
#pragma unroll 1
  for (int n = 0;; ++n) {
    const sl_cursor *const cursor = &cursors[sl_in_turn(n)];
    const int stage = sl_stage_of(n);
    const uint32_t at = shared + stage * sl_stage, values = at + 2 * sl_tile;
    // Known since the chunk three before was ready.
    if (sl_uniform(cursor->walk) < 0) break;
    sl_barrier_wait(sl_ready(shared, stage), sl_turn_of(n));
    const int is_exact = sl_uniform((int)sl_load_word(shared + sl_at_level + 4 * stage));
    sl_sums sum;
    if (is_exact) {
      sl_barrier_wait(sl_state_ready(shared), (uint32_t)n & 1);
      sl_products_begin();
      sl_anchored_read(sum, at, held);
      sl_anchored_weigh_exactly(sum, shared + sl_at_scores, values);
    } else {
      float p[32];
      sl_products_begin();
      sl_anchored_scores(p, at);
      sl_products_commit();
      sl_barrier_wait(sl_state_ready(shared), (uint32_t)n & 1);
      sl_anchored_read(sum, at, held);
      sl_products_commit();
      sl_products_wait(1);
      sl_anchored_weigh_all(sum, p, values);
    }
    sl_products_end();
    sl_meet_warp();
    if (sl_seat_anew().lane == 0) {
      sl_barrier_arrive(sl_free(shared, stage));
      sl_barrier_arrive(sl_state_free(shared));
    }
    // What was staged for the last chunk has been copied out before it is overwritten.
    if (sl_seat_anew().thread == 0) sl_copied_out();
    sl_meet(8, 128);
    sl_anchored_hold(sum, staged);
    sl_publish();
    sl_meet(8, 128);
    sl_anchored_put(staged, cursor, walks, from, 0, sl_uniform(cursor->left));
  }
  if (sl_seat_anew().thread == 0) sl_copied_out();
}

// ---- All walks of a phase ----

template <const bool reads, class Walks>
SL_WORD void sl_anchored(const Walks walks, const sl_tensors from) {
  SL_SHARED scratch[];
  const uint32_t shared = sl_address(scratch);
  sl_cursor *const cursors = (sl_cursor *)(scratch + sl_at_cursors);
  sl_anchored_begin<reads>(shared, cursors, walks, from);
  if (SL_WARP < 8) {
    sl_give_registers(sl_is_narrow ? 96 : 80);
    sl_anchored_prepare<reads>(shared, cursors, walks, from);
  } else if (!sl_is_narrow) {
    sl_take_registers(176);
    sl_anchored_multiply<reads>(shared, cursors, walks, from, sl_uniform(SL_WARP / 4) - 2);
  } else if (SL_WARP < 12) {
    sl_take_registers(120);
    sl_narrow_state<reads>(shared, walks);
  } else if (SL_WARP < 16) {
    sl_take_registers(136);
    if (reads) sl_narrow_read(shared, cursors, walks, from);
  } else {
    sl_give_registers(32);
    sl_anchored_copy<reads>(shared, cursors, from);
  }
}

#endif
