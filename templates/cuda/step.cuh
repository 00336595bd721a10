// Words of a single token for one block of threads, on a state in the caller's memory: those of
// templates/c/step.h.
#ifndef SL_STEP_CUH
#define SL_STEP_CUH

#ifdef __NVCC__
#define SL_OWN_SHARED __shared__
#else
#define SL_OWN_SHARED static __attribute__((shared))
#endif

// A step waits for memory and little else. Where states come to registers as they are moved, two blocks
// are to have room at once, each with all rows of 128 on their way; where copies bring them, more blocks.
#ifndef SL_STEP_BLOCKS
#define SL_STEP_BLOCKS 2
#endif
#undef SL_BOUNDS
#define SL_BOUNDS SL_BOUNDS_OF(SL_THREADS, SL_STEP_BLOCKS)

// The value of the lane so far away.
SL_WORD float sl_of_lane_apart(float x, const int apart) {
  float y;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(y) : "f"(x), "r"(apart));
  return y;
}

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

// What becomes of x by a factor, d x = slope x + base x; 1 and 0 where there is none.
struct sl_factor {
  float slope, base;
};
SL_WORD sl_factor sl_factor_of(const sl_factors factors, int i) {
  const sl_factor factor = {
      factors.slope ? factors.slope[i] : 1.0f, factors.base ? factors.base[i] : 0.0f};
  return factor;
}
SL_WORD float sl_times(float x, const sl_factor factor) {
  return sl_fma(factor.slope, x, factor.base * x);
}

// Four columns of a row, or of the last ones `some`; rows of sixteen bytes go at once.
template <const bool wide>
SL_WORD void sl_state_in(float (&x)[4], const float *at, const int64_t some) {
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
template <const bool wide>
SL_WORD void sl_state_out(float *at, const float (&x)[4], const int64_t some) {
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

// The factors of four columns from j on; ones where there are none, or no such columns.
struct sl_column_factors {
  sl_factor of[4];
};
SL_WORD sl_column_factors sl_factors_of_columns(
    const sl_moved m, const int j, const int64_t some) {
  sl_column_factors columns;
#pragma unroll
  for (int e = 0; e < 4; ++e) columns.of[e] = sl_factor_of(m.dv, e < some ? j + e : j);
  return columns;
}

// Moves four columns of row i, x, and adds them to `o`.
SL_WORD void sl_move_four(
    float (&moved)[4], float (&o)[4], const float (&x)[4], const float (&v)[4], const int i,
    const sl_column_factors columns, const int before, const int moves, const sl_moved m) {
  const float q = m.q[i], k = m.k[i];
  const sl_factor row = sl_factor_of(m.d, i);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    moved[e] = sl_times(x[e], row);
    if (m.dv.slope) moved[e] = sl_times(moved[e], columns.of[e]);
    moved[e] = sl_fma(k, v[e], moved[e]);
    o[e] = sl_fma(q, before || !moves ? x[e] : moved[e], o[e]);
  }
}

// `rows` rows from the first one on, so many apart: four columns of each, from j on, are moved and added
// to `o`. All are on their way before the first one is needed.
template <const int rows, const bool wide>
SL_WORD void sl_move_rows(
    float (&o)[4], const float (&v)[4], const sl_column_factors columns, const int first,
    const int apart, const int j, const int64_t some, const int before, const int moves,
    const sl_moved m) {
  const float *const s = m.s + first * m.row + j;
  float *const t = m.t + first * m.row + j;
  float x[rows][4];
#pragma unroll
  for (int n = 0; n < rows; ++n) sl_state_in<wide>(x[n], s + n * apart * m.row, some);
#pragma unroll
  for (int n = 0; n < rows; ++n) {
    float moved[4];
    sl_move_four(moved, o, x[n], v, first + n * apart, columns, before, moves, m);
    if (moves) sl_state_out<wide>(t + n * apart * m.row, moved, some);
  }
}

// A thread's rows: every so manieth.
template <const bool wide>
SL_WORD void sl_move_columns(
    float (&o)[4], const int keys, const int row, const int apart, const int j, const int64_t some,
    const int before, const int moves, const sl_moved m) {
  enum { ahead = 16 };
  const sl_column_factors columns = sl_factors_of_columns(m, j, some);
  float v[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) v[e] = m.v[e < some ? j + e : j];
  int first = row;
#pragma unroll 1
  for (; first + (ahead - 1) * apart < keys; first += ahead * apart)
    sl_move_rows<ahead, wide>(o, v, columns, first, apart, j, some, before, moves, m);
#pragma unroll 1
  for (; first < keys; first += apart)
    sl_move_rows<1, wide>(o, v, columns, first, apart, j, some, before, moves, m);
}

// Lanes that have a row of so many columns, at most 128: four columns each.
SL_WORD int sl_lanes_across(const int64_t columns) {
  return columns > 64 ? 32 : columns > 32 ? 16 : 8;
}

// What all threads have for four columns each, of so many, is added up to the output. Warps
// are added in their order: equal bits from call to call.
SL_WORD void sl_add_outputs(
    float *output, float (&o)[4], const int across, const int64_t columns) {
  SL_OWN_SHARED float sums[SL_WARPS][128];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    for (int other = across; other < 32; other *= 2) o[e] += sl_of_lane_apart(o[e], other);
    if (SL_LANE < across) sums[SL_WARP][4 * SL_LANE + e] = o[e];
  }
  sl_sync();
  for (int column = SL_THREAD; column < 128 && column < columns; column += SL_THREADS) {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < SL_WARPS; ++warp) sum += sums[warp][column];
    output[column] = sum;
  }
  sl_sync();
}

// Moves the state and reads it out, T or, `before`, S; or, unless it `moves`, only reads out S. Lanes have
// four columns each of 128, and of few columns a warp has several rows at once.
SL_WORD void sl_move_state(
    const int keys, const int64_t columns, const int before, const int moves, const sl_moved m) {
  const int across = sl_lanes_across(columns);
  const int row = SL_THREAD / across, apart = SL_THREADS / across;
  const int aligned = m.row % 4 == 0 && ((uintptr_t)m.s | (uintptr_t)m.t) % 16 == 0;
  for (int64_t from = 0; from < columns; from += 128) {
    const int j = (int)from + 4 * (SL_LANE % across);
    const int64_t some = sl_least(4, columns - j);
    float o[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (aligned && some == 4)
      sl_move_columns<true>(o, keys, row, apart, j, some, before, moves, m);
    else if (some > 0) sl_move_columns<false>(o, keys, row, apart, j, some, before, moves, m);
    sl_add_outputs(m.o + from, o, across, columns - from);
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
