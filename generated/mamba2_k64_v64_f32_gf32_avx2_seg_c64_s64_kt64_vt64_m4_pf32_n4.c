// mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4.c: do not edit. Made by
//   sluice generate mamba2 --key-dim 64 --value-dim 64 --dtype f32 --gate-dtype f32 --target avx2 --schedule segmented --chunk 64 --sub-block 64 --key-tile 64 --value-tile 64 --materialization segments:4 --threads 4 --products f32
//
// mamba2: scalar per token
//   query      scale * q
//   key        softplus(dt + dt_bias) * k
//   value      v
//   key decay  exp(-exp(A_log) * softplus(dt + dt_bias))
//   read-out   after the write
//   skip       D * v
//
// schedule         segmented
// chunk            64
// sub-block        64
// key-tile         64
// value-tile       64
// materialization  segments:4
// threads          4
// products         f32
// target           avx2

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

// ---- avx2.h ------------------------------------------------------------------------------------

// The instruction vocabulary for AVX2 with FMA and F16C: eight lanes.
// generic.h defines what each word means.
#ifndef SL_AVX2_H
#define SL_AVX2_H

// Pasted into a source, many words are unused.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SL_LANES 8

typedef __m256 sl_f32;

// ---- Constants, lanes, memory ----

// Every lane 0.
static inline sl_f32 sl_zero(void) { return _mm256_setzero_ps(); }

// Every lane x.
static inline sl_f32 sl_set(float x) { return _mm256_set1_ps(x); }

// Lane 0.
static inline float sl_first(sl_f32 v) { return _mm256_cvtss_f32(v); }

