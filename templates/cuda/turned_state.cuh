// A warpgroup's state turned, S^T, in registers: it has 64 values, whose rows are what products take on the
// left, so the state goes to o in bf16 without leaving them.
#ifndef SL_TURNED_STATE_CUH
#define SL_TURNED_STATE_CUH

// u[p] holds S^T for keys 64 p and on: thread 32 w + l values 16 w + l / 4 and 8 more, keys 8 j +
// 2 (l % 4) and 1 more.
typedef float sl_state[SL_KEYS / 64][32];

// The key of a number of a thread's state, and its value among the warpgroup's.
SL_WORD int sl_key_of(const int thread, const int p, const int n) {
  return 64 * p + n / 4 * 8 + thread % 4 * 2 + n % 2;
}
SL_WORD int sl_value_of(const int thread, const int n) {
  return thread % 128 / 32 * 16 + thread % 32 / 4 + n / 2 % 2 * 8;
}

// The state before a walk, or zero: values from `initial` on, of which there are so many. Where a thread's
// numbers lie is found at each end of a walk, and takes no registers in between.
SL_WORD void sl_state_take(sl_state &u, const float *const initial, const int values) {
  const int thread = sl_own(SL_THREAD);
#pragma unroll
  for (int p = 0; p < SL_KEYS / 64; ++p)
#pragma unroll
    for (int n = 0; n < 32; ++n) {
      const int key = sl_key_of(thread, p, n), value = sl_value_of(thread, n);
      u[p][n] = initial && key < SL_OWN_KEYS && value < values
                    ? initial[(int64_t)key * SL_OWN_VALUES + value]
                    : 0.0f;
    }
}
SL_WORD void sl_state_keep(const sl_state &u, float *const final, const int values) {
  const int thread = sl_own(SL_THREAD);
#pragma unroll
  for (int p = 0; p < SL_KEYS / 64; ++p)
#pragma unroll
    for (int n = 0; n < 32; ++n) {
      const int key = sl_key_of(thread, p, n), value = sl_value_of(thread, n);
      if (key < SL_OWN_KEYS && value < values)
        final[(int64_t)key * SL_OWN_VALUES + value] = u[p][n];
    }
}

// A chunk's output, turned, to where copies find it in bf16.
SL_WORD void sl_output_stage(const float (&sum)[32], uint32_t staged) {
  const int lane = SL_LANE, value = SL_THREAD % 128 / 32 * 16 + lane / 8 % 2 * 8;
#pragma unroll
  for (int j = 0; j < 8; j += 2)
    sl_store_turned(
        staged + sl_in_panel(8 * (j + lane / 16) + lane % 8, value),
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

#endif
