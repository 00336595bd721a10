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