// All ones in the first n lanes, for any n.
static inline __m256i sl_avx2_mask(int64_t n) {
  int32_t count = n <= 0 ? 0 : n >= 8 ? 8 : (int32_t)n;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// Lane i is p[i].
static inline sl_f32 sl_load(const float *p) { return _mm256_loadu_ps(p); }

// Lane i is i < n ? p[i] : 0.
static inline sl_f32 sl_load_n(const float *p, int64_t n) {
  return _mm256_maskload_ps(p, sl_avx2_mask(n));
}

// p[i] = lane i.
static inline void sl_store(float *p, sl_f32 v) { _mm256_storeu_ps(p, v); }

// p[i] = lane i for i < n.
static inline void sl_store_n(float *p, sl_f32 v, int64_t n) {
  _mm256_maskstore_ps(p, sl_avx2_mask(n), v);
}

// sl_store past the caches where p is aligned to 32 bytes.
static inline void sl_stream(float *p, sl_f32 v) {
  if (((uintptr_t)p & 31) == 0)
    _mm256_stream_ps(p, v);
  else
    _mm256_storeu_ps(p, v);
}

// ---- Arithmetic, lane by lane ----

// a + b
static inline sl_f32 sl_add(sl_f32 a, sl_f32 b) { return _mm256_add_ps(a, b); }

// a - b
static inline sl_f32 sl_sub(sl_f32 a, sl_f32 b) { return _mm256_sub_ps(a, b); }

// a * b
static inline sl_f32 sl_mul(sl_f32 a, sl_f32 b) { return _mm256_mul_ps(a, b); }

// a / b
static inline sl_f32 sl_div(sl_f32 a, sl_f32 b) { return _mm256_div_ps(a, b); }

#define SL_HAVE_INVERSE
// 1 / x for x in [2^-64, 2^64], error below 3 ulp: twelve bits, doubled by a
// step of Newton's.
static inline sl_f32 sl_inverse(sl_f32 x) {
  const sl_f32 y = _mm256_rcp_ps(x);
  return _mm256_mul_ps(y, _mm256_fnmadd_ps(x, y, _mm256_set1_ps(2.0f)));
}

// a * b + c
static inline sl_f32 sl_fma(sl_f32 a, sl_f32 b, sl_f32 c) { return _mm256_fmadd_ps(a, b, c); }

// c - a * b
static inline sl_f32 sl_nfma(sl_f32 a, sl_f32 b, sl_f32 c) { return _mm256_fnmadd_ps(a, b, c); }

// a < b ? x : y
static inline sl_f32 sl_less(sl_f32 a, sl_f32 b, sl_f32 x, sl_f32 y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

// a < b ? a : b
static inline sl_f32 sl_min(sl_f32 a, sl_f32 b) { return _mm256_min_ps(a, b); }

// b < a ? a : b
static inline sl_f32 sl_max(sl_f32 a, sl_f32 b) { return _mm256_max_ps(a, b); }

// The sign flipped.
static inline sl_f32 sl_neg(sl_f32 a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }

// The sign cleared.
static inline sl_f32 sl_abs(sl_f32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

// The square root.
static inline sl_f32 sl_sqrt(sl_f32 a) { return _mm256_sqrt_ps(a); }

// The largest integer that is not above a.
static inline sl_f32 sl_floor(sl_f32 a) { return _mm256_floor_ps(a); }

// ---- Across lanes ----

// The sum of the lanes: upper half onto lower half until one is left.
static inline float sl_sum(sl_f32 v) {
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

// The greatest lane.
static inline float sl_max_across(sl_f32 v) {
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

// One level of sl_sum_rows each: fold the halves of a and of b, a first.
static inline sl_f32 sl_avx2_fold4(sl_f32 a, sl_f32 b) {
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
static inline sl_f32 sl_avx2_fold2(sl_f32 a, sl_f32 b) {
  return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
}
static inline sl_f32 sl_avx2_fold1(sl_f32 a, sl_f32 b) {
  return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
}

// Lane i is sl_sum(v[i]).
static inline sl_f32 sl_sum_rows(const sl_f32 v[SL_LANES]) {
  sl_f32 a = sl_avx2_fold2(sl_avx2_fold4(v[0], v[4]), sl_avx2_fold4(v[1], v[5]));
  sl_f32 b = sl_avx2_fold2(sl_avx2_fold4(v[2], v[6]), sl_avx2_fold4(v[3], v[7]));
  return sl_avx2_fold1(a, b);
}

// Rows r and r + 4 of four columns, as the halves of one vector.
static inline sl_f32 sl_avx2_gather2(const float *p, int64_t stride) {
  __m256 v = _mm256_castps128_ps256(_mm_loadu_ps(p));
  return _mm256_insertf128_ps(v, _mm_loadu_ps(p + 4 * stride), 1);
}

// dst[j * dst_stride + i] = src[i * src_stride + j].
static inline void sl_transpose(const float *src, int64_t src_stride, float *dst,
                                int64_t dst_stride) {
  sl_f32 out[8];
#pragma GCC unroll 2
  for (int c = 0; c < 2; c++) {  // four columns of src: 4x4 within each half
    const float *p = src + 4 * c;
    __m256 r0 = sl_avx2_gather2(p, src_stride);
    __m256 r1 = sl_avx2_gather2(p + src_stride, src_stride);
    __m256 r2 = sl_avx2_gather2(p + 2 * src_stride, src_stride);
    __m256 r3 = sl_avx2_gather2(p + 3 * src_stride, src_stride);
    __m256 a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpacklo_ps(r2, r3);
    __m256 d = _mm256_unpackhi_ps(r0, r1), e = _mm256_unpackhi_ps(r2, r3);
    out[4 * c] = _mm256_shuffle_ps(a, b, 0x44);
    out[4 * c + 1] = _mm256_shuffle_ps(a, b, 0xee);
    out[4 * c + 2] = _mm256_shuffle_ps(d, e, 0x44);
    out[4 * c + 3] = _mm256_shuffle_ps(d, e, 0xee);
  }
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) sl_store(dst + j * dst_stride, out[j]);
}

// ---- bf16 and f16 in memory ----

static inline sl_f32 sl_avx2_from_bf16(__m128i h) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline __m128i sl_avx2_to_bf16(sl_f32 v) {
  __m256i u = _mm256_castps_si256(v), high = _mm256_srli_epi32(u, 16);
  __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, odd), _mm256_set1_epi32(0x7fff));
  __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  r = _mm256_blendv_epi8(_mm256_srli_epi32(r, 16), quiet, is_nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

static inline __m128i sl_avx2_load16(const uint16_t *p) {
  return _mm_loadu_si128((const __m128i_u *)p);
}

static inline __m128i sl_avx2_load16_n(const uint16_t *p, int64_t n) {
  uint16_t h[8] = {0};
  for (int i = 0; i < 8; i++)
    if (i < n) h[i] = p[i];
  return sl_avx2_load16(h);
}

static inline void sl_avx2_store16(uint16_t *p, __m128i h) {
  _mm_storeu_si128((__m128i_u *)p, h);
}

static inline void sl_avx2_store16_n(uint16_t *p, __m128i v, int64_t n) {
  uint16_t h[8];
  sl_avx2_store16(h, v);
  for (int i = 0; i < 8; i++)
    if (i < n) p[i] = h[i];
}

// Lane i is the bf16 p[i].
static inline sl_f32 sl_load_bf16(const uint16_t *p) {
  return sl_avx2_from_bf16(sl_avx2_load16(p));
}

// Lane i is i < n ? the bf16 p[i] : 0.
static inline sl_f32 sl_load_bf16_n(const uint16_t *p, int64_t n) {
  return sl_avx2_from_bf16(sl_avx2_load16_n(p, n));
}

// p[i] = lane i as bf16.
static inline void sl_store_bf16(uint16_t *p, sl_f32 v) {
  sl_avx2_store16(p, sl_avx2_to_bf16(v));
}

// p[i] = lane i as bf16 for i < n.
static inline void sl_store_bf16_n(uint16_t *p, sl_f32 v, int64_t n) {
  sl_avx2_store16_n(p, sl_avx2_to_bf16(v), n);
}

// Lane i is the f16 p[i].
static inline sl_f32 sl_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(sl_avx2_load16(p)); }

// Lane i is i < n ? the f16 p[i] : 0.
static inline sl_f32 sl_load_f16_n(const uint16_t *p, int64_t n) {
  return _mm256_cvtph_ps(sl_avx2_load16_n(p, n));
}

// p[i] = lane i as f16.
static inline void sl_store_f16(uint16_t *p, sl_f32 v) {
  sl_avx2_store16(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

// p[i] = lane i as f16 for i < n.
static inline void sl_store_f16_n(uint16_t *p, sl_f32 v, int64_t n) {
  sl_avx2_store16_n(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT), n);
}

#pragma GCC diagnostic pop
#endif

// ---- common.h ----------------------------------------------------------------------------------

// Written once, on the words of any vocabulary: it follows generic.h, avx2.h,
// avx512.h or neon.h in a translation unit. Scalar conversions, bf16 pairs
// where the target has no instruction for them, hints and modes, mathematics.
//
// The errors stated are bounds of what the vocabulary's test measured on all
// targets, in ulps of the float result; the test enforces them, or somewhat more.
#ifndef SL_COMMON_H
#define SL_COMMON_H

// Pasted into a source, many words are unused.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

typedef int32_t sl_i32 __attribute__((vector_size(4 * SL_LANES)));
typedef float sl_lanes __attribute__((vector_size(4 * SL_LANES)));
typedef uint32_t sl_u32 __attribute__((vector_size(4 * SL_LANES)));

// ---- Scalar bf16 and f16, with the roundings of the vector forms ----

// The bits of x.
static inline uint32_t sl_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

// The float of bits u.
static inline float sl_from_bits(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

// The value of a bf16.
static inline float sl_bf16_to_f32(uint16_t h) { return sl_from_bits((uint32_t)h << 16); }

// The nearest bf16, ties to even; NaN stays NaN and turns quiet.
static inline uint16_t sl_f32_to_bf16(float x) {
  uint32_t u = sl_bits(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

// The value of an f16.
static inline float sl_f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, u = (uint32_t)(h & 0x7fffu) << 13;
  uint32_t exponent = u & 0x0f800000u;
  if (exponent == 0x0f800000u) return sl_from_bits((u + 0x70000000u) | sign);
  if (exponent != 0) return sl_from_bits((u + 0x38000000u) | sign);
  return sl_from_bits(sl_bits(sl_from_bits(u + 0x38800000u) - 6.103515625e-05f) | sign);
}

// The nearest f16, ties to even; NaN stays NaN and turns quiet.
static inline uint16_t sl_f32_to_f16(float x) {
  uint32_t sign = sl_bits(x) & 0x80000000u, u = sl_bits(x) ^ sign, h;
  if (u > 0x7f800000u)
    h = 0x7e00u;
  else if (u >= 0x47800000u)
    h = 0x7c00u;
  else if (u < 0x38800000u)
    h = sl_bits(sl_from_bits(u) + 0.5f) - sl_bits(0.5f);
  else
    h = (u + 0xc8000fffu + ((u >> 13) & 1u)) >> 13;
  return (uint16_t)(h | (sign >> 16));
}

// ---- bf16 pairs: vectors of SL_LANES pairs (even, odd) ----
// Every target has these words; SL_HAS_DOT2 is defined where they are fast.

#ifndef SL_HAS_DOT2
typedef sl_u32 sl_pairs;

// Lane i holds the pair p[2i], p[2i + 1].
static inline sl_pairs sl_pairs_load(const uint16_t *p) {
  sl_pairs v;
  memcpy(&v, p, sizeof v);
  return v;
}

// p[2i], p[2i + 1] = the pair in lane i.
static inline void sl_pairs_store(uint16_t *p, sl_pairs v) { memcpy(p, &v, sizeof v); }

// Every lane holds the pair two[0], two[1].
static inline sl_pairs sl_pairs_set(const uint16_t two[2]) {
  uint32_t both;
  memcpy(&both, two, sizeof both);
  return (sl_pairs)sl_set(sl_from_bits(both));
}

// The bits of v with a bf16, rounded as sl_store_bf16 does, in the upper half.
static inline sl_u32 sl_round_bf16(sl_f32 v) {
  sl_u32 u = (sl_u32)v, is_nan = (sl_u32)((u & 0x7fffffffu) > 0x7f800000u);
  return ((u + 0x7fffu + ((u >> 16) & 1u)) & ~is_nan) | ((u | 0x00400000u) & is_nan);
}

// Lane i holds even[i] and odd[i], each rounded to bf16 as sl_store_bf16 does.
static inline sl_pairs sl_pairs_zip(sl_f32 even, sl_f32 odd) {
  return (sl_round_bf16(even) >> 16) | (sl_round_bf16(odd) & 0xffff0000u);
}

// acc + a.even * b.even + a.odd * b.odd: the odd product is added first, then
// the even one; products are exact, each sum is rounded. Subnormal operands
// and results may be taken for zero.
static inline sl_f32 sl_dot2(sl_f32 acc, sl_pairs a, sl_pairs b) {
  acc = sl_fma((sl_f32)(a & 0xffff0000u), (sl_f32)(b & 0xffff0000u), acc);
  return sl_fma((sl_f32)(a << 16), (sl_f32)(b << 16), acc);
}
#endif

// ---- Hints and modes ----

// Asks for the cache line at p, to be read soon. Any p.
static inline void sl_prefetch(const void *p) { __builtin_prefetch(p, 0, 3); }

// Makes earlier sl_stream stores visible in order, as plain stores are.
static inline void sl_stream_end(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// Takes subnormal operands and results for zero in this thread, where the
// machine can. Returns the mode before, for sl_flush_denormals_end.
static inline uint64_t sl_flush_denormals_begin(void) {
#if defined(__x86_64__)
  uint32_t before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040u);  // FTZ and DAZ
  return before;
#elif defined(__aarch64__)
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)) : "memory");  // FZ
  return before;
#else
  return 0;
#endif
}

// Restores the mode that sl_flush_denormals_begin returned.
static inline void sl_flush_denormals_end(uint64_t before) {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr((uint32_t)before);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
#else
  (void)before;
#endif
}

// ---- Powers of two ----

#define SL_INF __builtin_inff()

// 1.5 * 2^23: a float of that size has no fraction, so x + SL_ROUNDER holds
// round(x), ties to even, in its low bits, and less SL_ROUNDER is round(x), for
// |x| < 2^22.
#define SL_ROUNDER 0x1.8p23f

// Adds the integer in the low bits of `rounder` to the exponent of x: x * 2^n
// while both are normal, and no meaning otherwise.
static inline sl_f32 sl_shift_exponent(sl_f32 x, sl_f32 rounder) {
  return (sl_f32)((sl_u32)x + ((sl_u32)rounder << 23));
}

#ifndef SL_HAVE_SCALE2
// x * 2^n for integral n in [-252, 252]. A result below 2^-126 may be rounded
// twice, or be zero.
static inline sl_f32 sl_scale2(sl_f32 x, sl_f32 n) {
  sl_f32 half = sl_floor(sl_mul(n, sl_set(0.5f))), one = sl_set(1.0f);
  sl_f32 rounder = sl_set(SL_ROUNDER), rest = sl_sub(n, half);
  x = sl_mul(x, sl_shift_exponent(one, sl_add(half, rounder)));
  return sl_mul(x, sl_shift_exponent(one, sl_add(rest, rounder)));
}
#endif

#ifndef SL_HAVE_EXP2
// 2^x, error below 1.1 ulp, exact at integers. 0 for x < -126; infinity
// from 128 on; NaN of NaN.
static inline sl_f32 sl_exp2(sl_f32 x) {
  sl_f32 rounder = sl_add(x, sl_set(SL_ROUNDER));
  sl_f32 f = sl_sub(x, sl_sub(rounder, sl_set(SL_ROUNDER)));
  sl_f32 p = sl_set(0x1.416b52p-13f);
  p = sl_fma(p, f, sl_set(0x1.5f082ep-10f));
  p = sl_fma(p, f, sl_set(0x1.3b2de0p-7f));
  p = sl_fma(p, f, sl_set(0x1.c6af7cp-5f));
  p = sl_fma(p, f, sl_set(0x1.ebfbdcp-3f));
  p = sl_fma(p, f, sl_set(0x1.62e430p-1f));
  p = sl_fma(p, f, sl_set(1.0f));
  p = sl_shift_exponent(p, rounder);
  p = sl_less(x, sl_set(-126.0f), sl_zero(), p);
  return sl_less(x, sl_set(128.0f), p, sl_add(x, sl_set(SL_INF)));
}
#endif

// ---- Exponentials ----

// The parts of e^x = 2^n (1 + t), |t| < 0.42: returns t, and n + SL_ROUNDER in
// *rounder. ln 2 is subtracted in two parts, the first of sixteen bits.
static inline sl_f32 sl_exp_parts(sl_f32 x, sl_f32 *rounder) {
  *rounder = sl_fma(x, sl_set(0x1.715476p0f), sl_set(SL_ROUNDER));
  sl_f32 n = sl_sub(*rounder, sl_set(SL_ROUNDER));
  sl_f32 f = sl_nfma(n, sl_set(0x1.62e4p-1f), x);
  f = sl_nfma(n, sl_set(0x1.7f7d1cp-20f), f);
  sl_f32 p = sl_set(0x1.6b97a6p-10f);
  p = sl_fma(p, f, sl_set(0x1.122538p-7f));
  p = sl_fma(p, f, sl_set(0x1.5556f6p-5f));
  p = sl_fma(p, f, sl_set(0x1.5554b4p-3f));
  p = sl_fma(p, f, sl_set(0x1.fffffep-2f));
  return sl_fma(p, sl_mul(f, f), f);
}

// e^x, error below 1.1 ulp. 0 for x below ln 2^-126 = -87.3365; infinity
// above 88.7228; NaN of NaN.
static inline sl_f32 sl_exp(sl_f32 x) {
  sl_f32 rounder, t = sl_exp_parts(x, &rounder);
  sl_f32 p = sl_shift_exponent(sl_add(t, sl_set(1.0f)), rounder);
  p = sl_less(x, sl_set(-0x1.5d589ep6f), sl_zero(), p);
  return sl_less(x, sl_set(0x1.62e430p6f), p, sl_add(x, sl_set(SL_INF)));
}

// 1 - e^x, error below 1.7 ulp, for x near 0 too, where it is -x.
// 1 at minus infinity; minus infinity above 88.37; NaN of NaN.
static inline sl_f32 sl_one_minus_exp(sl_f32 x) {
  sl_f32 one = sl_set(1.0f), limit = sl_set(88.37f);
  sl_f32 rounder, bound = sl_max(sl_set(-30.0f), sl_min(limit, x));
  sl_f32 t = sl_exp_parts(bound, &rounder);
  sl_f32 power = sl_shift_exponent(one, rounder);
  sl_f32 r = sl_nfma(power, t, sl_sub(one, power));
  return sl_less(limit, x, sl_set(-SL_INF), r);
}

// e^x for x not above 0, error below 1.1 ulp, and in *taken 1 - e^x, error below
// 1.7 ulp near 0 too: what sl_exp and sl_one_minus_exp give, in little more than
// the time of one. 0 and 1 below ln 2^-126; NaN of NaN.
static inline sl_f32 sl_exp_both(sl_f32 x, sl_f32 *taken) {
  sl_f32 one = sl_set(1.0f), least = sl_set(-0x1.5d589ep6f), rounder;
  sl_f32 bound = sl_min(sl_set(0x1.62e42ep6f), sl_max(least, x));
  sl_f32 t = sl_exp_parts(bound, &rounder);
  sl_f32 power = sl_shift_exponent(one, rounder);
  *taken = sl_nfma(power, t, sl_sub(one, power));
  return sl_less(x, least, sl_zero(), sl_fma(power, t, power));
}

// e^x - 1 for x in [-ln 2, 0], error below 1.5 ulp. A result so small needs no power
// of two split off, a third of what sl_exp_both takes.
static inline sl_f32 sl_exp_less_one_near(sl_f32 x) {
  sl_f32 p = sl_set(0x1.12f95ep-10f);
  p = sl_fma(p, x, sl_set(0x1.0948b0p-7f));
  p = sl_fma(p, x, sl_set(0x1.54b558p-5f));
  p = sl_fma(p, x, sl_set(0x1.554fd2p-3f));
  p = sl_fma(p, x, sl_set(0x1.ffffe2p-2f));
  return sl_fma(p, sl_mul(x, x), x);
}

// ---- Logarithms ----

// ln(1 + t) = t + t^2 s(t) for t in [-0.293, 0.4143]: returns t^2 s(t).
static inline sl_f32 sl_log_tail(sl_f32 t) {
  sl_f32 s = sl_set(-0x1.39c1f4p-4f);
  s = sl_fma(s, t, sl_set(0x1.08cee4p-3f));
  s = sl_fma(s, t, sl_set(-0x1.0f2778p-3f));
  s = sl_fma(s, t, sl_set(0x1.225a62p-3f));
  s = sl_fma(s, t, sl_set(-0x1.542652p-3f));
  s = sl_fma(s, t, sl_set(0x1.99a52cp-3f));
  s = sl_fma(s, t, sl_set(-0x1.000434p-2f));
  s = sl_fma(s, t, sl_set(0x1.55554ep-2f));
  s = sl_fma(s, t, sl_set(-0x1.fffff8p-2f));
  return sl_mul(sl_mul(t, t), s);
}

// x = 2^e (1 + t) with 1 + t in [sqrt 1/2, sqrt 2): returns t, and e in *e.
static inline sl_f32 sl_log_parts(sl_f32 x, sl_f32 *e) {
  const uint32_t root = 0x3f3504f3u;  // sqrt 1/2
  sl_u32 u = (sl_u32)x - root;
  *e = (sl_f32)__builtin_convertvector((sl_i32)u >> 23, sl_lanes);
  return sl_sub((sl_f32)((u & 0x007fffffu) + root), sl_set(1.0f));
}

// r, but for the arguments that no logarithm's polynomial covers.
static inline sl_f32 sl_log_limits(sl_f32 x, sl_f32 r) {
  sl_f32 none = sl_less(x, sl_zero(), sl_set(__builtin_nanf("")), sl_set(-SL_INF));
  r = sl_less(x, sl_set(0x1p-126f), none, r);
  return sl_less(x, sl_set(SL_INF), r, x);
}

// log2 x, error below 1.8 ulp. Minus infinity for 0 and subnormals; NaN
// below 0 and of NaN.
static inline sl_f32 sl_log2(sl_f32 x) {
  sl_f32 e, t = sl_log_parts(x, &e), log2e = sl_set(0x1.715476p0f);
  return sl_log_limits(x, sl_fma(sl_add(t, sl_log_tail(t)), log2e, e));
}

// ln x, error below 1 ulp. Limits as sl_log2.
static inline sl_f32 sl_log(sl_f32 x) {
  sl_f32 e, t = sl_log_parts(x, &e);
  sl_f32 low = sl_fma(e, sl_set(0x1.7f7d1cp-20f), sl_log_tail(t));
  return sl_log_limits(x, sl_fma(e, sl_set(0x1.62e4p-1f), sl_add(t, low)));
}

// ---- Gates and activations ----

// ln(1 + e^x), error below 1.8 ulp; e^x far below 0 (so 0 under
// -87.3365), x far above; NaN of NaN.
static inline sl_f32 sl_softplus(sl_f32 x) {
  // u = e^-|x| in [0, 1]; 1 + u is itself below sqrt 2, or twice 1 + (u - 1) / 2.
  sl_f32 one = sl_set(1.0f), root = sl_set(0.41421356f), u = sl_exp(sl_neg(sl_abs(x)));
  sl_f32 t = sl_less(u, root, u, sl_mul(sl_sub(u, one), sl_set(0.5f)));
  sl_f32 e = sl_less(u, root, sl_zero(), one);
  sl_f32 low = sl_fma(e, sl_set(0x1.7f7d1cp-20f), sl_log_tail(t));
  sl_f32 log1p = sl_fma(e, sl_set(0x1.62e4p-1f), sl_add(t, low));
  return sl_add(sl_max(sl_zero(), x), log1p);
}

// ln(1 / (1 + e^-x)) = -sl_softplus(-x): never above 0.
static inline sl_f32 sl_logsigmoid(sl_f32 x) { return sl_neg(sl_softplus(sl_neg(x))); }

// 1 / (1 + e^-x), error below 2.5 ulp; 0 under -88.7228; NaN of NaN.
static inline sl_f32 sl_sigmoid(sl_f32 x) {
  sl_f32 one = sl_set(1.0f);
  return sl_div(one, sl_add(one, sl_exp(sl_neg(x))));
}

// tanh x, error below 2.6 ulp, near 0 too; the sign of a zero stays.
static inline sl_f32 sl_tanh(sl_f32 x) {
  // With y = 1 - e^-2|x|: tanh |x| = y / (2 - y).
  sl_f32 y = sl_one_minus_exp(sl_mul(sl_abs(x), sl_set(-2.0f)));
  sl_f32 r = sl_div(y, sl_sub(sl_set(2.0f), y));
  return (sl_f32)((sl_u32)sl_abs(r) | ((sl_u32)x & 0x80000000u));
}

// x above 0, else 0; NaN of NaN.
static inline sl_f32 sl_relu(sl_f32 x) { return sl_max(sl_zero(), x); }

// 1 / x, correctly rounded.
static inline sl_f32 sl_recip(sl_f32 x) { return sl_div(sl_set(1.0f), x); }

#ifndef SL_HAVE_INVERSE
// 1 / x for x in [2^-64, 2^64], error below 3 ulp.
static inline sl_f32 sl_inverse(sl_f32 x) { return sl_recip(x); }
#endif

// 1 / sqrt x, error below 1.5 ulp; infinity at 0; NaN below 0.
static inline sl_f32 sl_rsqrt(sl_f32 x) { return sl_div(sl_set(1.0f), sl_sqrt(x)); }

// ---- Scalar twins: the bits that any lane of the vector form would give ----

static inline float sl_exp2_1(float x) { return sl_first(sl_exp2(sl_set(x))); }
static inline float sl_exp_1(float x) { return sl_first(sl_exp(sl_set(x))); }
static inline float sl_one_minus_exp_1(float x) { return sl_first(sl_one_minus_exp(sl_set(x))); }
static inline float sl_log2_1(float x) { return sl_first(sl_log2(sl_set(x))); }
static inline float sl_log_1(float x) { return sl_first(sl_log(sl_set(x))); }
static inline float sl_softplus_1(float x) { return sl_first(sl_softplus(sl_set(x))); }
static inline float sl_logsigmoid_1(float x) { return sl_first(sl_logsigmoid(sl_set(x))); }
static inline float sl_sigmoid_1(float x) { return sl_first(sl_sigmoid(sl_set(x))); }
static inline float sl_tanh_1(float x) { return sl_first(sl_tanh(sl_set(x))); }
static inline float sl_relu_1(float x) { return sl_first(sl_relu(sl_set(x))); }
static inline float sl_recip_1(float x) { return sl_first(sl_recip(sl_set(x))); }
static inline float sl_rsqrt_1(float x) { return sl_first(sl_rsqrt(sl_set(x))); }
static inline float sl_scale2_1(float x, float n) { return sl_first(sl_scale2(sl_set(x), sl_set(n))); }

#pragma GCC diagnostic pop
#endif

// ---- tiles.h -----------------------------------------------------------------------------------

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

// ---- The interface -----------------------------------------------------------------------------

#define SL_EXPORT __attribute__((visibility("default")))

// Arguments of the kernel. Token tensors are dense, [B, T, H, D] or [B, H, T, D];
// docs/abi.md of Sluice says the rest.
struct mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_args {
  uint32_t abi;   // 1
  uint32_t size;  // sizeof(struct mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_args)
  int64_t batch;
  int64_t length;       // tokens a batch row; of all packed sequences together
  int64_t query_heads;  // heads of q and o: a multiple of heads
  int64_t heads;        // heads of everything else
  int64_t sequences;    // packed sequences; 0 when there are none
  const int64_t *cu_seqlens;  // sequences + 1 offsets, or NULL
  int32_t threads;            // 0: 4
  int32_t layout;             // 0: [B, T, H, D]; 1: [B, H, T, D]
  float scale;
  uint32_t reserved;
  void *workspace;  // aligned to 64 bytes
  uint64_t workspace_size;
  const float *initial_state;  // [B or sequences, heads, 64, 64], or NULL for zero
  float *final_state;          // likewise, or NULL
  float *o;  // f32 [B, T, query heads, 64]
  const float *q;  // f32 [B, T, query heads, 64]: C: reads the state
  const float *k;  // f32 [B, T, heads, 64]: B: writes the state
  const float *v;  // f32 [B, T, heads, 64]: x: the layer's input
  const float *dt;  // f32 [B, T, heads]: step size before its softplus
  const float *A_log;  // f32 [heads]: log of the decay rate of a head
  const float *dt_bias;  // f32 [heads]: added to dt
  const float *D;  // f32 [heads]: weight of the skip from x to the output
};

typedef struct mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_args arguments;
int32_t mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_forward(const arguments *args);
int64_t mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_workspace_size(const arguments *args);
const char *mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_manifest(void);

// ---- The workspace -----------------------------------------------------------------------------

// Bytes of scratch memory a thread.
enum { scratch_bytes = 165760 };

static int64_t sequences_of(const arguments *args) {
  return args->cu_seqlens ? args->sequences : args->batch;
}

// Threads that the caller asks for.
static int64_t threads_of(const arguments *args) {
  return args->threads ? args->threads : 4;
}

// An output that outgrows the caches goes past them.
static int streams_output(const arguments *args) {
  const int64_t rows = args->batch * args->length * args->query_heads;
  return rows * 256 > 2097152;
}

// Slots for the states between segments.
static int64_t slots_of(const arguments *args) {
  return 4 * sequences_of(args);
}

static float *segment_state_of(const arguments *args) {
  return (float *)((char *)args->workspace + threads_of(args) * scratch_bytes);
}

static float *segment_decay_of(const arguments *args) {
  return (float *)((char *)args->workspace + threads_of(args) * scratch_bytes) + (4096) * slots_of(args) * args->heads;
}

// ---- The kernel --------------------------------------------------------------------------------

// summarize: one worker's share.
//
//   every segment from a zero state: what it adds to the state, and how it decays it
//   for each chunk: S = diag(decay) S + k^T v
static void summarize(const arguments *args, int64_t item, char *scratch) {
  const int64_t heads = args->heads;
  const int64_t sequence = item / (4 * heads);
  const int64_t head = item / 4 % heads;
  const int64_t segment = item % 4;
  const int64_t batch_row = args->cu_seqlens ? 0 : sequence;
  const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;
  const int64_t end = args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length;
  const int64_t length = end - begin;
  const int64_t chunks = (length + 63) / 64;
  const int64_t segment_chunks = (chunks + 3) / 4;
  const int64_t segments = segment_chunks ? (chunks + segment_chunks - 1) / segment_chunks : 0;
  const int64_t first_chunk = sl_least(segment * segment_chunks, chunks);
  const int64_t last_chunk = sl_least(first_chunk + segment_chunks, chunks);
  const int64_t slot = 4 * sequence;
  const int64_t k_token = args->layout ? 64 : heads * 64;
  const int64_t k_head = args->layout ? args->length * 64 : 64;
  const float *k_in = (const float *)args->k + batch_row * args->length * heads * 64
      + begin * k_token + head * k_head;
  const int64_t v_token = args->layout ? 64 : heads * 64;
  const int64_t v_head = args->layout ? args->length * 64 : 64;
  const float *v_in = (const float *)args->v + batch_row * args->length * heads * 64
      + begin * v_token + head * v_head;
  const int64_t dt_token = args->layout ? 1 : heads;
  const int64_t dt_head = args->layout ? args->length : 1;
  const float *dt_in = (const float *)args->dt + batch_row * args->length * heads + begin * dt_token
      + head * dt_head;
  const float *A_log_in = args->A_log + head;
  const float *dt_bias_in = args->dt_bias + head;
  float *segment_state_in = segment_state_of(args) + (slot * heads + head) * 4096;
  float *segment_decay_in = segment_decay_of(args) + (slot * heads + head) * 64;
  float *const S = (float *)(scratch + 0);  // 64 x 64: state of one head
  float *const A = (float *)(scratch + 16384);  // 1 x 64: decay of the segment, for every key
  float *const k = (float *)(scratch + 16640);  // 64 x 64: keys of the chunk
  float *const v = (float *)(scratch + 33024);  // 64 x 64: values of the chunk
  float *const d = (float *)(scratch + 49408);  // 64 x 1: decay of each token of the chunk
  float *const F = (float *)(scratch + 49664);  // 64 x 1: products of the decays from a token to the chunk's end
  float *const kF = (float *)(scratch + 49920);  // 64 x 64: keys decayed to the end of the chunk
  float *const m = (float *)(scratch + 66304);  // 64 x 1: what they take away, 1 - d
  float *const T_chunk_slope = (float *)(scratch + 66560);  // 1 x 1: product of the chunk's decays, or that less 1 where base is 1
  float *const T_chunk_base = (float *)(scratch + 66624);  // 1 x 1: 1 where that product is 1/2 or more, else 0
  float *const T_chunk_slope_row = (float *)(scratch + 66688);  // 1 x 64: T_chunk_slope, for every key
  float *const T_chunk_base_row = (float *)(scratch + 66944);  // 1 x 64: T_chunk_base, for every key

  // A segment without chunks has no work, and no slot of its own.
  if (segment >= segments) return;
  for (int64_t row = 0; row < 64; ++row) {
    for (int64_t column = 0; column < 64; column += SL_LANES) {
      sl_store(S + row * 64 + column, sl_set(0.0f));
    }
  }
  {
    for (int64_t column = 0; column < 64; column += SL_LANES) {
      sl_store(A + column, sl_set(1.0f));
    }
  }
  for (int64_t c = first_chunk; c < last_chunk; ++c) {
    const int64_t tokens = sl_least(64, length - 64 * c);
    // the chunk's keys and values; past the sequence's end k = v = 0 and nothing decays
    // k = softplus(dt_in + dt_bias_in) * k_in
    for (int64_t row = 0; row < tokens; ++row) {
      const sl_f32 dt_all = sl_set((dt_in + (64 * c + row) * dt_token)[0]);
      const sl_f32 dt_bias_all = sl_set(dt_bias_in[0]);
      const float *k_row = k_in + (64 * c + row) * k_token;
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(
            k + row * 64 + column,
            sl_mul(sl_softplus(sl_add(dt_all, dt_bias_all)), sl_load(k_row + column)));
      }
    }
    sl_fill_rows(tokens, 64, 64, k, 64, 0.0f);
    // v = v_in
    for (int64_t row = 0; row < tokens; ++row) {
      const float *v_row = v_in + (64 * c + row) * v_token;
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(v + row * 64 + column, sl_load(v_row + column));
      }
    }
    sl_fill_rows(tokens, 64, 64, v, 64, 0.0f);
    // decays as factors in [0, 1]
    // d = exp(-exp(A_log_in) * softplus(dt_in + dt_bias_in)), m = 1 - d
    for (int64_t row = 0; row < tokens; ++row) {
      *(d + row) = sl_exp_1((-(sl_exp_1(A_log_in[0])) * sl_softplus_1(((dt_in + (64 * c + row) * dt_token)[0] + dt_bias_in[0]))));
      *(m + row) = sl_one_minus_exp_1((-(sl_exp_1(A_log_in[0])) * sl_softplus_1(((dt_in + (64 * c + row) * dt_token)[0] + dt_bias_in[0]))));
    }
    sl_fill_rows(tokens, 64, 1, d, 1, 1.0f);
    sl_fill_rows(tokens, 64, 1, m, 1, 0.0f);
    sl_scan_column(64, 1, 1, F, d);
    // kF = k * F
    for (int64_t row = 0; row < 64; ++row) {
      const sl_f32 F_all = sl_set(*(F + row));
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(kF + row * 64 + column, sl_mul(sl_load(k + row * 64 + column), F_all));
      }
    }
    // S = diag(decay of the chunk) S + k^T v
    sl_decay_total_column(64, T_chunk_slope, T_chunk_base, d, m);
    // T_chunk_slope_row = T_chunk_slope
    {
      const sl_f32 T_chunk_slope_all = sl_set(T_chunk_slope[0]);
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(T_chunk_slope_row + column, T_chunk_slope_all);
      }
    }
    // T_chunk_base_row = T_chunk_base
    {
      const sl_f32 T_chunk_base_all = sl_set(T_chunk_base[0]);
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(T_chunk_base_row + column, T_chunk_base_all);
      }
    }
    sl_multiply(
        64, 64, 4, 3, S, 64, kF, 1, 64, v, 64, 64,
        (sl_before){1, {T_chunk_slope_row, T_chunk_base_row}, {NULL, NULL}});
    // A = A * T_chunk_base_row + A * T_chunk_slope_row
    {
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(
            A + column,
            sl_add(sl_mul(sl_load(A + column), sl_load(T_chunk_base_row + column)), sl_mul(sl_load(A + column), sl_load(T_chunk_slope_row + column))));
      }
    }
  }
  sl_store_matrix(64, 64, segment_state_in + segment * heads * 4096, 64, S, 64, 64);
  sl_store_matrix(1, 64, segment_decay_in + segment * heads * 64, 64, A, 64, 64);
}

