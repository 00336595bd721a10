// gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1.c: do not edit. Made by
//   sluice generate gla --key-dim 128 --value-dim 128 --dtype f32 --gate-dtype f32 --target avx512 --schedule register-recurrent --chunk 16 --sub-block 16 --key-tile 128 --head-tile 4 --value-tile 128 --materialization none --threads 1 --products f32
//
// gla: vector along key
//   query      scale * q
//   key        k
//   value      v
//   key decay  exp(g)
//   read-out   after the write
//
// schedule         register-recurrent
// chunk            16
// sub-block        16
// key-tile         128
// value-tile       128
// head-tile        4
// materialization  none
// threads          1
// products         f32
// target           avx512

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

// ---- avx512.h ----------------------------------------------------------------------------------

// The instruction vocabulary for AVX-512 (F, BW, DQ, VL) with FMA: sixteen
// lanes. generic.h defines what each word means. With avx512_bf16 the products
// of bf16 pairs are one instruction (SL_HAS_DOT2).
#ifndef SL_AVX512_H
#define SL_AVX512_H

// Pasted into a source, many words are unused.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SL_LANES 16

typedef __m512 sl_f32;

// ---- Constants, lanes, memory ----

// Every lane 0.
static inline sl_f32 sl_zero(void) { return _mm512_setzero_ps(); }

// Every lane x.
static inline sl_f32 sl_set(float x) { return _mm512_set1_ps(x); }

// Lane 0.
static inline float sl_first(sl_f32 v) { return _mm512_cvtss_f32(v); }

// The mask of the first n lanes, for any n.
static inline __mmask16 sl_avx512_mask(int64_t n) {
  uint32_t count = n <= 0 ? 0 : n >= 16 ? 16 : (uint32_t)n;
  return (__mmask16)((1u << count) - 1);
}

// Lane i is p[i].
static inline sl_f32 sl_load(const float *p) { return _mm512_loadu_ps(p); }

// Lane i is i < n ? p[i] : 0.
static inline sl_f32 sl_load_n(const float *p, int64_t n) {
  return _mm512_maskz_loadu_ps(sl_avx512_mask(n), p);
}

// p[i] = lane i.
static inline void sl_store(float *p, sl_f32 v) { _mm512_storeu_ps(p, v); }

// p[i] = lane i for i < n.
static inline void sl_store_n(float *p, sl_f32 v, int64_t n) {
  _mm512_mask_storeu_ps(p, sl_avx512_mask(n), v);
}

// sl_store past the caches where p is aligned to 64 bytes.
static inline void sl_stream(float *p, sl_f32 v) {
  if (((uintptr_t)p & 63) == 0)
    _mm512_stream_ps(p, v);
  else
    _mm512_storeu_ps(p, v);
}

// ---- Arithmetic, lane by lane ----

// a + b
static inline sl_f32 sl_add(sl_f32 a, sl_f32 b) { return _mm512_add_ps(a, b); }

// a - b
static inline sl_f32 sl_sub(sl_f32 a, sl_f32 b) { return _mm512_sub_ps(a, b); }

// a * b
static inline sl_f32 sl_mul(sl_f32 a, sl_f32 b) { return _mm512_mul_ps(a, b); }

// a / b
static inline sl_f32 sl_div(sl_f32 a, sl_f32 b) { return _mm512_div_ps(a, b); }

#define SL_HAVE_INVERSE
// 1 / x for x in [2^-64, 2^64], error below 3 ulp: fourteen bits, doubled by a
// step of Newton's.
static inline sl_f32 sl_inverse(sl_f32 x) {
  const sl_f32 y = _mm512_rcp14_ps(x);
  return _mm512_mul_ps(y, _mm512_fnmadd_ps(x, y, _mm512_set1_ps(2.0f)));
}

// a * b + c
static inline sl_f32 sl_fma(sl_f32 a, sl_f32 b, sl_f32 c) { return _mm512_fmadd_ps(a, b, c); }

// c - a * b
static inline sl_f32 sl_nfma(sl_f32 a, sl_f32 b, sl_f32 c) { return _mm512_fnmadd_ps(a, b, c); }

// a < b ? x : y
static inline sl_f32 sl_less(sl_f32 a, sl_f32 b, sl_f32 x, sl_f32 y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}

// a < b ? a : b
static inline sl_f32 sl_min(sl_f32 a, sl_f32 b) { return _mm512_min_ps(a, b); }

// b < a ? a : b
static inline sl_f32 sl_max(sl_f32 a, sl_f32 b) { return _mm512_max_ps(a, b); }

// The sign flipped.
static inline sl_f32 sl_neg(sl_f32 a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }

// The sign cleared.
static inline sl_f32 sl_abs(sl_f32 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }

// The square root.
static inline sl_f32 sl_sqrt(sl_f32 a) { return _mm512_sqrt_ps(a); }

// The largest integer that is not above a.
static inline sl_f32 sl_floor(sl_f32 a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

// ---- Across lanes ----

// The sum of the lanes: upper half onto lower half until one is left.
static inline float sl_sum(sl_f32 v) {
  __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

// The greatest lane.
static inline float sl_max_across(sl_f32 v) {
  __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

// One level of sl_sum_rows each: fold the halves of a and of b, a first.
static inline sl_f32 sl_avx512_fold8(sl_f32 a, sl_f32 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
static inline sl_f32 sl_avx512_fold4(sl_f32 a, sl_f32 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
static inline sl_f32 sl_avx512_fold2(sl_f32 a, sl_f32 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
}
static inline sl_f32 sl_avx512_fold1(sl_f32 a, sl_f32 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}

// Rows r, r + 4, r + 8, r + 12 folded to four lanes each.
static inline sl_f32 sl_avx512_fold_four(const sl_f32 *v) {
  return sl_avx512_fold4(sl_avx512_fold8(v[0], v[4]), sl_avx512_fold8(v[8], v[12]));
}

// Lane i is sl_sum(v[i]).
static inline sl_f32 sl_sum_rows(const sl_f32 v[SL_LANES]) {
  sl_f32 a = sl_avx512_fold2(sl_avx512_fold_four(v), sl_avx512_fold_four(v + 1));
  sl_f32 b = sl_avx512_fold2(sl_avx512_fold_four(v + 2), sl_avx512_fold_four(v + 3));
  return sl_avx512_fold1(a, b);
}

// Rows r, r + 4, r + 8, r + 12 of four columns, as the blocks of one vector.
static inline sl_f32 sl_avx512_gather4(const float *p, int64_t stride) {
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
  v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * stride), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * stride), 2);
  return _mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * stride), 3);
}

// dst[j * dst_stride + i] = src[i * src_stride + j].
static inline void sl_transpose(const float *src, int64_t src_stride, float *dst,
                                int64_t dst_stride) {
  sl_f32 out[16];
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++) {  // four columns of src: 4x4 within each block
    const float *p = src + 4 * c;
    __m512 r0 = sl_avx512_gather4(p, src_stride);
    __m512 r1 = sl_avx512_gather4(p + src_stride, src_stride);
    __m512 r2 = sl_avx512_gather4(p + 2 * src_stride, src_stride);
    __m512 r3 = sl_avx512_gather4(p + 3 * src_stride, src_stride);
    __m512 a = _mm512_unpacklo_ps(r0, r1), b = _mm512_unpacklo_ps(r2, r3);
    __m512 d = _mm512_unpackhi_ps(r0, r1), e = _mm512_unpackhi_ps(r2, r3);
    out[4 * c] = _mm512_shuffle_ps(a, b, 0x44);
    out[4 * c + 1] = _mm512_shuffle_ps(a, b, 0xee);
    out[4 * c + 2] = _mm512_shuffle_ps(d, e, 0x44);
    out[4 * c + 3] = _mm512_shuffle_ps(d, e, 0xee);
  }
