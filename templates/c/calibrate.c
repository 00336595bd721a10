// What the words of the tile vocabulary cost here, for the model that orders plans. It follows a
// vocabulary, common.h, tiles.h, recurrence.h and, where there is a matrix unit, its words.
//
//   calibrate THREADS FIRST SECOND
//
// prints one JSON object: seconds a unit of work on one thread, bytes a second by level of memory,
// and what threads bring. FIRST and SECOND are bytes of the first two caches.
//
// Every figure is the least of several turns: other work on the machine only ever adds.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// What was computed is used, and memory is read and written anew.
#define SL_SEEN() __asm__ volatile("" ::: "memory")

enum { turns = 9, keys = 64, columns = 64, tokens = 16 };

// Work of a first-level cache's size, aligned to whole cache lines.
static float a[keys * columns] __attribute__((aligned(64)));
static float b[keys * columns] __attribute__((aligned(64)));
static float c[keys * columns] __attribute__((aligned(64)));
static float d[keys * columns] __attribute__((aligned(64)));
static float s[keys * columns] __attribute__((aligned(64)));
static float t[keys * columns] __attribute__((aligned(64)));
static float row[4 * columns] __attribute__((aligned(64)));
static uint16_t a_pairs[2 * keys * columns] __attribute__((aligned(64)));
static uint16_t b_pairs[2 * keys * columns] __attribute__((aligned(64)));

static void fill(void) {
  for (int i = 0; i < keys * columns; ++i) {
    a[i] = 0.5f + 0.001f * (float)(i % 97);
    b[i] = 0.25f + 0.002f * (float)(i % 89);
    c[i] = 0.0f;
    d[i] = 0.9f + 0.001f * (float)(i % 83);
    s[i] = 0.01f;
    t[i] = 0.0f;
  }
  sl_to_pairs(keys, columns, b_pairs, 2 * columns, b, columns);
  sl_to_pairs(keys, columns, a_pairs, 2 * columns, a, columns);
}

typedef void task(void);

// Seconds of one run of the task: the least of several turns of `repeats` runs.
static double least(int repeats, task *work) {
  double result = 1e9;
  for (int turn = 0; turn < turns; ++turn) {
    const double start = seconds();
    for (int repeat = 0; repeat < repeats; ++repeat) {
      work();
      SL_SEEN();
    }
    const double time = (seconds() - start) / repeats;
    if (time < result) result = time;
  }
  return result;
}

// Prints what one of `units` units of the task's work takes, with a name.
static void unit(const char *name, int repeats, double units, task *work) {
  printf("\"%s\": %.4g, ", name, least(repeats, work) / units);
}

// What reads return goes here, so that no read is left out.
static volatile float sink;

// Vector multiplications with addition, enough chains that none waits for another.
enum { chains = 12, steps = 4000 };
static void multiply_add(void) {
  sl_f32 x[chains];
  SL_UNROLL for (int i = 0; i < chains; ++i) x[i] = sl_set((float)i);
  const sl_f32 factor = sl_set(0.999f), term = sl_set(0.001f);
  for (int step = 0; step < steps; ++step) {
    SL_UNROLL for (int i = 0; i < chains; ++i) x[i] = sl_fma(x[i], factor, term);
    SL_SEEN();
  }
  float sum = 0;
  for (int i = 0; i < chains; ++i) sum += sl_sum(x[i]);
  sink = sum;
}

static void multiply_add_pairs(void) {
  sl_f32 x[chains];
  SL_UNROLL for (int i = 0; i < chains; ++i) x[i] = sl_set((float)i);
  const sl_pairs factor = sl_pairs_load(a_pairs), term = sl_pairs_load(b_pairs);
  for (int step = 0; step < steps; ++step) {
    SL_UNROLL for (int i = 0; i < chains; ++i) x[i] = sl_dot2(x[i], factor, term);
    SL_SEEN();
  }
  float sum = 0;
  for (int i = 0; i < chains; ++i) sum += sl_sum(x[i]);
  sink = sum;
}

// The words as kernels call them, on operands in the first cache.
static void product(void) {
  const sl_before before = {.keep = 1};
  sl_multiply(keys, columns, 6, 4, c, columns, a, columns, 1, b, columns, keys, before);
}
static void product_pairs(void) {
  const sl_before before = {.keep = 1};
  sl_multiply_pairs(
      keys, columns, 6, 4, c, columns, a_pairs, columns, 2, b_pairs, 2 * columns, keys, before);
}
#ifdef SL_AMX_H
// 64 x 64 x 64, of which a matrix register's product is 16 x 16 x 32.
static const double unit_products = (double)keys / 16 * columns / 16 * columns / 32;
static void product_matrix(void) {
  const sl_matrix_term terms[] = {{a_pairs, columns, b_pairs, 2 * columns, keys}};
  sl_multiply_matrix(
      keys, columns, 1, c, columns, terms, (sl_before){0}, (sl_after){NULL, NULL, 0});
  SL_SEEN();
}
#endif
static void recurrence(void) {
  const sl_recurrence x = {
      .o = c, .o_row = columns, .s = s, .s_row = columns, .keep = 1, .q = a, .q_row = keys,
      .k = b, .k_row = keys, .v = d, .v_row = columns};
  const int width = SL_LANES * 4 <= columns ? 4 : 1;
  sl_recur(tokens, keys, columns, width == 4 && SL_LANES == 16 ? 4 : 2, width, 8, 0, x, NULL, 0);
}
static void scores(void) {
  sl_decayed_scores(tokens, keys, 0, c, columns, a, columns, b, columns, d, columns);
}
static void scan(void) {
  sl_scan(tokens, columns, 0, 0, c, columns, d, columns);
}
static void fold(void) {
  sl_fold(
      tokens, columns, 0, c, t, t, row, row + columns, row + 2 * columns, a, d, b, columns,
      (sl_carried){NULL, NULL, NULL, NULL});
}
static void transpose(void) {
  sl_transpose_tile(keys, columns, c, keys, a, columns);
}
static void pass(void) {
  for (int i = 0; i < keys * columns; i += SL_LANES)
    sl_store(c + i, sl_mul(sl_load(a + i), sl_load(b + i)));
}
static void exponential(void) {
  for (int i = 0; i < keys * columns; i += SL_LANES) sl_store(c + i, sl_exp(sl_load(a + i)));
}
static void division(void) {
  for (int i = 0; i < keys * columns; i += SL_LANES)
    sl_store(c + i, sl_div(sl_load(a + i), sl_load(b + i)));
}