// combine: one worker's share.
//
//   for each segment: U = its summary;  its place = S;  S = diag(A) S diag(B) + U
static void combine(const arguments *args, int64_t item, char *scratch) {
  const int64_t heads = args->heads;
  const int64_t sequence = item / heads;
  const int64_t head = item % heads;
  const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;
  const int64_t end = args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length;
  const int64_t length = end - begin;
  const int64_t chunks = (length + 63) / 64;
  const int64_t segment_chunks = (chunks + 3) / 4;
  const int64_t segments = segment_chunks ? (chunks + segment_chunks - 1) / segment_chunks : 0;
  const int64_t slot = 4 * sequence;
  const float *initial_state_in = args->initial_state
      ? args->initial_state + (sequence * heads + head) * 4096 : NULL;
  float *final_state_in = args->final_state ? args->final_state + (sequence * heads + head) * 4096
      : NULL;
  float *segment_state_in = segment_state_of(args) + (slot * heads + head) * 4096;
  float *segment_decay_in = segment_decay_of(args) + (slot * heads + head) * 64;
  float *const S = (float *)(scratch + 0);  // 64 x 64: state of one head
  float *const U = (float *)(scratch + 16384);  // 64 x 64: what a segment adds
  float *const A = (float *)(scratch + 32768);  // 1 x 64: decay of the segment, for every key

  sl_load_matrix(64, 64, S, 64, initial_state_in, 64, 64);
  for (int64_t j = 0; j < segments; ++j) {
    sl_load_matrix(64, 64, U, 64, segment_state_in + j * heads * 4096, 64, 64);
    sl_store_matrix(64, 64, segment_state_in + j * heads * 4096, 64, S, 64, 64);
    sl_load_matrix(1, 64, A, 64, segment_decay_in + j * heads * 64, 64, 64);
    // S = s * a + u
    for (int64_t row = 0; row < 64; ++row) {
      const sl_f32 a_all = sl_set((A)[row]);
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(
            S + row * 64 + column,
            sl_add(sl_mul(sl_load(S + row * 64 + column), a_all), sl_load(U + row * 64 + column)));
      }
    }
  }
  sl_store_matrix(64, 64, final_state_in, 64, S, 64, 64);
}

