// Tile operations, written once on the words of any vocabulary. A tile is a
// matrix in scratch memory: rows lie `_row` elements apart, each padded with
// finite numbers to whole vectors. Sizes are constants where they are called,
// so every function here is inlined and its loops have constant bounds.
#ifndef SL_TILES_H
#define SL_TILES_H

#define SL_INLINE static inline __attribute__((always_inline))
#define SL_UNROLL _Pragma("clang loop unroll(full)")

// Whole vectors that hold n columns.
#define SL_VECTORS(n) (((n) + SL_LANES - 1) / SL_LANES)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// Between two looks at what another thread will write.
SL_INLINE void sl_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

SL_INLINE int64_t sl_least(int64_t a, int64_t b) { return a < b ? a : b; }
SL_INLINE int64_t sl_greatest(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- Products ----

// Factors side by side, each slope + base, with base 1 where the factor is 1/2 or
// more and 0 elsewhere: slope x + base x is rounded once, and by the size of the
// change. NULL stands for factors of one, and bases of zero.
typedef struct {
  const float *slope;
  const float *base;
} sl_factors;

// What a product does to its target before it adds: nothing is kept, or the
// target is kept, scaled by a factor a row and by a factor a column.
typedef struct {
  int keep;
  sl_factors rows;
  sl_factors columns;
} sl_before;

// x times the i-th factor.
SL_INLINE sl_f32 sl_times_one(sl_f32 x, const sl_factors factors, int64_t i) {
  if (!factors.slope) return x;
  const sl_f32 slope = sl_set(factors.slope[i]);
  return factors.base ? sl_fma(slope, x, sl_mul(sl_set(factors.base[i]), x)) : sl_mul(slope, x);
}

// Whether the bases of `count` factors from the i-th on, `step` apart, are all one:
// then slope x + x is their product with x, in one step.
SL_INLINE int sl_bases_are_one(const sl_factors factors, const int count, int64_t i, int64_t step) {
  if (!factors.slope || !factors.base) return 0;
  float sum = 0.0f;
  for (int a = 0; a < count; ++a) sum += factors.base[(i + a) * step];
  return sum == (float)count;
}

// x times the factors from the j-th on, lane by lane.
SL_INLINE sl_f32 sl_times_each(sl_f32 x, const sl_factors factors, int64_t j) {
  if (!factors.slope) return x;
  const sl_f32 slope = sl_load(factors.slope + j);
  return factors.base ? sl_fma(slope, x, sl_mul(sl_load(factors.base + j), x)) : sl_mul(slope, x);
}

// The start of a register block: zero, or the target's own values, scaled.
SL_INLINE sl_f32 sl_block_start(
    const float *t, const sl_before before, int64_t row, int64_t column) {
  if (!before.keep) return sl_zero();
  return sl_times_each(sl_times_one(sl_load(t), before.rows, row), before.columns, column);
}

// The end of a register block; `part` is how many lanes of a partial vector
// belong to the target, 0 for whole vectors.
SL_INLINE void sl_block_end(float *t, sl_f32 sum, const int part) {
  if (part)
    sl_store_n(t, sum, part);
  else
    sl_store(t, sum);
}

// t[i][j] (+)= sum over p < depth of a[i][p] b[p][j], for `rows` rows and
// `vectors` vectors of columns, all sums in registers. Entry (i, p) of the left
// operand lies at i * a_row + p * a_step.
SL_INLINE void sl_multiply_block(
    const int rows, const int vectors, const int part, float *t, int64_t t_row, const float *a, int64_t a_row,
    int64_t a_step, const float *b, int64_t b_row, int64_t depth, const sl_before before,
    int64_t row, int64_t column) {
  sl_f32 sum[16][4];
  SL_UNROLL for (int i = 0; i < rows; ++i)
    SL_UNROLL for (int j = 0; j < vectors; ++j)
      sum[i][j] = sl_block_start(
          t + i * t_row + j * SL_LANES, before, row + i, column + j * SL_LANES);
  for (int64_t p = 0; p < depth; ++p) {
    sl_f32 right[4];
    SL_UNROLL for (int j = 0; j < vectors; ++j) right[j] = sl_load(b + p * b_row + j * SL_LANES);
    SL_UNROLL for (int i = 0; i < rows; ++i) {
      const sl_f32 left = sl_set(a[i * a_row + p * a_step]);
      SL_UNROLL for (int j = 0; j < vectors; ++j) sum[i][j] = sl_fma(left, right[j], sum[i][j]);
    }
  }
  SL_UNROLL for (int i = 0; i < rows; ++i)
    SL_UNROLL for (int j = 0; j < vectors; ++j)
      sl_block_end(t + i * t_row + j * SL_LANES, sum[i][j], part);
}

// The same on bf16 operands, two p at a time, sums in f32: b holds rows 2p and
// 2p + 1 interleaved, and a pair of the left operand lies at i * a_row + p * a_step.
SL_INLINE void sl_multiply_block_pairs(
    const int rows, const int vectors, const int part, float *t, int64_t t_row, const uint16_t *a, int64_t a_row,
    int64_t a_step, const uint16_t *b, int64_t b_row, int64_t depth, const sl_before before,
    int64_t row, int64_t column) {
  sl_f32 sum[16][4];
  SL_UNROLL for (int i = 0; i < rows; ++i)
    SL_UNROLL for (int j = 0; j < vectors; ++j)
      sum[i][j] = sl_block_start(
          t + i * t_row + j * SL_LANES, before, row + i, column + j * SL_LANES);
  for (int64_t p = 0; p < (depth + 1) / 2; ++p) {
    sl_pairs right[4];
    SL_UNROLL for (int j = 0; j < vectors; ++j)
      right[j] = sl_pairs_load(b + p * b_row + 2 * j * SL_LANES);
    SL_UNROLL for (int i = 0; i < rows; ++i) {
      const sl_pairs left = sl_pairs_set(a + i * a_row + p * a_step);
      SL_UNROLL for (int j = 0; j < vectors; ++j) sum[i][j] = sl_dot2(sum[i][j], left, right[j]);
    }
  }
  SL_UNROLL for (int i = 0; i < rows; ++i)
    SL_UNROLL for (int j = 0; j < vectors; ++j)
      sl_block_end(t + i * t_row + j * SL_LANES, sum[i][j], part);
}

// One panel of columns for all rows, `block_rows` rows at a time.
#define SL_MULTIPLY_PANEL(block, vectors, part)                                                  \
  do {                                                                                           \
    int64_t i = 0;                                                                               \
    for (; i + block_rows <= rows; i += block_rows)                                              \
      block(block_rows, vectors, part, t + i * t_row + j, t_row, a + i * a_row, a_row, a_step,   \
            b + j * per_column, b_row, depth, before, i, j);                                     \
    const int rest = rows % block_rows;                                                          \
    if (rest)                                                                                    \
      block(rest, vectors, part, t + i * t_row + j, t_row, a + i * a_row, a_row, a_step,         \
            b + j * per_column, b_row, depth, before, i, j);                                     \
  } while (0)

// Panels of `block_vectors` vectors, then the whole vectors that are left, then
// the columns that are left: of those, only the target's own are written.
#define SL_MULTIPLY_PANELS(block)                                                                \
  do {                                                                                           \
    const int vectors = columns / SL_LANES;                                                      \
    int64_t j = 0;                                                                               \
    for (int64_t panel = 0; panel < vectors / block_vectors; ++panel) {                          \
      SL_MULTIPLY_PANEL(block, block_vectors, 0);                                                \
      j += block_vectors * SL_LANES;                                                             \
    }                                                                                            \
    const int rest_vectors = vectors % block_vectors;                                            \
    if (rest_vectors) SL_MULTIPLY_PANEL(block, rest_vectors, 0);                                 \
    j += rest_vectors * SL_LANES;                                                                \
    if (columns % SL_LANES) SL_MULTIPLY_PANEL(block, 1, columns % SL_LANES);                     \
  } while (0)

// t (+)= a b for `rows` x `columns`, in register blocks of `block_rows` rows
// (at most 16) and `block_vectors` vectors (at most 4).
SL_INLINE void sl_multiply(
    const int rows, const int columns, const int block_rows, const int block_vectors, float *t,
    int64_t t_row, const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_row,
    int64_t depth, const sl_before before) {
  const int per_column = 1;
  SL_MULTIPLY_PANELS(sl_multiply_block);
}

// The same on bf16 operands; `depth` counts single p.
SL_INLINE void sl_multiply_pairs(
    const int rows, const int columns, const int block_rows, const int block_vectors, float *t,
    int64_t t_row, const uint16_t *a, int64_t a_row, int64_t a_step, const uint16_t *b,
    int64_t b_row, int64_t depth, const sl_before before) {
  const int per_column = 2;
  SL_MULTIPLY_PANELS(sl_multiply_block_pairs);
}

// t[i] (+)= sum over p < depth of a[i][p] x[p]: a matrix times a column.
SL_INLINE void sl_multiply_column(
    const int rows, float *t, const float *a, int64_t a_row, int64_t a_step, const float *x,
    int64_t depth, const sl_before before) {
  for (int i = 0; i < rows; ++i) {
    float sum = before.keep ? sl_first(sl_times_one(sl_set(t[i]), before.rows, i)) : 0.0f;
    for (int64_t p = 0; p < depth; ++p) sum = __builtin_fmaf(a[i * a_row + p * a_step], x[p], sum);
    t[i] = sum;
  }
}

// ---- Decays ----

// Running products down each column, forward from row 0 or backward from the
// last; `exclusive` leaves a row's own factor out.
SL_INLINE void sl_scan(
    const int rows, const int columns, const int backward, const int exclusive, float *t,
    int64_t t_row, const float *d, int64_t d_row) {
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_f32 product = sl_set(1.0f);
    for (int step = 0; step < rows; ++step) {
      const int i = backward ? rows - 1 - step : step;
      const sl_f32 next = sl_mul(product, sl_load(d + i * d_row + j));
      sl_store(t + i * t_row + j, exclusive ? product : next);
      product = next;
    }
  }
}

