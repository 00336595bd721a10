// The instruction vocabulary for 64-bit Arm (Advanced SIMD): four lanes.
// generic.h defines what each word means.
#ifndef SL_NEON_H
#define SL_NEON_H

// Pasted into a source, many words are unused.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SL_LANES 4

typedef float32x4_t sl_f32;

// ---- Constants, lanes, memory ----

// Every lane 0.
static inline sl_f32 sl_zero(void) { return vdupq_n_f32(0.0f); }

// Every lane x.
static inline sl_f32 sl_set(float x) { return vdupq_n_f32(x); }

// Lane 0.
static inline float sl_first(sl_f32 v) { return vgetq_lane_f32(v, 0); }

// Lane i is p[i].
static inline sl_f32 sl_load(const float *p) { return vld1q_f32(p); }

// Lane i is i < n ? p[i] : 0.
static inline sl_f32 sl_load_n(const float *p, int64_t n) {
  if (n >= 4) return vld1q_f32(p);
  sl_f32 v = vdupq_n_f32(0.0f);
  if (n > 0) v = vld1q_lane_f32(p, v, 0);
  if (n > 1) v = vld1q_lane_f32(p + 1, v, 1);
  if (n > 2) v = vld1q_lane_f32(p + 2, v, 2);
  return v;
}

// p[i] = lane i.
static inline void sl_store(float *p, sl_f32 v) { vst1q_f32(p, v); }

// p[i] = lane i for i < n.
static inline void sl_store_n(float *p, sl_f32 v, int64_t n) {
  if (n >= 4) {
    vst1q_f32(p, v);
    return;
  }
  if (n > 0) vst1q_lane_f32(p, v, 0);
  if (n > 1) vst1q_lane_f32(p + 1, v, 1);
  if (n > 2) vst1q_lane_f32(p + 2, v, 2);
}

// sl_store past the caches where p is aligned to 16 bytes.
static inline void sl_stream(float *p, sl_f32 v) {
#if defined(__clang__)
  if (((uintptr_t)p & 15) == 0) {
    __builtin_nontemporal_store(v, (sl_f32 *)(void *)p);
    return;
  }
#endif
  vst1q_f32(p, v);
}

// ---- Arithmetic, lane by lane ----

// a + b
static inline sl_f32 sl_add(sl_f32 a, sl_f32 b) { return vaddq_f32(a, b); }

// a - b
static inline sl_f32 sl_sub(sl_f32 a, sl_f32 b) { return vsubq_f32(a, b); }

// a * b
static inline sl_f32 sl_mul(sl_f32 a, sl_f32 b) { return vmulq_f32(a, b); }

// a / b
static inline sl_f32 sl_div(sl_f32 a, sl_f32 b) { return vdivq_f32(a, b); }

// a * b + c
static inline sl_f32 sl_fma(sl_f32 a, sl_f32 b, sl_f32 c) { return vfmaq_f32(c, a, b); }

// c - a * b
static inline sl_f32 sl_nfma(sl_f32 a, sl_f32 b, sl_f32 c) { return vfmsq_f32(c, a, b); }

// a < b ? x : y
static inline sl_f32 sl_less(sl_f32 a, sl_f32 b, sl_f32 x, sl_f32 y) {
  return vbslq_f32(vcltq_f32(a, b), x, y);
}

// a < b ? a : b. The machine's own minimum treats NaN otherwise.
static inline sl_f32 sl_min(sl_f32 a, sl_f32 b) { return sl_less(a, b, a, b); }

// b < a ? a : b. The machine's own maximum treats NaN otherwise.
static inline sl_f32 sl_max(sl_f32 a, sl_f32 b) { return sl_less(b, a, a, b); }

// The sign flipped.
static inline sl_f32 sl_neg(sl_f32 a) { return vnegq_f32(a); }

// The sign cleared.
static inline sl_f32 sl_abs(sl_f32 a) { return vabsq_f32(a); }

// The square root.
static inline sl_f32 sl_sqrt(sl_f32 a) { return vsqrtq_f32(a); }

// The largest integer that is not above a.
static inline sl_f32 sl_floor(sl_f32 a) { return vrndmq_f32(a); }

// ---- Across lanes ----

// The sum of the lanes: upper half onto lower half until one is left.
static inline float sl_sum(sl_f32 v) {
  return vaddv_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v)));
}

// The greatest lane.
static inline float sl_max_across(sl_f32 v) { return vmaxvq_f32(v); }

// The halves of a and of b, lower or upper, side by side.
static inline sl_f32 sl_neon_low(sl_f32 a, sl_f32 b) {
  return vcombine_f32(vget_low_f32(a), vget_low_f32(b));
}
static inline sl_f32 sl_neon_high(sl_f32 a, sl_f32 b) {
  return vcombine_f32(vget_high_f32(a), vget_high_f32(b));
}

