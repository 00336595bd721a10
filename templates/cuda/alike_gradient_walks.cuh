// A block's walk of alike_gradient.cuh, found and gone; and the decays' adjoint of a chunk.
#ifndef SL_ALIKE_GRADIENT_WALKS_CUH
#define SL_ALIKE_GRADIENT_WALKS_CUH

namespace sl_alike_gradients {

template <class Places>
SL_WORD void sl_barriers_begin(uint32_t shared) {
  for (int barrier = 0; barrier < Places::barriers; ++barrier) {
    // Landed: the thread that asked for it. All else every thread says that is done with it, or has made it.
    int arrivals = 1;
    if (barrier >= Places::queries_free && barrier < Places::keys_landed)
      arrivals = 128 * (sl_groups + 1);
    if (barrier >= Places::keys_free && barrier < Places::values_landed)
      arrivals = 128 * (sl_groups + 1);
    if (barrier >= Places::values_free && barrier < Places::partners_landed)
      arrivals = 128 * sl_groups;
    if (barrier == Places::partners_free) arrivals = 128 * sl_groups;
    if (barrier >= Places::numbers_there) arrivals = 32;
    if (barrier >= Places::scores_there) arrivals = 128;
    if (barrier >= Places::scores_free) arrivals = 128 * sl_groups;
    sl_barrier_init(sl_barrier_at<Places>(shared, 0, barrier), arrivals);
  }
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// The walks of dq and dk, and those of dv, differ in their places.
typedef sl_places<SL_WALK_PART_PANELS, SL_WALK_GATED> sl_key_walks;
typedef sl_places<SL_WALK_KEY_PANELS, false> sl_value_walks;

// A block's walk, which one thread finds and leaves in shared memory.
template <class Maps>
SL_WORD void sl_block_walk(
    char *const scratch, const sl_call &call, const sl_launch &launch, const Maps &maps,
    const sl_tensors *const tensors) {
  const uint32_t shared = sl_address(scratch);
  const volatile sl_walk *const walk = (const volatile sl_walk *)(scratch + sl_at_walk);
  const int of_values = (int)SL_BLOCK >= launch.key_walks;
  if (SL_THREAD == 0) {
    sl_find_walk((sl_walk *)(scratch + sl_at_walk), call, launch, (int)SL_BLOCK, SL_WALK_SEGMENTS);
    if (of_values) sl_barriers_begin<sl_value_walks>(shared);
    else sl_barriers_begin<sl_key_walks>(shared);
  }
  sl_sync();
  const int warp = sl_uniform(SL_WARP), role = warp / 4;
  if (role < sl_groups) {
    sl_take_registers(SL_WALK_STATE_REGISTERS);
    if (of_values) sl_walk_products<sl_value_walks>(shared, walk, tensors, role);
    else sl_walk_products<sl_key_walks>(shared, walk, tensors, role);
  } else if (role == sl_groups) {
    sl_give_registers(SL_WALK_SCORE_REGISTERS);
    if (of_values) sl_walk_scores<sl_value_walks>(shared, walk);
    else sl_walk_scores<sl_key_walks>(shared, walk);
  } else {
    sl_give_registers(SL_WALK_OTHER_REGISTERS);
    // A thread of the first warp asks for copies, the second warp has the numbers.
    if (warp == 4 * (sl_groups + 1) + 1) {
      if (of_values) sl_walk_numbers<sl_value_walks>(shared, walk, maps);
      else sl_walk_numbers<sl_key_walks>(shared, walk, maps);
    } else if (SL_THREAD == 128 * (sl_groups + 1)) {
      if (of_values) sl_walk_copies<sl_value_walks>(shared, walk, tensors, 1);
      else sl_walk_copies<sl_key_walks>(shared, walk, tensors, 1);
    }
  }
}

// ---- The adjoint of decays ----

// Y + G of a chunk, from the sums of it and of all `chunks` from it on. A lane has every 32nd one behind it.
SL_WORD float sl_sum_behind(
    const sl_call &call, const float *const queries, const float *const keys, const int64_t chunks) {
  const int tiles = 2 * sl_key_tiles;
  const int64_t next = call.heads * tiles * sl_chunk_sums;
  float sum = 0.0f;
  for (int64_t chunk = 1 + SL_LANE; chunk < chunks; chunk += 32)
    for (int tile = 0; tile < tiles; ++tile) {
      const int64_t at = chunk * next + tile * sl_chunk_sums + sl_rounded_sum;
      sum += queries[at] - keys[at];
    }
#pragma unroll
  for (int bit = 16; bit >= 1; bit /= 2) sum += sl_of_other(sum, bit);
  for (int tile = 0; tile < tiles; ++tile) {
    const int at = tile * sl_chunk_sums;
    if (call.d_final) sum += queries[(chunks - 1) * next + at + sl_final_sum];
    sum += keys[at + sl_unrounded_sum];
  }
  return sum;
}

// Of a chunk and head, from what all walks summed up, by a warp. A lane has two tokens; lanes go back in
// time.
template <class Maps>
SL_WORD void sl_chunk_gates(
    const sl_call &call, const Maps &maps, const int64_t slot, const int64_t head) {
  const int64_t sequence = sl_sequence_of(call, slot), chunk = slot - sl_slot_of(call, sequence);
  const int64_t begin = sl_begin_of(call, sequence) + 64 * chunk;
  const int64_t rows = sl_end_of(call, sequence) - begin;
  // More slots are counted than there are chunks.
  if (rows <= 0) return;
  const int64_t row =
      sl_row_of(call, call.cu_seqlens ? 0 : sequence, begin, head, call.heads);
  const int step = call.layout ? 1 : (int)call.heads, tiles = 2 * sl_key_tiles;
  const int64_t place = (slot * call.heads + head) * tiles * sl_chunk_sums;
  const sl_room room = sl_room_of(call);
  const float *const queries = room.query_sums + place, *const keys = room.key_sums + place;
  const float *const gate = call.gate + row;
  float *const d_gate = call.d_gate + row;
  const float extra = sl_sum_behind(call, queries, keys, (rows + 63) / 64);
  float behind = 0.0f;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const int token = 63 - SL_LANE - 32 * m;
    float read = 0.0f, written = 0.0f;
    for (int tile = 0; tile < tiles; ++tile) {
      read += queries[tile * sl_chunk_sums + token];
      written += keys[tile * sl_chunk_sums + token];
    }
    const float sum = sl_sum_up_to(token < rows ? read - written : 0.0f) + behind;
    behind = sl_of_lane(sum, 31);
    if (token >= rows) continue;
    const float of_token = gate[(int64_t)token * step];
    // Nothing of what was before a decay of 0 is left: no rounding of sums may say otherwise.
    const int keeps = sl_power(0x1.715476p0f * maps.log_decay(of_token)) > 0.0f;
    d_gate[(int64_t)token * step] = keeps ? maps.gate_slope(of_token) * (sum + extra) : 0.0f;
  }
}

}  // namespace sl_alike_gradients

#endif
