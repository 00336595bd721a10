// A step whose state and inputs are copied to shared memory side by side, all of them at once, on Hopper.
// Else a block waits for memory three times in turn: for k, v and the gate, for q, and for the state.
//
// A block has 64 values of a head: with few bytes a block, and several blocks at once, memory is read and
// written where it lies together, which it does faster than what lies apart.
#ifndef SL_STEP_LANDED_CUH
#define SL_STEP_LANDED_CUH

// Where copies land, in bytes from the place's start: barriers of the warps and, last, of all; then tokens'
// rows, then the state.
enum { sl_at_landed_rows = 128 };

SL_WORD uint32_t sl_own_landing(uint32_t landing) { return landing + 8 * (uint32_t)SL_WARP; }
SL_WORD uint32_t sl_rows_landing(uint32_t landing) { return landing + 8 * SL_WARPS; }

// Bytes, a multiple of sixteen, from and to where sixteen may begin.
SL_WORD void sl_land(uint32_t to, const void *from, const int bytes, uint32_t barrier) {
  asm volatile("{\n.reg .u64 at;\ncvta.to.global.u64 at, %1;\n"
               "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [at], %2, [%3];\n}" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}

// Before all copies: a warp's first lane asks for its rows of the state, the first thread for what the
// maps read.
SL_WORD void sl_landing_begin(uint32_t landing) {
  if (SL_LANE == 0) {
    sl_barrier_init(sl_own_landing(landing), 1);
    if (SL_THREAD == 0) sl_barrier_init(sl_rows_landing(landing), 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  sl_meet_warp();
}

// Asks for a token's row that comes `at` a place's bytes; where the row is to be read from.
template <class T>
SL_WORD const T *sl_land_row(
    char *place, const int at, const T *const row, const int bytes, const int64_t rows) {
  if (rows != 1 || (uintptr_t)row % 16) return row;
  const uint32_t landing = sl_address(place);
  if (SL_THREAD == 0) {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(
                     sl_rows_landing(landing)),
                 "r"(bytes)
                 : "memory");
    sl_land(landing + (uint32_t)at, row, bytes, sl_rows_landing(landing));
  }
  return (const T *)(place + at);
}

// Rows of the state that a warp has, at most 32.
SL_WORD int sl_rows_landed(const int keys) { return (keys + SL_WARPS - 1) / SL_WARPS; }

// Asks for `columns` columns of the state, for which there are places `width` wide.
SL_WORD void sl_land_state(
    uint32_t landing, const int at, const int keys, const int width, const int64_t columns,
    const float *const s, const int64_t row) {
  const int rows = sl_rows_landed(keys), first = SL_WARP * rows;
  const int own = (int)sl_greatest(0, sl_least(rows, keys - first)), bytes = 4 * (int)columns;
  if (SL_LANE == 0 && own > 0) sl_barrier_expect(sl_own_landing(landing), own * bytes);
  sl_meet_warp();
  if (SL_LANE < own) {
    const int i = first + SL_LANE;
    sl_land(landing + (uint32_t)(at + 4 * i * width), s + i * row, bytes, sl_own_landing(landing));
  }
}

// After all: until what the maps read is there.
SL_WORD void sl_landing_wait(uint32_t landing) {
  if (SL_THREAD == 0) sl_barrier_arrive(sl_rows_landing(landing));
  sl_sync();
  sl_barrier_wait(sl_rows_landing(landing), 0);
}

// sl_move_state of what sl_land_state asked for. Query heads that come later in a group find there what
// was moved.
SL_WORD void sl_move_landed(
    uint32_t landing, const int at, const int keys, const int width, const int64_t columns,
    const int before, const int moves, const int is_shared, const sl_moved m) {
  const int across = sl_lanes_across(width), at_once = 32 / across, rows = sl_rows_landed(keys);
  const int j = 4 * (SL_LANE % across);
  const int64_t some = columns - j;
  const sl_column_factors factors = sl_factors_of_columns(m, j, some);
  float o[4] = {0.0f, 0.0f, 0.0f, 0.0f}, v[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) v[e] = m.v[some > 0 ? j + e : e];
  if (SL_WARP * rows < keys) sl_barrier_wait(sl_own_landing(landing), 0);
#pragma unroll 8
  for (int n = 0; n < rows; n += at_once) {
    const int own = n + SL_LANE / across, i = SL_WARP * rows + own;
    if (own >= rows || i >= keys || some <= 0) continue;
    const uint32_t place = landing + (uint32_t)(at + 4 * (i * width + j));
    float x[4], moved[4];
    sl_load_four(x, place);
    sl_move_four(moved, o, x, v, i, factors, before, moves, m);
    if (!moves) continue;
    sl_state_out<true>(m.t + i * m.row + j, moved, 4);
    if (!is_shared) continue;
    sl_store_floats(place, moved[0], moved[1]);
    sl_store_floats(place + 8, moved[2], moved[3]);
  }
  sl_add_outputs(m.o, o, across, columns);
}

#endif