// The same for one column, whose entries lie side by side.
SL_INLINE void sl_scan_column(
    const int rows, const int backward, const int exclusive, float *t, const float *d) {
  float product = 1.0f;
  for (int step = 0; step < rows; ++step) {
    const int i = backward ? rows - 1 - step : step;
    const float next = product * d[i];
    t[i] = exclusive ? product : next;
    product = next;
  }
}

// A product of decays as a factor, from the product and what it takes away.
SL_INLINE void sl_store_factor(float *slope, float *base, sl_f32 product, sl_f32 taken) {
  const sl_f32 half = sl_set(0.5f);
  sl_store(slope, sl_less(product, half, product, sl_neg(taken)));
  sl_store(base, sl_less(product, half, sl_zero(), sl_set(1.0f)));
}

// Every entry of d as a factor; taken is 1 - d.
SL_INLINE void sl_decay_factor(
    const int rows, const int columns, float *slope, float *base, int64_t t_row, const float *d,
    int64_t d_row, const float *taken, int64_t taken_row) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; j += SL_LANES)
      sl_store_factor(
          slope + i * t_row + j, base + i * t_row + j, sl_load(d + i * d_row + j),
          sl_load(taken + i * taken_row + j));
}

// The product of each column; as a factor when there is a base, from what the
// decays take away together, sum_i taken[i] d[0] ... d[i - 1].
SL_INLINE void sl_decay_total(
    const int rows, const int columns, float *t, float *base, const float *d, int64_t d_row,
    const float *taken) {
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_f32 product = sl_set(1.0f), gone = sl_zero();
    for (int i = 0; i < rows; ++i) {
      if (base) gone = sl_fma(sl_load(taken + i * d_row + j), product, gone);
      product = sl_mul(product, sl_load(d + i * d_row + j));
    }
    if (base)
      sl_store_factor(t + j, base + j, product, gone);
    else
      sl_store(t + j, product);
  }
}

