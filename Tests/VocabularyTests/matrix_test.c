// Checks every word of amx.h against its scalar meaning.
//
//   clang -std=c11 -O2 -ffp-contract=off <flags of the target amx> -I templates/c matrix_test.c -lm
//
// Exits 1, with a sentence for each failure, if any check fails; 77 where the
// operating system does not grant the matrix registers.
#include "avx512.h"
#include "common.h"
#include "tiles.h"
#include "amx.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int failures;
#define FAIL(...) (++failures, printf("FAIL: " __VA_ARGS__), printf(".\n"))

static uint32_t state = 1;
static int next_random(int range) {
  state = state * 1664525u + 1013904223u;
  return (int)(state >> 16) % range;
}

enum { SIZE = 160, PAIRS = 2 * SIZE };
static uint16_t left[3][SIZE * SIZE], right[3][SIZE / 2 * PAIRS];
static float sums[SIZE * SIZE], before_sums[SIZE * SIZE], plain[SIZE * SIZE], row_scale[SIZE];
static uint16_t copies[SIZE / 2 * PAIRS];

// Small whole numbers: their products and sums are exact. Zeros beyond the matrix.
static void fill(int rows, int depth, int columns, int count) {
  for (int n = 0; n < count; ++n) {
    memset(left[n], 0, sizeof left[n]);
    memset(right[n], 0, sizeof right[n]);
    for (int i = 0; i < rows; ++i)
      for (int p = 0; p < depth; ++p)
        left[n][i * SIZE + p] = sl_f32_to_bf16((float)(next_random(17) - 8));
    for (int p = 0; p < depth; ++p)
      for (int j = 0; j < columns; ++j)
        right[n][p / 2 * PAIRS + 2 * j + p % 2] = sl_f32_to_bf16((float)(next_random(17) - 8));
  }
  for (int i = 0; i < SIZE * SIZE; ++i) before_sums[i] = sums[i] = (float)next_random(100);
  for (int i = 0; i < SIZE; ++i) row_scale[i] = (float)(1 << next_random(3));
}

static void check_products(int rows, int depth, int columns, int count, int keep, int scales) {
  const sl_matrix_term terms[3] = {
      {left[0], SIZE, right[0], PAIRS, depth},
      {left[1], SIZE, right[1], PAIRS, depth},
      {left[2], SIZE, right[2], PAIRS, depth},
  };
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) {
      float want = keep ? before_sums[i * SIZE + j] * (scales ? row_scale[i] : 1) : 0;
      for (int n = 0; n < count; ++n)
        for (int p = 0; p < terms[n].depth; ++p)
          want += sl_bf16_to_f32(left[n][i * SIZE + p]) *
                  sl_bf16_to_f32(right[n][p / 2 * PAIRS + 2 * j + p % 2]);
      if (sums[i * SIZE + j] != want) {
        FAIL("sl_multiply_matrix %d x %d x %d, %d terms, keep %d: (%d, %d) is %g, not %g", rows,
             depth, columns, count, keep, i, j, (double)sums[i * SIZE + j], (double)want);
        return;
      }
    }
}

// What `after` made of the sums in `plain`.
static void check_finish(int rows, int columns, int scales) {
  for (int i = 0; i < (rows + 1) / 2 * 2; ++i)
    for (int j = 0; j < (columns + 15) / 16 * 16; ++j) {
      const float want = plain[i * SIZE + j] * (scales || i >= rows ? 1 : row_scale[i]);
      const uint16_t pair = copies[i / 2 * PAIRS + 2 * j + i % 2];
      if (i < rows && (sums[i * SIZE + j] != want || pair != sl_f32_to_bf16(want)))
        FAIL("sl_after, %d x %d: (%d, %d) is %g and %x, not %g", rows, columns, i, j,
             (double)sums[i * SIZE + j], pair, (double)want);
      // Rows past the last belong to another state.
      if (i >= rows && pair != 0xabab) FAIL("sl_after writes row %d of %d", i, rows);
    }
}

