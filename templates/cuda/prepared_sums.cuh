// Segments summed up from zero, side by side, before all of them are walked (prepared_walk.cuh): what a
// segment adds to the state, and how it decays what came before,
//
//     S = diag(D) S + k^^T v    A = A D
//
// chunk by chunk (S = diag(D) S diag(E) + k^^T v^ and B = B E with gates along the values). No q^, no P and no
// outputs: a chunk takes less than half of the time that it takes where it is read out.
#ifndef SL_PREPARED_SUMS_CUH
#define SL_PREPARED_SUMS_CUH

// Numbers of a segment's decay that a thread multiplies up: keys 128 apart.
enum { sl_own_decays = (SL_KEYS + 127) / 128 };

template <class Walks>
SL_WORD void sl_sum_products(uint32_t shared, const Walks walks, const int own) {
  typedef sl_ring<false> ring;
  const int thread = SL_THREAD % 128;
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    const int value = place.value + 64 * own, values = SL_OWN_VALUES - value;
    sl_state u;
    sl_state_take(u, NULL, values);
    float of_keys[sl_own_decays], of_value = 1.0f;
#pragma unroll
    for (int m = 0; m < sl_own_decays; ++m) of_keys[m] = 1.0f;
#pragma unroll 1
    for (int done = 0; done < place.length; done += 64, ++n) {
      const int stage = n % ring::stages, rows = sl_uniform(place.length - done);
      const uint32_t at = shared + stage * ring::stage;
      const uint32_t v = at + (uint32_t)(own * sl_parts * sl_panel);
      const uint32_t ends = at + sl_to_ends + (uint32_t)(256 * own);
      sl_barrier_wait(sl_landed<false>(shared, stage), sl_turn_of<false>(n));
      if (rows < 64) sl_values_end(v, rows, own);
      sl_state_decay(u, at + sl_to_decays, ends);
      sl_products_begin();
      sl_state_add(u, v, at + sl_to_keys);
#pragma unroll
      for (int m = 0; m < sl_own_decays && SL_GATED; ++m)
        if (thread + 128 * m < SL_KEYS)
          of_keys[m] *= sl_load_float(at + sl_to_decays + 4 * (uint32_t)(thread + 128 * m));
      if (SL_VALUE_GATED && thread < 64) of_value *= sl_load_float(ends + 4 * (uint32_t)thread);
      sl_products_end();
      sl_barrier_arrive(sl_free<false>(shared, stage));
    }
    sl_state_keep(u, place.final + value, values);
#pragma unroll
    for (int m = 0; m < sl_own_decays && SL_GATED; ++m)
      if (place.key_decay && own == 0 && thread + 128 * m < SL_OWN_KEYS)
        place.key_decay[thread + 128 * m] = of_keys[m];
    if (SL_VALUE_GATED && thread < 64 && thread < values)
      place.value_decay[value + thread] = of_value;
  }
}

template <class Walks>
SL_WORD void sl_prepared_sums(const Walks walks, const sl_tensor *const values) {
  SL_SHARED scratch[];
  const uint32_t shared = sl_address(scratch);
  sl_walk_begin<false>(shared);
  if (SL_WARP < 4 * sl_groups) {
    if (sl_groups > 1) sl_take_registers(232);
    sl_sum_products(shared, walks, sl_uniform(SL_WARP / 4));
  } else {
    if (sl_groups > 1) sl_give_registers(40);
    if (SL_THREAD == 128 * sl_groups) sl_walk_copies<false>(shared, walks, values);
  }
}

#endif
