// Checks every word of one vocabulary against its scalar meaning.
//
//   clang -std=c11 -O2 -ffp-contract=off -DSL_HEADER='"avx2.h"' <target flags>
//         -I templates/c vocabulary_test.c -lm -o vocabulary_test
//   ./vocabulary_test [SEED [STEP]]
//
// Mathematics is compared with the C library in double on every STEP-th float
// of all 2^32 (STEP 1: every one). Prints the seed and the largest error of
// each word; exits 1, with a sentence for each failure, if any check fails.
#define _GNU_SOURCE
#include SL_HEADER
#include "common.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
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

static uint64_t next_random(void) {
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A float of any bits, of moderate size, or a small multiple of 1/2, in turns.
static float random_float(void) {
  uint64_t r = next_random();
  switch (r % 3) {
    case 0: return sl_from_bits((uint32_t)(r >> 32));
    case 1: return ldexpf((float)((int32_t)(r >> 32)) * 0x1p-31f, (int)(r >> 8 & 15) - 6);
    default: return (float)((int)(r >> 32 & 63) - 32) * 0.5f;
  }
}

static const float edges[] = {
    0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -0.5f, 1.5f, -1.5f, 2.5f, 3.0f, -0.3f, 0.99999994f,
    0x1p-149f, -0x1p-149f, 0x1p-127f, FLT_MIN, -FLT_MIN, FLT_MAX, -FLT_MAX, INFINITY, -INFINITY,
    NAN, -NAN, 8388608.0f, 8388607.5f, -8388607.5f, 8388609.0f, 4194304.5f, -4194303.5f,
    2147483648.0f, -2147483648.0f, 1e30f, -1e30f, 126.0f, 128.0f, -126.0f, 88.7f, -87.3f};
enum { EDGES = sizeof edges / sizeof *edges };

static int same(float a, float b) {
  return (isnan(a) && isnan(b)) || sl_bits(a) == sl_bits(b);
}

static int subnormal(float x) { return x != 0 && fabsf(x) < FLT_MIN; }

// Memory of `bytes` that ends where an unreadable page begins.
static void *at_guard(size_t bytes) {
  static unsigned char *guard;
  if (!guard) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + page, page, PROT_NONE) != 0) {
      printf("FAIL: no memory for a guard page.\n");
      exit(1);
    }
    guard = p + page;
  }
  return guard - bytes;
}

// ---- Arithmetic ----

static float scalar_less(float a, float b, float x, float y) { return a < b ? x : y; }

static void check_lane(const char *word, float a, float b, float got, float want) {
  if (!same(got, want)) FAIL("%s(%a, %a) is %a instead of %a", word, a, b, got, want);
}