// Where the tasks below work: `bytes` bytes that lie as near as a cache of that size can hold them.
static float *place;
static size_t bytes;

static float sum_of(const float *x, size_t count) {
  sl_f32 sum[8];
  SL_UNROLL for (int j = 0; j < 8; ++j) sum[j] = sl_zero();
  for (size_t i = 0; i + 8 * SL_LANES <= count; i += 8 * SL_LANES)
    SL_UNROLL for (int j = 0; j < 8; ++j)
      sum[j] = sl_add(sum[j], sl_load(x + i + (size_t)j * SL_LANES));
  float total = 0;
  for (int j = 0; j < 8; ++j) total += sl_sum(sum[j]);
  return total;
}
static void read_all(void) { sink = sum_of(place, bytes / sizeof(float)); }
static void write_all(void) {
  const sl_f32 value = sl_set(1.0f);
  for (size_t i = 0; i + SL_LANES <= bytes / sizeof(float); i += SL_LANES)
    sl_store(place + i, value);
}

// Rows of 512 bytes, one in sixteen: how a head of 128 floats lies in [B, T, 16, D].
static void read_rows(void) {
  enum { row = 128, heads = 16 };
  sl_f32 sum = sl_zero();
  for (size_t head = 0; head < heads; ++head)
    for (size_t i = head * row; i + row <= bytes / sizeof(float); i += heads * row)
      for (size_t j = 0; j < row; j += SL_LANES) sum = sl_add(sum, sl_load(place + i + j));
  sink = sl_sum(sum);
}

static void level(const char *name, size_t size) {
  bytes = size;
  const size_t once = (size_t)1 << 24;
  const int repeats = size < once ? (int)(once / size) : 1;
  printf("\"%sRead\": %.4g, ", name, (double)size / least(repeats, read_all));
  printf("\"%sWrite\": %.4g, ", name, (double)size / least(repeats, write_all));
}

// ---- Threads ----

static int threads;

static void fork_join(void) {
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
#endif
  SL_SEEN();
}
static void multiply_add_together(void) {
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
#endif
  for (int repeat = 0; repeat < 100; ++repeat) multiply_add();
}
static void read_together(void) {
  const size_t piece = bytes / sizeof(float) / (size_t)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads)
#endif
  for (int part = 0; part < threads; ++part) sink = sum_of(place + (size_t)part * piece, piece);
}

int main(int count, char **words) {
  if (count != 4) return 2;
  threads = atoi(words[1]);
  const size_t first = (size_t)atol(words[2]), second = (size_t)atol(words[3]);
  if (threads < 1 || first < 4096 || second < first) return 2;
  const size_t far = (size_t)192 << 20;
  place = aligned_alloc(64, far);
  if (!place) return 3;
  bytes = far;
  write_all();
  fill();
  // The clock of a core that idled goes up first.
  least(2000, multiply_add);
  const double vectors = (double)(keys * columns) / SL_LANES;
  const double pairs = (double)(tokens * (tokens + 1)) / 2;
  printf("{");
  unit("multiplyAdd", 200, (double)chains * steps, multiply_add);
  unit("multiplyAddPairs", 200, (double)chains * steps, multiply_add_pairs);
  unit("product", 500, keys * vectors, product);
  unit("productPairs", 500, keys * vectors / 2, product_pairs);
#ifdef SL_AMX_H
  if (!sl_matrix_permitted()) return 4;
  sl_matrix_begin();
  unit("matrix", 500, unit_products, product_matrix);
  sl_matrix_end();
#endif
  unit("recurrence", 500, 2 * tokens * vectors, recurrence);
  unit("scores", 500, pairs * keys / SL_LANES, scores);
  unit("scan", 5000, (double)tokens * columns / SL_LANES, scan);
  unit("fold", 2000, (double)tokens * columns / SL_LANES, fold);
  unit("transpose", 1000, vectors, transpose);
  unit("pass", 2000, vectors, pass);
  unit("exponential", 1000, vectors, exponential);
  unit("division", 1000, vectors, division);
  level("first", first / 2);
  level("second", second / 2);
  level("third", 4 * second);
  level("memory", far);
  printf("\"rowsRead\": %.4g, ", (double)far / least(1, read_rows));
  fork_join();
  const double alone = least(100, multiply_add), together = least(1, multiply_add_together) / 100;
  printf("\"threads\": %d, \"scaling\": %.4g, ", threads, threads * alone / together);
  printf("\"memoryReadTogether\": %.4g, ", (double)far / least(1, read_together));
  printf("\"forkJoin\": %.4g}\n", least(200, fork_join));
  return 0;
}
