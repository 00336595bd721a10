// Words of a single token on a state in the caller's memory, on those of tiles.h
// and of any target.
#ifndef SL_STEP_H
#define SL_STEP_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// What moves a state of `keys` rows: for each row i and column j
//   T[i][j] = d[i] dv[j] S[i][j] + k[i] v[j];  o[j] = sum over i of q[i] T[i][j].
// S and T may be one memory; rows of the state lie `row` apart.
typedef struct {
  float *o;
  float *t;
  const float *s;
  int64_t row;
  const float *q, *k, *v;
  sl_factors d, dv;
} sl_moved;

// x times the decay of row i; `near` says that the base is one.
SL_INLINE sl_f32 sl_move_decayed(sl_f32 x, const sl_factors d, int64_t i, const int near) {
  return near ? sl_fma(sl_set(d.slope[i]), x, x) : sl_times_one(x, d, i);
}

// One vector of columns of `count` rows from the i-th on. `part` is how many of its
// lanes there are, 0 for all.
SL_INLINE void sl_move_piece(
    const int count, const int before, const int moves, const int near, const sl_moved m,
    int64_t i, int64_t j, const int64_t part) {
  const sl_f32 v = sl_load(m.v + j);
  sl_f32 o = i == 0 ? sl_zero() : sl_load(m.o + j);
  SL_UNROLL for (int a = 0; a < count; ++a) {
    const int64_t place = (i + a) * m.row + j;
    // Rows that come soon; behind the last one lie those of the next head.
    sl_prefetch(m.s + place + 12 * m.row);
    const sl_f32 old = part ? sl_load_n(m.s + place, part) : sl_load(m.s + place);
    sl_f32 x = old;
    if (moves) {
      x = sl_times_each(sl_move_decayed(x, m.d, i + a, near), m.dv, j);
      x = sl_fma(sl_set(m.k[i + a]), v, x);
      if (part)
        sl_store_n(m.t + place, x, part);
      else
        sl_store(m.t + place, x);
    }
    o = sl_fma(sl_set(m.q[i + a]), before ? old : x, o);
  }
  sl_store(m.o + j, o);
}

// All columns of `count` rows from the i-th on.
SL_INLINE void sl_move_rows(
    const int count, const int64_t columns, const int before, const int moves, const int near,
    const sl_moved m, int64_t i) {
  int64_t j = 0;
  for (; j + SL_LANES <= columns; j += SL_LANES)
    sl_move_piece(count, before, moves, near, m, i, j, 0);
  if (j < columns) sl_move_piece(count, before, moves, near, m, i, j, columns - j);
}

// All rows, a few at a time: their sums pass through the output's row once.
SL_INLINE void sl_move_all(
    const int keys, const int64_t columns, const int before, const int moves, const sl_moved m) {
  enum { rows = 8 };
  int64_t i = 0;
  for (; i + rows <= keys; i += rows) {
    if (moves && sl_bases_are_one(m.d, rows, i, 1))
      sl_move_rows(rows, columns, before, moves, 1, m, i);
    else
      sl_move_rows(rows, columns, before, moves, 0, m, i);
  }
  for (; i < keys; ++i) sl_move_rows(1, columns, before, moves, 0, m, i);
}

// Moves the state and reads it out, T or, `before`, S; or, unless it `moves`, only
// reads out S.
SL_INLINE void sl_move_state(
    const int keys, const int64_t columns, const int before, const int moves, const sl_moved m) {
  if (moves)
    sl_move_all(keys, columns, before, 1, m);
  else
    sl_move_all(keys, columns, 1, 0, m);
}

// The same of one column.
SL_INLINE void sl_move_column(
    const int keys, const int before, const int moves, const sl_moved m) {
  float sum = 0.0f;
  for (int i = 0; i < keys; ++i) {
    const float old = m.s[i * m.row];
    float x = old;
    if (moves) {
      x = sl_first(sl_times_one(sl_set(x), m.d, i));
      x = __builtin_fmaf(m.k[i], m.v[0], x);
      m.t[i * m.row] = x;
    }
    sum = __builtin_fmaf(m.q[i], before ? old : x, sum);
  }
  m.o[0] = sum;
}

#pragma GCC diagnostic pop
#endif