// walk: one worker's share.
//
//   S = the state before each segment
//   for each chunk of 64 tokens:
//     E_i = d_1 ... d_i             from the chunk's start
//     F_j = d_{j+1} ... d_C         to the chunk's end
//     W_ij = d_{j+1} ... d_i
//     for each query head of the group:
//       P = (q k^T) W;  Q = q E
//         O = Q S + P v
//     S = diag(T) S + (k F)^T v
static void walk(const arguments *args, int64_t item, char *scratch) {
  const int64_t heads = args->heads;
  const int64_t sequence = item / (4 * heads);
  const int64_t head = item / 4 % heads;
  const int64_t segment = item % 4;
  const int64_t group = args->query_heads / args->heads;
  const int64_t batch_row = args->cu_seqlens ? 0 : sequence;
  const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;
  const int64_t end = args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length;
  const int64_t length = end - begin;
  const int64_t chunks = (length + 63) / 64;
  const int64_t segment_chunks = (chunks + 3) / 4;
  const int64_t segments = segment_chunks ? (chunks + segment_chunks - 1) / segment_chunks : 0;
  const int64_t first_chunk = sl_least(segment * segment_chunks, chunks);
  const int64_t last_chunk = sl_least(first_chunk + segment_chunks, chunks);
  const int64_t slot = 4 * sequence;
  const int64_t streams = streams_output(args);
  const float scale = args->scale;
  const int64_t q_token = args->layout ? 64 : args->query_heads * 64;
  const int64_t q_head = args->layout ? args->length * 64 : 64;
  const float *q_in = (const float *)args->q + batch_row * args->length * args->query_heads * 64
      + begin * q_token + head * group * q_head;
  const int64_t k_token = args->layout ? 64 : heads * 64;
  const int64_t k_head = args->layout ? args->length * 64 : 64;
  const float *k_in = (const float *)args->k + batch_row * args->length * heads * 64
      + begin * k_token + head * k_head;
  const int64_t v_token = args->layout ? 64 : heads * 64;
  const int64_t v_head = args->layout ? args->length * 64 : 64;
  const float *v_in = (const float *)args->v + batch_row * args->length * heads * 64
      + begin * v_token + head * v_head;
  const int64_t dt_token = args->layout ? 1 : heads;
  const int64_t dt_head = args->layout ? args->length : 1;
  const float *dt_in = (const float *)args->dt + batch_row * args->length * heads + begin * dt_token
      + head * dt_head;
  const float *A_log_in = args->A_log + head;
  const float *dt_bias_in = args->dt_bias + head;
  const float *D_in = args->D + head;
  const int64_t o_token = args->layout ? 64 : args->query_heads * 64;
  const int64_t o_head = args->layout ? args->length * 64 : 64;
  float *o_in = (float *)args->o + batch_row * args->length * args->query_heads * 64
      + begin * o_token + head * group * o_head;
  float *segment_state_in = segment_state_of(args) + (slot * heads + head) * 4096;
  float *const S = (float *)(scratch + 0);  // 64 x 64: state of one head
  float *const k = (float *)(scratch + 16384);  // 64 x 64: keys of the chunk
  float *const v = (float *)(scratch + 32768);  // 64 x 64: values of the chunk
  float *const d = (float *)(scratch + 49152);  // 64 x 1: decay of each token of the chunk
  float *const F = (float *)(scratch + 49408);  // 64 x 1: products of the decays from a token to the chunk's end
  float *const kF = (float *)(scratch + 49664);  // 64 x 64: keys decayed to the end of the chunk
  float *const m = (float *)(scratch + 66048);  // 64 x 1: what they take away, 1 - d
  float *const E = (float *)(scratch + 66304);  // 64 x 1: running products of the decays from the chunk's start
  float *const W = (float *)(scratch + 66560);  // 64 x 64: decays from token j to token i
  float *const kT = (float *)(scratch + 82944);  // 64 x 64: the same keys, transposed: the right operand of the scores
  float *const q = (float *)(scratch + 99328);  // 64 x 64: queries of the chunk, scaled
  float *const P = (float *)(scratch + 115712);  // 64 x 64: scores of the chunk's tokens on each other
  float *const O = (float *)(scratch + 132096);  // 64 x 64: outputs of a sub-block
  float *const skip = (float *)(scratch + 148480);  // 64 x 64: what goes past the state
  float *const T_chunk_slope = (float *)(scratch + 164864);  // 1 x 1: product of the chunk's decays, or that less 1 where base is 1
  float *const T_chunk_base = (float *)(scratch + 164928);  // 1 x 1: 1 where that product is 1/2 or more, else 0
  float *const T_chunk_slope_row = (float *)(scratch + 164992);  // 1 x 64: T_chunk_slope, for every key
  float *const T_chunk_base_row = (float *)(scratch + 165248);  // 1 x 64: T_chunk_base, for every key

  // A segment without chunks has no work, and no slot of its own.
  if (segment >= segments) return;
  sl_load_matrix(64, 64, S, 64, segment_state_in + segment * heads * 4096, 64, 64);
  for (int64_t c = first_chunk; c < last_chunk; ++c) {
    const int64_t tokens = sl_least(64, length - 64 * c);
    // the chunk's keys and values; past the sequence's end k = v = 0 and nothing decays
    // k = softplus(dt_in + dt_bias_in) * k_in
    for (int64_t row = 0; row < tokens; ++row) {
      const sl_f32 dt_all = sl_set((dt_in + (64 * c + row) * dt_token)[0]);
      const sl_f32 dt_bias_all = sl_set(dt_bias_in[0]);
      const float *k_row = k_in + (64 * c + row) * k_token;
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(
            k + row * 64 + column,
            sl_mul(sl_softplus(sl_add(dt_all, dt_bias_all)), sl_load(k_row + column)));
      }
    }
    sl_fill_rows(tokens, 64, 64, k, 64, 0.0f);
    // v = v_in
    for (int64_t row = 0; row < tokens; ++row) {
      const float *v_row = v_in + (64 * c + row) * v_token;
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(v + row * 64 + column, sl_load(v_row + column));
      }
    }
    sl_fill_rows(tokens, 64, 64, v, 64, 0.0f);
    // decays as factors in [0, 1]
    // d = exp(-exp(A_log_in) * softplus(dt_in + dt_bias_in)), m = 1 - d
    for (int64_t row = 0; row < tokens; ++row) {
      *(d + row) = sl_exp_1((-(sl_exp_1(A_log_in[0])) * sl_softplus_1(((dt_in + (64 * c + row) * dt_token)[0] + dt_bias_in[0]))));
      *(m + row) = sl_one_minus_exp_1((-(sl_exp_1(A_log_in[0])) * sl_softplus_1(((dt_in + (64 * c + row) * dt_token)[0] + dt_bias_in[0]))));
    }
    sl_fill_rows(tokens, 64, 1, d, 1, 1.0f);
    sl_fill_rows(tokens, 64, 1, m, 1, 0.0f);
    sl_scan_column(64, 1, 1, F, d);
    // kF = k * F
    for (int64_t row = 0; row < 64; ++row) {
      const sl_f32 F_all = sl_set(*(F + row));
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(kF + row * 64 + column, sl_mul(sl_load(k + row * 64 + column), F_all));
      }
    }
    sl_scan_column(64, 0, 0, E, d);
    sl_decay_matrix(64, 0, W, 64, d);
    sl_transpose_tile(64, 64, kT, 64, k, 64);
    for (int64_t g = 0; g < group; ++g) {
      // q = scale * q_in
      for (int64_t row = 0; row < tokens; ++row) {
        const sl_f32 scale_all = sl_set(scale);
        const float *q_row = q_in + (64 * c + row) * q_token + g * q_head;
        for (int64_t column = 0; column < 64; column += SL_LANES) {
          sl_store(q + row * 64 + column, sl_mul(scale_all, sl_load(q_row + column)));
        }
      }
      sl_fill_rows(tokens, 64, 64, q, 64, 0.0f);
      // P = (q k^T) * W
      sl_multiply(64, 64, 4, 3, P, 64, q, 64, 1, kT, 64, 64, (sl_before){0});
      sl_weigh(64, 64, P, 64, W, 64);
      // q = q * E
      for (int64_t row = 0; row < 64; ++row) {
        const sl_f32 E_all = sl_set(*(E + row));
        for (int64_t column = 0; column < 64; column += SL_LANES) {
          sl_store(q + row * 64 + column, sl_mul(sl_load(q + row * 64 + column), E_all));
        }
      }
      for (int64_t r = 0; r < 1; ++r) {
        // O = q S + P v
        sl_multiply(64, 64, 4, 3, O, 64, q + (64 * r) * 64, 64, 1, S, 64, 64, (sl_before){0});
        sl_multiply(
            64, 64, 4, 3, O, 64, P + (64 * r) * 64, 64, 1, v, 64, 64 * r + 64,
            (sl_before){1, {NULL, NULL}, {NULL, NULL}});
        // skip = D_in * v_in
        {
          const int64_t rows = sl_greatest(0, sl_least(64, length - (64 * c + 64 * r)));
          for (int64_t row = 0; row < rows; ++row) {
            const sl_f32 D_all = sl_set(D_in[0]);
            const float *v_row = v_in + (64 * c + 64 * r + row) * v_token;
            for (int64_t column = 0; column < 64; column += SL_LANES) {
              sl_store(skip + row * 64 + column, sl_mul(D_all, sl_load(v_row + column)));
            }
          }
          sl_fill_rows(rows, 64, 64, skip, 64, 0.0f);
        }
        // O = O + skip
        for (int64_t row = 0; row < 64; ++row) {
          for (int64_t column = 0; column < 64; column += SL_LANES) {
            sl_store(
                O + row * 64 + column,
                sl_add(sl_load(O + row * 64 + column), sl_load(skip + row * 64 + column)));
          }
        }
        sl_store_rows_f32(
            sl_least(64, length - (64 * c + 64 * r)), 64, o_in + (64 * c + 64 * r) * o_token + g * o_head,
            o_token, O, 64, 64, streams);
      }
    }
    // S = diag(decay of the chunk) S + k^T v
    sl_decay_total_column(64, T_chunk_slope, T_chunk_base, d, m);
    // T_chunk_slope_row = T_chunk_slope
    {
      const sl_f32 T_chunk_slope_all = sl_set(T_chunk_slope[0]);
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(T_chunk_slope_row + column, T_chunk_slope_all);
      }
    }
    // T_chunk_base_row = T_chunk_base
    {
      const sl_f32 T_chunk_base_all = sl_set(T_chunk_base[0]);
      for (int64_t column = 0; column < 64; column += SL_LANES) {
        sl_store(T_chunk_base_row + column, T_chunk_base_all);
      }
    }
    sl_multiply(
        64, 64, 4, 3, S, 64, kF, 1, 64, v, 64, 64,
        (sl_before){1, {T_chunk_slope_row, T_chunk_base_row}, {NULL, NULL}});
  }
}

