// Checks every word of double.h against its scalar meaning.
//
//   clang -std=c11 -O2 -ffp-contract=off -DSL_HEADER='"double.h"' -I templates/c
//         double_test.c -lm -o double_test
//   ./double_test [SEED]
//
// Prints the seed and the words; exits 1, with a sentence for each failure, if
// any check fails.
#define _GNU_SOURCE
#include SL_HEADER

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { N = SL_LANES };
static int failures;
static uint64_t random_state;

#define FAIL(...)                                   \
  do {                                              \
    if (++failures <= 40) {                         \
      printf("FAIL: " __VA_ARGS__), printf(".\n");  \
    }                                               \
  } while (0)

static uint64_t bits(double x) {
  uint64_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static int same(double a, double b) { return (isnan(a) && isnan(b)) || bits(a) == bits(b); }

static uint64_t next_random(void) {
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static const double edges[] = {
    0.0, -0.0, 1.0, -1.0, 0.5, -0.3, 1 - 0x1p-53, 0x1p-1074, -0x1p-1074, DBL_MIN, DBL_MAX, -DBL_MAX,
    INFINITY, -INFINITY, NAN, 0x1p-60, -0x1p-60, 709.7, -744.9, 40.0, -40.0};
enum { EDGES = sizeof edges / sizeof *edges };

// An edge, a double of any bits, or one of moderate size, in turns.
static double drawn(void) {
  const uint64_t r = next_random(), s = next_random();
  double x;
  switch (r % 3) {
    case 0: return edges[s % EDGES];
    case 1: memcpy(&x, &s, sizeof x); return x;
    default: return ldexp((double)(int64_t)s, (int)(r >> 8 & 15) - 69);
  }
}

// ---- Arithmetic and lanes ----

#define LANES(word, value, want)                                                      \
  sl_store(r, value);                                                                 \
  for (int i = 0; i < N; i++)                                                         \
    if (!same(r[i], want)) FAIL(#word "(%a, %a, %a) is %a", a[i], b[i], c[i], r[i])

static void check_arithmetic(void) {
  double a[N], b[N], c[N], r[N];
  for (int k = 0; k < 200000; k++) {
    for (int i = 0; i < N; i++) a[i] = drawn(), b[i] = drawn(), c[i] = drawn();
    const sl_f64 va = sl_load(a), vb = sl_load(b), vc = sl_load(c);
    LANES(sl_add, sl_add(va, vb), a[i] + b[i]);
    LANES(sl_sub, sl_sub(va, vb), a[i] - b[i]);
    LANES(sl_mul, sl_mul(va, vb), a[i] * b[i]);
    LANES(sl_div, sl_div(va, vb), a[i] / b[i]);
    LANES(sl_fma, sl_fma(va, vb, vc), a[i] * b[i] + c[i]);
    LANES(sl_nfma, sl_nfma(va, vb, vc), c[i] - a[i] * b[i]);
    LANES(sl_less, sl_less(va, vb, vc, va), a[i] < b[i] ? c[i] : a[i]);
    LANES(sl_min, sl_min(va, vb), a[i] < b[i] ? a[i] : b[i]);
    LANES(sl_max, sl_max(va, vb), b[i] < a[i] ? a[i] : b[i]);
    LANES(sl_sqrt, sl_sqrt(va), sqrt(a[i]));
    LANES(sl_inverse, sl_inverse(va), 1 / a[i]);
    LANES(sl_set, sl_set(a[0]), a[0]);
    LANES(sl_zero, sl_zero(), 0.0);
    sl_store(r, sl_neg(va));
    for (int i = 0; i < N; i++)
      if (bits(r[i]) != (bits(a[i]) ^ 1ull << 63)) FAIL("sl_neg(%a) is %a", a[i], r[i]);
    sl_store(r, sl_abs(va));
    for (int i = 0; i < N; i++)
      if (bits(r[i]) != (bits(a[i]) & ~(1ull << 63))) FAIL("sl_abs(%a) is %a", a[i], r[i]);
    if (!same(sl_first(va), a[0])) FAIL("sl_first(%a) is %a", a[0], sl_first(va));
    if (!same(sl_sum(va), a[0] + a[1])) FAIL("sl_sum(%a, %a) is %a", a[0], a[1], sl_sum(va));
    const sl_f64 rows[N] = {va, vb};
    sl_store(r, sl_sum_rows(rows));
    if (!same(r[0], sl_sum(va)) || !same(r[1], sl_sum(vb))) FAIL("sl_sum_rows is no sl_sum");
  }
}

// ---- Memory ----

static void check_memory(void) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *memory =
      mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory + page, page, PROT_NONE) != 0) {
    printf("FAIL: no memory for a guard page.\n");
    exit(1);
  }
  for (int64_t n = -2; n <= N + 2; n++) {
    const int m = n <= 0 ? 0 : n >= N ? N : (int)n;
    // Flush against the guard.
    double *p = (double *)(void *)(memory + page) - m;
    for (int i = 0; i < m; i++) p[i] = 100.0 + i;
    const sl_f64 v = sl_load_n(p, n);
    for (int i = 0; i < N; i++)
      if (!same(v[i], i < m ? 100.0 + i : 0.0)) FAIL("sl_load_n(%d), lane %d is %a", m, i, v[i]);
    if (m < N) p[-1] = -1.0;
    sl_store_n(p, sl_set(7.0), n);
    for (int i = 0; i < m; i++)
      if (p[i] != 7.0) FAIL("sl_store_n(%d) leaves %a at %d", m, p[i], i);
    if (m < N && p[-1] != -1.0) FAIL("sl_store_n(%d) writes before its place", m);
  }
  double x[4] = {1, 2, 3, 4}, t[4];
  sl_transpose(x, 2, t, 2);
  if (t[0] != 1 || t[1] != 3 || t[2] != 2 || t[3] != 4) FAIL("sl_transpose is none");
  sl_transpose(x, 2, x, 2);
  if (x[1] != 3 || x[2] != 2) FAIL("sl_transpose in place is none");
  double line[N + 1];
  sl_stream(line + 1, sl_set(5.0));
  sl_stream_end();
  sl_prefetch(line);
  sl_flush_denormals_end(sl_flush_denormals_begin());
  volatile double smallest = 0x1p-1074;
  if (line[1] != 5.0 || line[N] != 5.0 || smallest + smallest == 0) FAIL("sl_stream or the mode");
}

