// The instruction vocabulary in double: for kernels whose tensors, states and
// sums are all f64. Portable C, two lanes wide; every word means what generic.h
// and common.h say of its name, with double for float. Emission prints the words
// of tiles.h, gradients.h and step.h in double too, by their types' names.
//
// Nothing here is for speed: such a kernel is what a gradient is checked with.
#ifndef SL_DOUBLE_H
#define SL_DOUBLE_H

// Pasted into a source, many words are unused.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Lanes of a vector.
#define SL_LANES 2

// A vector of SL_LANES doubles. v[i] reads lane i.
typedef double sl_f64 __attribute__((vector_size(16)));

typedef int64_t sl_double_i64 __attribute__((vector_size(16)));

// ---- Constants, lanes, memory ----

// Every lane 0.
static inline sl_f64 sl_zero(void) { return (sl_f64){0.0, 0.0}; }

// Every lane x.
static inline sl_f64 sl_set(double x) { return (sl_f64){x, x}; }

// Lane 0.
static inline double sl_first(sl_f64 v) { return v[0]; }

// Lane i is p[i]. p needs no alignment.
static inline sl_f64 sl_load(const double *p) {
  sl_f64 v;
  memcpy(&v, p, sizeof v);
  return v;
}

// Lane i is i < n ? p[i] : 0. Any n; touches nothing at or after p + n.
static inline sl_f64 sl_load_n(const double *p, int64_t n) {
  sl_f64 v = sl_zero();
  for (int i = 0; i < SL_LANES; i++)
    if (i < n) v[i] = p[i];
  return v;
}

// p[i] = lane i. p needs no alignment.
static inline void sl_store(double *p, sl_f64 v) { memcpy(p, &v, sizeof v); }

// p[i] = lane i for i < n. Any n; touches nothing at or after p + n.
static inline void sl_store_n(double *p, sl_f64 v, int64_t n) {
  for (int i = 0; i < SL_LANES; i++)
    if (i < n) p[i] = v[i];
}

// A plain store: no cache is spared.
static inline void sl_stream(double *p, sl_f64 v) { sl_store(p, v); }
static inline void sl_stream_end(void) {}

// Asks for the cache line at p, to be read soon. Any p.
static inline void sl_prefetch(const void *p) { __builtin_prefetch(p, 0, 3); }

// Subnormal doubles stay what they are, and the thread's mode is let alone.
static inline uint64_t sl_flush_denormals_begin(void) { return 0; }
static inline void sl_flush_denormals_end(uint64_t before) { (void)before; }

// ---- Arithmetic, lane by lane ----

static inline sl_f64 sl_add(sl_f64 a, sl_f64 b) { return a + b; }
static inline sl_f64 sl_sub(sl_f64 a, sl_f64 b) { return a - b; }
static inline sl_f64 sl_mul(sl_f64 a, sl_f64 b) { return a * b; }
static inline sl_f64 sl_div(sl_f64 a, sl_f64 b) { return a / b; }

// a * b + c, rounded twice; c - a * b likewise.
static inline sl_f64 sl_fma(sl_f64 a, sl_f64 b, sl_f64 c) { return a * b + c; }
static inline sl_f64 sl_nfma(sl_f64 a, sl_f64 b, sl_f64 c) { return c - a * b; }

// a < b ? x : y. A comparison with NaN is false.
static inline sl_f64 sl_less(sl_f64 a, sl_f64 b, sl_f64 x, sl_f64 y) {
  const sl_double_i64 m = (sl_double_i64)(a < b);
  return (sl_f64)(((sl_double_i64)x & m) | ((sl_double_i64)y & ~m));
}

// a < b ? a : b. So b where either is NaN, and b of two zeros.
static inline sl_f64 sl_min(sl_f64 a, sl_f64 b) { return sl_less(a, b, a, b); }

// b < a ? a : b. So b where either is NaN, and b of two zeros.
static inline sl_f64 sl_max(sl_f64 a, sl_f64 b) { return sl_less(b, a, a, b); }