// ---- The entries -------------------------------------------------------------------------------

// 0, or what is wrong with the sizes.
static int32_t check_sizes(const arguments *args) {
  if (!args) return 2;
  if (args->abi != 1 || args->size != sizeof *args) return 1;
  if (args->batch < 0 || args->length < 0 || args->heads < 1) return 3;
  if (args->query_heads < 1 || args->query_heads % args->heads) return 3;
  int64_t elements = args->batch;
  if (__builtin_mul_overflow(elements, args->length + 1, &elements) ||
      __builtin_mul_overflow(elements, args->query_heads, &elements) ||
      __builtin_mul_overflow(elements, 4160, &elements))
    return 3;
  if (args->layout < 0 || args->layout > 1 || args->threads < 0) return 7;
  if (args->cu_seqlens) {
    if (args->batch != 1 || args->sequences < 1) return 4;
    if (args->cu_seqlens[0] || args->cu_seqlens[args->sequences] != args->length) return 4;
    for (int64_t n = 0; n < args->sequences; ++n)
      if (args->cu_seqlens[n] > args->cu_seqlens[n + 1]) return 4;
  }
  return 0;
}

SL_EXPORT int64_t mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_workspace_size(const arguments *args) {
  const int32_t problem = check_sizes(args);
  if (problem) return -problem;
  const int64_t states = slots_of(args) * args->heads * 4160;
  return threads_of(args) * scratch_bytes + states * (int64_t)sizeof(float);
}

