// Segments of the walks of alike_gradient.cuh: what each but a walk's last one adds to the state, found
// before all of them go side by side. A block has one, and reads the tensors that a state takes.
#ifndef SL_ALIKE_GRADIENT_AHEAD_CUH
#define SL_ALIKE_GRADIENT_AHEAD_CUH

namespace sl_alike_gradients {

// A walk's places where no outputs are found.
template <class Places>
using sl_ahead = sl_places<Places::panels, false>;

// Keys that have landed are made ready, by the warpgroup that otherwise has scores.
template <class Places>
SL_WORD void sl_ahead_keys(uint32_t shared, const volatile sl_walk *const walk) {
#pragma unroll 1
  for (int n = 0; n < sl_uniform(walk->count); ++n) {
    const int rows = sl_uniform(walk->length - sl_token_of(walk, n));
    sl_wait_for<Places>(shared, Places::keys_landed, Places::key_stages, n);
    if (rows < 64)
      sl_keys_clear<Places>(
          shared + (uint32_t)(Places::at_keys + n % Places::key_stages * Places::tile), rows);
    // That its numbers are there says that the chunk before the last one is over.
    sl_wait_for<Places>(shared, Places::numbers_there, 2, n);
    sl_tell_each(sl_barrier_at<Places>(shared, Places::scores_there, n % 2));
    sl_tell_each(sl_barrier_at<Places>(shared, Places::keys_free, n % Places::key_stages));
  }
}

// S^T = 2^{c_64} S^T + (decayed v)^T k, from zero on, by a warpgroup of 64 values.
template <class Places>
SL_WORD void sl_ahead_products(
    uint32_t shared, const volatile sl_walk *const walk, const int own) {
  const int thread = SL_THREAD % 128;
  sl_turned_state<Places::panels> u;
#pragma unroll
  for (int p = 0; p < Places::panels; ++p)
#pragma unroll
    for (int n = 0; n < 32; ++n) u.of[p][n] = 0.0f;
  float decays = 1.0f;
#pragma unroll 1
  for (int n = 0; n < sl_uniform(walk->count); ++n) {
    const int rows = sl_uniform(walk->length - sl_token_of(walk, n));
    const uint32_t numbers = sl_numbers_at<Places>(shared, n);
    const uint32_t values_at =
        shared + (uint32_t)(Places::at_values + (n % sl_value_stages * sl_groups + own) * sl_panel);
    const uint32_t k =
        shared + (uint32_t)(Places::at_keys + n % Places::key_stages * Places::tile);
    const uint32_t in_turned = sl_in_turned();
    sl_wait_for<Places>(shared, Places::numbers_there, 2, n);
    sl_wait_for<Places>(shared, Places::values_landed, sl_value_stages, n);
    if (rows < 64) sl_values_clear(values_at, rows, own);
    uint32_t v[4][4];
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      uint32_t own_values[4];
      sl_load_turned(own_values, values_at + in_turned + 2048 * (uint32_t)s);
      sl_values_leave(v[s], own_values, numbers + 64 * s);
    }
    if (SL_WALK_GATED) {
      const float decay = sl_load_float(numbers + sl_to_decay);
      decays *= decay;
#pragma unroll
      for (int p = 0; p < Places::panels; ++p)
#pragma unroll
        for (int m = 0; m < 32; ++m)
          asm volatile("mul.ftz.f32 %0, %0, %1;" : "+f"(u.of[p][m]) : "f"(decay));
    }
    sl_tell_each(sl_barrier_at<Places>(shared, Places::values_free, n % sl_value_stages));
    sl_wait_for<Places>(shared, Places::scores_there, 2, n);
    sl_products_begin();
#pragma unroll
    for (int s = 0; s < 4; ++s)
#pragma unroll
      for (int p = 0; p < Places::panels; p += 2)
        if (p + 1 < Places::panels)
          sl_product_held_twice(u.of[p], u.of[p + 1], v[s], k, p * sl_panel + 2048 * s);
        else
          sl_product_held(u.of[p], v[s], sl_operand(k, p * sl_panel + 2048 * s));
    sl_products_end();
    const int last = sl_again(n);
    sl_tell_each(sl_barrier_at<Places>(shared, Places::scores_free, last % 2));
    sl_tell_each(sl_barrier_at<Places>(shared, Places::keys_free, last % Places::key_stages));
  }
  float *const added = walk->added + walk->segment * (2 * Places::panels * 64 * 64);
#pragma unroll
  for (int p = 0; p < Places::panels; ++p)
#pragma unroll
    for (int n = 0; n < 32; ++n) added[sl_place_of(thread, own, Places::panels, p, n)] = u.of[p][n];
  if (own == 0 && thread == 0) walk->decays[walk->segment] = decays;
}

template <class Maps>
SL_WORD void sl_block_ahead(
    char *const scratch, const sl_call &call, const sl_launch &launch, const Maps &maps,
    const sl_tensors *const tensors) {
  typedef sl_ahead<sl_key_walks> of_keys;
  typedef sl_ahead<sl_value_walks> of_values;
  const uint32_t shared = sl_address(scratch);
  const volatile sl_walk *const walk = (const volatile sl_walk *)(scratch + sl_at_walk);
  const int has_values = (int)SL_BLOCK >= launch.key_walks;
  if (SL_THREAD == 0) {
    sl_find_walk((sl_walk *)(scratch + sl_at_walk), call, launch, (int)SL_BLOCK, sl_summed);
    if (has_values) sl_barriers_begin<of_values>(shared);
    else sl_barriers_begin<of_keys>(shared);
  }
  sl_sync();
  const int warp = sl_uniform(SL_WARP), role = warp / 4;
  if (role < sl_groups) {
    sl_take_registers(SL_WALK_STATE_REGISTERS);
    if (has_values) sl_ahead_products<of_values>(shared, walk, role);
    else sl_ahead_products<of_keys>(shared, walk, role);
  } else if (role == sl_groups) {
    sl_give_registers(SL_WALK_SCORE_REGISTERS);
    if (has_values) sl_ahead_keys<of_values>(shared, walk);
    else sl_ahead_keys<of_keys>(shared, walk);
  } else {
    sl_give_registers(SL_WALK_OTHER_REGISTERS);
    if (warp == 4 * (sl_groups + 1) + 1) {
      if (has_values) sl_walk_numbers<of_values>(shared, walk, maps);
      else sl_walk_numbers<of_keys>(shared, walk, maps);
    } else if (SL_THREAD == 128 * (sl_groups + 1)) {
      if (has_values) sl_walk_copies<of_values>(shared, walk, tensors, 0);
      else sl_walk_copies<of_keys>(shared, walk, tensors, 0);
    }
  }
}

}  // namespace sl_alike_gradients

#endif
