// The walks of alike.cuh: what each warp of a block does.
#ifndef SL_ALIKE_WALKS_CUH
#define SL_ALIKE_WALKS_CUH

// The barriers of the first chunk's landing, or all others.
SL_WORD void sl_barriers_init(uint32_t shared, const int of_first) {
#pragma unroll
  for (int barrier = 0; barrier < sl_barriers; ++barrier) {
    const int lands = barrier == 0 || barrier == sl_keys_landed || barrier == sl_values_landed;
    if (lands == of_first)
      sl_barrier_init(sl_barrier_at(shared, 0, (uint32_t)barrier), sl_arrivals(barrier));
  }
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

template <class Walks>
SL_WORD void sl_alike_walks(
    const Walks walks, const sl_tensor *const queries, const sl_tensor *const keys,
    const sl_tensor *const values, const sl_tensor *const outputs) {
  SL_SHARED scratch[];
  const uint32_t shared = sl_address(scratch);
  // The first chunk is on its way before the block's other warps go to their work: the thread that asks for it comes
  // first, and initializes the barriers of its landing alone, a thread of another warp the rest.
  if (__builtin_expect(SL_THREAD == 128 * sl_workers, 1)) {
    const sl_place place = walks.at((int)SL_BLOCK);
    sl_barriers_init(shared, 1);
    if (place.length > 0) {
#pragma unroll
      for (int is_values = 2; is_values-- > 0;)
        sl_ask_for_chunk(shared, place, 0, place.begin, queries, keys, values, is_values);
    }
  }
  if (SL_THREAD == 0) {
    sl_tensor_ahead(values);
    sl_tensor_ahead(keys);
    sl_tensor_ahead(queries);
    sl_tensor_ahead(outputs);
  }
  if (SL_THREAD == 128 * sl_workers + 32) sl_barriers_init(shared, 0);
  // Where the first walk lies: found by all warps side by side, whose code is then brought once.
  const sl_place first = walks.at((int)SL_BLOCK);
  // What is read of its tokens is on its way as early.
  const int warp = sl_uniform(SL_WARP), role = warp / 4, has_numbers = warp >= 4 * sl_workers + 2;
  typename Walks::maps::token_numbers ahead[2][2];
  if (has_numbers) sl_alike_first_tokens(walks, first, warp % 2, ahead);
  sl_sync();
  if (role < sl_workers) {
    sl_alike_work(shared, walks, first, outputs, role);
  } else {
    sl_give_registers(SL_OTHER_REGISTERS);
    // A thread each of two warps asks for copies, the other two have the numbers.
    if (has_numbers)
      sl_alike_number_walks(shared, walks, first, warp % 2, ahead);
    else if (SL_LANE == 0)
      sl_alike_copies(shared, walks, first, queries, keys, values, warp % 4);
  }
}

#endif