// 0, or what is wrong with the pointers.
static int32_t check_pointers(const arguments *args) {
  if (args->batch * args->length > 0 && (!args->q || !args->k || !args->v || !args->dt || !args->o)) return 2;
  if (!args->A_log || !args->dt_bias || !args->D) return 2;
  if (!args->workspace) return 2;
  if ((int64_t)args->workspace_size < mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_workspace_size(args)) return 5;
  uintptr_t halves = 0, words = (uintptr_t)args->initial_state;
  words |= (uintptr_t)args->final_state;
  words |= (uintptr_t)args->q;
  words |= (uintptr_t)args->k;
  words |= (uintptr_t)args->v;
  words |= (uintptr_t)args->dt;
  words |= (uintptr_t)args->A_log;
  words |= (uintptr_t)args->dt_bias;
  words |= (uintptr_t)args->D;
  words |= (uintptr_t)args->o;
  if (words % 4 || halves % 2 || (uintptr_t)args->workspace % 64) return 6;
  return 0;
}

// One thread's part: of every phase the items that it is dealt. Workers of one phase do
// not see each other, so which thread takes an item changes no bit.
static void run(const arguments *args, int64_t thread, int is_team) {
  char *scratch = (char *)args->workspace + thread * scratch_bytes;
  const uint64_t mode = sl_flush_denormals_begin();
  // Padding is read with the rest: it must hold numbers.
  memset(scratch, 0, scratch_bytes);
  const int64_t summarize_items = sequences_of(args) * args->heads * 4;
#ifdef _OPENMP
  if (is_team) {
#pragma omp for schedule(dynamic, 1)
    for (int64_t item = 0; item < summarize_items; ++item) summarize(args, item, scratch);
  } else
#endif
    for (int64_t item = 0; item < summarize_items; ++item) summarize(args, item, scratch);
  // What is padding now held the last phase's tiles, of any head.
  memset(scratch, 0, scratch_bytes);
  const int64_t combine_items = sequences_of(args) * args->heads;
#ifdef _OPENMP
  if (is_team) {
#pragma omp for schedule(dynamic, 1)
    for (int64_t item = 0; item < combine_items; ++item) combine(args, item, scratch);
  } else
#endif
    for (int64_t item = 0; item < combine_items; ++item) combine(args, item, scratch);
  // What is padding now held the last phase's tiles, of any head.
  memset(scratch, 0, scratch_bytes);
  const int64_t walk_items = sequences_of(args) * args->heads * 4;
#ifdef _OPENMP
  if (is_team) {
#pragma omp for schedule(dynamic, 1)
    for (int64_t item = 0; item < walk_items; ++item) walk(args, item, scratch);
  } else
#endif
    for (int64_t item = 0; item < walk_items; ++item) walk(args, item, scratch);
  sl_stream_end();
  (void)is_team;
  sl_flush_denormals_end(mode);
}