static void check_arithmetic_of(const float *a, const float *b, const float *c) {
  sl_f32 va = sl_load(a), vb = sl_load(b), vc = sl_load(c);
  float r[N];
#define LANES(word, value, want)                                                  \
  sl_store(r, value);                                                             \
  for (int i = 0; i < N; i++) check_lane(#word, a[i], b[i], r[i], want)
  LANES(sl_add, sl_add(va, vb), a[i] + b[i]);
  LANES(sl_sub, sl_sub(va, vb), a[i] - b[i]);
  LANES(sl_mul, sl_mul(va, vb), a[i] * b[i]);
  LANES(sl_div, sl_div(va, vb), a[i] / b[i]);
  LANES(sl_min, sl_min(va, vb), a[i] < b[i] ? a[i] : b[i]);
  LANES(sl_max, sl_max(va, vb), b[i] < a[i] ? a[i] : b[i]);
  LANES(sl_less, sl_less(va, vb, vc, va), scalar_less(a[i], b[i], c[i], a[i]));
  LANES(sl_sqrt, sl_sqrt(va), sqrtf(a[i]));
  LANES(sl_floor, sl_floor(va), floorf(a[i]));
  LANES(sl_recip, sl_recip(va), 1.0f / a[i]);
  sl_store(r, sl_relu(va));
  for (int i = 0; i < N; i++)
    if (isnan(a[i]) ? !isnan(r[i]) : r[i] != (a[i] > 0 ? a[i] : 0)) FAIL("sl_relu(%a) is %a", a[i], r[i]);
  sl_store(r, sl_neg(va));
  for (int i = 0; i < N; i++)
    if (sl_bits(r[i]) != (sl_bits(a[i]) ^ 0x80000000u)) FAIL("sl_neg(%a) is %a", a[i], r[i]);
  sl_store(r, sl_abs(va));
  for (int i = 0; i < N; i++)
    if (sl_bits(r[i]) != (sl_bits(a[i]) & 0x7fffffffu)) FAIL("sl_abs(%a) is %a", a[i], r[i]);
  float f[N], g[N];
  sl_store(f, sl_fma(va, vb, vc));
  sl_store(g, sl_nfma(va, vb, vc));
  for (int i = 0; i < N; i++) {
    int fused = same(f[i], fmaf(a[i], b[i], c[i])), nfused = same(g[i], fmaf(-a[i], b[i], c[i]));
#ifdef SL_GENERIC_H  // which may round twice
    volatile float product = a[i] * b[i];
    fused |= same(f[i], product + c[i]);
    nfused |= same(g[i], c[i] - product);
#endif
    if (!fused) FAIL("sl_fma(%a, %a, %a) is %a", a[i], b[i], c[i], f[i]);
    if (!nfused) FAIL("sl_nfma(%a, %a, %a) is %a", a[i], b[i], c[i], g[i]);
  }
}

static void check_arithmetic(void) {
  float a[N], b[N], c[N];
  for (int i = 0; i < EDGES; i++)
    for (int j = 0; j < EDGES; j++) {
      for (int l = 0; l < N; l++) {
        a[l] = edges[(i + l) % EDGES];
        b[l] = edges[(j + 3 * l) % EDGES];
        c[l] = edges[(i + j + 7 * l) % EDGES];
      }
      check_arithmetic_of(a, b, c);
    }
  for (int k = 0; k < 100000; k++) {
    for (int l = 0; l < N; l++) a[l] = random_float(), b[l] = random_float(), c[l] = random_float();
    check_arithmetic_of(a, b, c);
  }
  for (int k = 0; k < 100000; k++) {
    for (int l = 0; l < N; l++) {
      b[l] = (float)((int)(next_random() % 505) - 252);
      do a[l] = random_float();
      while (!(fabsf(a[l]) >= FLT_MIN && fabsf(a[l]) <= FLT_MAX));
    }
    sl_store(c, sl_scale2(sl_load(a), sl_load(b)));
    for (int l = 0; l < N; l++) {
      float want = ldexpf(a[l], (int)b[l]);
      int near = fabsf(want) < FLT_MIN && fabs((double)c[l] - want) <= 0x1p-148;
      if (!near && !same(c[l], want)) FAIL("sl_scale2(%a, %a) is %a instead of %a", a[l], b[l], c[l], want);
      if (!same(sl_scale2_1(a[l], b[l]), c[l])) FAIL("sl_scale2_1(%a, %a) differs", a[l], b[l]);
    }
  }
}

// ---- Memory ----

static const int64_t counts[] = {INT64_MIN, -1000000000001, -1, 0, 1000000000001, INT64_MAX};

static int64_t count_of(int k) {
  return k < 6 ? counts[k] : k - 6 - 2;  // then -2 ... N + 2
}

static int clamp_count(int64_t n) { return n <= 0 ? 0 : n >= N ? N : (int)n; }

static void check_memory(void) {
  float x[N], zone[3 * N];
  for (int i = 0; i < N; i++) {
    x[i] = 100.0f + (float)i;
    zone[i] = zone[N + i] = zone[2 * N + i] = -1.0f;
  }
  for (int offset = 0; offset < N; offset++) {
    sl_store(zone + offset, sl_load(x));
    sl_f32 v = sl_load(zone + offset);
    for (int i = 0; i < N; i++)
      if (v[i] != x[i]) FAIL("sl_load or sl_store at offset %d, lane %d is %a", offset, i, v[i]);
    sl_stream(zone + offset, sl_set(7.0f));
    sl_stream_end();
    for (int i = 0; i < 3 * N; i++)
      if (zone[i] != (i >= offset && i < offset + N ? 7.0f : -1.0f))
        FAIL("sl_stream at offset %d leaves %a at %d", offset, zone[i], i);
    for (int i = 0; i < 3 * N; i++) zone[i] = -1.0f;
  }
  if (sl_first(sl_load(x)) != 100.0f) FAIL("sl_first is not lane 0");
  for (int i = 0; i < N; i++)
    if (sl_bits(sl_zero()[i]) != 0 || sl_set(3.5f)[i] != 3.5f) FAIL("sl_zero or sl_set, lane %d", i);

  for (int k = 0; k < 6 + N + 5; k++) {
    int64_t n = count_of(k);
    int m = clamp_count(n);
    // Floats, flush against the guard.
    float *p = at_guard(sizeof(float) * (size_t)m);
    for (int i = 0; i < m; i++) p[i] = x[i];
    sl_f32 v = sl_load_n(p, n);
    for (int i = 0; i < N; i++)
      if (sl_bits(v[i]) != sl_bits(i < m ? x[i] : 0.0f))
        FAIL("sl_load_n of %" PRId64 ", lane %d is %a", n, i, v[i]);
    float *before = p - N;
    for (int i = 0; i < N + m; i++) before[i] = -1.0f;
    sl_store_n(p, sl_load(x), n);
    for (int i = -N; i < m; i++)
      if (p[i] != (i < 0 ? -1.0f : x[i])) FAIL("sl_store_n of %" PRId64 " leaves %a at %d", n, p[i], i);
    for (int i = 0; i < 3 * N; i++) zone[i] = -1.0f;
    sl_store_n(zone + N, sl_load(x), n);
    for (int i = 0; i < 3 * N; i++)
      if (zone[i] != (i >= N && i < N + m ? x[i - N] : -1.0f))
        FAIL("sl_store_n of %" PRId64 " leaves %a at %d", n, zone[i], i - N);
    // Halves, likewise.
    for (int f16 = 0; f16 < 2; f16++) {
      const char *name = f16 ? "f16" : "bf16";
      uint16_t *h = at_guard(sizeof(uint16_t) * (size_t)m), halves[3 * N];
      for (int i = 0; i < m; i++) h[i] = f16 ? sl_f32_to_f16(x[i]) : sl_f32_to_bf16(x[i]);
      v = f16 ? sl_load_f16_n(h, n) : sl_load_bf16_n(h, n);
      for (int i = 0; i < N; i++)
        if (sl_bits(v[i]) != sl_bits(i < m ? x[i] : 0.0f))
          FAIL("sl_load_%s_n of %" PRId64 ", lane %d is %a", name, n, i, v[i]);
      for (int i = 0; i < m; i++) h[i] = 0xabcd;
      f16 ? sl_store_f16_n(h, sl_load(x), n) : sl_store_bf16_n(h, sl_load(x), n);
      for (int i = 0; i < 3 * N; i++) halves[i] = 0xabcd;
      f16 ? sl_store_f16_n(halves + N, sl_load(x), n) : sl_store_bf16_n(halves + N, sl_load(x), n);
      for (int i = 0; i < 3 * N; i++) {
        int inside = i >= N && i < N + m;
        float y = f16 ? sl_f16_to_f32(halves[i]) : sl_bf16_to_f32(halves[i]);
        if (inside ? (y != x[i - N] || h[i - N] != halves[i]) : halves[i] != 0xabcd)
          FAIL("sl_store_%s_n of %" PRId64 " leaves %x at %d", name, n, halves[i], i - N);
      }
    }
  }
  // Whole vectors, flush against the guard.
  sl_store(at_guard(4 * N), sl_load(x));
  sl_stream(at_guard(4 * N), sl_load(at_guard(4 * N)));
  sl_store_bf16(at_guard(2 * N), sl_load(x));
  sl_store_f16(at_guard(2 * N), sl_add(sl_load_bf16(at_guard(2 * N)), sl_zero()));
  sl_f32 v = sl_load_f16(at_guard(2 * N));
  for (int i = 0; i < N; i++)
    if (v[i] != x[i]) FAIL("whole vectors at a guard page, lane %d is %a", i, v[i]);
  sl_pairs_store(at_guard(4 * N), sl_pairs_load(at_guard(4 * N)));
  sl_prefetch(NULL);
  sl_prefetch(at_guard(0));
}

// ---- Across lanes ----

static float fold(const float *x, int sum) {
  float t[N];
  memcpy(t, x, sizeof t);
  for (int h = N / 2; h > 0; h /= 2)
    for (int i = 0; i < h; i++) t[i] = sum ? t[i] + t[i + h] : fmaxf(t[i], t[i + h]);
  return t[0];
}

static void check_across(void) {
  float x[N], rows[N], m[N * (N + 3)], t[N * (N + 5)];
  for (int k = 0; k < 20000; k++) {
    sl_f32 v[N];
    float want[N];
    for (int r = 0; r < N; r++) {
      for (int i = 0; i < N; i++) x[i] = ldexpf((float)(int32_t)next_random(), -(int)(next_random() % 40));
      v[r] = sl_load(x);
      want[r] = fold(x, 1);
      if (!same(sl_sum(v[r]), want[r])) FAIL("sl_sum is %a instead of %a", sl_sum(v[r]), want[r]);
      if (sl_max_across(v[r]) != fold(x, 0)) FAIL("sl_max_across is %a", sl_max_across(v[r]));
    }
    sl_store(rows, sl_sum_rows(v));
    for (int r = 0; r < N; r++)
      if (!same(rows[r], want[r])) FAIL("sl_sum_rows, lane %d is %a instead of %a", r, rows[r], want[r]);
  }
  for (int i = 0; i < N; i++) x[i] = -INFINITY;
  if (sl_max_across(sl_load(x)) != -INFINITY) FAIL("sl_max_across of minus infinities");
  for (int i = 0; i < N * (N + 3); i++) m[i] = (float)i;
  for (int i = 0; i < N * (N + 5); i++) t[i] = -1.0f;
  sl_transpose(m, N + 3, t, N + 5);
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N + 5; j++)
      if (t[i * (N + 5) + j] != (j < N ? m[j * (N + 3) + i] : -1.0f))
        FAIL("sl_transpose leaves %a at %d, %d", t[i * (N + 5) + j], i, j);
  sl_transpose(m, N, m, N);
  for (int i = 0; i < N * N; i++)
    if (m[i] != (float)(i % N * N + i / N)) FAIL("sl_transpose in place leaves %a at %d", m[i], i);
}

