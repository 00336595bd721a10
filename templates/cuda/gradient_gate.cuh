// The gate's adjoint at the end of a chunk in the exact form (gradient_exact.cuh, gradient_wide_exact.cuh).
#ifndef SL_GRADIENT_GATE_CUH
#define SL_GRADIENT_GATE_CUH

namespace sl_gradients {

// From the terms q dq - k dk: what passes a token's decay is the sum of those from it on and of what leaves
// the chunk, the row sums of S dS after it: of S before it, decayed where they are not of S as it is at the
// chunk's middle (`is_framed`), and the share of the chunk's own keys. It is added to what earlier query heads
// left (`adds`). Terms go through the place of a state, which is free when `then` is called.
template <class Maps, class Then>
SL_WORD void sl_gate_adjoint(
    const float (&terms)[16], uint32_t shared, const float *gate, float *d_gate, int64_t step, int rows,
    const int is_framed, const int adds, const Maps maps, const Then then) {
  const int first = sl_fresh(sl_row()), part = sl_uniform(SL_WARP / 2), key = sl_key();
  const uint32_t table = shared + sl_at_exact_state, sums = shared + sl_at_exact_sums;
#pragma unroll
  for (int n = 0; n < 16; n += 2)
    sl_store_floats(
        table + sl_in_table(first + (n & 2) * 4, sl_own_column(sl_group(), n)), terms[n], terms[n + 1]);
  sl_sync();
  // From here on a thread has eight tokens and two keys.
  float x[8][2], later[2] = {0.0f, 0.0f}, each[2], end[2];
#pragma unroll
  for (int n = 7; n >= 0; --n) {
    sl_load_floats(x[n], table + sl_in_table(8 * part + n, key));
    x[n][0] = later[0] += x[n][0];
    x[n][1] = later[1] += x[n][1];
  }
  sl_store_floats(sums + 4 * (uint32_t)(128 * part + key), later[0], later[1]);
  sl_publish();
  sl_sync();
  then();
  sl_load_floats(later, shared + sl_at_exact_whole + 4 * (uint32_t)key);
  sl_load_floats(end, shared + sl_at_logs + sl_in_sums(63, key));
#pragma unroll
  for (int e = 0; e < 2; ++e) later[e] *= is_framed ? 1.0f : sl_power(end[e]);
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    sl_load_floats(each, shared + sl_at_exact_shares + 4 * (uint32_t)(128 * w + key));
    later[0] += each[0], later[1] += each[1];
  }
#pragma unroll
  for (int w = 1; w < 8; ++w)
    if (w > part) {
      sl_load_floats(each, sums + 4 * (uint32_t)(128 * w + key));
      later[0] += each[0], later[1] += each[1];
    }
  float past[2] = {0.0f, 0.0f};
  if (part > 0) sl_load_floats(past, shared + sl_at_logs + sl_in_sums(8 * part - 1, key));
  int64_t at = 8 * part * step + key;
#pragma unroll
  for (int n = 0; n < 8; ++n, at += step) {
    const int there = 8 * part + n < rows;
    float own[2];
    sl_load_floats(own, shared + sl_at_logs + sl_in_sums(8 * part + n, key));
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      // A decay of zero passes nothing on.
      x[n][e] = own[e] - past[e] < -126.0f ? 0.0f : x[n][e] + later[e];
      past[e] = own[e];
      if (SL_GATE_BENDS && there) x[n][e] *= maps.gate_slope(gate[at + e]);
    }
    if (adds) {
      float earlier[2];
      sl_read_pair(earlier, d_gate + at, there);
      x[n][0] += earlier[0], x[n][1] += earlier[1];
    }
    sl_write_pair(d_gate + at, x[n], there);
  }
}

}  // namespace sl_gradients

#endif
