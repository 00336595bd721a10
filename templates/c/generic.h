// The instruction vocabulary in portable C: complete for every machine that
// clang or gcc knows, four lanes wide. A faster target offers the same words in
// a header of its own; common.h, which follows either, adds what is written
// once on top of them. This file is also the definition: the other headers mean
// exactly what is said here.
#ifndef SL_GENERIC_H
#define SL_GENERIC_H

// Pasted into a source, many words are unused.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Lanes of a vector.
#define SL_LANES 4

// A vector of SL_LANES floats. v[i] reads lane i on every target.
typedef float sl_f32 __attribute__((vector_size(16)));

typedef int32_t sl_generic_i32 __attribute__((vector_size(16)));
typedef uint32_t sl_generic_u32 __attribute__((vector_size(16)));
typedef uint64_t sl_generic_u64 __attribute__((vector_size(16)));
typedef uint16_t sl_generic_u16 __attribute__((vector_size(8)));

// ---- Constants, lanes, memory ----

// Every lane 0.
static inline sl_f32 sl_zero(void) { return (sl_f32){0.0f, 0.0f, 0.0f, 0.0f}; }

// Every lane x.
static inline sl_f32 sl_set(float x) { return (sl_f32){x, x, x, x}; }

// Lane 0.
static inline float sl_first(sl_f32 v) { return v[0]; }

// Lane i is p[i]. p needs no alignment.
static inline sl_f32 sl_load(const float *p) {
  sl_f32 v;
  memcpy(&v, p, sizeof v);
  return v;
}

// Lane i is i < n ? p[i] : 0. Any n; touches nothing at or after p + n.
static inline sl_f32 sl_load_n(const float *p, int64_t n) {
  sl_f32 v = sl_zero();
  for (int i = 0; i < SL_LANES; i++)
    if (i < n) v[i] = p[i];
  return v;
}

// p[i] = lane i. p needs no alignment.
static inline void sl_store(float *p, sl_f32 v) { memcpy(p, &v, sizeof v); }

// p[i] = lane i for i < n. Any n; touches nothing at or after p + n.
static inline void sl_store_n(float *p, sl_f32 v, int64_t n) {
  for (int i = 0; i < SL_LANES; i++)
    if (i < n) p[i] = v[i];
}

// sl_store that asks the caches to let the line go; a plain store where p is
// not aligned to a vector. Other threads see it after sl_stream_end().
static inline void sl_stream(float *p, sl_f32 v) {
#if defined(__clang__)
  if (((uintptr_t)p & (sizeof v - 1)) == 0) {
    __builtin_nontemporal_store(v, (sl_f32 *)(void *)p);
    return;
  }
#endif
  sl_store(p, v);
}

// ---- Arithmetic, lane by lane ----

// a + b
static inline sl_f32 sl_add(sl_f32 a, sl_f32 b) { return a + b; }

// a - b
static inline sl_f32 sl_sub(sl_f32 a, sl_f32 b) { return a - b; }

// a * b
static inline sl_f32 sl_mul(sl_f32 a, sl_f32 b) { return a * b; }

// a / b
static inline sl_f32 sl_div(sl_f32 a, sl_f32 b) { return a / b; }

// a * b + c, rounded once where the machine has it, else twice.
static inline sl_f32 sl_fma(sl_f32 a, sl_f32 b, sl_f32 c) { return a * b + c; }

// c - a * b, rounded as sl_fma.
static inline sl_f32 sl_nfma(sl_f32 a, sl_f32 b, sl_f32 c) { return c - a * b; }

// a < b ? x : y. A comparison with NaN is false.
static inline sl_f32 sl_less(sl_f32 a, sl_f32 b, sl_f32 x, sl_f32 y) {
  sl_generic_i32 m = (sl_generic_i32)(a < b);
  return (sl_f32)(((sl_generic_i32)x & m) | ((sl_generic_i32)y & ~m));
}

// a < b ? a : b. So b where either is NaN, and b of two zeros.
static inline sl_f32 sl_min(sl_f32 a, sl_f32 b) { return sl_less(a, b, a, b); }

// b < a ? a : b. So b where either is NaN, and b of two zeros.
static inline sl_f32 sl_max(sl_f32 a, sl_f32 b) { return sl_less(b, a, a, b); }

// The sign flipped, of zeros and NaNs too.
static inline sl_f32 sl_neg(sl_f32 a) {
  return (sl_f32)((sl_generic_u32)a ^ (sl_generic_u32)sl_set(-0.0f));
}

// The sign cleared, of zeros and NaNs too.
static inline sl_f32 sl_abs(sl_f32 a) {
  return (sl_f32)((sl_generic_u32)a & ~(sl_generic_u32)sl_set(-0.0f));
}

