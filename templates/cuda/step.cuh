// Words of a single token for one block of threads, on a state in the caller's memory: those of
// templates/c/step.h.
#ifndef SL_STEP_CUH
#define SL_STEP_CUH

#ifdef __NVCC__
#define SL_OWN_SHARED __shared__
#else
#define SL_OWN_SHARED static __attribute__((shared))
#endif

// A step waits for memory and little else: four blocks are to have room at once.
#undef SL_BOUNDS
#define SL_BOUNDS SL_BOUNDS_OF(SL_THREADS, 4)

// What moves a state of `keys` rows: for each row i and column j
//   T[i][j] = d[i] dv[j] S[i][j] + k[i] v[j];  o[j] = sum over i of q[i] T[i][j].
// S and T may be one memory; rows of the state lie `row` apart.
struct sl_moved {
  float *o;
  float *t;
  const float *s;
  int64_t row;
  const float *q, *k, *v;
  sl_factors d = {}, dv = {};
};

// Four columns of a row, or of the last ones `some`; rows of sixteen bytes go at once.
SL_WORD void sl_state_in(float (&x)[4], const float *at, const int wide, const int64_t some) {
  if (wide) {
    asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
                 : "l"(at)
                 : "memory");
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) x[e] = e < some ? at[e] : 0.0f;
}
SL_WORD void sl_state_out(float *at, const float (&x)[4], const int wide, const int64_t some) {
  if (wide) {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(at), "f"(x[0]), "f"(x[1]),
                 "f"(x[2]), "f"(x[3])
                 : "memory");
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e)
    if (e < some) at[e] = x[e];
}

// Moves the state and reads it out, T or, `before`, S; or, unless it `moves`, only reads out S. A warp
// has every so manieth row, and its lanes four columns each: rows are on their way eight at a time.
SL_WORD void sl_move_state(
    const int keys, const int64_t columns, const int before, const int moves, const sl_moved m) {
  enum { ahead = 8 };
  SL_OWN_SHARED float sums[SL_WARPS][128];
  const int aligned = m.row % 4 == 0 && ((uintptr_t)m.s | (uintptr_t)m.t) % 16 == 0;
  for (int64_t from = 0; from < columns; from += 128) {
    const int64_t j = from + 4 * SL_LANE, some = sl_least(4, sl_greatest(0, columns - j));
    const int wide = aligned && some == 4;
    float o[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int first = SL_WARP; some && first < keys; first += ahead * SL_WARPS) {
      float x[ahead][4];
#pragma unroll
      for (int n = 0; n < ahead; ++n) {
        const int i = first + n * SL_WARPS;
        if (i < keys) sl_state_in(x[n], m.s + i * m.row + j, wide, some);
      }
#pragma unroll
      for (int n = 0; n < ahead; ++n) {
        const int i = first + n * SL_WARPS;
        if (i >= keys) continue;
        const float q = m.q[i], k = m.k[i];
        float moved[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          moved[e] = x[n][e];
          if (moves && e < some) {
            const int column = (int)j + e;
            moved[e] = sl_times(sl_times(moved[e], m.d, i), m.dv, column);
            moved[e] = sl_fma(k, m.v[column], moved[e]);
          }
          o[e] = sl_fma(q, before ? x[n][e] : moved[e], o[e]);
        }
        if (moves) sl_state_out(m.t + i * m.row + j, moved, wide, some);
      }
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[SL_WARP][4 * SL_LANE + e] = o[e];
    sl_sync();
    // Warps are added in their order: equal bits from call to call.
    for (int column = SL_THREAD; column < 128 && from + column < columns; column += SL_THREADS) {
      float sum = 0.0f;
#pragma unroll
      for (int warp = 0; warp < SL_WARPS; ++warp) sum += sums[warp][column];
      m.o[from + column] = sum;
    }
    sl_sync();
  }
}

// The same of one column, by one warp.
SL_WORD void sl_move_column(
    const int keys, const int before, const int moves, const sl_moved m) {
  if (SL_WARP == 0) {
    float sum = 0.0f;
    for (int i = SL_LANE; i < keys; i += 32) {
      const float old = m.s[i * m.row];
      float x = old;
      if (moves) {
        x = sl_fma(m.k[i], m.v[0], sl_times(x, m.d, i));
        m.t[i * m.row] = x;
      }
      sum = sl_fma(m.q[i], before ? old : x, sum);
    }
    sum = sl_sum_lanes(sum);
    if (SL_LANE == 0) m.o[0] = sum;
  }
  sl_sync();
}

#endif