// Lane i is sl_sum(v[i]).
static inline sl_f32 sl_sum_rows(const sl_f32 v[SL_LANES]) {
  sl_f32 a = vaddq_f32(sl_neon_low(v[0], v[1]), sl_neon_high(v[0], v[1]));
  sl_f32 b = vaddq_f32(sl_neon_low(v[2], v[3]), sl_neon_high(v[2], v[3]));
  return vpaddq_f32(a, b);
}

// dst[j * dst_stride + i] = src[i * src_stride + j].
static inline void sl_transpose(const float *src, int64_t src_stride, float *dst,
                                int64_t dst_stride) {
  sl_f32 r0 = vld1q_f32(src), r1 = vld1q_f32(src + src_stride);
  sl_f32 r2 = vld1q_f32(src + 2 * src_stride), r3 = vld1q_f32(src + 3 * src_stride);
  sl_f32 a = vzip1q_f32(r0, r1), b = vzip1q_f32(r2, r3);
  sl_f32 c = vzip2q_f32(r0, r1), d = vzip2q_f32(r2, r3);
  vst1q_f32(dst, sl_neon_low(a, b));
  vst1q_f32(dst + dst_stride, sl_neon_high(a, b));
  vst1q_f32(dst + 2 * dst_stride, sl_neon_low(c, d));
  vst1q_f32(dst + 3 * dst_stride, sl_neon_high(c, d));
}

// ---- bf16 and f16 in memory ----

static inline sl_f32 sl_neon_from_bf16(uint16x4_t h) {
  return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}

static inline uint16x4_t sl_neon_to_bf16(sl_f32 v) {
  uint32x4_t u = vreinterpretq_u32_f32(v);
  uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  uint32x4_t r = vaddq_u32(vaddq_u32(u, odd), vdupq_n_u32(0x7fff));
  uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x00400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), r, quiet), 16);
}

static inline sl_f32 sl_neon_from_f16(uint16x4_t h) {
  return vcvt_f32_f16(vreinterpret_f16_u16(h));
}

static inline uint16x4_t sl_neon_to_f16(sl_f32 v) {
  return vreinterpret_u16_f16(vcvt_f16_f32(v));
}

static inline uint16x4_t sl_neon_load16_n(const uint16_t *p, int64_t n) {
  if (n >= 4) return vld1_u16(p);
  uint16x4_t h = vdup_n_u16(0);
  if (n > 0) h = vld1_lane_u16(p, h, 0);
  if (n > 1) h = vld1_lane_u16(p + 1, h, 1);
  if (n > 2) h = vld1_lane_u16(p + 2, h, 2);
  return h;
}

static inline void sl_neon_store16_n(uint16_t *p, uint16x4_t h, int64_t n) {
  if (n >= 4) {
    vst1_u16(p, h);
    return;
  }
  if (n > 0) vst1_lane_u16(p, h, 0);
  if (n > 1) vst1_lane_u16(p + 1, h, 1);
  if (n > 2) vst1_lane_u16(p + 2, h, 2);
}

// Lane i is the bf16 p[i].
static inline sl_f32 sl_load_bf16(const uint16_t *p) { return sl_neon_from_bf16(vld1_u16(p)); }

// Lane i is i < n ? the bf16 p[i] : 0.
static inline sl_f32 sl_load_bf16_n(const uint16_t *p, int64_t n) {
  return sl_neon_from_bf16(sl_neon_load16_n(p, n));
}

// p[i] = lane i as bf16.
static inline void sl_store_bf16(uint16_t *p, sl_f32 v) { vst1_u16(p, sl_neon_to_bf16(v)); }

// p[i] = lane i as bf16 for i < n.
static inline void sl_store_bf16_n(uint16_t *p, sl_f32 v, int64_t n) {
  sl_neon_store16_n(p, sl_neon_to_bf16(v), n);
}

// Lane i is the f16 p[i].
static inline sl_f32 sl_load_f16(const uint16_t *p) { return sl_neon_from_f16(vld1_u16(p)); }

// Lane i is i < n ? the f16 p[i] : 0.
static inline sl_f32 sl_load_f16_n(const uint16_t *p, int64_t n) {
  return sl_neon_from_f16(sl_neon_load16_n(p, n));
}

// p[i] = lane i as f16.
static inline void sl_store_f16(uint16_t *p, sl_f32 v) { vst1_u16(p, sl_neon_to_f16(v)); }

// p[i] = lane i as f16 for i < n.
static inline void sl_store_f16_n(uint16_t *p, sl_f32 v, int64_t n) {
  sl_neon_store16_n(p, sl_neon_to_f16(v), n);
}

#pragma GCC diagnostic pop
#endif
