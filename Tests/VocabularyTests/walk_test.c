// Checks the words of gradients.h, step.h and monomials.h, which stand on those of tiles.h and
// of one vocabulary, against their scalar meaning in double.
//
//   clang -std=c11 -O2 -ffp-contract=off -DSL_HEADER='"avx2.h"' <target flags>
//         -I templates/c walk_test.c -lm -o walk_test
//   ./walk_test [SEED]
//
// Prints the seed and the words; exits 1, with a sentence for each failure, if
// any check fails.
#define _GNU_SOURCE
#include SL_HEADER
#include "common.h"
#include "tiles.h"
#include "gradients.h"
#include "step.h"
#include "monomials.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = SL_LANES, LARGEST = 19, WIDEST = 3 * N + N / 2 + 1, PADDED = 5 * N };
static int failures;
static uint64_t random_state;
// What no word may touch.
static const float mark = -12345.0f;

#define FAIL(...)                                   \
  do {                                              \
    if (++failures <= 40) {                         \
      printf("FAIL: " __VA_ARGS__), printf(".\n");  \
    }                                               \
  } while (0)

// From -1 to 1.
static float drawn(void) {
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (float)(int32_t)(z >> 32) * 0x1p-31f;
}

// A decay: mostly mild, sometimes none, sometimes a reset.
static float drawn_decay(void) {
  const float x = drawn();
  return x > 0.9f ? 1.0f : x < -0.9f ? 0.0f : 0.5f + 0.5f * fabsf(x);
}

static void fill(float *x, int count, float (*draw)(void)) {
  for (int i = 0; i < count; ++i) x[i] = draw();
}

// `scale` bounds the summands of what is compared.
static void compare(const char *word, const char *what, int i, int j, float got, double want, double scale) {
  if (!(fabs(got - want) <= 1e-5 * (fabs(want) + scale)))
    FAIL("%s: %s[%d][%d] is %.9g and should be %.9g", word, what, i, j, (double)got, want);
}

// ---- gradients.h ----

// The definition: for each token j and each reader i >= j (i > j when `before`).
static void scalar_paths(
    int size, int before, double *t, double *w, double *x, const float *p, const float *q,
    const float *k, const float *d) {
  for (int j = 0; j < size; ++j) {
    for (int i = before ? j + 1 : j; i < size; ++i) {
      double passed = 1;
      for (int u = j + 1; u <= (before ? i - 1 : i); ++u) passed *= d[u];
      const double score = i > j ? p[i * LARGEST + j] : 0;
      t[j] += q[i] * passed * x[i];
      w[j] += score * q[i] * passed;
      x[i] = d[j] * x[i] + score * k[j];
    }
  }
}

// One column of rows `PADDED` apart.
static void take(float *to, const float *rows, int column) {
  for (int i = 0; i < LARGEST; ++i) to[i] = rows[i * PADDED + column];
}

static void check_paths(const int size, const int columns, const int before) {
  static float t[LARGEST * PADDED], w[LARGEST * PADDED], x[LARGEST * PADDED], d[LARGEST * PADDED],
      q[LARGEST * PADDED], k[LARGEST * PADDED], p[LARGEST * LARGEST];
  float *tiles[] = {t, w, x, q, k};
  for (int a = 0; a < 5; ++a) fill(tiles[a], LARGEST * PADDED, drawn);
  fill(d, LARGEST * PADDED, drawn_decay);
  fill(p, LARGEST * LARGEST, drawn);
  // Only what lies below the diagonal counts.
  for (int i = 0; i < LARGEST; ++i)
    for (int j = i; j < LARGEST; ++j) p[i * LARGEST + j] = NAN;
  static double want[3][WIDEST][LARGEST];
  for (int c = 0; c < columns; ++c) {
    float own[6][LARGEST];
    const float *all[] = {t, w, x, q, k, d};
    for (int a = 0; a < 6; ++a) take(own[a], all[a], c);
    for (int a = 0; a < 3; ++a)
      for (int i = 0; i < LARGEST; ++i) want[a][c][i] = own[a][i];
    scalar_paths(size, before, want[0][c], want[1][c], want[2][c], p, own[3], own[4], own[5]);
  }
  sl_decayed_paths(
      size, columns, before, t, PADDED, w, PADDED, x, PADDED, p, LARGEST, q, PADDED, k, PADDED, d,
      PADDED);
  for (int c = 0; c < columns; ++c)
    for (int i = 0; i < size; ++i) {
      compare("sl_decayed_paths", "t", i, c, t[i * PADDED + c], want[0][c][i], size);
      compare("sl_decayed_paths", "w", i, c, w[i * PADDED + c], want[1][c][i], size);
      compare("sl_decayed_paths", "x", i, c, x[i * PADDED + c], want[2][c][i], size);
    }
}