// The same for one column, whose entries lie side by side.
SL_INLINE void sl_decay_total_column(
    const int rows, float *t, float *base, const float *d, const float *taken) {
  float product = 1.0f, gone = 0.0f;
  for (int i = 0; i < rows; ++i) {
    if (base) gone += taken[i] * product;
    product *= d[i];
  }
  *t = base && product >= 0.5f ? -gone : product;
  if (base) *base = product >= 0.5f ? 1.0f : 0.0f;
}

// One row: the sum of each column.
SL_INLINE void sl_sum_rows_of(
    const int rows, const int columns, float *t, const float *x, int64_t x_row) {
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_f32 sum = sl_zero();
    for (int i = 0; i < rows; ++i) sum = sl_add(sum, sl_load(x + i * x_row + j));
    sl_store(t + j, sum);
  }
}

// One column: the sum of each row, whose padding is left out.
SL_INLINE void sl_sum_columns(
    const int rows, const int columns, float *t, const float *x, int64_t x_row) {
  for (int i = 0; i < rows; ++i) {
    sl_f32 sum = sl_zero();
    for (int j = 0; j < columns; j += SL_LANES)
      sum = sl_add(sum, sl_load_n(x + i * x_row + j, columns - j));
    t[i] = sl_sum(sum);
  }
}

