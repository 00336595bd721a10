// Tile operations of one block of threads: the words of templates/c/tiles.h, with tiles in shared
// memory and the work dealt to threads. Every word is called by all threads, and ends when all of
// its writes can be read by all of them. Sizes are constants where they are called.
#ifndef SL_BLOCK_CUH
#define SL_BLOCK_CUH

// The number of the thread, which takes its share of a tile. Words are handed it where they are called, by macros
// of their names (at the end).
#define SL_TILE_THREAD thread

// For each (row, column) of a tile: every thread takes its share.
#define SL_EACH(row, column, rows, columns) SL_EACH_FROM(0, row, column, rows, columns)
// The same from the thread `first` on, for entries beside those that the threads before it have.
#define SL_EACH_FROM(first, row, column, rows, columns)                              \
  for (int sl_at = (SL_TILE_THREAD + SL_THREADS - (first)) % SL_THREADS,             \
           row = sl_at / (columns), column = sl_at % (columns);                      \
       sl_at < (rows) * (columns);                                                   \
       sl_at += SL_THREADS, row = sl_at / (columns), column = sl_at % (columns))

// Factors side by side, each slope + base (docs/numerics.md); NULL stands for ones, and for zeros.
typedef struct {
  const float *slope;
  const float *base;
} sl_factors;

// What a product does to its target before it adds.
typedef struct {
  int keep;
  sl_factors rows;
  sl_factors columns;
} sl_before;

SL_WORD float sl_times(float x, const sl_factors factors, int i) {
  if (!factors.slope) return x;
  const float slope = factors.slope[i];
  return factors.base ? sl_fma(slope, x, factors.base[i] * x) : slope * x;
}

// What a product's sum starts from: zero, or the target's own value, scaled.
SL_WORD float sl_start(const float *t, const sl_before before, int row, int column) {
  if (!before.keep) return 0.0f;
  return sl_times(sl_times(*t, before.rows, row), before.columns, column);
}

// The sum of x over a warp; every lane gets it.
SL_WORD float sl_sum_lanes(float x) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) {
    float other;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;"
                 : "=f"(other)
                 : "f"(x), "r"(apart));
    x += other;
  }
  return x;
}

// ---- Products ----

#ifdef SL_TF32
// x with ten bits of fraction, rounded to nearest.
SL_WORD uint32_t sl_tf32(float x) {
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

// t (+)= a b for rows x columns on the tensor cores: operands rounded to tf32, sums in f32. A warp
// takes 16 rows and up to 32 columns at a time. Entry (i, p) of a lies at i a_row + p a_step.
SL_WORD void sl_multiply(
    const int thread, const int rows, const int columns, float *t, const int t_row, const float *a,
    const int a_row, const int a_step, const float *b, const int b_row, const int depth,
    const sl_before before) {
  const int across = (columns + 31) / 32, count = (rows + 15) / 16 * across;
  const int warp = thread / 32, g = thread % 32 / 4, l = thread % 4;
  for (int piece = warp; piece < count; piece += SL_WARPS) {
    const int i = piece / across * 16 + g, j = piece % across * 32;
    float sum[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = i + e / 2 * 8, column = j + 8 * n + 2 * l + e % 2;
        sum[n][e] = row < rows && column < columns
                        ? sl_start(t + row * t_row + column, before, row, column)
                        : 0.0f;
      }
    for (int p = 0; p < depth; p += 8) {
      uint32_t left[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = i + e % 2 * 8, q = p + l + e / 2 * 4;
        left[e] = row < rows && q < depth ? sl_tf32(a[row * a_row + q * a_step]) : 0u;
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        uint32_t right[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int column = j + 8 * n + g, q = p + l + 4 * e;
          right[e] = column < columns && q < depth ? sl_tf32(b[q * b_row + column]) : 0u;
        }
        asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
            "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sum[n][0]), "+f"(sum[n][1]), "+f"(sum[n][2]), "+f"(sum[n][3])
            : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]),
              "r"(right[1]));
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = i + e / 2 * 8, column = j + 8 * n + 2 * l + e % 2;
        if (row < rows && column < columns) t[row * t_row + column] = sum[n][e];
      }
  }
  sl_sync();
}
#else
// t (+)= a b for rows x columns, in f32: a thread takes 4 x 4 at a time. Entry (i, p) of a lies at
// i a_row + p a_step. What lies outside the tile is read as its last row or column, and not kept.
SL_WORD void sl_multiply(
    const int thread, const int rows, const int columns, float *t, const int t_row, const float *a,
    const int a_row, const int a_step, const float *b, const int b_row, const int depth,
    const sl_before before) {
  const int across = (columns + 3) / 4, count = (rows + 3) / 4 * across;
  for (int piece = thread; piece < count; piece += SL_THREADS) {
    // Neighbouring threads take neighbouring columns.
    int row[4], column[4];
    float sum[4][4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      row[e] = piece / across * 4 + e;
      column[e] = piece % across + e * across;
    }
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        if (row[m] < rows && column[n] < columns)
          sum[m][n] = sl_start(t + row[m] * t_row + column[n], before, row[m], column[n]);
        else
          sum[m][n] = 0.0f;
      }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      row[e] = row[e] < rows ? row[e] : rows - 1;
      column[e] = column[e] < columns ? column[e] : columns - 1;
    }
    for (int p = 0; p < depth; ++p) {
      float left[4], right[4];
#pragma unroll
      for (int m = 0; m < 4; ++m) left[m] = a[row[m] * a_row + p * a_step];
#pragma unroll
      for (int n = 0; n < 4; ++n) right[n] = b[p * b_row + column[n]];
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n) sum[m][n] = sl_fma(left[m], right[n], sum[m][n]);
    }
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int i = piece / across * 4 + m, j = piece % across + n * across;
        if (i < rows && j < columns) t[i * t_row + j] = sum[m][n];
      }
  }
  sl_sync();
}
#endif