#define PRODUCTS(rows, depth, columns, count, keep, scales)                                    \
  do {                                                                                         \
    fill(rows, depth, columns, count);                                                         \
    const sl_matrix_term terms[3] = {{left[0], SIZE, right[0], PAIRS, depth},                  \
                                     {left[1], SIZE, right[1], PAIRS, depth},                  \
                                     {left[2], SIZE, right[2], PAIRS, depth}};                 \
    const sl_before before = {keep, {scales ? row_scale : NULL, NULL}, {NULL, NULL}};          \
    sl_multiply_matrix(rows, columns, count, sums, SIZE, terms, before, (sl_after){0});        \
    check_products(rows, depth, columns, count, keep, scales);                                 \
    memcpy(plain, sums, sizeof sums);                                                          \
    memcpy(sums, before_sums, sizeof sums);                                                    \
    memset(copies, 0xab, sizeof copies);                                                       \
    const sl_after after = {scales ? NULL : row_scale, copies, PAIRS};                         \
    sl_multiply_matrix(rows, columns, count, sums, SIZE, terms, before, after);                \
    check_finish(rows, columns, scales);                                                       \
  } while (0)

static void check_layout(void) {
  static uint16_t rows[64 * 96], pairs[96 / 2 * 128], back[96 * 64];
  for (int i = 0; i < 64 * 96; ++i) rows[i] = (uint16_t)next_random(1 << 15);
  sl_transpose_words(64, 48, pairs, 128, rows, 96);
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 96; ++j)
      if (pairs[j / 2 * 128 + 2 * i + j % 2] != rows[i * 96 + j])
        FAIL("sl_transpose_words to pairs: (%d, %d)", i, j);
  // 96 x 64 in pairs of rows to 64 x 96 in rows.
  memset(back, 0, sizeof back);
  sl_transpose_words(48, 64, back, 96, pairs, 128);
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 96; ++j)
      if (back[i * 96 + j] != rows[i * 96 + j]) FAIL("sl_transpose_words to rows: (%d, %d)", i, j);
}

static void check_zip(int columns) {
  static uint16_t rows[64 * 96], pairs[32 * 192];
  for (int i = 0; i < 64 * 96; ++i) rows[i] = (uint16_t)next_random(1 << 15);
  for (int i = 0; i < 32 * 192; ++i) pairs[i] = 0xabcd;
  sl_zip_rows(64, columns, pairs, 192, rows, 96);
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 96; ++j) {
      const uint16_t got = pairs[i / 2 * 192 + 2 * j + i % 2];
      // Whole vectors of pairs are written.
      const uint16_t want = j < (columns + 15) / 16 * 16 ? rows[i * 96 + j] : 0xabcd;
      if (got != want) FAIL("sl_zip_rows, %d columns: (%d, %d)", columns, i, j);
    }
}

static void check_zip_tokens(int tokens, int columns, int valid) {
  static uint16_t rows[64 * 96], pairs[16 * 192];
  for (int i = 0; i < 64 * 96; ++i) rows[i] = (uint16_t)next_random(1 << 15);
  for (int i = 0; i < 16 * 192; ++i) pairs[i] = 0xabcd;
  sl_zip_tokens(tokens, 32, columns, pairs, 192, rows, 96, valid);
  for (int i = 0; i < 32; ++i)
    for (int j = 0; j < columns; ++j) {
      const uint16_t got = pairs[i / 2 * 192 + 2 * j + i % 2];
      const uint16_t want = i < tokens && j < valid ? rows[i * 96 + j] : 0;
      if (got != want)
        FAIL("sl_zip_tokens, %d tokens, %d of %d columns: (%d, %d)", tokens, valid, columns, i, j);
    }
}