// ---- bf16, f16 ----

// x rounded to `bits` of significand, exponents from `least` to `most`.
static double round_to(double x, int bits, int least, int most) {
  if (isnan(x) || isinf(x) || x == 0) return x;
  int e = ilogb(x) < least ? least : ilogb(x);
  double ulp = ldexp(1, e - bits + 1), r = rint(x / ulp) * ulp;
  return fabs(r) >= ldexp(1, most + 1) ? copysign(INFINITY, x) : r;
}

static double f16_value(uint16_t h) {
  int e = h >> 10 & 31, m = h & 1023;
  double x = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
  return h & 0x8000 ? -x : x;
}

static void check_narrow(const float *x) {
  uint16_t b[N], f[N], p[2 * N];
  sl_store_bf16(b, sl_load(x));
  sl_store_f16(f, sl_load(x));
  sl_pairs_store(p, sl_pairs_zip(sl_load(x), sl_neg(sl_load(x))));
  for (int i = 0; i < N; i++) {
    double want = round_to(x[i], 8, -126, 127);
    uint16_t got[4] = {b[i], sl_f32_to_bf16(x[i]), p[2 * i], p[2 * i + 1] ^ 0x8000};
    for (int k = 0; k < 4; k++) {
      float y = sl_bf16_to_f32(got[k]);
      if (isnan(x[i]) ? !isnan(y) || !(got[k] & 0x40)
                      : y != want && !(y == 0 && subnormal(x[i])))
        FAIL("bf16 of %a is %a instead of %a (word %d)", x[i], y, want, k);
      if (!isnan(y) && !signbit(y) != !signbit(x[i])) FAIL("bf16 of %a has the other sign (word %d)", x[i], k);
    }
    want = round_to(x[i], 11, -14, 15);
    uint16_t half[2] = {f[i], sl_f32_to_f16(x[i])};
    for (int k = 0; k < 2; k++) {
      double y = f16_value(half[k]);
      if (isnan(x[i]) ? !isnan(y) || !(half[k] & 0x200) : y != want || !signbit(y) != !signbit(x[i]))
        FAIL("f16 of %a is %a instead of %a (word %d)", x[i], y, want, k);
    }
  }
}

