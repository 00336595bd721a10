// States of the walks of alike_gradient.cuh: how a walk takes and leaves them, and what it keeps of a chunk.
#ifndef SL_ALIKE_GRADIENT_STATES_CUH
#define SL_ALIKE_GRADIENT_STATES_CUH

namespace sl_alike_gradients {

// A warpgroup's state turned: u[p] has keys 64 p and on, thread 32 w + l values 16 w + l / 4 and 8 more,
// keys 8 j + 2 (l % 4) and 1 more.
template <int Panels>
struct sl_turned_state {
  float of[Panels][32];
};

// ---- A walk's ends ----

// The key of a number of a thread's state, and its value among the warpgroup's.
SL_WORD int sl_key_of(const int thread, const int p, const int n) {
  return 64 * p + n / 4 * 8 + thread % 4 * 2 + n % 2;
}
SL_WORD int sl_value_of(const int thread, const int n) {
  return thread / 32 * 16 + thread % 32 / 4 + n / 2 % 2 * 8;
}
// Where it lies in a state that one half of a walk hands to the other one.
SL_WORD int sl_place_of(const int thread, const int own, const int panels, const int p, const int n) {
  return ((own * panels + p) * 32 + n) * 128 + thread;
}

template <int Panels>
SL_WORD void sl_state_begin(
    sl_turned_state<Panels> &u, const volatile sl_walk *const walk, const int own) {
  const int thread = sl_own(SL_THREAD) % 128, values = walk->own_values - 64 * own;
  const float *const initial = walk->initial, *const handed = walk->handed;
  if (handed) {
#pragma unroll
    for (int p = 0; p < Panels; ++p)
#pragma unroll
      for (int n = 0; n < 32; ++n) u.of[p][n] = handed[sl_place_of(thread, own, Panels, p, n)];
    return;
  }
  const int keys = initial ? walk->own_keys : 0, key_step = walk->key_step;
  const int value_step = walk->value_step;
#pragma unroll
  for (int p = 0; p < Panels; ++p)
#pragma unroll
    for (int n = 0; n < 32; ++n) {
      const int key = sl_key_of(thread, p, n), value = sl_value_of(thread, n);
      u.of[p][n] = key < keys && value < values
                       ? initial[key * key_step + (value + 64 * own) * value_step]
                       : 0.0f;
    }
}

template <int Panels>
SL_WORD void sl_state_end(
    const sl_turned_state<Panels> &u, const volatile sl_walk *const walk, const int own) {
  const int thread = sl_own(SL_THREAD) % 128, values = walk->own_values - 64 * own;
  float *const final = walk->final, *const handed = walk->to_hand;
  if (handed) {
#pragma unroll
    for (int p = 0; p < Panels; ++p)
#pragma unroll
      for (int n = 0; n < 32; ++n) handed[sl_place_of(thread, own, Panels, p, n)] = u.of[p][n];
  }
  const int keys = final ? walk->own_keys : 0, key_step = walk->key_step;
  const int value_step = walk->value_step, adds = walk->adds_final;
#pragma unroll
  for (int p = 0; p < Panels; ++p)
#pragma unroll
    for (int n = 0; n < 32; ++n) {
      const int key = sl_key_of(thread, p, n), value = sl_value_of(thread, n);
      if (key >= keys || value >= values) continue;
      float *const at = final + (key * key_step + (value + 64 * own) * value_step);
      *at = adds ? *at + u.of[p][n] : u.of[p][n];
    }
}

// ---- What is kept of a chunk ----

// Where the n-th chunk's share of a tensor of so many bytes a chunk and 64 values lies.
SL_WORD char *sl_of_chunk(
    const volatile sl_walk *const walk, int n, const int own, char *const tensor, const int bytes) {
  const int chunk = walk->first + n * walk->step;
  return tensor + (chunk * walk->chunk_step + own) * bytes;
}

// Sixteen bytes of each thread lie side by side.
SL_WORD void sl_keep_words(char *const at, const uint32_t (&x)[4], const int keeps) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\n"
               "@p st.global.v4.b32 [%0], {%1, %2, %3, %4};\n}" ::"l"(at),
               "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(keeps)
               : "memory");
}
SL_WORD void sl_fetch_words(uint32_t (&x)[4], const char *const at) {
  asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "l"(at));
}

// Four bytes of two words.
SL_WORD uint32_t sl_bytes(const uint32_t x, const uint32_t y, const int which) {
  uint32_t z;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(z) : "r"(x), "r"(y), "r"(which));
  return z;
}
// Which bytes of two numbers the n-th of three words has, where four numbers are left in three bytes each.
SL_WORD int sl_packs(const int n) { return n == 0 ? 0x5321 : n == 1 ? 0x6532 : 0x7653; }
// Which bytes of two words the n-th of four numbers' three have been left in.
SL_WORD int sl_unpacks(const int n) {
  return n == 0 ? 0x2100 : n == 1 ? 0x5433 : n == 2 ? 0x4322 : 0x3211;
}
// Sixteen numbers of a state, half a panel's keys, in the 24 highest bits of each.
SL_WORD void sl_state_keep(
    char *const states, const float (&u)[32], const int half, const int keeps) {
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    uint32_t x[4];
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const int word = 4 * i + m, first = half % 2 * 16 + word / 3 * 4 + word % 3;
      // Three bytes of each of four numbers take three words.
      x[m] = sl_bytes(SL_BITS(u[first]), SL_BITS(u[first + 1]), sl_packs(word % 3));
    }
    sl_keep_words(states + 2048 * (3 * half + i), x, keeps);
  }
}

// Brings a chunk's state on its way to the second-level cache: 128 bytes a thread.
template <int Panels>
SL_WORD void sl_states_ahead(const char *const states) {
#pragma unroll
  for (int part = 0; part < 3 * Panels / 4 + 1; ++part)
    if (part * 128 + SL_THREAD % 128 < 96 * Panels)
      asm volatile("prefetch.global.L2 [%0];" ::"l"(
          states + 16384 * part + 112 * (SL_THREAD % 128)));
}

// <S, dS> of a thread's numbers: its own, and the other walk's as that left it.
template <int Panels>
SL_WORD float sl_states_meet(const sl_turned_state<Panels> &u, const char *const states) {
  float sum[2] = {0.0f, 0.0f};
#pragma unroll
  for (int half = 0; half < 2 * Panels; ++half) {
    uint32_t x[3][4];
#pragma unroll
    for (int i = 0; i < 3; ++i) sl_fetch_words(x[i], states + 2048 * (3 * half + i));
#pragma unroll
    for (int m = 0; m < 16; ++m) {
      // Below the 24 bits are those of a byte beside it: no more than their rounding.
      const int word = m / 4 * 3 + m % 4, before = m % 4 > 0 ? word - 1 : word;
      const int after = m % 4 < 3 ? word : word - 1;
      const uint32_t other =
          sl_bytes(x[before / 4][before % 4], x[after / 4][after % 4], sl_unpacks(m % 4));
      float &to = sum[m % 2];
      to = SL_FMA(u.of[half / 2][half % 2 * 16 + m], SL_FROM_BITS(other), to);
    }
  }
  return sum[0] + sum[1];
}

}  // namespace sl_alike_gradients

#endif