// t[i] (+)= sum over p < depth of a[i][p] x[p]: a matrix times a column, a warp a row.
SL_WORD void sl_multiply_column(
    const int thread, const int rows, float *t, const float *a, const int a_row, const int a_step,
    const float *x, const int depth, const sl_before before) {
  const int warp = thread / 32, lane = thread % 32;
  for (int i = warp; i < rows; i += SL_WARPS) {
    float sum = 0.0f;
    for (int p = lane; p < depth; p += 32) sum = sl_fma(a[i * a_row + p * a_step], x[p], sum);
    sum = sl_sum_lanes(sum);
    if (lane == 0) t[i] = sum + (before.keep ? sl_times(t[i], before.rows, i) : 0.0f);
  }
  sl_sync();
}

// ---- Decays ----

// Running products down each column; `exclusive` leaves a row's own factor out.
SL_WORD void sl_scan(
    const int thread, const int rows, const int columns, const int backward, const int exclusive,
    float *t, const int t_row, const float *d, const int d_row) {
  for (int j = thread; j < columns; j += SL_THREADS) {
    float product = 1.0f;
    for (int step = 0; step < rows; ++step) {
      const int i = backward ? rows - 1 - step : step;
      const float next = product * d[i * d_row + j];
      t[i * t_row + j] = exclusive ? product : next;
      product = next;
    }
  }
  sl_sync();
}

// The same for one column, whose entries lie side by side.
SL_WORD void sl_scan_column(
    const int thread, const int rows, const int backward, const int exclusive, float *t,
    const float *d) {
  sl_scan(thread, rows, 1, backward, exclusive, t, 1, d, 1);
}

// Every entry of d as a factor; taken is 1 - d.
SL_WORD void sl_decay_factor(
    const int thread, const int rows, const int columns, float *slope, float *base, const int t_row,
    const float *d, const int d_row, const float *taken, const int taken_row) {
  SL_EACH(i, j, rows, columns) {
    const float decay = d[i * d_row + j];
    slope[i * t_row + j] = decay < 0.5f ? decay : -taken[i * taken_row + j];
    base[i * t_row + j] = decay < 0.5f ? 0.0f : 1.0f;
  }
  sl_sync();
}

// The product of each column; as a factor when there is a base, from what the decays take away
// together, sum_i taken[i] d[0] ... d[i - 1].
SL_WORD void sl_decay_total(
    const int thread, const int rows, const int columns, float *t, float *base, const float *d,
    const int d_row, const float *taken) {
  for (int j = thread; j < columns; j += SL_THREADS) {
    float product = 1.0f, gone = 0.0f;
    for (int i = 0; i < rows; ++i) {
      if (base) gone = sl_fma(taken[i * d_row + j], product, gone);
      product *= d[i * d_row + j];
    }
    t[j] = base && !(product < 0.5f) ? -gone : product;
    if (base) base[j] = product < 0.5f ? 0.0f : 1.0f;
  }
  sl_sync();
}

SL_WORD void sl_decay_total_column(
    const int thread, const int rows, float *t, float *base, const float *d, const float *taken) {
  sl_decay_total(thread, rows, 1, t, base, d, 1, taken);
}

// t[i][j] = d[j + 1] ... d[i] below the diagonal, one on it, zero above; when `before`,
// d[j + 1] ... d[i - 1], and zero on it. Without d all decays are one. A thread walks a column down.
SL_WORD void sl_decay_matrix(
    const int thread, const int size, const int before, float *t, const int t_row, const float *d) {
  for (int j = thread; j < size; j += SL_THREADS) {
    float product = 1.0f;
    for (int i = 0; i < size; ++i) {
      if (i > j + before && d) product *= d[i - before];
      t[i * t_row + j] = i >= j + before ? product : 0.0f;
    }
  }
  sl_sync();
}

