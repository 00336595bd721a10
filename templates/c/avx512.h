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