static void check_halves(void) {
  float x[N];
  uint16_t h[N];
  for (uint32_t base = 0; base < 65536; base += N) {
    for (int i = 0; i < N; i++) h[i] = (uint16_t)(base + (uint32_t)i);
    sl_f32 b = sl_load_bf16(h), f = sl_load_f16(h);
    for (int i = 0; i < N; i++) {
      if (sl_bits(b[i]) != (uint32_t)h[i] << 16 || sl_bits(sl_bf16_to_f32(h[i])) != (uint32_t)h[i] << 16)
        FAIL("bf16 %x widens to %a", h[i], b[i]);
      float want = (float)f16_value(h[i]);
      if (!same(f[i], want) || !same(sl_f16_to_f32(h[i]), want)) FAIL("f16 %x widens to %a", h[i], f[i]);
    }
    // Each value, and around the midpoint to the next, of both formats.
    for (int step = -2; step <= 2; step++) {
      for (int i = 0; i < N; i++) x[i] = sl_from_bits(((uint32_t)h[i] << 16) + 0x8000u + (uint32_t)step);
      check_narrow(x);
      for (int i = 0; i < N; i++) {
        double a = f16_value(h[i]), z = f16_value((uint16_t)(h[i] + 1));
        x[i] = sl_from_bits(sl_bits((float)((a + z) / 2)) + (uint32_t)step);
      }
      check_narrow(x);
    }
    check_narrow((const float *)&f);
    check_narrow((const float *)&b);
  }
  for (int k = 0; k < 200000; k++) {
    for (int i = 0; i < N; i++) x[i] = sl_from_bits((uint32_t)next_random());
    check_narrow(x);
  }
}