// t[i][j] *= w[i][j], and zero where w is, whatever stood there.
SL_WORD void sl_weigh(
    const int thread, const int rows, const int columns, float *t, const int t_row, const float *w,
    const int w_row) {
  SL_EACH(i, j, rows, columns) {
    const float weight = w[i * w_row + j];
    t[i * t_row + j] = weight > 0.0f ? weight * t[i * t_row + j] : 0.0f;
  }
  sl_sync();
}

// t[i][j] = sum over k of q[i][k] x[j][k] d[j + 1][k] ... d[i][k] for j <= i, zero above the
// diagonal; when `before`, d[j + 1] ... d[i - 1], and zero on it. A warp takes a row: its q picks
// up one decay a step on its way to the left.
SL_WORD void sl_decayed_scores(
    const int thread, const int size, const int depth, const int before, float *t, const int t_row,
    const float *q, const int q_row, const float *x, const int x_row, const float *d,
    const int d_row) {
  const int warp = thread / 32, lane = thread % 32;
  for (int row = warp; row < size; row += SL_WARPS) {
    for (int j = row + 1 - before + lane; j < size; j += 32) t[row * t_row + j] = 0.0f;
    for (int from = 0; from < depth; from += 128) {
      float w[4];
#pragma unroll
      for (int v = 0; v < 4; ++v) {
        const int k = from + v * 32 + lane;
        w[v] = k < depth ? q[row * q_row + k] : 0.0f;
      }
      for (int j = row - before; j >= 0; --j) {
        float dot = 0.0f;
#pragma unroll
        for (int v = 0; v < 4; ++v) {
          const int k = from + v * 32 + lane;
          if (k < depth) {
            dot = sl_fma(w[v], x[j * x_row + k], dot);
            w[v] *= d[j * d_row + k];
          }
        }
        dot = sl_sum_lanes(dot);
        if (lane == 0) t[row * t_row + j] = from == 0 ? dot : t[row * t_row + j] + dot;
      }
    }
  }
  sl_sync();
}

// Each row i of t goes through x = d[j] x + p[i][j] v[j] for j = 0 ... i; when `before`, without d[i].
SL_WORD void sl_decayed_values(
    const int thread, const int size, const int columns, const int before, float *t,
    const int t_row, const float *p, const int p_row, const float *v, const int v_row,
    const float *d, const int d_row) {
  SL_EACH(i, column, size, columns) {
    float x = t[i * t_row + column];
    for (int j = 0; j <= i; ++j) {
      if (!(before && j == i)) x *= d[j * d_row + column];
      x = sl_fma(p[i * p_row + j], v[j * v_row + column], x);
    }
    t[i * t_row + column] = x;
  }
  sl_sync();
}

// ---- Sums, transposition ----

// One row: the sum of each column.
SL_WORD void sl_sum_rows_of(
    const int thread, const int rows, const int columns, float *t, const float *x,
    const int x_row) {
  for (int j = thread; j < columns; j += SL_THREADS) {
    float sum = 0.0f;
    for (int i = 0; i < rows; ++i) sum += x[i * x_row + j];
    t[j] = sum;
  }
  sl_sync();
}

// One column: the sum of each row.
SL_WORD void sl_sum_columns(
    const int thread, const int rows, const int columns, float *t, const float *x,
    const int x_row) {
  const int warp = thread / 32, lane = thread % 32;
  for (int i = warp; i < rows; i += SL_WARPS) {
    float sum = 0.0f;
    for (int j = lane; j < columns; j += 32) sum += x[i * x_row + j];
    sum = sl_sum_lanes(sum);
    if (lane == 0) t[i] = sum;
  }
  sl_sync();
}

// The sum of one column; every thread gets it.
SL_WORD float sl_sum_column(const int rows, const float *x) {
  float sum = 0.0f;
  for (int i = 0; i < rows; ++i) sum += x[i];
  return sum;
}

// t[j][i] = x[i][j].
SL_WORD void sl_transpose_tile(
    const int thread, const int rows, const int columns, float *t, const int t_row, const float *x,
    const int x_row) {
  SL_EACH(j, i, columns, rows) { t[j * t_row + i] = x[i * x_row + j]; }
  sl_sync();
}

// ---- States and tokens in memory ----

// A matrix from memory, zero where there is none; columns from `valid` on are zero.
SL_WORD void sl_load_matrix(
    const int thread, const int rows, const int columns, float *t, const int t_row, const float *x,
    const int64_t x_row, const int64_t valid) {
  SL_EACH(i, j, rows, columns) { t[i * t_row + j] = x && j < valid ? x[i * x_row + j] : 0.0f; }
  sl_sync();
}

