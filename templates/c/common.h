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