static void check_paths_column(const int size, const int before) {
  float t[LARGEST], x[LARGEST], d[LARGEST], ones[LARGEST], p[LARGEST * LARGEST];
  double want_t[LARGEST], unused[LARGEST] = {0}, want_x[LARGEST];
  fill(t, LARGEST, drawn), fill(x, LARGEST, drawn), fill(d, LARGEST, drawn_decay);
  fill(p, LARGEST * LARGEST, drawn);
  for (int i = 0; i < LARGEST; ++i) ones[i] = 1, want_t[i] = t[i], want_x[i] = x[i];
  scalar_paths(size, before, want_t, unused, want_x, p, ones, ones, d);
  sl_decayed_paths_column(size, before, t, p, LARGEST, x, d);
  for (int i = 0; i < size; ++i) {
    compare("sl_decayed_paths_column", "t", i, 0, t[i], want_t[i], size);
    compare("sl_decayed_paths_column", "x", i, 0, x[i], want_x[i], size);
  }
}

static void check_sums(void) {
  enum { COUNT = 5, SEQUENCES = 4, HEADS = 3 };
  float rows[SEQUENCES * HEADS * COUNT], t[COUNT + 1];
  fill(rows, SEQUENCES * HEADS * COUNT, drawn);
  t[COUNT] = mark;
  for (int head = 0; head < HEADS; ++head) {
    sl_sum_sequences(COUNT, SEQUENCES, HEADS, t, rows + head * COUNT);
    for (int i = 0; i < COUNT; ++i) {
      double want = 0;
      for (int n = 0; n < SEQUENCES; ++n) want += rows[(n * HEADS + head) * COUNT + i];
      compare("sl_sum_sequences", "t", head, i, t[i], want, 1);
    }
  }
  sl_sum_sequences(COUNT, 0, HEADS, t, rows);
  for (int i = 0; i < COUNT; ++i) compare("sl_sum_sequences of none", "t", 0, i, t[i], 0, 0);
  if (t[COUNT] != mark) FAIL("sl_sum_sequences writes past its row");
}

// ---- step.h ----

// Factors as the kernel has them: slope + base, base one where the decay is one half or more.
static void split(float *slope, float *base, float *decay, int count, int far) {
  for (int i = 0; i < count; ++i) {
    decay[i] = drawn_decay();
    base[i] = far && i % 3 == 1 ? 0.0f : decay[i] >= 0.5f;
    slope[i] = decay[i] - base[i];
  }
}

static void check_move(
    const int keys, const int columns, const int before, const int moves, const int gates,
    const int in_place) {
  enum { KEYS = 19, ROW = WIDEST + 3 };
  static float s[KEYS * ROW], t[KEYS * ROW], old[KEYS * ROW];
  float q[KEYS], k[KEYS], v[PADDED], o[PADDED], d[KEYS], slope[KEYS], base[KEYS], c[PADDED],
      columns_slope[PADDED], columns_base[PADDED];
  fill(q, KEYS, drawn), fill(k, KEYS, drawn), fill(v, PADDED, drawn), fill(o, PADDED, drawn);
  fill(s, KEYS * ROW, drawn);
  for (int i = 0; i < KEYS * ROW; ++i) t[i] = mark;
  memcpy(old, s, sizeof s);
  split(slope, base, d, KEYS, gates & 4);
  split(columns_slope, columns_base, c, PADDED, 1);
  float *target = in_place ? s : t;
  sl_moved m = {.o = o, .t = target, .s = s, .row = ROW, .q = q, .k = k, .v = v};
  if (gates & 1) m.d = (sl_factors){slope, base};
  if (gates & 2) m.dv = (sl_factors){columns_slope, columns_base};
  sl_move_state(keys, columns, before, moves, m);
  for (int j = 0; j < columns; ++j) {
    double sum = 0;
    for (int i = 0; i < keys; ++i) {
      const double decay = (gates & 1 ? d[i] : 1.0) * (gates & 2 ? c[j] : 1.0);
      const double moved = decay * old[i * ROW + j] + (double)k[i] * v[j];
      sum += q[i] * (before || !moves ? (double)old[i * ROW + j] : moved);
      if (moves) compare("sl_move_state", "t", i, j, target[i * ROW + j], moved, 1);
    }
    compare("sl_move_state", "o", 0, j, o[j], sum, keys);
  }
  for (int i = 0; i < KEYS; ++i)
    for (int j = 0; j < ROW; ++j) {
      const float untouched = in_place ? old[i * ROW + j] : mark;
      if ((!moves || i >= keys || j >= columns) && target[i * ROW + j] != untouched)
        FAIL("sl_move_state of %d x %d writes (%d, %d)", keys, columns, i, j);
    }
  // The same of the first column alone, as a normalizer has it: it takes no gate of columns.
  memcpy(s, old, sizeof s);
  m.dv = (sl_factors){NULL, NULL};
  sl_move_column(keys, before, moves, m);
  double sum = 0;
  for (int i = 0; i < keys; ++i) {
    const double moved = (gates & 1 ? d[i] : 1.0) * old[i * ROW] + (double)k[i] * v[0];
    sum += q[i] * (before || !moves ? (double)old[i * ROW] : moved);
    if (moves) compare("sl_move_column", "t", i, 0, target[i * ROW], moved, 1);
  }
  compare("sl_move_column", "o", 0, 0, o[0], sum, keys);
}