// The sum of one column.
SL_INLINE float sl_sum_column(const int rows, const float *x) {
  float sum = 0.0f;
  for (int i = 0; i < rows; ++i) sum += x[i];
  return sum;
}

// t[i][j] = d[j + 1] ... d[i] below the diagonal, one on it, zero above; when
// `before`, d[j + 1] ... d[i - 1], and zero on it. Without d all decays are one.
SL_INLINE void sl_decay_matrix(
    const int size, const int before, float *t, int64_t t_row, const float *d) {
  for (int i = 0; i < size; ++i) {
    float *row = t + i * t_row;
    for (int j = i; j < size; ++j) row[j] = 0.0f;
    if (i > 0) {
      // A row is the one above, decayed once more, and begins anew beside the diagonal.
      const float *above = row - t_row;
      const float once = !d ? 1.0f : before ? d[i - 1] : d[i];
      const int fresh = before ? i - 1 : i;
      for (int j = 0; j < fresh; ++j) row[j] = above[j] * once;
      if (before) row[i - 1] = 1.0f;
    }
    if (!before) row[i] = 1.0f;
  }
}

// t[i][j] *= w[i][j], and zero where w is, whatever stood there.
SL_INLINE void sl_weigh(
    const int rows, const int columns, float *t, int64_t t_row, const float *w, int64_t w_row) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; j += SL_LANES) {
      const sl_f32 weight = sl_load(w + i * w_row + j);
      const sl_f32 product = sl_mul(weight, sl_load(t + i * t_row + j));
      sl_store(t + i * t_row + j, sl_less(sl_zero(), weight, product, sl_zero()));
    }
}