SL_WORD void sl_store_matrix(
    const int thread, const int rows, const int columns, float *x, const int64_t x_row,
    const float *t, const int t_row, const int64_t valid) {
  if (!x) return;
  SL_EACH(i, j, rows, columns) {
    if (j < valid) x[i * x_row + j] = t[i * t_row + j];
  }
  sl_sync();
}

SL_WORD void sl_load_column(
    const int thread, const int rows, float *t, const float *x, const int64_t x_row) {
  for (int i = thread; i < rows; i += SL_THREADS) t[i] = x ? x[i * x_row] : 0.0f;
  sl_sync();
}

SL_WORD void sl_store_column(
    const int thread, const int rows, float *x, const int64_t x_row, const float *t) {
  if (!x) return;
  for (int i = thread; i < rows; i += SL_THREADS) x[i * x_row] = t[i];
  sl_sync();
}

// Rows of outputs, at most `columns` wide: those that the sequence has, and the tensor's columns.
#define SL_STORE_ROWS(name, type, convert)                                                   \
  SL_WORD void name(                                                                         \
      const int thread, const int64_t rows, const int columns, type *x, const int64_t x_row, \
      const float *t, const int t_row, const int64_t valid) {                                \
    SL_EACH(i, j, (int)rows, columns) {                                                      \
      if (j < valid) x[i * x_row + j] = convert(t[i * t_row + j]);                           \
    }                                                                                        \
    sl_sync();                                                                               \
  }
SL_STORE_ROWS(sl_store_rows_f32, float, sl_set)
SL_STORE_ROWS(sl_store_rows_bf16, uint16_t, sl_f32_to_bf16)
SL_STORE_ROWS(sl_store_rows_f16, uint16_t, sl_f32_to_f16)

// ---- Who takes a share ----

// A gradient goes over many tiles, and addresses that are made of the thread's number, kept from one tile to the
// next, would crowd registers: it asks for the number anew each time. A forward pass has room for them.
SL_WORD int sl_thread_anew() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}
#undef SL_TILE_THREAD
#ifdef SL_NOT_FORWARD
#define SL_TILE_THREAD sl_thread_anew()
#else
#define SL_TILE_THREAD SL_THREAD
#endif

#define sl_multiply(...) sl_multiply(SL_TILE_THREAD, __VA_ARGS__)
#define sl_multiply_column(...) sl_multiply_column(SL_TILE_THREAD, __VA_ARGS__)
#define sl_scan(...) sl_scan(SL_TILE_THREAD, __VA_ARGS__)
#define sl_scan_column(...) sl_scan_column(SL_TILE_THREAD, __VA_ARGS__)
#define sl_decay_factor(...) sl_decay_factor(SL_TILE_THREAD, __VA_ARGS__)
#define sl_decay_total(...) sl_decay_total(SL_TILE_THREAD, __VA_ARGS__)
#define sl_decay_total_column(...) sl_decay_total_column(SL_TILE_THREAD, __VA_ARGS__)
#define sl_decay_matrix(...) sl_decay_matrix(SL_TILE_THREAD, __VA_ARGS__)
#define sl_weigh(...) sl_weigh(SL_TILE_THREAD, __VA_ARGS__)
#define sl_decayed_scores(...) sl_decayed_scores(SL_TILE_THREAD, __VA_ARGS__)
#define sl_decayed_values(...) sl_decayed_values(SL_TILE_THREAD, __VA_ARGS__)
#define sl_sum_rows_of(...) sl_sum_rows_of(SL_TILE_THREAD, __VA_ARGS__)
#define sl_sum_columns(...) sl_sum_columns(SL_TILE_THREAD, __VA_ARGS__)
#define sl_transpose_tile(...) sl_transpose_tile(SL_TILE_THREAD, __VA_ARGS__)
#define sl_load_matrix(...) sl_load_matrix(SL_TILE_THREAD, __VA_ARGS__)
#define sl_store_matrix(...) sl_store_matrix(SL_TILE_THREAD, __VA_ARGS__)
#define sl_load_column(...) sl_load_column(SL_TILE_THREAD, __VA_ARGS__)
#define sl_store_column(...) sl_store_column(SL_TILE_THREAD, __VA_ARGS__)
#define sl_store_rows_f32(...) sl_store_rows_f32(SL_TILE_THREAD, __VA_ARGS__)
#define sl_store_rows_bf16(...) sl_store_rows_bf16(SL_TILE_THREAD, __VA_ARGS__)
#define sl_store_rows_f16(...) sl_store_rows_f16(SL_TILE_THREAD, __VA_ARGS__)

#endif
