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

SL_INLINE int64_t sl_least(int64_t a, int64_t b) { return a < b ? a : b; }
SL_INLINE int64_t sl_greatest(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- Products ----

// What a product does to its target before it adds: nothing is kept, or the
// target is kept, scaled by a number a row and by a number a column.
typedef struct {
  int keep;
  const float *row_scale;     // one a row, or NULL
  const float *column_scale;  // one a column, or NULL
} sl_before;

// The start of a register block: zero, or the target's own values, scaled.
SL_INLINE sl_f32 sl_block_start(
    const float *t, const sl_before before, int64_t row, int64_t column) {
  if (!before.keep) return sl_zero();
  sl_f32 x = sl_load(t);
  if (before.row_scale) x = sl_mul(x, sl_set(before.row_scale[row]));
  if (before.column_scale) x = sl_mul(x, sl_load(before.column_scale + column));
  return x;
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
    float sum = 0;
    if (before.keep) sum = before.row_scale ? t[i] * before.row_scale[i] : t[i];
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

// One row: the sum (or product) of each column.
SL_INLINE void sl_reduce_rows(
    const int rows, const int columns, const int product, float *t, const float *x,
    int64_t x_row) {
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_f32 result = product ? sl_set(1.0f) : sl_zero();
    for (int i = 0; i < rows; ++i) {
      const sl_f32 next = sl_load(x + i * x_row + j);
      result = product ? sl_mul(result, next) : sl_add(result, next);
    }
    sl_store(t + j, result);
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

// The product of one column.
SL_INLINE float sl_product_column(const int rows, const float *x) {
  float product = 1.0f;
  for (int i = 0; i < rows; ++i) product *= x[i];
  return product;
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

// ---- The recurrence itself ----

// Rows in memory that will be read soon.
typedef struct {
  const char *first;  // the first row
  int64_t step;       // bytes from one row to the next
  int64_t rows;       // how many there are; may be negative
  int64_t bytes;      // bytes of a row
} sl_ahead;

// Asks for one of `parts` equal parts of the rows, so that the memory has
// something to do all the while that the arithmetic goes on.
SL_INLINE void sl_ask(const sl_ahead ahead, const int most_rows, int64_t part, int64_t parts) {
  const int64_t lines = (ahead.bytes + 63) / 64;
  const int64_t last = (part + 1) * lines * most_rows / parts;
  for (int64_t n = part * lines * most_rows / parts; n < last; ++n)
    if (n / lines < ahead.rows)
      sl_prefetch(ahead.first + (n / lines) * ahead.step + (n % lines) * 64);
}

// The operands of a recurrence over a block of tokens. A decay of NULL is one.
typedef struct {
  float *o;           // output: tokens x columns
  int64_t o_row;
  const float *s_in;  // state: keys x columns
  float *s_out;
  int64_t s_row;
  const float *q;  // tokens x keys
  int64_t q_row;
  const float *k;  // tokens x keys
  int64_t k_row;
  const float *v;  // tokens x columns
  int64_t v_row;
  const float *d;  // decay of token t and key i at t * d_row + i * d_step
  int64_t d_row;
  int64_t d_step;
  const float *dv;  // decay of token t and column j
  int64_t dv_row;
  const float *end;  // scale of key i at the end, at i * end_step
  int64_t end_step;
} sl_recurrence;

// A piece of the state, `keys` rows (at most 8) by `vectors` vectors (at most 4)
// from row i and column j on, stays in registers over all tokens:
//   S = d S dv + k v^T;  o (+)= S^T q        (in the other order when `before`)
SL_INLINE void sl_recur_piece(
    const int tokens, const int keys, const int vectors, const int before, const int first,
    const sl_recurrence x, int64_t i, int64_t j) {
  sl_f32 s[8][4];
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b)
      s[a][b] = sl_load(x.s_in + (i + a) * x.s_row + j + b * SL_LANES);
  for (int t = 0; t < tokens; ++t) {
    sl_f32 value[4], column_decay[4], sum[4];
    float *o = x.o + t * x.o_row + j;
    SL_UNROLL for (int b = 0; b < vectors; ++b) {
      value[b] = sl_load(x.v + t * x.v_row + j + b * SL_LANES);
      column_decay[b] = x.dv ? sl_load(x.dv + t * x.dv_row + j + b * SL_LANES) : sl_zero();
      sum[b] = first ? sl_zero() : sl_load(o + b * SL_LANES);
    }
    SL_UNROLL for (int a = 0; a < keys; ++a) {
      const sl_f32 query = sl_set(x.q[t * x.q_row + i + a]);
      const sl_f32 key = sl_set(x.k[t * x.k_row + i + a]);
      const sl_f32 decay = x.d ? sl_set(x.d[t * x.d_row + (i + a) * x.d_step]) : sl_zero();
      SL_UNROLL for (int b = 0; b < vectors; ++b) {
        if (before) sum[b] = sl_fma(query, s[a][b], sum[b]);
        if (x.d) s[a][b] = sl_mul(decay, s[a][b]);
        if (x.dv) s[a][b] = sl_mul(column_decay[b], s[a][b]);
        s[a][b] = sl_fma(key, value[b], s[a][b]);
        if (!before) sum[b] = sl_fma(query, s[a][b], sum[b]);
      }
    }
    SL_UNROLL for (int b = 0; b < vectors; ++b) sl_store(o + b * SL_LANES, sum[b]);
  }
  SL_UNROLL for (int a = 0; a < keys; ++a) {
    const sl_f32 end = x.end ? sl_set(x.end[(i + a) * x.end_step]) : sl_zero();
    SL_UNROLL for (int b = 0; b < vectors; ++b) {
      if (x.end) s[a][b] = sl_mul(end, s[a][b]);
      sl_store(x.s_out + (i + a) * x.s_row + j + b * SL_LANES, s[a][b]);
    }
  }
}

// All pieces of a panel of `vectors` vectors from column j on.
SL_INLINE void sl_recur_panel(
    const int tokens, const int keys, const int piece_keys, const int vectors, const int before,
    const sl_recurrence x, int64_t j, const sl_ahead *ahead, const int aheads,
    int64_t first_part, int64_t parts) {
  const int rest = keys % piece_keys;
  sl_recur_piece(tokens, rest ? rest : piece_keys, vectors, before, 1, x, 0, j);
  int64_t part = first_part;
  for (int n = 0; n < aheads; ++n) sl_ask(ahead[n], tokens, part, parts);
  for (int64_t i = rest ? rest : piece_keys; i < keys; i += piece_keys) {
    ++part;
    for (int n = 0; n < aheads; ++n) sl_ask(ahead[n], tokens, part, parts);
    sl_recur_piece(tokens, piece_keys, vectors, before, 0, x, i, j);
  }
}

// The recurrence over `tokens` tokens, in pieces of `piece_keys` keys by
// `piece_vectors` vectors.
SL_INLINE void sl_recur(
    const int tokens, const int keys, const int columns, const int piece_keys,
    const int piece_vectors, const int before, const sl_recurrence x, const sl_ahead *ahead,
    const int aheads) {
  const int vectors = SL_VECTORS(columns);
  const int rest = vectors % piece_vectors;
  const int64_t pieces = (keys + piece_keys - 1) / piece_keys;
  const int64_t parts = pieces * ((vectors + piece_vectors - 1) / piece_vectors);
  int64_t part = 0;
  int64_t j = 0;
  for (; j + piece_vectors * SL_LANES <= vectors * SL_LANES; j += piece_vectors * SL_LANES) {
    sl_recur_panel(
        tokens, keys, piece_keys, piece_vectors, before, x, j, ahead, aheads, part, parts);
    part += pieces;
  }
  if (rest)
    sl_recur_panel(tokens, keys, piece_keys, rest, before, x, j, ahead, aheads, part, parts);
}

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