static void check_unzip(int rows, int columns) {
  static uint16_t pairs[32 * 192], back[64 * 96];
  for (int i = 0; i < 32 * 192; ++i) pairs[i] = (uint16_t)next_random(1 << 15);
  for (int i = 0; i < 64 * 96; ++i) back[i] = 0xabcd;
  sl_unzip_rows(rows, columns, back, 96, pairs, 192);
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 96; ++j) {
      const int is_written = i < rows && j < (columns + 15) / 16 * 16;
      const uint16_t want = is_written ? pairs[i / 2 * 192 + 2 * j + i % 2] : 0xabcd;
      if (back[i * 96 + j] != want)
        FAIL("sl_unzip_rows, %d x %d: (%d, %d)", rows, columns, i, j);
    }
}

static void check_keep(void) {
  for (int n = 0; n <= SL_LANES; ++n) {
    float x[SL_LANES], held[SL_LANES];
    uint16_t kept[SL_LANES];
    for (int i = 0; i < SL_LANES; ++i) {
      x[i] = (float)next_random(1 << 15) / 7.0f;
      kept[i] = 0xabcd;
    }
    sl_store(held, sl_keep_bf16(kept, sl_load(x), n));
    for (int i = 0; i < SL_LANES; ++i)
      if (held[i] != sl_bf16_to_f32(sl_f32_to_bf16(x[i])) ||
          kept[i] != (i < n ? sl_f32_to_bf16(x[i]) : 0xabcd))
        FAIL("sl_keep_bf16 of %d: lane %d", n, i);
    sl_store(held, sl_keep_high_bf16(kept, sl_load(x), n));
    for (int i = 0; i < SL_LANES; ++i) {
      uint32_t bits;
      memcpy(&bits, &x[i], sizeof bits);
      const uint16_t high = (uint16_t)(bits >> 16);
      if (held[i] != sl_bf16_to_f32(high) || kept[i] != (i < n ? high : 0xabcd))
        FAIL("sl_keep_high_bf16 of %d: lane %d", n, i);
    }
  }
}

static void check_stores(int columns, int streams, int offset) {
  static float tile[5 * 96];
  static uint16_t memory[5 * 128 + 64] __attribute__((aligned(64)));
  for (int i = 0; i < 5 * 96; ++i) tile[i] = (float)next_random(1000) / 7.0f;
  for (int i = 0; i < 5 * 128 + 64; ++i) memory[i] = 0xabcd;
  uint16_t *x = memory + offset;
  sl_matrix_store_rows(4, columns, x, 128, tile, 96, columns, streams);
  sl_stream_end();
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 128 - offset; ++j) {
      const uint16_t want = i < 4 && j < columns ? sl_f32_to_bf16(tile[i * 96 + j]) : 0xabcd;
      if (x[i * 128 + j] != want) {
        FAIL("sl_matrix_store_rows, %d columns, streams %d, offset %d: (%d, %d)", columns, streams,
             offset, i, j);
        return;
      }
    }
}

static void check_quotient(void) {
  for (int n = 0; n < 1 << 20; ++n) {
    const float a = ldexpf(1.0f + (float)next_random(1 << 15) / 32768, next_random(64) - 32);
    const float b = ldexpf(1.0f + (float)next_random(1 << 15) / 32768, next_random(126) - 63);
    const float got = sl_first(sl_quotient(sl_set(a), sl_set(b)));
    const double want = (double)a / b;
    if (!(fabs(got - want) <= 4 * 0x1p-24 * 2 * want)) {
      FAIL("sl_quotient(%a, %a) is %a", (double)a, (double)b, (double)got);
      return;
    }
  }
}

