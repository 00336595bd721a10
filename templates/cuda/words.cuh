// The words of one thread on a CUDA device: what generic.h and common.h are for a processor's
// vectors, one lane wide. The polynomials, limits and stated errors are those of common.h.
// clang compiles this without any CUDA header, and nvcc compiles it too.
#ifndef SL_WORDS_CUH
#define SL_WORDS_CUH

#include <stddef.h>
#include <stdint.h>

#ifdef __NVCC__
#define SL_KERNEL extern "C" __global__
#define SL_WORD static __device__ __forceinline__
#define SL_MEMBER __device__ __forceinline__
#define SL_SHARED extern __shared__ __align__(1024) char
#define SL_BOUNDS_OF(threads, blocks) __launch_bounds__(threads, blocks)
#define SL_THREAD ((int)threadIdx.x)
#define SL_BLOCK ((int64_t)blockIdx.x)
#define SL_BLOCKS ((int64_t)gridDim.x)
#define SL_CONSTANT_ARGUMENT const __grid_constant__
#define sl_sync() __syncthreads()
#define SL_FMA(a, b, c) __fmaf_rn(a, b, c)
#define SL_BITS(x) __float_as_uint(x)
#define SL_FROM_BITS(u) __uint_as_float(u)
#else
#define SL_KERNEL extern "C" __attribute__((global))
#define SL_WORD static inline __attribute__((device, always_inline, unused))
#define SL_MEMBER inline __attribute__((device, always_inline, unused))
#define SL_SHARED extern __attribute__((shared, aligned(1024))) char
#define SL_BOUNDS_OF(threads, blocks) __attribute__((launch_bounds(threads, blocks)))
#define SL_THREAD ((int)__nvvm_read_ptx_sreg_tid_x())
#define SL_BLOCK ((int64_t)__nvvm_read_ptx_sreg_ctaid_x())
#define SL_BLOCKS ((int64_t)__nvvm_read_ptx_sreg_nctaid_x())
#define SL_CONSTANT_ARGUMENT const __attribute__((grid_constant))
#define sl_sync() __syncthreads()
#define SL_FMA(a, b, c) __builtin_fmaf(a, b, c)
#define SL_BITS(x) __builtin_bit_cast(uint32_t, x)
#define SL_FROM_BITS(u) __builtin_bit_cast(float, u)
#endif

#define SL_BOUNDS SL_BOUNDS_OF(SL_THREADS, 1)
#define SL_WARP (SL_THREAD / 32)
#define SL_WARPS (SL_THREADS / 32)
#define SL_LANE (SL_THREAD % 32)

#define SL_INF SL_FROM_BITS(0x7f800000u)
#ifndef NAN
#define NAN SL_FROM_BITS(0x7fc00000u)
#endif
#ifndef INFINITY
#define INFINITY SL_INF
#endif

typedef float sl_f32;

// ---- Arithmetic ----