#pragma GCC unroll 16
  for (int j = 0; j < 16; j++) sl_store(dst + j * dst_stride, out[j]);
}

// ---- bf16 and f16 in memory ----

static inline sl_f32 sl_avx512_from_bf16(__m256i h) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline __m256i sl_avx512_to_bf16(sl_f32 v) {
#ifdef __AVX512BF16__
  return (__m256i)_mm512_cvtneps_pbh(v);
#else
  __m512i u = _mm512_castps_si512(v), high = _mm512_srli_epi32(u, 16);
  __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, odd), _mm512_set1_epi32(0x7fff));
  __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
  __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  r = _mm512_mask_mov_epi32(_mm512_srli_epi32(r, 16), is_nan, quiet);
  return _mm512_cvtepi32_epi16(r);
#endif
}

// Lane i is the bf16 p[i].
static inline sl_f32 sl_load_bf16(const uint16_t *p) {
  return sl_avx512_from_bf16(_mm256_loadu_si256((const __m256i_u *)p));
}

// Lane i is i < n ? the bf16 p[i] : 0.
static inline sl_f32 sl_load_bf16_n(const uint16_t *p, int64_t n) {
  return sl_avx512_from_bf16(_mm256_maskz_loadu_epi16(sl_avx512_mask(n), p));
}

// p[i] = lane i as bf16.
static inline void sl_store_bf16(uint16_t *p, sl_f32 v) {
  _mm256_storeu_si256((__m256i_u *)p, sl_avx512_to_bf16(v));
}

// p[i] = lane i as bf16 for i < n. One lane is stored by itself: clang 22 makes of a masked store of
// one narrowed lane a store of four bytes.
static inline void sl_store_bf16_n(uint16_t *p, sl_f32 v, int64_t n) {
  const __m256i narrow = sl_avx512_to_bf16(v);
  if (n == 1)
    *p = (uint16_t)_mm256_extract_epi16(narrow, 0);
  else
    _mm256_mask_storeu_epi16(p, sl_avx512_mask(n), narrow);
}

// Lane i is the f16 p[i].
static inline sl_f32 sl_load_f16(const uint16_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)p));
}

// Lane i is i < n ? the f16 p[i] : 0.
static inline sl_f32 sl_load_f16_n(const uint16_t *p, int64_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(sl_avx512_mask(n), p));
}