static void check_mantissas(int columns) {
  enum { ROWS = 40, WIDTH = 96 };
  static float decays[ROWS * WIDTH], mantissas[(ROWS + 1) * WIDTH], powers[ROWS * WIDTH];
  for (int i = 0; i < ROWS * WIDTH; ++i) {
    const float one_to_two = 1.0f + (float)next_random(1 << 15) / 32768;
    const int kind = next_random(8);
    decays[i] = kind == 0   ? 0.0f
                : kind == 1 ? 1.0f
                            : ldexpf(one_to_two, -1 - next_random(kind == 2 ? 130 : 3));
  }
  sl_running_mantissas(ROWS, columns, mantissas, WIDTH, powers, WIDTH, decays, WIDTH);
  for (int j = 0; j < columns; ++j) {
    float now = 1.0f;
    for (int i = 0; i <= ROWS; ++i) {
      if (mantissas[i * WIDTH + j] != now)
        FAIL("sl_running_mantissas: m(%d, %d) is %a, not %a", i, j,
             (double)mantissas[i * WIDTH + j], (double)now);
      if (i == ROWS) break;
      int exponent;
      const float product = now * decays[i * WIDTH + j];
      const int is_zero = product < 0x1p-126f;
      const float mantissa = 2 * frexpf(product, &exponent);
      const float power = is_zero ? 0.0f : ldexpf(1.0f, exponent - 1);
      now = is_zero ? 1.0f : mantissa;
      if (powers[i * WIDTH + j] != power)
        FAIL("sl_running_mantissas: p(%d, %d) is %a, not %a", i, j,
             (double)powers[i * WIDTH + j], (double)power);
    }
  }
}

static void check_magnitudes(int columns) {
  static uint16_t rows[4 * 96];
  for (int i = 0; i < 4 * 96; ++i) rows[i] = sl_f32_to_bf16(-0x1.fep63f);
  for (int place = 0; place < 4 * 96; ++place) {
    // Below the limit, at it, beyond it, and NaN; only the columns count.
    const float entries[] = {0x1.fep63f, 0x1p64f, -0x1p64f, INFINITY, NAN};
    for (int n = 0; n < 5; ++n) {
      const uint16_t before = rows[place];
      rows[place] = sl_f32_to_bf16(entries[n]);
      const int want = n == 0 || place % 96 >= columns;
      if (sl_all_magnitudes_below_bf16(4, columns, rows, 96, 0x1p64f) != want)
        FAIL("sl_all_magnitudes_below_bf16, %d columns: %g at %d", columns, (double)entries[n],
             place);
      rows[place] = before;
    }
  }
}

int main(void) {
  if (!sl_matrix_permitted()) {
    printf("The operating system does not grant the matrix registers.\n");
    return 77;
  }
  sl_matrix_begin();
  PRODUCTS(16, 32, 16, 1, 0, 0);
  PRODUCTS(32, 32, 32, 1, 1, 0);
  PRODUCTS(64, 128, 128, 1, 1, 1);
  PRODUCTS(48, 64, 80, 2, 0, 0);
  PRODUCTS(60, 60, 100, 2, 1, 1);
  PRODUCTS(100, 96, 60, 3, 0, 0);
  PRODUCTS(128, 100, 144, 3, 1, 0);
  PRODUCTS(8, 2, 5, 1, 0, 0);
  check_layout();
  check_zip(96);
  check_zip(40);
  check_zip(70);
  check_zip_tokens(32, 96, 96);
  check_zip_tokens(31, 64, 60);
  check_zip_tokens(0, 96, 70);
  check_zip_tokens(-5, 32, 32);
  check_unzip(64, 96);
  check_unzip(60, 40);
  check_keep();
  for (int streams = 0; streams < 2; ++streams) {
    check_stores(96, streams, 0);
    check_stores(64, streams, 2);
    check_stores(60, streams, 0);
    check_stores(5, streams, 1);
  }
  check_quotient();
  check_mantissas(96);
  check_mantissas(48);
  check_magnitudes(96);
  check_magnitudes(70);
  check_magnitudes(5);
  sl_request(NULL, 512);
  sl_matrix_end();
  printf(failures ? "%d checks failed.\n" : "sl_multiply_matrix and its kin: right.\n", failures);
  return failures ? 1 : 0;
}