SL_WORD sl_f32 sl_zero() { return 0.0f; }
SL_WORD sl_f32 sl_set(float x) { return x; }
SL_WORD sl_f32 sl_add(sl_f32 a, sl_f32 b) { return a + b; }
SL_WORD sl_f32 sl_sub(sl_f32 a, sl_f32 b) { return a - b; }
SL_WORD sl_f32 sl_mul(sl_f32 a, sl_f32 b) { return a * b; }
// a * b + c, rounded once.
SL_WORD sl_f32 sl_fma(sl_f32 a, sl_f32 b, sl_f32 c) { return SL_FMA(a, b, c); }
// c - a * b, rounded once.
SL_WORD sl_f32 sl_nfma(sl_f32 a, sl_f32 b, sl_f32 c) { return SL_FMA(-a, b, c); }
// a / b and sqrt a, correctly rounded.
SL_WORD sl_f32 sl_div(sl_f32 a, sl_f32 b) {
  float r;
  asm("div.rn.ftz.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
SL_WORD sl_f32 sl_sqrt(sl_f32 a) {
  float r;
  asm("sqrt.rn.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
  return r;
}
// a < b ? x : y. A comparison with NaN is false.
SL_WORD sl_f32 sl_less(sl_f32 a, sl_f32 b, sl_f32 x, sl_f32 y) { return a < b ? x : y; }
// So b where either is NaN, and b of two zeros.
SL_WORD sl_f32 sl_min(sl_f32 a, sl_f32 b) { return a < b ? a : b; }
SL_WORD sl_f32 sl_max(sl_f32 a, sl_f32 b) { return b < a ? a : b; }
SL_WORD sl_f32 sl_neg(sl_f32 a) { return SL_FROM_BITS(SL_BITS(a) ^ 0x80000000u); }
SL_WORD sl_f32 sl_abs(sl_f32 a) { return SL_FROM_BITS(SL_BITS(a) & 0x7fffffffu); }

SL_WORD int64_t sl_least(int64_t a, int64_t b) { return a < b ? a : b; }
SL_WORD int64_t sl_greatest(int64_t a, int64_t b) { return a > b ? a : b; }

// Where a sequence's tokens end, of offsets or, where there are none, of a length. The length is a number before it is
// chosen: of two addresses to choose from one would be a parameter's, and be loaded by way of memory.
SL_WORD int64_t sl_end_of_tokens(const int64_t *const offsets, int64_t sequence, int64_t length) {
  asm("" : "+l"(length));
  return offsets ? offsets[sequence + 1] : length;
}

// ---- Numbers in memory ----

SL_WORD float sl_bf16_to_f32(uint16_t h) { return SL_FROM_BITS((uint32_t)h << 16); }
// The nearest, ties to even; NaN stays NaN.
SL_WORD uint16_t sl_f32_to_bf16(float x) {
  uint32_t u = SL_BITS(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
SL_WORD float sl_f16_to_f32(uint16_t h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
  return x;
}
SL_WORD uint16_t sl_f32_to_f16(float x) {
  uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
SL_WORD float sl_load(const float *p) { return *p; }
SL_WORD float sl_load_bf16(const uint16_t *p) { return sl_bf16_to_f32(*p); }
SL_WORD float sl_load_f16(const uint16_t *p) { return sl_f16_to_f32(*p); }

// ---- Powers of two and exponentials ----

#define SL_ROUNDER 0x1.8p23f

// x times 2 to the integer in the low bits of `rounder`, while both are normal.
SL_WORD sl_f32 sl_shift_exponent(sl_f32 x, sl_f32 rounder) {
  return SL_FROM_BITS(SL_BITS(x) + (SL_BITS(rounder) << 23));
}

// The parts of e^x = 2^n (1 + t): returns t, and n + SL_ROUNDER in *rounder.
SL_WORD sl_f32 sl_exp_parts(sl_f32 x, sl_f32 *rounder) {
  *rounder = sl_fma(x, 0x1.715476p0f, SL_ROUNDER);
  sl_f32 n = *rounder - SL_ROUNDER;
  sl_f32 f = sl_nfma(n, 0x1.62e4p-1f, x);
  f = sl_nfma(n, 0x1.7f7d1cp-20f, f);
  sl_f32 p = 0x1.6b97a6p-10f;
  p = sl_fma(p, f, 0x1.122538p-7f);
  p = sl_fma(p, f, 0x1.5556f6p-5f);
  p = sl_fma(p, f, 0x1.5554b4p-3f);
  p = sl_fma(p, f, 0x1.fffffep-2f);
  return sl_fma(p, f * f, f);
}

// e^x, error below 1.1 ulp; 0 below ln 2^-126, infinity above 88.7228.
SL_WORD sl_f32 sl_exp(sl_f32 x) {
  sl_f32 rounder, t = sl_exp_parts(x, &rounder);
  sl_f32 p = sl_shift_exponent(t + 1.0f, rounder);
  p = sl_less(x, -0x1.5d589ep6f, 0.0f, p);
  return sl_less(x, 0x1.62e430p6f, p, x + SL_INF);
}

// 1 - e^x, error below 1.7 ulp, for x near 0 too.
SL_WORD sl_f32 sl_one_minus_exp(sl_f32 x) {
  const sl_f32 limit = 88.37f;
  sl_f32 rounder, t = sl_exp_parts(sl_max(-30.0f, sl_min(limit, x)), &rounder);
  sl_f32 power = sl_shift_exponent(1.0f, rounder);
  return sl_less(limit, x, -SL_INF, sl_nfma(power, t, 1.0f - power));
}

// e^x for x not above 0, and in *taken 1 - e^x.
SL_WORD sl_f32 sl_exp_both(sl_f32 x, sl_f32 *taken) {
  const sl_f32 least = -0x1.5d589ep6f;
  sl_f32 rounder, t = sl_exp_parts(sl_min(0x1.62e42ep6f, sl_max(least, x)), &rounder);
  sl_f32 power = sl_shift_exponent(1.0f, rounder);
  *taken = sl_nfma(power, t, 1.0f - power);
  return sl_less(x, least, 0.0f, sl_fma(power, t, power));
}

// ---- Logarithms, gates, activations ----

// ln(1 + t) = t + t^2 s(t): returns t^2 s(t).
SL_WORD sl_f32 sl_log_tail(sl_f32 t) {
  sl_f32 s = -0x1.39c1f4p-4f;
  s = sl_fma(s, t, 0x1.08cee4p-3f);
  s = sl_fma(s, t, -0x1.0f2778p-3f);
  s = sl_fma(s, t, 0x1.225a62p-3f);
  s = sl_fma(s, t, -0x1.542652p-3f);
  s = sl_fma(s, t, 0x1.99a52cp-3f);
  s = sl_fma(s, t, -0x1.000434p-2f);
  s = sl_fma(s, t, 0x1.55554ep-2f);
  s = sl_fma(s, t, -0x1.fffff8p-2f);
  return t * t * s;
}

// ln x, error below 1 ulp. Minus infinity for 0 and subnormals; NaN below 0.
SL_WORD sl_f32 sl_log(sl_f32 x) {
  const uint32_t root = 0x3f3504f3u;  // sqrt 1/2
  uint32_t u = SL_BITS(x) - root;
  sl_f32 e = (sl_f32)((int32_t)u >> 23);
  sl_f32 t = SL_FROM_BITS((u & 0x007fffffu) + root) - 1.0f;
  sl_f32 low = sl_fma(e, 0x1.7f7d1cp-20f, sl_log_tail(t));
  sl_f32 r = sl_fma(e, 0x1.62e4p-1f, t + low);
  r = sl_less(x, 0x1p-126f, sl_less(x, 0.0f, NAN, -SL_INF), r);
  return sl_less(x, SL_INF, r, x);
}

// ln(1 + e^x), error below 1.8 ulp.
SL_WORD sl_f32 sl_softplus(sl_f32 x) {
  sl_f32 u = sl_exp(sl_neg(sl_abs(x)));
  int is_small = u < 0.41421356f;
  sl_f32 t = is_small ? u : (u - 1.0f) * 0.5f, e = is_small ? 0.0f : 1.0f;
  sl_f32 low = sl_fma(e, 0x1.7f7d1cp-20f, sl_log_tail(t));
  return sl_max(0.0f, x) + sl_fma(e, 0x1.62e4p-1f, t + low);
}

SL_WORD sl_f32 sl_logsigmoid(sl_f32 x) { return sl_neg(sl_softplus(sl_neg(x))); }
SL_WORD sl_f32 sl_sigmoid(sl_f32 x) { return sl_div(1.0f, 1.0f + sl_exp(sl_neg(x))); }
SL_WORD sl_f32 sl_tanh(sl_f32 x) {
  sl_f32 y = sl_one_minus_exp(sl_abs(x) * -2.0f);
  sl_f32 r = sl_div(y, 2.0f - y);
  return SL_FROM_BITS(SL_BITS(sl_abs(r)) | (SL_BITS(x) & 0x80000000u));
}
SL_WORD sl_f32 sl_relu(sl_f32 x) { return sl_max(0.0f, x); }

#endif