static void check_pairs(void) {
  uint16_t a[2 * N], b[2 * N], both[2] = {0x3f80, 0x4000}, out[2 * N];
  float acc[N], r[N];
  double worst = 0;
  sl_pairs_store(out, sl_pairs_set(both));
  for (int i = 0; i < 2 * N; i++)
    if (out[i] != both[i % 2]) FAIL("sl_pairs_set leaves %x at %d", out[i], i);
  for (int k = 0; k < 200000; k++) {
    int whole = k % 2;  // small integers must come out exactly
    for (int i = 0; i < 2 * N; i++) {
      a[i] = sl_f32_to_bf16(whole ? (float)((int)(next_random() % 201) - 100) : (float)(int32_t)next_random() * 0x1p-28f);
      b[i] = sl_f32_to_bf16(whole ? (float)((int)(next_random() % 201) - 100) : (float)(int32_t)next_random() * 0x1p-30f);
    }
    for (int i = 0; i < N; i++) acc[i] = whole ? (float)(int)(next_random() % 1000) : (float)(int32_t)next_random() * 0x1p-29f;
    sl_store(r, sl_dot2(sl_load(acc), sl_pairs_load(a), sl_pairs_load(b)));
    for (int i = 0; i < N; i++) {
      double even = (double)sl_bf16_to_f32(a[2 * i]) * sl_bf16_to_f32(b[2 * i]);
      double odd = (double)sl_bf16_to_f32(a[2 * i + 1]) * sl_bf16_to_f32(b[2 * i + 1]);
      double want = acc[i] + even + odd, size = fabs(acc[i]) + fabs(even) + fabs(odd);
      double error = fabs(r[i] - want) / (size * 0x1p-24);
      if (error > worst) worst = error;
      if (whole ? r[i] != want : error > 2) FAIL("sl_dot2 is %a instead of %a", r[i], want);
#ifndef SL_HAS_DOT2
      float once = (float)((double)(float)(acc[i] + odd) + even);
      if (!same(r[i], once)) FAIL("sl_dot2 is %a instead of %a, odd first", r[i], once);
#endif
    }
  }
  printf("sl_dot2             %.2f roundings of the sum of magnitudes\n", worst);
}