SL_EXPORT int32_t mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_forward(const arguments *args) {
  int32_t problem = check_sizes(args);
  if (!problem) problem = check_pointers(args);
  if (problem) return problem;
#ifdef _OPENMP
  const int64_t threads = threads_of(args);
  if (threads > 1) {
#pragma omp parallel num_threads((int)threads)
    run(args, omp_get_thread_num(), 1);
    return 0;
  }
#endif
  run(args, 0, 0);
  return 0;
}

SL_EXPORT const char *mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_manifest(void) {
  return
      "{\"abi\":1,\"gateClass\":\"scalar per token\",\"gateType\":\"f32\",\"inputs\":[{\"axes\":1,"
      "\"domain\":[\"-inf\",\"inf\"],\"name\":\"q\",\"role\":\"query\",\"size\":64,\"summary\":\"C:"
      " reads the state\",\"type\":\"f32\"},{\"axes\":1,\"domain\":[\"-inf\",\"inf\"],\"name\":\"k"
      "\",\"role\":\"operand\",\"size\":64,\"summary\":\"B: writes the state\",\"type\":\"f32\"},{"
      "\"axes\":2,\"domain\":[\"-inf\",\"inf\"],\"name\":\"v\",\"role\":\"operand\",\"size\":64,\"s"
      "ummary\":\"x: the layer's input\",\"type\":\"f32\"},{\"axes\":0,\"domain\":[\"-1.79769313486"
      "23157e+308\",\"1.7976931348623157e+308\"],\"name\":\"dt\",\"role\":\"gate\",\"size\":1,\"sum"
      "mary\":\"step size before its softplus\",\"type\":\"f32\"},{\"axes\":0,\"domain\":[\"-80.0\""
      ",\"80.0\"],\"name\":\"A_log\",\"role\":\"parameter\",\"size\":1,\"summary\":\"log of the dec"
      "ay rate of a head\",\"type\":\"f32\"},{\"axes\":0,\"domain\":[\"-1.7976931348623157e+308\","
      "\"1.7976931348623157e+308\"],\"name\":\"dt_bias\",\"role\":\"parameter\",\"size\":1,\"summar"
      "y\":\"added to dt\",\"type\":\"f32\"},{\"axes\":0,\"domain\":[\"-1.7976931348623157e+308\","
      "\"1.7976931348623157e+308\"],\"name\":\"D\",\"role\":\"parameter\",\"size\":1,\"summary\":\""
      "weight of the skip from x to the output\",\"type\":\"f32\"}],\"key\":64,\"name\":\"mamba2_k6"
      "4_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4\",\"plan\":{\"chunk\":64,\"keyTile\":64"
      ",\"materialization\":{\"segments\":{\"_0\":4}},\"products\":\"f32\",\"schedule\":\"segmented"
      "\",\"subBlock\":64,\"threads\":4,\"valueTile\":64},\"recurrence\":{\"defaultScale\":\"one\","
      "\"inputs\":[{\"axes\":1,\"domain\":[\"-inf\",\"inf\"],\"name\":\"q\",\"role\":\"query\",\"su"
      "mmary\":\"C: reads the state\"},{\"axes\":1,\"domain\":[\"-inf\",\"inf\"],\"name\":\"k\",\"r"
      "ole\":\"operand\",\"summary\":\"B: writes the state\"},{\"axes\":2,\"domain\":[\"-inf\",\"in"
      "f\"],\"name\":\"v\",\"role\":\"operand\",\"summary\":\"x: the layer's input\"},{\"axes\":0,"
      "\"domain\":[\"-1.7976931348623157e+308\",\"1.7976931348623157e+308\"],\"name\":\"dt\",\"role"
      "\":\"gate\",\"summary\":\"step size before its softplus\"},{\"axes\":0,\"domain\":[\"-80.0\""
      ",\"80.0\"],\"name\":\"A_log\",\"role\":\"parameter\",\"summary\":\"log of the decay rate of "
      "a head\"},{\"axes\":0,\"domain\":[\"-1.7976931348623157e+308\",\"1.7976931348623157e+308\"],"
      "\"name\":\"dt_bias\",\"role\":\"parameter\",\"summary\":\"added to dt\"},{\"axes\":0,\"domai"
      "n\":[\"-1.7976931348623157e+308\",\"1.7976931348623157e+308\"],\"name\":\"D\",\"role\":\"par"
      "ameter\",\"summary\":\"weight of the skip from x to the output\"}],\"name\":\"mamba2\",\"out"
      "put\":{\"binary\":{\"_0\":\"add\",\"_1\":{\"binary\":{\"_0\":\"multiply\",\"_1\":{\"input\":"
      "{\"_0\":\"scale\",\"_1\":0}},\"_2\":{\"sum\":{\"_0\":1,\"_1\":{\"binary\":{\"_0\":\"multiply"
      "\",\"_1\":{\"input\":{\"_0\":\"q\",\"_1\":1}},\"_2\":{\"state\":{\"_0\":\"S\",\"_1\":3,\"pre"
      "vious\":false}}}}}}}},\"_2\":{\"binary\":{\"_0\":\"multiply\",\"_1\":{\"input\":{\"_0\":\"D"
      "\",\"_1\":0}},\"_2\":{\"input\":{\"_0\":\"v\",\"_1\":2}}}}}},\"problems\":[],\"states\":[{\""
      "axes\":3,\"name\":\"S\",\"update\":{\"binary\":{\"_0\":\"add\",\"_1\":{\"binary\":{\"_0\":\""
      "multiply\",\"_1\":{\"unary\":{\"_0\":\"exp\",\"_1\":{\"binary\":{\"_0\":\"multiply\",\"_1\":"
      "{\"unary\":{\"_0\":\"negate\",\"_1\":{\"unary\":{\"_0\":\"exp\",\"_1\":{\"input\":{\"_0\":\""
      "A_log\",\"_1\":0}}}}}},\"_2\":{\"unary\":{\"_0\":\"softplus\",\"_1\":{\"binary\":{\"_0\":\"a"
      "dd\",\"_1\":{\"input\":{\"_0\":\"dt\",\"_1\":0}},\"_2\":{\"input\":{\"_0\":\"dt_bias\",\"_1"
      "\":0}}}}}}}}}},\"_2\":{\"state\":{\"_0\":\"S\",\"_1\":3,\"previous\":true}}}},\"_2\":{\"bina"
      "ry\":{\"_0\":\"multiply\",\"_1\":{\"binary\":{\"_0\":\"multiply\",\"_1\":{\"unary\":{\"_0\":"
      "\"softplus\",\"_1\":{\"binary\":{\"_0\":\"add\",\"_1\":{\"input\":{\"_0\":\"dt\",\"_1\":0}},"
      "\"_2\":{\"input\":{\"_0\":\"dt_bias\",\"_1\":0}}}}}},\"_2\":{\"input\":{\"_0\":\"k\",\"_1\":"
      "1}}}},\"_2\":{\"input\":{\"_0\":\"v\",\"_1\":2}}}}}}}],\"summary\":\"Mamba-2 (SSD): A_log, d"
      "t_bias, softplus and the D skip fused\"},\"sluice\":\"0.1.0\",\"stateColumns\":64,\"target\""
      ":\"avx2\",\"type\":\"f32\",\"value\":64}";
}

// For programs that load one library at a time.
SL_EXPORT int32_t sluice_forward(const arguments *args)
    __attribute__((weak, alias("mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_forward")));
SL_EXPORT int64_t sluice_workspace_size(const arguments *args)
    __attribute__((weak, alias("mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_workspace_size")));
SL_EXPORT const char *sluice_manifest(void)
    __attribute__((weak, alias("mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_manifest")));