// The square root, correctly rounded; NaN below zero.
static inline sl_f32 sl_sqrt(sl_f32 a) {
#if defined(__clang__)
  return __builtin_elementwise_sqrt(a);
#else
  for (int i = 0; i < SL_LANES; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

// The largest integer that is not above a; the sign of a zero stays.
static inline sl_f32 sl_floor(sl_f32 a) {
  sl_f32 limit = sl_set(8388608.0f);  // 2^23: from here on all are integers
  sl_f32 small = sl_less(sl_abs(a), limit, a, sl_zero());
  sl_f32 t = __builtin_convertvector(
      __builtin_convertvector(small, sl_generic_i32), sl_f32);
  t = sl_sub(t, sl_less(small, t, sl_set(1.0f), sl_zero()));
  sl_generic_u32 sign = (sl_generic_u32)a & (sl_generic_u32)sl_set(-0.0f);
  t = (sl_f32)((sl_generic_u32)t | sign);
  return sl_less(sl_abs(a), limit, t, a);
}

// ---- Across lanes ----

// The sum of the lanes, in one order on every target: the upper half is added
// to the lower half until one lane is left.
static inline float sl_sum(sl_f32 v) { return (v[0] + v[2]) + (v[1] + v[3]); }

// The greatest lane; promises nothing about NaN.
static inline float sl_max_across(sl_f32 v) {
  float a = v[0] < v[2] ? v[2] : v[0], b = v[1] < v[3] ? v[3] : v[1];
  return a < b ? b : a;
}

// The 2x2 steps of a transposition: halves, then neighbours.
static inline sl_f32 sl_generic_low(sl_f32 a, sl_f32 b) {
  return (sl_f32){a[0], a[1], b[0], b[1]};
}
static inline sl_f32 sl_generic_high(sl_f32 a, sl_f32 b) {
  return (sl_f32){a[2], a[3], b[2], b[3]};
}
static inline sl_f32 sl_generic_even(sl_f32 a, sl_f32 b) {
  return (sl_f32){a[0], a[2], b[0], b[2]};
}
static inline sl_f32 sl_generic_odd(sl_f32 a, sl_f32 b) {
  return (sl_f32){a[1], a[3], b[1], b[3]};
}

// Lane i is sl_sum(v[i]), to the bit.
static inline sl_f32 sl_sum_rows(const sl_f32 v[SL_LANES]) {
  sl_f32 a = sl_generic_low(v[0], v[1]) + sl_generic_high(v[0], v[1]);
  sl_f32 b = sl_generic_low(v[2], v[3]) + sl_generic_high(v[2], v[3]);
  return sl_generic_even(a, b) + sl_generic_odd(a, b);
}

// dst[j * dst_stride + i] = src[i * src_stride + j] for i, j < SL_LANES.
// Strides count floats. All is read before anything is written.
static inline void sl_transpose(const float *src, int64_t src_stride, float *dst,
                                int64_t dst_stride) {
  sl_f32 r0 = sl_load(src), r1 = sl_load(src + src_stride);
  sl_f32 r2 = sl_load(src + 2 * src_stride), r3 = sl_load(src + 3 * src_stride);
  sl_f32 a = sl_generic_low(r0, r1), b = sl_generic_low(r2, r3);
  sl_f32 c = sl_generic_high(r0, r1), d = sl_generic_high(r2, r3);
  sl_store(dst, sl_generic_even(a, b));
  sl_store(dst + dst_stride, sl_generic_odd(a, b));
  sl_store(dst + 2 * dst_stride, sl_generic_even(c, d));
  sl_store(dst + 3 * dst_stride, sl_generic_odd(c, d));
}

// ---- bf16 and f16 in memory ----
// Widening is exact. Narrowing rounds to nearest, ties to even; NaN stays NaN
// and turns quiet; what is too large becomes infinite. A float or bf16 below
// 2^-126 may be taken for zero. The _n forms treat n as sl_load_n does.

static inline sl_f32 sl_generic_from_bf16(sl_generic_u16 h) {
  return (sl_f32)(__builtin_convertvector(h, sl_generic_u32) << 16);
}

static inline sl_generic_u16 sl_generic_to_bf16(sl_f32 v) {
  sl_generic_u32 u = (sl_generic_u32)v, is_nan = (sl_generic_u32)(v != v);
  sl_generic_u32 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  sl_generic_u32 quiet = (u >> 16) | 0x40u;
  return __builtin_convertvector((rounded & ~is_nan) | (quiet & is_nan), sl_generic_u16);
}

static inline sl_f32 sl_generic_from_f16(sl_generic_u16 h) {
  sl_generic_u32 w = __builtin_convertvector(h, sl_generic_u32);
  sl_generic_u32 magnitude = (w & 0x7fffu) << 13, sign = (w & 0x8000u) << 16;
  sl_generic_u32 exponent = magnitude & 0x0f800000u;
  sl_generic_u32 normal = magnitude + 0x38000000u;
  // Infinity and NaN: up to the float's exponent of all ones.
  normal += (sl_generic_u32)(exponent == 0x0f800000u) & 0x38000000u;
  // Subnormal: 2^-14 (1 + m) - 2^-14, which needs no subnormal float.
  sl_f32 tiny = (sl_f32)(normal + 0x00800000u) - sl_set(6.103515625e-05f);
  sl_generic_u32 is_tiny = (sl_generic_u32)(exponent == 0u);
  return (sl_f32)(((normal & ~is_tiny) | ((sl_generic_u32)tiny & is_tiny)) | sign);
}

static inline sl_generic_u16 sl_generic_to_f16(sl_f32 v) {
  sl_generic_u32 sign = (sl_generic_u32)v & 0x80000000u;
  sl_generic_u32 u = (sl_generic_u32)v ^ sign;
  sl_generic_u32 normal = (u + 0xc8000fffu + ((u >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 1/2 rounds at the place of the last subnormal bit.
  sl_f32 half = sl_set(0.5f);
  sl_generic_u32 tiny = (sl_generic_u32)((sl_f32)u + half) - (sl_generic_u32)half;
  sl_generic_u32 is_tiny = (sl_generic_u32)(u < 0x38800000u);
  sl_generic_u32 is_huge = (sl_generic_u32)(u >= 0x47800000u);
  sl_generic_u32 is_nan = (sl_generic_u32)(u > 0x7f800000u);
  sl_generic_u32 huge = 0x7c00u | (is_nan & 0x200u);
  sl_generic_u32 h = (normal & ~is_tiny) | (tiny & is_tiny);
  h = (h & ~is_huge) | (huge & is_huge);
  return __builtin_convertvector(h | (sign >> 16), sl_generic_u16);
}

static inline sl_generic_u16 sl_generic_load16(const uint16_t *p) {
  sl_generic_u16 h;
  memcpy(&h, p, sizeof h);
  return h;
}

static inline sl_generic_u16 sl_generic_load16_n(const uint16_t *p, int64_t n) {
  sl_generic_u16 h = {0, 0, 0, 0};
  for (int i = 0; i < SL_LANES; i++)
    if (i < n) h[i] = p[i];
  return h;
}

static inline void sl_generic_store16_n(uint16_t *p, sl_generic_u16 h, int64_t n) {
  for (int i = 0; i < SL_LANES; i++)
    if (i < n) p[i] = h[i];
}

// Lane i is the bf16 p[i].
static inline sl_f32 sl_load_bf16(const uint16_t *p) {
  return sl_generic_from_bf16(sl_generic_load16(p));
}

// Lane i is i < n ? the bf16 p[i] : 0.
static inline sl_f32 sl_load_bf16_n(const uint16_t *p, int64_t n) {
  return sl_generic_from_bf16(sl_generic_load16_n(p, n));
}

// p[i] = lane i as bf16.
static inline void sl_store_bf16(uint16_t *p, sl_f32 v) {
  sl_generic_u16 h = sl_generic_to_bf16(v);
  memcpy(p, &h, sizeof h);
}

// p[i] = lane i as bf16 for i < n.
static inline void sl_store_bf16_n(uint16_t *p, sl_f32 v, int64_t n) {
  sl_generic_store16_n(p, sl_generic_to_bf16(v), n);
}

// Lane i is the f16 p[i], subnormals included.
static inline sl_f32 sl_load_f16(const uint16_t *p) {
  return sl_generic_from_f16(sl_generic_load16(p));
}

// Lane i is i < n ? the f16 p[i] : 0.
static inline sl_f32 sl_load_f16_n(const uint16_t *p, int64_t n) {
  return sl_generic_from_f16(sl_generic_load16_n(p, n));
}

// p[i] = lane i as f16, subnormals included.
static inline void sl_store_f16(uint16_t *p, sl_f32 v) {
  sl_generic_u16 h = sl_generic_to_f16(v);
  memcpy(p, &h, sizeof h);
}

// p[i] = lane i as f16 for i < n.
static inline void sl_store_f16_n(uint16_t *p, sl_f32 v, int64_t n) {
  sl_generic_store16_n(p, sl_generic_to_f16(v), n);
}

#pragma GCC diagnostic pop
#endif