// ---- Modes ----

static void check_modes(void) {
  volatile float tiny = 0x1p-130f, half = 0.5f;
  uint64_t before = sl_flush_denormals_begin();
  volatile float least = 0x1p-126f, product = tiny * 1024, result = least * half;
#if defined(__x86_64__) || defined(__aarch64__)
  if (product != 0 || result != 0) FAIL("sl_flush_denormals_begin keeps subnormals");
#endif
  sl_flush_denormals_end(before);
  product = tiny * half;
  if (sl_bits(product) == 0) FAIL("sl_flush_denormals_end does not restore subnormals");
  // f16 subnormals survive the mode.
  before = sl_flush_denormals_begin();
  uint16_t h[N] = {0};
  h[0] = 1;
  h[1] = 0x83ff;
  float x[N];
  sl_store(x, sl_load_f16(h));
  uint16_t back[N];
  sl_store_f16(back, sl_load(x));
  sl_flush_denormals_end(before);
  if (x[0] != 0x1p-24f || x[1] != -1023 * 0x1p-24f || back[0] != 1 || back[1] != 0x83ff)
    FAIL("f16 subnormals are lost where float subnormals are flushed");
}

// ---- Mathematics ----

static double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double ref_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double ref_logsigmoid(double x) { return -ref_softplus(-x); }
static double ref_one_minus_exp(double x) { return -expm1(x); }
// Both results of one word, each by itself; arguments above 0 are outside its domain.
static sl_f32 both_kept(sl_f32 x) {
  sl_f32 taken;
  return sl_exp_both(x, &taken);
}
static sl_f32 both_taken(sl_f32 x) {
  sl_f32 taken;
  sl_exp_both(x, &taken);
  return taken;
}
static float both_kept_1(float x) { return sl_first(both_kept(sl_set(x))); }
static float both_taken_1(float x) { return sl_first(both_taken(sl_set(x))); }
static float less_one_near_1(float x) { return sl_first(sl_exp_less_one_near(sl_set(x))); }
static float inverse_1(float x) { return sl_first(sl_inverse(sl_set(x))); }
static double ref_rsqrt(double x) { return 1 / sqrt(x); }
static double ref_recip(double x) { return 1 / x; }

typedef struct {
  const char *name;
  sl_f32 (*vector)(sl_f32);
  float (*scalar)(float);
  double (*reference)(double);
  double low, high;  // errors are measured for x in [low, high]
  double bound;      // in ulps
} Function;

static const Function functions[] = {
    {"sl_exp2", sl_exp2, sl_exp2_1, exp2, -126, 127.99999, 2},
    {"sl_exp", sl_exp, sl_exp_1, exp, -87.33654, 88.72283, 2},
    {"sl_one_minus_exp", sl_one_minus_exp, sl_one_minus_exp_1, ref_one_minus_exp, -INFINITY, 88.37, 2},
    {"sl_exp_both", both_kept, both_kept_1, exp, -87.33654, 0, 2},
    {"sl_exp_both, taken", both_taken, both_taken_1, ref_one_minus_exp, -87.33654, 0, 2},
    {"sl_exp_less_one_near", sl_exp_less_one_near, less_one_near_1, expm1, -0.693147, 0, 2},
    {"sl_inverse", sl_inverse, inverse_1, ref_recip, 0x1p-64, 0x1p64, 3},
    {"sl_log2", sl_log2, sl_log2_1, log2, FLT_MIN, INFINITY, 3},
    {"sl_log", sl_log, sl_log_1, log, FLT_MIN, INFINITY, 3},
    {"sl_softplus", sl_softplus, sl_softplus_1, ref_softplus, -87.33654, INFINITY, 3},
    {"sl_logsigmoid", sl_logsigmoid, sl_logsigmoid_1, ref_logsigmoid, -INFINITY, 87.33654, 3},
    {"sl_sigmoid", sl_sigmoid, sl_sigmoid_1, ref_sigmoid, -87.33654, INFINITY, 3},
    {"sl_tanh", sl_tanh, sl_tanh_1, tanh, -INFINITY, INFINITY, 3},
    {"sl_rsqrt", sl_rsqrt, sl_rsqrt_1, ref_rsqrt, FLT_MIN, INFINITY, 2},
    {"sl_recip", sl_recip, sl_recip_1, ref_recip, -INFINITY, INFINITY, 0.5},
};