// t[i][j] = sum over k of q[i][k] x[j][k] d[j + 1][k] ... d[i][k] for j <= i, zero
// above the diagonal; when `before`, d[j + 1] ... d[i - 1], and zero on it. Row i
// starts from q[i] and picks up one decay a step on its way to the left: one
// multiplication a factor, no exponent, nothing that could overflow.
SL_INLINE void sl_decayed_scores(
    const int size, const int depth, const int before, float *t, int64_t t_row, const float *q,
    int64_t q_row, const float *x, int64_t x_row, const float *d, int64_t d_row) {
  // The row under decay stays in registers: at most eight vectors at a time.
  enum { most = 8 };
  for (int i = 0; i < size; ++i)
    for (int j = 0; j < size; j += SL_LANES)
      sl_store_n(t + i * t_row + j, sl_zero(), size - j);
  for (int from = 0; from < depth; from += most * SL_LANES) {
    const int left = SL_VECTORS(depth - from);
    const int vectors = left < most ? left : most;
    for (int i = 0; i < size; ++i) {
      sl_f32 w[most];
      for (int v = 0; v < vectors; ++v) w[v] = sl_load(q + i * q_row + from + v * SL_LANES);
      for (int last = i; last >= 0; last -= SL_LANES) {
        // Up to one vector of dot products is finished together.
        const int first = last - SL_LANES + 1 > 0 ? last - SL_LANES + 1 : 0;
        sl_f32 dots[SL_LANES];
        for (int j = 0; j < SL_LANES; ++j) dots[j] = sl_zero();
        for (int j = last; j >= first; --j) {
          sl_f32 dot = sl_zero();
          for (int v = 0; v < vectors; ++v) {
            if (!(before && j == i))
              dot = sl_fma(w[v], sl_load(x + j * x_row + from + v * SL_LANES), dot);
            if (!(before && j == i))
              w[v] = sl_mul(w[v], sl_load(d + j * d_row + from + v * SL_LANES));
          }
          dots[j - first] = dot;
        }
        const int count = last - first + 1;
        float *place = t + i * t_row + first;
        sl_store_n(place, sl_add(sl_load_n(place, count), sl_sum_rows(dots)), count);
      }
    }
  }
}

// Each row i of t goes through x = d[j] x + p[i][j] v[j] for j = 0 ... i in turn;
// when `before`, without d[i].
SL_INLINE void sl_decayed_values(
    const int size, const int columns, const int before, float *t, int64_t t_row, const float *p,
    int64_t p_row, const float *v, int64_t v_row, const float *d, int64_t d_row) {
  for (int i = 0; i < size; ++i)
    for (int column = 0; column < columns; column += SL_LANES) {
      sl_f32 x = sl_load(t + i * t_row + column);
      for (int j = 0; j <= i; ++j) {
        if (!(before && j == i)) x = sl_mul(x, sl_load(d + j * d_row + column));
        x = sl_fma(sl_set(p[i * p_row + j]), sl_load(v + j * v_row + column), x);
      }
      sl_store(t + i * t_row + column, x);
    }
}

// ---- Tests ----

static const float sl_ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Whether every entry, or every entry's magnitude, lies beyond or below a limit;
// an entry that is NaN does not.
#define SL_TEST(name, lower, upper)                                                             \
  SL_INLINE int name(                                                                            \
      const int rows, const int columns, const float *x, int64_t x_row, float limit) {           \
    sl_f32 failures = sl_zero();                                                                 \
    for (int i = 0; i < rows; ++i)                                                               \
      for (int j = 0; j < columns; j += SL_LANES) {                                              \
        const sl_f32 entry = sl_load_n(x + i * x_row + j, columns - j);                          \
        const sl_f32 failure = sl_load_n(sl_ones, columns - j);                                  \
        failures = sl_add(failures, sl_less(lower, upper, sl_zero(), failure));                  \
      }                                                                                          \
    return sl_sum(failures) == 0.0f;                                                             \
  }
SL_TEST(sl_all_above, sl_set(limit), entry)
SL_TEST(sl_all_magnitudes_below, sl_abs(entry), sl_set(limit))

// ---- Layout ----

// Rows from `from` on hold one number.
SL_INLINE void sl_fill_rows(
    int64_t from, const int rows, const int columns, float *t, int64_t t_row, float value) {
  for (int64_t i = from; i < rows; ++i)
    for (int j = 0; j < columns; j += SL_LANES)
      sl_store_n(t + i * t_row + j, sl_set(value), columns - j);
}

// t[j][i] = x[i][j]; t has room for whole blocks of vectors both ways.
SL_INLINE void sl_transpose_tile(
    const int rows, const int columns, float *t, int64_t t_row, const float *x, int64_t x_row) {
  for (int i = 0; i < rows; i += SL_LANES)
    for (int j = 0; j < columns; j += SL_LANES)
      sl_transpose(x + i * x_row + j, x_row, t + j * t_row + i, t_row);
}