// The sign flipped, of zeros and NaNs too; and cleared.
static inline sl_f64 sl_neg(sl_f64 a) {
  return (sl_f64)((sl_double_i64)a ^ (sl_double_i64)sl_set(-0.0));
}
static inline sl_f64 sl_abs(sl_f64 a) {
  return (sl_f64)((sl_double_i64)a & ~(sl_double_i64)sl_set(-0.0));
}

// ---- Across lanes ----

static inline double sl_sum(sl_f64 v) { return v[0] + v[1]; }

// Lane i is sl_sum(v[i]), to the bit.
static inline sl_f64 sl_sum_rows(const sl_f64 v[SL_LANES]) {
  return (sl_f64){sl_sum(v[0]), sl_sum(v[1])};
}

// dst[j * dst_stride + i] = src[i * src_stride + j] for i, j < SL_LANES.
// All is read before anything is written.
static inline void sl_transpose(
    const double *src, int64_t src_stride, double *dst, int64_t dst_stride) {
  const sl_f64 a = sl_load(src), b = sl_load(src + src_stride);
  sl_store(dst, (sl_f64){a[0], b[0]});
  sl_store(dst + dst_stride, (sl_f64){a[1], b[1]});
}

// ---- Mathematics: the C library's, lane by lane ----

// ln(1 + e^x).
static inline double sl_softplus_1(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
static inline double sl_exp_1(double x) { return exp(x); }
static inline double sl_one_minus_exp_1(double x) { return -expm1(x); }
static inline double sl_log_1(double x) { return log(x); }
static inline double sl_logsigmoid_1(double x) { return -sl_softplus_1(-x); }
static inline double sl_sigmoid_1(double x) {
  return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}
static inline double sl_tanh_1(double x) { return tanh(x); }
static inline double sl_relu_1(double x) { return x < 0 ? 0 : x; }

#define SL_EACH_LANE(word, of)                     \
  static inline sl_f64 word(sl_f64 x) {            \
    for (int i = 0; i < SL_LANES; i++) x[i] = of(x[i]); \
    return x;                                      \
  }
SL_EACH_LANE(sl_sqrt, sqrt)
SL_EACH_LANE(sl_exp, sl_exp_1)
SL_EACH_LANE(sl_one_minus_exp, sl_one_minus_exp_1)
SL_EACH_LANE(sl_log, sl_log_1)
SL_EACH_LANE(sl_softplus, sl_softplus_1)
SL_EACH_LANE(sl_logsigmoid, sl_logsigmoid_1)
SL_EACH_LANE(sl_sigmoid, sl_sigmoid_1)
SL_EACH_LANE(sl_tanh, sl_tanh_1)
SL_EACH_LANE(sl_relu, sl_relu_1)

// e^x for x not above 0, and in *taken 1 - e^x.
static inline sl_f64 sl_exp_both(sl_f64 x, sl_f64 *taken) {
  *taken = sl_one_minus_exp(x);
  return sl_exp(x);
}

// e^x - 1 for x in [-ln 2, 0].
static inline sl_f64 sl_exp_less_one_near(sl_f64 x) { return -sl_one_minus_exp(x); }

// 1 / x for x in [2^-64, 2^64].
static inline sl_f64 sl_inverse(sl_f64 x) { return sl_set(1.0) / x; }

// ---- 16-bit operands ----
// tiles.h has words for them, which no kernel in double calls: what they stand on
// is declared here and nowhere defined.

typedef struct {
  uint32_t both;
} sl_pairs;

sl_pairs sl_pairs_load(const uint16_t *p);
void sl_pairs_store(uint16_t *p, sl_pairs v);
sl_pairs sl_pairs_set(const uint16_t two[2]);
sl_pairs sl_pairs_zip(sl_f64 even, sl_f64 odd);
sl_f64 sl_dot2(sl_f64 acc, sl_pairs a, sl_pairs b);
void sl_store_bf16(uint16_t *p, sl_f64 v);
void sl_store_bf16_n(uint16_t *p, sl_f64 v, int64_t n);
void sl_store_f16(uint16_t *p, sl_f64 v);
void sl_store_f16_n(uint16_t *p, sl_f64 v, int64_t n);

#pragma GCC diagnostic pop
#endif