static double ulps(float got, double want) {
  if (isnan(want)) return isnan(got) ? 0 : INFINITY;
  if ((float)want == got) {
    if (isinf(got) || got == 0) return 0;
  }
  if (isinf(got) || isnan(got) || isinf(want)) return INFINITY;
  int e = want == 0 ? -126 : ilogb(want) < -126 ? -126 : ilogb(want);
  return fabs(got - want) / ldexp(1, e - 23);
}

static void check_function(const Function *f, uint64_t step) {
  float x[N], y[N];
  double worst = 0;
  float worst_at = 0;
  int k = 0;
  for (uint64_t u = next_random() % step; u < 1ull << 32; u += step) {
    x[k++] = sl_from_bits((uint32_t)u);
    if (k < N) continue;
    k = 0;
    sl_store(y, f->vector(sl_load(x)));
    for (int i = 0; i < N; i++) {
      if (isnan(x[i]) && !isnan(y[i])) FAIL("%s(NaN) is %a", f->name, y[i]);
      // Subnormal arguments may count as zero.
      if (!(x[i] >= f->low && x[i] <= f->high) || subnormal(x[i])) continue;
      double error = ulps(y[i], f->reference(x[i]));
      if (!(error <= worst)) worst = error, worst_at = x[i];
    }
    if (u % 5 == 0 && !same(f->scalar(x[1]), y[1])) FAIL("%s_1(%a) differs from the lane", f->name, x[1]);
  }
  printf("%-18s  %.3f ulp at %a\n", f->name, worst, worst_at);
  if (!(worst <= f->bound)) FAIL("%s errs by %g ulp at %a, more than %g", f->name, worst, worst_at, f->bound);
}

static void expect(const char *word, float x, sl_f32 v, float want) {
  for (int i = 0; i < N; i++)
    if (!same(v[i], want)) FAIL("%s(%a), lane %d is %a instead of %a", word, x, i, v[i], want);
}

#define EXPECT(word, x, want) expect(#word, x, word(sl_set(x)), want)