// p[i] = lane i as f16.
static inline void sl_store_f16(uint16_t *p, sl_f32 v) {
  _mm256_storeu_si256((__m256i_u *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

// p[i] = lane i as f16 for i < n.
static inline void sl_store_f16_n(uint16_t *p, sl_f32 v, int64_t n) {
  _mm256_mask_storeu_epi16(p, sl_avx512_mask(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

// ---- bf16 pairs: overrides of common.h ----

#ifdef __AVX512BF16__
#define SL_HAS_DOT2 1

typedef __m512bh sl_pairs;

// Lane i holds the pair p[2i], p[2i + 1].
static inline sl_pairs sl_pairs_load(const uint16_t *p) {
  return (sl_pairs)_mm512_loadu_si512(p);
}

// p[2i], p[2i + 1] = the pair in lane i.
static inline void sl_pairs_store(uint16_t *p, sl_pairs v) {
  _mm512_storeu_si512(p, (__m512i)v);
}

// Every lane holds the pair two[0], two[1].
static inline sl_pairs sl_pairs_set(const uint16_t two[2]) {
  int32_t both;
  memcpy(&both, two, sizeof both);
  return (sl_pairs)_mm512_set1_epi32(both);
}

// Lane i holds even[i] and odd[i], each rounded to bf16.
static inline sl_pairs sl_pairs_zip(sl_f32 even, sl_f32 odd) {
  const __m512i order = _mm512_set_epi32(
      0x001f000f, 0x001e000e, 0x001d000d, 0x001c000c, 0x001b000b, 0x001a000a, 0x00190009,
      0x00180008, 0x00170007, 0x00160006, 0x00150005, 0x00140004, 0x00130003, 0x00120002,
      0x00110001, 0x00100000);
  return (sl_pairs)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

// acc + a.even * b.even + a.odd * b.odd
static inline sl_f32 sl_dot2(sl_f32 acc, sl_pairs a, sl_pairs b) {
  return _mm512_dpbf16_ps(acc, a, b);
}
#endif

// ---- Powers of two: overrides of common.h ----

#define SL_HAVE_SCALE2 1
#define SL_HAVE_EXP2 1

// x * 2^n for integral n.
static inline sl_f32 sl_scale2(sl_f32 x, sl_f32 n) { return _mm512_scalef_ps(x, n); }

// 2^x, error below 1.6 ulp, limits as in common.h: 2^(x - floor x) as a
// polynomial that is exact at 0, scaled by the floor.
static inline sl_f32 sl_exp2(sl_f32 x) {
  sl_f32 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  sl_f32 p = _mm512_set1_ps(0x1.c4456ep-13f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.47373ap-10f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.3cfd82p-7f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c68af6p-5f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebfd3ap-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e42cp-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(kept, p, x);
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

// ---- recurrence.h ------------------------------------------------------------------------------

// The recurrence token by token, written once on tiles.h and the words of any
// vocabulary: a piece of the state in registers over a block of tokens, the
// block's decays folded into queries and keys.
#ifndef SL_RECURRENCE_H
#define SL_RECURRENCE_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// ---- Decays folded into operands ----

// A vector of keys while a block's decays are folded into it, token by token.
typedef struct {
  sl_f32 start;    // the product before the block
  sl_f32 product;  // of the decays so far
  sl_f32 gone;     // start - product, as a sum
  sl_f32 largest;  // of the magnitudes of folded keys so far
  sl_f32 squares;  // the largest of the decays' logarithms', where sl_fold_near took them
} sl_folding;

SL_INLINE sl_folding sl_fold_begin(sl_f32 start) {
  return (sl_folding){start, start, sl_zero(), sl_zero(), sl_zero()};
}

// A token's key over the product of decays up to its own.
SL_INLINE void sl_fold_key(sl_folding *x, float *folded, sl_f32 key) {
  const sl_f32 quotient = sl_mul(key, sl_inverse(x->product));
  sl_store(folded, quotient);
  x->largest = sl_max(x->largest, sl_abs(quotient));
}

// The next token: its key over the product of decays; taken is 1 - decay. Returns the
// product by which its query reads, before its own decay when `before`.
SL_INLINE sl_f32 sl_fold_token(
    sl_folding *x, const int before, float *folded, sl_f32 key, sl_f32 decay, sl_f32 taken) {
  const sl_f32 past = x->product;
  x->gone = sl_fma(taken, past, x->gone);
  x->product = sl_mul(past, decay);
  sl_fold_key(x, folded, key);
  return before ? past : x->product;
}

// The same of a decay's logarithm, right while all are in [-ln 2, 0]: the product goes
// on by what the decay takes away, and no decay is rounded.
SL_INLINE sl_f32 sl_fold_near(
    sl_folding *x, const int before, float *folded, sl_f32 key, sl_f32 log) {
  const sl_f32 past = x->product, change = sl_exp_less_one_near(log);
  x->squares = sl_max(x->squares, sl_mul(log, log));
  x->gone = sl_nfma(change, past, x->gone);
  x->product = sl_fma(change, past, past);
  sl_fold_key(x, folded, key);
  return before ? past : x->product;
}

// Whether decays are so near to one, of the squares of their logarithms.
SL_INLINE int sl_fold_is_near(sl_f32 squares) {
  const sl_f32 bound = sl_set(0x1.ebfbep-2f);  // the square of ln 2
  return sl_sum(sl_less(bound, squares, sl_set(1.0f), sl_zero())) == 0.0f;
}

// After the last token of a block that began at one: the product as a factor, and for
// each of the first `count` keys of the vector whether it must stay exact, which is
// returned too.
SL_INLINE sl_f32 sl_fold_end(
    const sl_folding x, float *slope, float *base, float *exact, int64_t count) {
  const sl_f32 one = sl_set(1.0f);
  const sl_f32 small = sl_less(x.largest, sl_set(0x1p64f), one, sl_zero());
  const sl_f32 folds = sl_less(sl_set(0x1p-32f), x.product, small, sl_zero());
  sl_store_factor(slope, base, x.product, x.gone);
  sl_store_n(exact, sl_sub(one, folds), count);
  return sl_load_n(exact, count);
}

// The product E of the decays since the state was last scaled, of every key, from
// block to block: the state in memory is the true one over E.
typedef struct {
  float *slope;  // E as a factor
  float *base;
  float *begin_slope;  // out: what the state is scaled by before the block, mostly one
  float *begin_base;
} sl_carried;

// E as a number.
SL_INLINE sl_f32 sl_fold_start(const sl_carried past, const int64_t j, int64_t count) {
  return sl_add(sl_load_n(past.slope + j, count), sl_load_n(past.base + j, count));
}

// After the last token of a block that began at a carried E: which of the keys must
// stay exact, as above; the new E goes to slope and base, as a factor, and *due becomes
// positive in a lane whose E is small. Above 1/2, E is what all its decays took from
// one, and below it what the block's took from the last E, where that is little: a
// constant decay, rounded the same way at every token, must not add up.
SL_INLINE sl_f32 sl_fold_end_carried(
    const sl_folding x, float *slope, float *base, float *exact, const sl_carried past, int64_t j,
    sl_f32 *due, int64_t count) {
  const sl_f32 one = sl_set(1.0f), half = sl_set(0.5f);
  const sl_f32 failures = sl_fold_end(x, slope + j, base + j, exact + j, count);
  const sl_f32 near = sl_load_n(past.base + j, count);
  const sl_f32 gone = sl_sub(x.gone, sl_load_n(past.slope + j, count));
  const sl_f32 slow = sl_sub(x.start, x.gone);
  const sl_f32 left = sl_less(sl_add(x.product, x.product), x.start, x.product, slow);
  const sl_f32 is_near = sl_less(gone, half, near, sl_zero());
  sl_store(slope + j, sl_less(half, is_near, sl_neg(gone), left));
  sl_store(base + j, is_near);
  // No key has an E of zero but those past the last one.
  const sl_f32 is_key = sl_less(sl_zero(), x.start, one, sl_zero());
  *due = sl_less(sl_less(half, is_near, one, left), sl_set(0x1p-16f), is_key, *due);
  return failures;
}

// After a block whose keys all fold: E goes on to the next block, or, where it is due,
// the state is scaled by it at this one's end.
SL_INLINE void sl_fold_carry(
    const int columns, const sl_carried x, float *slope, float *base, sl_f32 due) {
  const int scales = sl_sum(due) != 0.0f;
  for (int j = 0; j < columns; j += SL_LANES) {
    const sl_f32 one = sl_set(1.0f), none = sl_zero();
    sl_store_n(x.slope + j, scales ? none : sl_load(slope + j), columns - j);
    sl_store_n(x.base + j, scales ? one : sl_load(base + j), columns - j);
    if (!scales) {
      sl_store(slope + j, none);
      sl_store(base + j, one);
    }
    sl_store(x.begin_slope + j, none);
    sl_store(x.begin_base + j, one);
  }
}

// Before a block that not all keys can be folded in: the state is scaled first.
SL_INLINE void sl_fold_settle(const int columns, const sl_carried x) {
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_store(x.begin_slope + j, sl_load_n(x.slope + j, columns - j));
    sl_store(x.begin_base + j, sl_load_n(x.base + j, columns - j));
    sl_store_n(x.slope + j, sl_zero(), columns - j);
    sl_store_n(x.base + j, sl_set(1.0f), columns - j);
  }
}

// Whether `count` factors are all one.
SL_INLINE int sl_are_one(const float *slope, const float *base, const int count) {
  int others = 0;
  for (int i = 0; i < count; ++i) others += (slope[i] != 0.0f) + (base[i] != 1.0f);
  return others == 0;
}

// Folds a block's decays into its operands, key by key. With E the running product
// of a key's decays: folded = k / E, reading = E (before the token's own when
// `before`), slope + base the last E as a factor. A key whose E comes near zero, or whose
// k / E comes near overflow, is left exact instead: folded = k, reading = 1, and
// step holds its decays, to be multiplied in at every token. Rows of d, taken,
// reading and step lie as far apart as those of k. Steps are written only where a
// key is exact. With `carried`, E goes on from the block before if all keys fold so.
SL_INLINE void sl_fold(
    const int rows, const int columns, const int before, float *folded, float *reading,
    float *step, float *slope, float *base, float *exact, const float *k, const float *d,
    const float *taken, const int64_t row, const sl_carried carried) {
  const sl_f32 one = sl_set(1.0f);
  for (int goes_on = carried.slope != NULL; goes_on >= 0; --goes_on) {
    sl_f32 failures = sl_zero(), due = sl_zero();
    for (int j = 0; j < columns; j += SL_LANES) {
      const int64_t count = columns - j;
      sl_folding x = sl_fold_begin(goes_on ? sl_fold_start(carried, j, count) : one);
      for (int i = 0; i < rows; ++i) {
        const int64_t at = i * row + j;
        const sl_f32 product = sl_fold_token(
            &x, before, folded + at, sl_load(k + at), sl_load(d + at), sl_load(taken + at));
        sl_store(reading + at, product);
      }
      const sl_f32 fails = goes_on
          ? sl_fold_end_carried(x, slope, base, exact, carried, j, &due, count)
          : sl_fold_end(x, slope + j, base + j, exact + j, count);
      failures = sl_add(failures, fails);
    }
    const int whole = sl_sum(failures) == 0.0f;
    if (whole && goes_on) sl_fold_carry(columns, carried, slope, base, due);
    if (whole) return;
    if (!goes_on) break;
    const int from_one = sl_are_one(carried.slope, carried.base, columns);
    sl_fold_settle(columns, carried);
    if (from_one) break;
  }
  for (int j = 0; j < columns; j += SL_LANES) {
    const sl_f32 half = sl_set(0.5f), stays = sl_load_n(exact + j, columns - j);
    for (int i = 0; i < rows; ++i) {
      const int64_t at = i * row + j;
      sl_store(folded + at, sl_less(half, stays, sl_load(k + at), sl_load(folded + at)));
      sl_store(reading + at, sl_less(half, stays, one, sl_load(reading + at)));
      sl_store(step + at, sl_less(half, stays, sl_load(d + at), one));
    }
    sl_store(slope + j, sl_less(half, stays, sl_zero(), sl_load(slope + j)));
    sl_store(base + j, sl_less(half, stays, one, sl_load(base + j)));
  }
}

// The same under one decay for all keys: all are folded, or none.
SL_INLINE void sl_fold_column(
    const int rows, const int columns, const int before, float *folded, float *reading,
    float *step, float *slope, float *base, float *exact, const float *k, const float *d,
    const float *taken, const int64_t row) {
  float product = 1.0f;
  sl_decay_total_column(rows, slope, base, d, taken);
  sl_f32 failures = sl_zero();
  for (int i = 0; i < rows; ++i) {
    const float past = product;
    product *= d[i];
    reading[i] = before ? past : product;
    const sl_f32 inverse = sl_set(1.0f / product);
    for (int j = 0; j < columns; j += SL_LANES) {
      const sl_f32 key = sl_mul(sl_load(k + i * row + j), inverse);
      sl_store(folded + i * row + j, key);
      const sl_f32 folds = sl_less(sl_abs(key), sl_set(0x1p64f), sl_zero(), sl_set(1.0f));
      failures = sl_add(failures, folds);
    }
  }
  *exact = product > 0x1p-32f && sl_sum(failures) == 0.0f ? 0.0f : 1.0f;
  if (*exact == 0.0f) return;
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; j += SL_LANES)
      sl_store(folded + i * row + j, sl_load(k + i * row + j));
    reading[i] = 1.0f;
    step[i] = d[i];
  }
  *slope = 0.0f;
  *base = 1.0f;
}

// ---- What is asked for ----

// Rows in memory that will be read soon.
typedef struct {
  const char *first;  // the first row
  int64_t step;       // bytes from one row to the next
  int64_t rows;       // how many there are; may be negative
  int64_t bytes;      // bytes of a row
} sl_ahead;

// What is asked for while a recurrence goes on: rows of each of `count` tensors,
// one of `parts` equal parts of them in every piece of the state.
typedef struct {
  const sl_ahead *rows;
  int count;
  uint32_t part;
  uint32_t parts;
} sl_asks;

// Most lines that one piece asks for.
enum { SL_ASKED = 64 };

// The lines of one piece's part of all tensors' rows, and `none` in place of such
// that are not there, until their number is a multiple of `groups`; returns it.
SL_INLINE int sl_asked_lines(
    const sl_asks asks, const int tokens, const int groups, const char *none,
    const char *asked[SL_ASKED]) {
  int count = 0;
  SL_UNROLL for (int n = 0; n < asks.count; ++n) {
    const sl_ahead ahead = asks.rows[n];
    const uint32_t lines = (uint32_t)(ahead.bytes + 63) / 64;
    const uint32_t all = (lines * (uint32_t)tokens + asks.parts - 1) / asks.parts;
    const uint32_t most = (uint32_t)(groups < SL_ASKED ? (SL_ASKED - groups) / asks.count : 0);
    const uint32_t every = all < most ? all : most;
    for (uint32_t m = 0; m < every; ++m) {
      const int64_t row = (asks.part * all + m) / lines, line = (asks.part * all + m) % lines;
      const int is_there = row < tokens && row < ahead.rows;
      asked[count + (int)m] = is_there ? ahead.first + row * ahead.step + line * 64 : none;
    }
    count += (int)every;
  }
  while (count % groups) asked[count++] = none;
  return count;
}

// ---- The recurrence ----

// The operands of a recurrence over a block of tokens. A decay of NULL is one.
typedef struct {
  float *o;  // output: tokens x columns
  int64_t o_row;
  float *out;  // where it goes instead once all keys are in, past the caches; or NULL
  int64_t out_row;
  float *s;  // state: keys x columns
  int64_t s_row;
  int keep;        // whether the state after the block takes its place
  const float *q;  // tokens x keys
  int64_t q_row;
  const float *k;  // tokens x keys
  int64_t k_row;
  const float *v;  // tokens x columns
  int64_t v_row;
  const float *d;  // decay of token t and key i at t * d_row + i * d_step
  int64_t d_row;
  int64_t d_step;
  const float *decays;  // at i * d_step: 0 where all decays of key i are one
  sl_factors dv;        // decay of token t and column j
  int64_t dv_row;
  sl_factors end;  // of key i at the end, at i * end_step
  int64_t end_step;
  sl_factors begin;  // of key i before the first token
  int begins;        // found out by sl_recur: whether any of these factors is not one
  int ends;
} sl_recurrence;

// sum += S^T q, of a piece's keys from i on.
SL_INLINE void sl_recur_read(
    const int keys, const int vectors, const sl_recurrence x, int64_t i, int64_t t, sl_f32 s[8][4],
    sl_f32 sum[4]) {
  SL_UNROLL for (int a = 0; a < keys; ++a) {
    const sl_f32 query = sl_set(x.q[t * x.q_row + i + a]);
    SL_UNROLL for (int b = 0; b < vectors; ++b) sum[b] = sl_fma(query, s[a][b], sum[b]);
  }
}

// One token: a piece of the state, `keys` rows (at most 8) by `vectors` vectors (at
// most 4) from row i and column j on,
//   S = d S dv + k v^T;  o (+)= S^T q        (in the other order when `before`)
// Of all pieces of these columns it is the `first`, the `last`, or neither.
SL_INLINE void sl_recur_token(
    const int keys, const int vectors, const int before, const int first, const int last,
    const int decays, const sl_recurrence x, int64_t i, int64_t j, int64_t t, sl_f32 s[8][4]) {
  sl_f32 value[4], sum[4];
  float *o = x.o + t * x.o_row + j;
  SL_UNROLL for (int b = 0; b < vectors; ++b) {
    value[b] = sl_load(x.v + t * x.v_row + j + b * SL_LANES);
    sum[b] = first ? sl_zero() : sl_load(o + b * SL_LANES);
  }
  if (before) sl_recur_read(keys, vectors, x, i, t, s, sum);
  SL_UNROLL for (int a = 0; a < keys; ++a) {
    const sl_f32 key = sl_set(x.k[t * x.k_row + i + a]);
    const sl_f32 decay = decays ? sl_set(x.d[t * x.d_row + (i + a) * x.d_step]) : sl_zero();
    SL_UNROLL for (int b = 0; b < vectors; ++b) {
      if (decays) s[a][b] = sl_mul(decay, s[a][b]);
      s[a][b] = sl_times_each(s[a][b], x.dv, t * x.dv_row + j + b * SL_LANES);
      s[a][b] = sl_fma(key, value[b], s[a][b]);
    }
  }
  if (!before) sl_recur_read(keys, vectors, x, i, t, s, sum);
  SL_UNROLL for (int b = 0; b < vectors; ++b) {
    if (last && x.out)
      sl_stream(x.out + t * x.out_row + j + b * SL_LANES, sum[b]);
    else
      sl_store(o + b * SL_LANES, sum[b]);
  }
}

// What token t asks for, as number u of a group of `group`: its share of the group's
// `count` lines and of the piece of the state that follows. A core has a dozen
// requests to the memory under way and no more, and what the next piece loads from
// the second cache needs some of them: requests in a row, however few, are waited for.
SL_INLINE void sl_recur_ask(
    const int tokens, const int keys, const int vectors, const int group, const char **asked,
    const int count, const float *next, int64_t s_row, const int t, const int u) {
  for (int n = u * count / group; n < (u + 1) * count / group; ++n) sl_prefetch(asked[n]);
  const int entries = keys * vectors;
  for (int n = t * entries / tokens; n < (t + 1) * entries / tokens; ++n)
    sl_prefetch(next + n / vectors * s_row + n % vectors * SL_LANES);
}

// A piece of the state stays in registers over all tokens, `unroll` of them, which
// divides `tokens`, written out in a row.
SL_INLINE void sl_recur_piece(
    const int tokens, const int keys, const int vectors, const int unroll, const int before,
    const int first, const int last, const int decays, const sl_recurrence x, int64_t i, int64_t j,
    const sl_asks asks) {
  sl_f32 s[8][4];
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b)
      s[a][b] = sl_load(x.s + (i + a) * x.s_row + j + b * SL_LANES);
  if (x.begins)
    SL_UNROLL for (int a = 0; a < keys; ++a)
      SL_UNROLL for (int b = 0; b < vectors; ++b)
        s[a][b] = sl_times_one(s[a][b], x.begin, i + a);
  const float *next = x.s + (i + keys) * x.s_row + j;
  const int groups = tokens / unroll;
  const char *asked[SL_ASKED];
  const int count = sl_asked_lines(asks, tokens, groups, (const char *)next, asked) / groups;
  for (int g = 0; g < groups; ++g)
    SL_UNROLL for (int u = 0; u < unroll; ++u) {
      const int t = g * unroll + u;
      sl_recur_ask(tokens, keys, vectors, unroll, asked + g * count, count, next, x.s_row, t, u);
      sl_recur_token(keys, vectors, before, first, last, decays, x, i, j, t, s);
    }
  if (!x.keep) return;
  if (x.ends) {
    const int near = sl_bases_are_one(x.end, keys, i, x.end_step);
    SL_UNROLL for (int a = 0; a < keys; ++a)
      SL_UNROLL for (int b = 0; b < vectors; ++b) {
        const int64_t end = (i + a) * x.end_step;
        if (near)
          s[a][b] = sl_fma(sl_set(x.end.slope[end]), s[a][b], s[a][b]);
        else
          s[a][b] = sl_times_one(s[a][b], x.end, end);
      }
  }
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b)
      sl_store(x.s + (i + a) * x.s_row + j + b * SL_LANES, s[a][b]);
}

// The same, without the decays where all of the piece's are one.
SL_INLINE void sl_recur_keys(
    const int tokens, const int keys, const int vectors, const int unroll, const int before,
    const int first, const int last, const sl_recurrence x, int64_t i, int64_t j,
    const sl_asks asks) {
  float decays = x.d && !x.decays ? 1.0f : 0.0f;
  if (x.decays)
    for (int a = 0; a < keys; ++a) decays += x.decays[(i + a) * x.d_step];
  if (decays != 0.0f)
    sl_recur_piece(tokens, keys, vectors, unroll, before, first, last, 1, x, i, j, asks);
  else
    sl_recur_piece(tokens, keys, vectors, unroll, before, first, last, 0, x, i, j, asks);
}

// All pieces of a panel of `vectors` vectors from column j on.
SL_INLINE void sl_recur_panel(
    const int tokens, const int keys, const int piece_keys, const int vectors, const int unroll,
    const int before, const sl_recurrence x, int64_t j, sl_asks asks) {
  const int last = keys % piece_keys ? keys % piece_keys : piece_keys;  // keys of the last one
  const int whole = keys - last;
  if (whole) sl_recur_keys(tokens, piece_keys, vectors, unroll, before, 1, 0, x, 0, j, asks);
  for (int64_t i = piece_keys; i < whole; i += piece_keys) {
    ++asks.part;
    sl_recur_keys(tokens, piece_keys, vectors, unroll, before, 0, 0, x, i, j, asks);
  }
  if (whole) ++asks.part;
  sl_recur_keys(tokens, last, vectors, unroll, before, !whole, 1, x, whole, j, asks);
}

// The recurrence over `tokens` tokens, in pieces of `piece_keys` keys by
// `piece_vectors` vectors, `unroll` tokens in a row; meanwhile the rows of `count`
// tensors are asked for.
SL_INLINE void sl_recur(
    const int tokens, const int keys, const int columns, const int piece_keys,
    const int piece_vectors, const int unroll, const int before, sl_recurrence x,
    const sl_ahead *rows, const int count) {
  x.begins = x.begin.slope && !sl_are_one(x.begin.slope, x.begin.base, keys);
  x.ends = x.end.slope && !(x.begin.slope && sl_are_one(x.end.slope, x.end.base, keys));
  const int vectors = SL_VECTORS(columns);
  const int rest = vectors % piece_vectors;
  const uint32_t pieces = (uint32_t)((keys + piece_keys - 1) / piece_keys);
  const uint32_t parts = pieces * (uint32_t)((vectors + piece_vectors - 1) / piece_vectors);
  sl_asks asks = {rows, count, 0, parts};
  int64_t j = 0;
  for (; j + piece_vectors * SL_LANES <= vectors * SL_LANES; j += piece_vectors * SL_LANES) {
    sl_recur_panel(tokens, keys, piece_keys, piece_vectors, unroll, before, x, j, asks);
    asks.part += pieces;
  }
  if (rest) sl_recur_panel(tokens, keys, piece_keys, rest, unroll, before, x, j, asks);
}

#pragma GCC diagnostic pop

#endif

// ---- The interface -----------------------------------------------------------------------------

#define SL_EXPORT __attribute__((visibility("default")))

// Arguments of the kernel. Token tensors are dense, [B, T, H, D] or [B, H, T, D];
// docs/abi.md of Sluice says the rest.
struct gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_args {
  uint32_t abi;   // 1
  uint32_t size;  // sizeof(struct gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_args)
  int64_t batch;
  int64_t length;       // tokens a batch row; of all packed sequences together
  int64_t query_heads;  // heads of q and o: a multiple of heads
  int64_t heads;        // heads of everything else
  int64_t sequences;    // packed sequences; 0 when there are none
  const int64_t *cu_seqlens;  // sequences + 1 offsets, or NULL
  int32_t threads;            // 0: 1
  int32_t layout;             // 0: [B, T, H, D]; 1: [B, H, T, D]
  float scale;
  uint32_t reserved;
  void *workspace;  // aligned to 64 bytes
  uint64_t workspace_size;
  const float *initial_state;  // [B or sequences, heads, 128, 128], or NULL for zero
  float *final_state;          // likewise, or NULL
  float *o;  // f32 [B, T, query heads, 128]
  const float *q;  // f32 [B, T, query heads, 128]: what a token asks for
  const float *k;  // f32 [B, T, heads, 128]: where a token writes
  const float *v;  // f32 [B, T, heads, 128]: what a token writes
  const float *g;  // f32 [B, T, heads, 128]: log decay, <= 0
};

typedef struct gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_args arguments;
int32_t gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_forward(const arguments *args);
int64_t gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_workspace_size(const arguments *args);
const char *gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_manifest(void);

// ---- The workspace -----------------------------------------------------------------------------

// Bytes of scratch memory a thread.
enum { scratch_bytes = 342784 };

static int64_t sequences_of(const arguments *args) {
  return args->cu_seqlens ? args->sequences : args->batch;
}

// Threads that the caller asks for.
static int64_t threads_of(const arguments *args) {
  return args->threads ? args->threads : 1;
}

// Walks, each of one worker.
static int64_t walks_of(const arguments *args) {
  return sequences_of(args) * ((args->heads + 3) / 4);
}

// How many of them, the last ones, go in stretches: threads would wait for each other at their
// end. Each has scratch memory of its own, behind the threads', which long sequences outweigh.
static int64_t shared_walks_of(const arguments *args) {
  const int64_t walks = walks_of(args), threads = threads_of(args);
  const int64_t rows = args->cu_seqlens ? args->sequences : 1;
  if (threads == 1 || walks <= threads || args->length / rows < 1024) return 0;
  return sl_least(walks, 2 * threads);
}

// A walk that goes in stretches: chunks that are done, all chunks, and who has it or had it last.
typedef struct {
  int64_t done, chunks, thread, is_taken;
} shared_walk;

// A stretch: of which walk (none: -1), and its chunks.
typedef struct {
  int64_t walk, from, to;
} stretch;

// ---- The kernel --------------------------------------------------------------------------------

// walk: one worker's share, or a stretch of it.
//
//   4 heads together, chunk by chunk, each with its own S:
//   S = the state before the sequence
//   for each block of 16 tokens:
//     E_t = the product of the decays since S was last scaled; then, for each key,
//     if E stays far from zero:   Q = q E,  K = k / E, and S is scaled by E at the end once it is small
//     otherwise, S scaled first:  Q = q,    K = k, and S is scaled by d_t at every token
//     for each token t:  S = S + K_t v_t^T;  o_t = S^T Q_t
//   S is scaled by what E is then
static void walk(
    const arguments *args, int64_t item, int64_t first_chunk, int64_t end_chunk, char *scratch) {
  const int64_t heads = args->heads;
  const int64_t head_tiles = (heads + 3) / 4;
  const int64_t sequence = item / head_tiles;
  const int64_t first_head = item % head_tiles * 4;
  const int64_t own_heads = sl_least(4, heads - first_head);
  const int64_t group = args->query_heads / args->heads;
  const int64_t batch_row = args->cu_seqlens ? 0 : sequence;
  const int64_t begin = args->cu_seqlens ? args->cu_seqlens[sequence] : 0;
  const int64_t end = args->cu_seqlens ? args->cu_seqlens[sequence + 1] : args->length;
  const int64_t length = end - begin;
  const int64_t chunks = (length + 15) / 16;
  const int64_t last_chunk = sl_least(end_chunk, chunks);
  const float scale = args->scale;
  const int64_t q_token = args->layout ? 128 : args->query_heads * 128;
  const int64_t q_head = args->layout ? args->length * 128 : 128;
  const int64_t k_token = args->layout ? 128 : heads * 128;
  const int64_t k_head = args->layout ? args->length * 128 : 128;
  const int64_t v_token = args->layout ? 128 : heads * 128;
  const int64_t v_head = args->layout ? args->length * 128 : 128;
  const int64_t g_token = args->layout ? 128 : heads * 128;
  const int64_t g_head = args->layout ? args->length * 128 : 128;
  const int64_t o_token = args->layout ? 128 : args->query_heads * 128;
  const int64_t o_head = args->layout ? args->length * 128 : 128;
  float *const S = (float *)(scratch + 0);  // 512 x 128: states of 4 heads
  float *const past_slope = (float *)(scratch + 262144);  // 512 x 1: E before the block, or E - 1 where base is 1: S is the state over it
  float *const past_base = (float *)(scratch + 264192);  // 512 x 1: 1 where that E is 1/2 or more, else 0
  float *const S_slope = (float *)(scratch + 266240);  // 1 x 128: what S is scaled by before the block, mostly one; less 1 where base is 1
  float *const S_base = (float *)(scratch + 266752);  // 1 x 128: 1 where that is 1/2 or more, else 0
  float *const k = (float *)(scratch + 267264);  // 16 x 128: keys of the block
  float *const v = (float *)(scratch + 275456);  // 16 x 128: values of the block
  float *const d = (float *)(scratch + 283648);  // 16 x 128: decays of the block
  float *const m = (float *)(scratch + 291840);  // 16 x 128: what they take away, 1 - d
  float *const kE = (float *)(scratch + 300032);  // 16 x 128: k / E, or k where decays are not folded
  float *const E = (float *)(scratch + 308224);  // 16 x 128: running products of the decays, or one where not folded
  float *const d_step = (float *)(scratch + 316416);  // 16 x 128: one, or the decays where they are not folded
  float *const T_slope = (float *)(scratch + 324608);  // 1 x 128: T, the product of the block's decays, or T - 1 where base is 1
  float *const T_base = (float *)(scratch + 325120);  // 1 x 128: 1 where T is 1/2 or more or not folded, else 0
  float *const exact = (float *)(scratch + 325632);  // 1 x 128: one where decays are not folded
  float *const q = (float *)(scratch + 326144);  // 16 x 128: queries of the block, scaled
  float *const O = (float *)(scratch + 334336);  // 16 x 128: outputs of the block

  if (first_chunk == 0) {
    for (int64_t h = 0; h < own_heads; ++h) {
      const int64_t head = first_head + h;
      const float *initial_state_in = args->initial_state
          ? args->initial_state + (sequence * heads + head) * 16384 : NULL;
      sl_load_matrix(128, 128, S + (128 * h) * 128, 128, initial_state_in, 128, 128);
      for (int64_t row = 0; row < 128; ++row) {
        *(past_slope + (128 * h) + row) = 0.0f;
      }
      for (int64_t row = 0; row < 128; ++row) {
        *(past_base + (128 * h) + row) = 1.0f;
      }
    }
  }
  for (int64_t c = first_chunk; c < last_chunk; ++c) {
    const int64_t tokens = sl_least(16, length - 16 * c);
    for (int64_t h = 0; h < own_heads; ++h) {
      const int64_t head = first_head + h;
      const float *q_in = (const float *)args->q + batch_row * args->length * args->query_heads * 128
          + begin * q_token + head * group * q_head;
      const float *k_in = (const float *)args->k + batch_row * args->length * heads * 128
          + begin * k_token + head * k_head;
      const float *v_in = (const float *)args->v + batch_row * args->length * heads * 128
          + begin * v_token + head * v_head;
      const float *g_in = (const float *)args->g + batch_row * args->length * heads * 128
          + begin * g_token + head * g_head;
      float *o_in = (float *)args->o + batch_row * args->length * args->query_heads * 128
          + begin * o_token + head * group * o_head;
      // the block's keys and values; past the sequence's end k = v = 0 and nothing decays
      // v = v_in
      for (int64_t row = 0; row < tokens; ++row) {
        const float *v_row = v_in + (16 * c + row) * v_token;
        for (int64_t column = 0; column < 128; column += SL_LANES) {
          sl_store(v + row * 128 + column, sl_load(v_row + column));
        }
      }
      sl_fill_rows(tokens, 16, 128, v, 128, 0.0f);
      // kE = k / E with k = k_in, and E the products of exp(g_in), while every key folds
      // q = scale * q_in * E with it, where one query head reads
      int folded_queries = 0;
      {
        int whole = 1;
        int near;
        {
          const float *g_row = g_in + (16 * c + 0) * g_token;
          const sl_f32 first = sl_load(g_row);
          near = sl_fold_is_near(sl_mul(first, first));
        }
        const sl_carried past = {past_slope + (128 * h), past_base + (128 * h), S_slope, S_base};
        sl_f32 due = sl_zero();
        for (int64_t column = 0; whole && column < 128; column += SL_LANES) {
          const sl_f32 start = sl_fold_start(past, column, SL_LANES);
          sl_folding fold = sl_fold_begin(start);
          if (near) {
            for (int64_t row = 0; row < tokens; ++row) {
              const float *k_row = k_in + (16 * c + row) * k_token;
              const float *g_row = g_in + (16 * c + row) * g_token;
              const sl_f32 reading = sl_fold_near(
                  &fold, 0, kE + row * 128 + column, sl_load(k_row + column), sl_load(g_row + column));
              if (group == 1) {
                const int64_t g = 0;
                const sl_f32 scale_all = sl_set(scale);
                const float *q_row = q_in + (16 * c + row) * q_token + g * q_head;
                sl_store(q + row * 128 + column, sl_mul(sl_mul(scale_all, sl_load(q_row + column)), reading));
              } else {
                sl_store(E + row * 128 + column, reading);
              }
            }
            near = sl_fold_is_near(fold.squares);
          }
          if (!near) {
            fold = sl_fold_begin(start);
            for (int64_t row = 0; row < tokens; ++row) {
              const float *k_row = k_in + (16 * c + row) * k_token;
              const float *g_row = g_in + (16 * c + row) * g_token;
              sl_f32 taken;
              const sl_f32 kept = sl_exp_both(sl_load(g_row + column), &taken);
              const sl_f32 reading = sl_fold_token(
                  &fold, 0, kE + row * 128 + column, sl_load(k_row + column), kept, taken);
              if (group == 1) {
                const int64_t g = 0;
                const sl_f32 scale_all = sl_set(scale);
                const float *q_row = q_in + (16 * c + row) * q_token + g * q_head;
                sl_store(q + row * 128 + column, sl_mul(sl_mul(scale_all, sl_load(q_row + column)), reading));
              } else {
                sl_store(E + row * 128 + column, reading);
              }
            }
          }
          for (int64_t row = tokens; row < 16; ++row) {
            const sl_f32 reading = sl_fold_token(
                &fold, 0, kE + row * 128 + column, sl_set(0.0f), sl_set(1.0f), sl_set(0.0f));
            if (group == 1) {
              sl_store(q + row * 128 + column, sl_set(0.0f));
            } else {
              sl_store(E + row * 128 + column, reading);
            }
          }
          const sl_f32 failures = sl_fold_end_carried(
              fold, T_slope, T_base, exact, past, column, &due, SL_LANES);
          whole = sl_sum(failures) == 0.0f;
        }
        if (whole) sl_fold_carry(128, past, T_slope, T_base, due);
        folded_queries = whole && group == 1;
        if (!whole) {
          // k = k_in
          for (int64_t row = 0; row < tokens; ++row) {
            const float *k_row = k_in + (16 * c + row) * k_token;
            for (int64_t column = 0; column < 128; column += SL_LANES) {
              sl_store(k + row * 128 + column, sl_load(k_row + column));
            }
          }
          sl_fill_rows(tokens, 16, 128, k, 128, 0.0f);
          // decays as factors in [0, 1], folded where their product stays far from zero
          // d = exp(g_in), m = 1 - d
          for (int64_t row = 0; row < tokens; ++row) {
            const float *g_row = g_in + (16 * c + row) * g_token;
            for (int64_t column = 0; column < 128; column += SL_LANES) {
              sl_f32 taken;
              const sl_f32 kept = sl_exp_both(sl_load(g_row + column), &taken);
              sl_store(d + row * 128 + column, kept);
              sl_store(m + row * 128 + column, taken);
            }
          }
          sl_fill_rows(tokens, 16, 128, d, 128, 1.0f);
          sl_fill_rows(tokens, 16, 128, m, 128, 0.0f);
          sl_fold(
              16, 128, 0, kE, E, d_step, T_slope, T_base, exact, k, d, m, 128,
              (sl_carried){past_slope + (128 * h), past_base + (128 * h), S_slope, S_base});
        }
      }
      for (int64_t g = 0; g < group; ++g) {
        if (!folded_queries) {
          // q = scale * q_in * E
          for (int64_t row = 0; row < tokens; ++row) {
            const sl_f32 scale_all = sl_set(scale);
            const float *q_row = q_in + (16 * c + row) * q_token + g * q_head;
            for (int64_t column = 0; column < 128; column += SL_LANES) {
              sl_store(
                  q + row * 128 + column,
                  sl_mul(sl_mul(scale_all, sl_load(q_row + column)), sl_load(E + row * 128 + column)));
            }
          }
          sl_fill_rows(tokens, 16, 128, q, 128, 0.0f);
        }
        {
          const sl_recurrence recurrence = {
            .o = O, .o_row = 128,
            .s = S + (128 * h) * 128, .s_row = 128, .keep = g + 1 == group,
            .q = q, .q_row = 128,
            .k = kE, .k_row = 128,
            .v = v, .v_row = 128,
            .d = d_step, .d_row = 128, .d_step = 1,
            .decays = exact,
            .end = {T_slope, T_base}, .end_step = 1,
            .begin = {S_slope, S_base},
          };
          const sl_ahead ahead[] = {
            {(const char *)(q_in + (16 * c + 16) * q_token + g * q_head), q_token * 4,
             length - (16 * c + 16), 128 * 4},
            {(const char *)(k_in + (16 * c + 16) * k_token), k_token * 4,
             length - (16 * c + 16), 128 * 4},
            {(const char *)(v_in + (16 * c + 16) * v_token), v_token * 4,
             length - (16 * c + 16), 128 * 4},
            {(const char *)(g_in + (16 * c + 16) * g_token), g_token * 4,
             length - (16 * c + 16), 128 * 4},
            {(const char *)(o_in + (16 * c) * o_token + g * o_head), o_token * 4,
             length - (16 * c), 128 * 4},
          };
          sl_recur(16, 128, 128, 4, 4, 8, 0, recurrence, ahead, 5);
        }
        sl_store_rows_f32(tokens, 128, o_in + (16 * c) * o_token + g * o_head, o_token, O, 128, 128, 0);
      }
    }
  }
  if (last_chunk == chunks) {
    for (int64_t h = 0; h < own_heads; ++h) {
      const int64_t head = first_head + h;
      float *final_state_in = args->final_state ? args->final_state + (sequence * heads + head) * 16384
          : NULL;
      // S = past_slope * S + past_base * S
      for (int64_t row = 0; row < 128; ++row) {
        const sl_f32 past_slope_all = sl_set(*(past_slope + (128 * h) + row));
        const sl_f32 past_base_all = sl_set(*(past_base + (128 * h) + row));
        for (int64_t column = 0; column < 128; column += SL_LANES) {
          sl_store(
              S + (128 * h) * 128 + row * 128 + column,
              sl_add(sl_mul(past_slope_all, sl_load(S + (128 * h) * 128 + row * 128 + column)), sl_mul(past_base_all, sl_load(S + (128 * h) * 128 + row * 128 + column))));
        }
      }
      sl_store_matrix(128, 128, final_state_in, 128, S + (128 * h) * 128, 128, 128);
    }
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
      __builtin_mul_overflow(elements, 8256, &elements))
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

SL_EXPORT int64_t gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_workspace_size(const arguments *args) {
  const int32_t problem = check_sizes(args);
  if (problem) return -problem;
  return threads_of(args) * scratch_bytes
      + shared_walks_of(args) * (int64_t)(scratch_bytes + sizeof(shared_walk));
}

// 0, or what is wrong with the pointers.
static int32_t check_pointers(const arguments *args) {
  if (args->batch * args->length > 0 && (!args->q || !args->k || !args->v || !args->g || !args->o)) return 2;
  if (!args->workspace) return 2;
  if ((int64_t)args->workspace_size < gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_workspace_size(args)) return 5;
  uintptr_t halves = 0, words = (uintptr_t)args->initial_state;
  words |= (uintptr_t)args->final_state;
  words |= (uintptr_t)args->q;
  words |= (uintptr_t)args->k;
  words |= (uintptr_t)args->v;
  words |= (uintptr_t)args->g;
  words |= (uintptr_t)args->o;
  if (words % 4 || halves % 2 || (uintptr_t)args->workspace % 64) return 6;
  return 0;
}

#ifdef _OPENMP
static shared_walk *shared_walks(const arguments *args) {
  const int64_t scratches = threads_of(args) + shared_walks_of(args);
  return (shared_walk *)((char *)args->workspace + scratches * scratch_bytes);
}

// Nobody has begun: called before the team is there.
static void begin_shared_walks(const arguments *args) {
  const int64_t count = shared_walks_of(args), all = walks_of(args);
  for (int64_t n = 0; n < count; ++n) {
    const int64_t sequence = (all - count + n) / (all / sequences_of(args));
    const int64_t *const ends = args->cu_seqlens ? args->cu_seqlens + sequence : NULL;
    const int64_t length = ends ? ends[1] - ends[0] : args->length;
    // An empty sequence has a stretch as well: its state goes from one end to the other.
    const int64_t chunks = sl_greatest(1, (length + 15) / 16);
    shared_walks(args)[n] = (shared_walk){0, chunks, -1, 0};
  }
}

// Takes back the stretch that a thread has walked, and deals it the next: half of what is left of the
// walk that has most left and that no one has; of equal ones that which its caches may hold.
static stretch next_stretch(const arguments *args, int64_t thread, stretch walked) {
  shared_walk *const walks = shared_walks(args);
  const int64_t count = shared_walks_of(args);
  stretch next = {-1, 0, 0};
#pragma omp critical(sluice_stretches)
  {
    if (walked.walk >= 0) {
      walks[walked.walk].done = walked.to;
      walks[walked.walk].is_taken = 0;
    }
    int64_t most = 1;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t left = walks[n].is_taken ? 0 : walks[n].chunks - walks[n].done;
      const int64_t rank = 2 * left + (walks[n].thread == thread);
      if (rank <= most) continue;
      most = rank;
      const int64_t own = sl_least(left, sl_greatest(8, (left + 1) / 2));
      next = (stretch){n, walks[n].done, walks[n].done + own};
    }
    if (next.walk >= 0) {
      walks[next.walk].thread = thread;
      walks[next.walk].is_taken = 1;
    }
  }
  return next;
}

// A thread has walked all it was dealt. The one that called waits awake for the others' last
// stretches, some hundred microseconds at most: put to sleep at the team's end it would be woken
// by the operating system, which takes as long.
static void await_team(int64_t *done) {
  if (omp_get_thread_num()) {
    __atomic_fetch_add(done, 1, __ATOMIC_RELEASE);
    return;
  }
  const int64_t others = omp_get_num_threads() - 1;
  for (int turn = 0; turn < 4096; ++turn) {
    if (__atomic_load_n(done, __ATOMIC_ACQUIRE) == others) return;
    sl_pause();
  }
}
#endif

// One thread's part: of every phase the items that it is dealt. Workers of one phase do
// not see each other, so which thread takes an item changes no bit.
static void run(const arguments *args, int64_t thread, int is_team) {
  char *scratch = (char *)args->workspace + thread * scratch_bytes;
  const uint64_t mode = sl_flush_denormals_begin();
  const int64_t walk_items = walks_of(args);
#ifdef _OPENMP
  if (is_team) {
    const int64_t whole = walk_items - shared_walks_of(args);
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t item = 0; item < whole; ++item) walk(args, item, 0, INT64_MAX, scratch);
    stretch own = {-1, 0, 0};
    while ((own = next_stretch(args, thread, own)).walk >= 0) {
      char *const kept = (char *)args->workspace + (threads_of(args) + own.walk) * scratch_bytes;
      walk(args, whole + own.walk, own.from, own.to, kept);
    }
  } else
#endif
    for (int64_t item = 0; item < walk_items; ++item) walk(args, item, 0, INT64_MAX, scratch);
  sl_stream_end();
  (void)is_team;
  sl_flush_denormals_end(mode);
}

SL_EXPORT int32_t gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_forward(const arguments *args) {
  int32_t problem = check_sizes(args);
  if (!problem) problem = check_pointers(args);
  if (problem) return problem;
#ifdef _OPENMP
  const int64_t threads = threads_of(args);
  if (threads > 1) {
    begin_shared_walks(args);
    int64_t done = 0;
#pragma omp parallel num_threads((int)threads)
    {
      run(args, omp_get_thread_num(), 1);
      await_team(&done);
    }
    return 0;
  }
#endif
  run(args, 0, 0);
  return 0;
}

SL_EXPORT const char *gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_manifest(void) {
  return
      "{\"abi\":1,\"gateClass\":\"vector along key\",\"gateType\":\"f32\",\"inputs\":[{\"axes\":1,"
      "\"domain\":[\"-inf\",\"inf\"],\"name\":\"q\",\"role\":\"query\",\"size\":128,\"summary\":\"w"
      "hat a token asks for\",\"type\":\"f32\"},{\"axes\":1,\"domain\":[\"-inf\",\"inf\"],\"name\":"
      "\"k\",\"role\":\"operand\",\"size\":128,\"summary\":\"where a token writes\",\"type\":\"f32"
      "\"},{\"axes\":2,\"domain\":[\"-inf\",\"inf\"],\"name\":\"v\",\"role\":\"operand\",\"size\":1"
      "28,\"summary\":\"what a token writes\",\"type\":\"f32\"},{\"axes\":1,\"domain\":[\"-inf\",\""
      "0.0\"],\"name\":\"g\",\"role\":\"gate\",\"size\":128,\"summary\":\"log decay, <= 0\",\"type"
      "\":\"f32\"}],\"key\":128,\"name\":\"gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt1"
      "28_ht4_m0_pf32_n1\",\"plan\":{\"chunk\":16,\"headTile\":4,\"keyTile\":128,\"materialization"
      "\":{\"none\":{}},\"products\":\"f32\",\"schedule\":\"register-recurrent\",\"subBlock\":16,\""
      "threads\":1,\"valueTile\":128},\"recurrence\":{\"defaultScale\":\"inverseSquareRootOfKey\","
      "\"inputs\":[{\"axes\":1,\"domain\":[\"-inf\",\"inf\"],\"name\":\"q\",\"role\":\"query\",\"su"
      "mmary\":\"what a token asks for\"},{\"axes\":1,\"domain\":[\"-inf\",\"inf\"],\"name\":\"k\","
      "\"role\":\"operand\",\"summary\":\"where a token writes\"},{\"axes\":2,\"domain\":[\"-inf\","
      "\"inf\"],\"name\":\"v\",\"role\":\"operand\",\"summary\":\"what a token writes\"},{\"axes\":"
      "1,\"domain\":[\"-inf\",\"0.0\"],\"name\":\"g\",\"role\":\"gate\",\"summary\":\"log decay, <="
      " 0\"}],\"name\":\"gla\",\"output\":{\"binary\":{\"_0\":\"multiply\",\"_1\":{\"input\":{\"_0"
      "\":\"scale\",\"_1\":0}},\"_2\":{\"sum\":{\"_0\":1,\"_1\":{\"binary\":{\"_0\":\"multiply\",\""
      "_1\":{\"input\":{\"_0\":\"q\",\"_1\":1}},\"_2\":{\"state\":{\"_0\":\"S\",\"_1\":3,\"previous"
      "\":false}}}}}}}},\"problems\":[],\"states\":[{\"axes\":3,\"name\":\"S\",\"update\":{\"binary"
      "\":{\"_0\":\"add\",\"_1\":{\"binary\":{\"_0\":\"multiply\",\"_1\":{\"unary\":{\"_0\":\"exp\""
      ",\"_1\":{\"input\":{\"_0\":\"g\",\"_1\":1}}}},\"_2\":{\"state\":{\"_0\":\"S\",\"_1\":3,\"pre"
      "vious\":true}}}},\"_2\":{\"binary\":{\"_0\":\"multiply\",\"_1\":{\"input\":{\"_0\":\"k\",\"_"
      "1\":1}},\"_2\":{\"input\":{\"_0\":\"v\",\"_1\":2}}}}}}}],\"summary\":\"gated linear attentio"
      "n, log decay per key\"},\"sluice\":\"0.1.0\",\"stateColumns\":128,\"target\":\"avx512\",\"ty"
      "pe\":\"f32\",\"value\":128}";
}

// For programs that load one library at a time.
SL_EXPORT int32_t sluice_forward(const arguments *args)
    __attribute__((weak, alias("gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_forward")));
SL_EXPORT int64_t sluice_workspace_size(const arguments *args)
    __attribute__((weak, alias("gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_workspace_size")));
SL_EXPORT const char *sluice_manifest(void)
    __attribute__((weak, alias("gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_manifest")));