// The transpose in bf16, rows 2p and 2p + 1 of it interleaved.
SL_INLINE void sl_transpose_pairs(
    const int rows, const int columns, uint16_t *t, int64_t t_row, const float *x,
    int64_t x_row) {
  float block[SL_LANES * SL_LANES];
  for (int i = 0; i < rows; i += SL_LANES)
    for (int j = 0; j < columns; j += SL_LANES) {
      sl_transpose(x + i * x_row + j, x_row, block, SL_LANES);
      for (int p = 0; p < SL_LANES / 2; ++p)
        sl_pairs_store(
            t + (j / 2 + p) * t_row + 2 * i,
            sl_pairs_zip(
                sl_load(block + 2 * p * SL_LANES), sl_load(block + (2 * p + 1) * SL_LANES)));
    }
}

// Rows 2p and 2p + 1 of x in bf16, interleaved; an odd last row is paired with zeros.
SL_INLINE void sl_to_pairs(
    const int rows, const int columns, uint16_t *t, int64_t t_row, const float *x,
    int64_t x_row) {
  for (int i = 0; i < rows; i += 2)
    for (int j = 0; j < columns; j += SL_LANES) {
      const sl_f32 odd = i + 1 < rows ? sl_load(x + (i + 1) * x_row + j) : sl_zero();
      sl_pairs_store(t + (i / 2) * t_row + 2 * j, sl_pairs_zip(sl_load(x + i * x_row + j), odd));
    }
}

// The first `valid` of `columns` columns of a matrix in memory; zero beyond, and
// everywhere when there is no matrix.
SL_INLINE void sl_load_matrix(
    const int rows, const int columns, float *t, int64_t t_row, const float *x, int64_t x_row,
    int64_t valid) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; j += SL_LANES)
      sl_store(t + i * t_row + j, x ? sl_load_n(x + i * x_row + j, valid - j) : sl_zero());
}

// The first `valid` of `columns` columns to a matrix in memory, if there is one.
SL_INLINE void sl_store_matrix(
    const int rows, const int columns, float *x, int64_t x_row, const float *t, int64_t t_row,
    int64_t valid) {
  if (!x) return;
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; j += SL_LANES)
      sl_store_n(x + i * x_row + j, sl_load(t + i * t_row + j), valid - j);
}

// One column of a matrix in memory, from or to entries that lie side by side.
SL_INLINE void sl_load_column(const int rows, float *t, const float *x, int64_t x_row) {
  for (int i = 0; i < rows; ++i) t[i] = x ? x[i * x_row] : 0.0f;
}
SL_INLINE void sl_store_column(const int rows, float *x, int64_t x_row, const float *t) {
  if (!x) return;
  for (int i = 0; i < rows; ++i) x[i * x_row] = t[i];
}

// Rows of a tile to tokens in memory, rounded to their type; `streams` goes past
// the caches where the machine can.
#define SL_STORE_ROWS(name, type, store, stream)                                                 \
  SL_INLINE void name(                                                                           \
      int64_t rows, const int columns, type *x, int64_t x_row, const float *t, int64_t t_row,    \
      int64_t valid, int streams) {                                                              \
    for (int64_t i = 0; i < rows; ++i)                                                           \
      for (int j = 0; j < columns; j += SL_LANES) {                                              \
        const sl_f32 value = sl_load(t + i * t_row + j);                                         \
        if (streams && j + SL_LANES <= valid)                                                    \
          stream(x + i * x_row + j, value);                                                      \
        else                                                                                     \
          store(x + i * x_row + j, value, valid - j);                                            \
      }                                                                                          \
  }
SL_STORE_ROWS(sl_store_rows_f32, float, sl_store_n, sl_stream)
SL_STORE_ROWS(sl_store_rows_bf16, uint16_t, sl_store_bf16_n, sl_store_bf16)
SL_STORE_ROWS(sl_store_rows_f16, uint16_t, sl_store_f16_n, sl_store_f16)

#pragma GCC diagnostic pop
#endif