static void check_mathematics(uint64_t step) {
  for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) check_function(&functions[k], step);
  for (int n = -126; n < 128; n++) EXPECT(sl_exp2, (float)n, ldexpf(1, n));
  EXPECT(sl_exp2, 128.0f, INFINITY);
  EXPECT(sl_exp2, 1e30f, INFINITY);
  EXPECT(sl_exp2, INFINITY, INFINITY);
  EXPECT(sl_exp2, nextafterf(-126, -INFINITY), 0.0f);
  EXPECT(sl_exp2, -150.0f, 0.0f);
  EXPECT(sl_exp2, -1e30f, 0.0f);
  EXPECT(sl_exp2, -INFINITY, 0.0f);
  EXPECT(sl_exp2, -0.0f, 1.0f);
  EXPECT(sl_exp2, sl_from_bits(0x7fc00001u), NAN);
  EXPECT(sl_exp2, sl_from_bits(0xffffffffu), NAN);
  EXPECT(sl_exp, 0.0f, 1.0f);
  EXPECT(sl_exp, -0.0f, 1.0f);
  EXPECT(sl_exp, 88.72284f, INFINITY);
  EXPECT(sl_exp, INFINITY, INFINITY);
  EXPECT(sl_exp, -87.33655f, 0.0f);
  EXPECT(sl_exp, -1e30f, 0.0f);
  EXPECT(sl_exp, -INFINITY, 0.0f);
  EXPECT(sl_exp, sl_from_bits(0xffffffffu), NAN);
  EXPECT(both_kept, -INFINITY, 0.0f);
  EXPECT(both_kept, -1e30f, 0.0f);
  EXPECT(both_kept, 0.0f, 1.0f);
  EXPECT(both_taken, -INFINITY, 1.0f);
  EXPECT(both_taken, -1e30f, 1.0f);
  EXPECT(both_taken, 0.0f, 0.0f);
  EXPECT(both_taken, -1e-30f, 1e-30f);
  EXPECT(sl_one_minus_exp, -INFINITY, 1.0f);
  EXPECT(sl_one_minus_exp, -1e30f, 1.0f);
  EXPECT(sl_one_minus_exp, 0.0f, 0.0f);
  EXPECT(sl_one_minus_exp, -1e-30f, 1e-30f);
  EXPECT(sl_one_minus_exp, 89.0f, -INFINITY);
  EXPECT(sl_one_minus_exp, INFINITY, -INFINITY);
  EXPECT(sl_log2, 0.0f, -INFINITY);
  EXPECT(sl_log2, -0.0f, -INFINITY);
  EXPECT(sl_log2, -1.0f, NAN);
  EXPECT(sl_log2, -INFINITY, NAN);
  EXPECT(sl_log2, INFINITY, INFINITY);
  EXPECT(sl_log, 0.0f, -INFINITY);
  EXPECT(sl_log, -1.0f, NAN);
  EXPECT(sl_log, INFINITY, INFINITY);
  for (int n = -126; n < 128; n++) EXPECT(sl_log2, ldexpf(1, n), (float)n);
  EXPECT(sl_softplus, -INFINITY, 0.0f);
  EXPECT(sl_softplus, -1e30f, 0.0f);
  EXPECT(sl_softplus, INFINITY, INFINITY);
  EXPECT(sl_softplus, 1e30f, 1e30f);
  EXPECT(sl_softplus, 100.0f, 100.0f);
  EXPECT(sl_logsigmoid, -INFINITY, -INFINITY);
  EXPECT(sl_logsigmoid, -1e4f, -1e4f);
  EXPECT(sl_logsigmoid, INFINITY, -0.0f);
  EXPECT(sl_sigmoid, -INFINITY, 0.0f);
  EXPECT(sl_sigmoid, INFINITY, 1.0f);
  EXPECT(sl_sigmoid, 0.0f, 0.5f);
  EXPECT(sl_tanh, INFINITY, 1.0f);
  EXPECT(sl_tanh, -INFINITY, -1.0f);
  EXPECT(sl_tanh, 0.0f, 0.0f);
  EXPECT(sl_tanh, -0.0f, -0.0f);
  EXPECT(sl_rsqrt, 0.0f, INFINITY);
  EXPECT(sl_rsqrt, INFINITY, 0.0f);
  EXPECT(sl_rsqrt, -1.0f, NAN);
  EXPECT(sl_relu, NAN, NAN);
  EXPECT(sl_relu, -3.0f, 0.0f);
  if (sl_relu_1(2.0f) != 2.0f) FAIL("sl_relu_1");
}

int main(int argc, char **argv) {
  random_state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
  uint64_t step = argc > 2 ? strtoull(argv[2], NULL, 10) : 4099;
  printf("%s, %d lanes%s, seed %" PRIu64 "\n", SL_HEADER, N,
#ifdef SL_HAS_DOT2
         ", bf16 pair products",
#else
         "",
#endif
         random_state);
  check_arithmetic();
  check_memory();
  check_across();
  check_halves();
  check_pairs();
  check_modes();
  check_mathematics(step ? step : 1);
  if (failures) printf("%d checks failed.\n", failures);
  return failures ? 1 : 0;
}