// ---- Mathematics: against the C library in long double ----

static void check_function(
    const char *word, double x, double got, double one, long double want, double ulps) {
  if (!same(got, one)) FAIL("%s(%a) is %a, its scalar twin %a", word, x, got, one);
  // What is no normal double may be rounded once more.
  if (isnan(want) ? isnan(got) : fabsl(want) < DBL_MIN ? fabsl(got - want) <= 0x1p-1073L
                                                      : (double)want == got)
    return;
  if (!(fabsl((got - want) / want) <= ulps * 0x1p-52L))
    FAIL("%s(%a) is %a and should be %La", word, x, got, want);
}

static long double softplus(long double x) {
  return (x > 0 ? x : 0) + log1pl(expl(-fabsl(x)));
}

#define FUNCTION(word, want, ulps) \
  check_function(#word, x, sl_first(word(sl_set(x))), word##_1(x), want, ulps)

static void check_mathematics(void) {
  // Few, for machines whose long double is made of instructions by the dozen.
  for (int k = 0; k < 20000; k++) {
    const double x = k < EDGES ? edges[k] : drawn();
    FUNCTION(sl_exp, expl(x), 1);
    FUNCTION(sl_one_minus_exp, -expm1l(x), 1);
    FUNCTION(sl_log, logl(x), 1);
    FUNCTION(sl_softplus, softplus(x), 3);
    FUNCTION(sl_logsigmoid, -softplus(-x), 3);
    FUNCTION(sl_sigmoid, 1 / (1 + expl(-(long double)x)), 3);
    FUNCTION(sl_tanh, tanhl(x), 2);
    FUNCTION(sl_relu, x < 0 ? 0 : x, 0);
    sl_f64 taken;
    const sl_f64 kept = sl_exp_both(sl_set(x), &taken);
    if (!same(kept[0], sl_exp_1(x)) || !same(taken[0], sl_one_minus_exp_1(x)))
      FAIL("sl_exp_both(%a) is %a and %a", x, kept[0], taken[0]);
    const sl_f64 change = sl_exp_less_one_near(sl_set(x));
    if (!same(change[0], -taken[0])) FAIL("sl_exp_less_one_near(%a) is %a", x, change[0]);
  }
}

int main(int argc, char **argv) {
  random_state = argc > 1 ? strtoull(argv[1], NULL, 0) : 20260727;
  printf("seed %" PRIu64 "\n", random_state);
  check_arithmetic();
  check_memory();
  check_mathematics();
  printf(
      "sl_load_n, sl_store_n, sl_transpose, arithmetic, sl_exp, sl_one_minus_exp, sl_exp_both, "
      "sl_log, sl_softplus, sl_logsigmoid, sl_sigmoid, sl_tanh, sl_relu\n");
  return failures != 0;
}