// ---- monomials.h ----

static void check_monomials(const int rows, const int features) {
  enum { MOST = 40, ROW = MOST + N, KEYS = (MOST + 1) * (MOST + 2) / 2 + N };
  static float x[3 * ROW], t[3 * KEYS], g[3 * KEYS], adjoint[3 * ROW];
  const int count = (features + 1) * (features + 2) / 2;
  fill(x, 3 * ROW, drawn), fill(g, 3 * KEYS, drawn);
  // What lies beside the features and their monomials must not count.
  for (int i = 0; i < 3; ++i)
    for (int b = features; b < ROW; ++b) x[i * ROW + b] = 1e30f;
  for (int i = 0; i < 3 * KEYS; ++i) t[i] = mark;
  for (int i = 0; i < 3 * ROW; ++i) adjoint[i] = mark;
  sl_monomials(rows, features, t, KEYS, x, ROW);
  sl_monomial_adjoint(rows, features, adjoint, ROW, g, KEYS, x, ROW);
  for (int i = 0; i < rows; ++i) {
    double y[MOST + 1], want[MOST + 1] = {0};
    y[0] = 1;
    for (int a = 0; a < features; ++a) y[a + 1] = x[i * ROW + a];
    int place = 0;
    for (int a = 0; a <= features; ++a)
      for (int b = a; b <= features; ++b, ++place) {
        const double weight = a == b && a > 0 ? sqrt(0.5) : 1;
        const double given = weight * g[i * KEYS + place];
        compare("sl_monomials", "t", i, place, t[i * KEYS + place], weight * y[a] * y[b], 0);
        want[a] += given * y[b];
        want[b] += given * y[a];
      }
    if (place != count) FAIL("%d features have %d monomials", features, place);
    for (int b = 0; b < features; ++b)
      compare("sl_monomial_adjoint", "t", i, b, adjoint[i * ROW + b], want[b + 1], features);
  }
  for (int i = 0; i < 3; ++i) {
    for (int b = i < rows ? count : 0; b < KEYS; ++b)
      if (t[i * KEYS + b] != mark) FAIL("sl_monomials of %d features writes (%d, %d)", features, i, b);
    for (int b = i < rows ? features : 0; b < ROW; ++b)
      if (adjoint[i * ROW + b] != mark)
        FAIL("sl_monomial_adjoint of %d features writes (%d, %d)", features, i, b);
  }
}

int main(int argc, char **argv) {
  random_state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
  printf("%s, %d lanes, seed %" PRIu64 "\n", SL_HEADER, N, random_state);
  const int widths[] = {1, N - 1, N, N + 1, 2 * N, WIDEST};
  for (int before = 0; before < 2; ++before)
    for (int size = 1; size <= LARGEST; ++size) {
      for (int w = 0; w < 6; ++w)
        if (widths[w] > 0) check_paths(size, widths[w], before);
      check_paths_column(size, before);
    }
  check_sums();
  const int heights[] = {1, 7, 8, 16, 19};
  for (int a = 0; a < 5; ++a)
    for (int w = 0; w < 6; ++w)
      for (int flags = 0; flags < 64; ++flags)
        if (widths[w] > 0)
          check_move(
              heights[a], widths[w], flags & 1, flags >> 1 & 1, flags >> 2 & 7, flags >> 5);
  for (int rows = 1; rows <= 3; ++rows)
    for (int features = 1; features <= 40; ++features) check_monomials(rows, features);
  printf("sl_monomials, sl_monomial_adjoint, sl_decayed_paths, sl_decayed_paths_column, sl_sum_sequences, sl_move_state, sl_move_column\n");
  if (failures) printf("%d checks failed.\n", failures);
  return failures ? 1 : 0;
}
