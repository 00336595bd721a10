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

// Where it lies in what a segment adds to a state, of which a thread has every 128th.
SL_WORD int sl_place_of(const int thread, const int own, const int panels, const int p, const int n) {
  return ((own * panels + p) * 32 + n) * 128 + thread;
}

template <int Panels>
SL_WORD void sl_state_begin(
    sl_turned_state<Panels> &u, const volatile sl_walk *const walk, const int own) {
  const int thread = sl_own(SL_THREAD) % 128, values = walk->own_values - 64 * own;
  const float *const initial = walk->initial;
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
  // What the segments before this one add, one after the other.
#pragma unroll 1
  for (int s = 0; SL_WALK_SEGMENTS > 1 && s < walk->segment; ++s) {
    const float *const added = walk->added + s * (2 * Panels * 64 * 64), decay = walk->decays[s];
#pragma unroll
    for (int p = 0; p < Panels; ++p)
#pragma unroll
      for (int n = 0; n < 32; ++n)
        u.of[p][n] = SL_FMA(decay, u.of[p][n], added[sl_place_of(thread, own, Panels, p, n)]);
  }
}

template <int Panels>
SL_WORD void sl_state_end(
    const sl_turned_state<Panels> &u, const volatile sl_walk *const walk, const int own) {
  const int thread = sl_own(SL_THREAD) % 128, values = walk->own_values - 64 * own;
  float *const final = walk->final;
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

// A thread's part of <S, dS> where the walk ends.
template <int Panels>
SL_WORD float sl_state_meet(
    const sl_turned_state<Panels> &u, const volatile sl_walk *const walk, const int own) {
  const int thread = sl_own(SL_THREAD) % 128, values = walk->own_values - 64 * own;
  const int keys = walk->own_keys, key_step = walk->key_step, value_step = walk->value_step;
  const float *const met = walk->met;
  float sum = 0.0f;
#pragma unroll
  for (int p = 0; p < Panels; ++p)
#pragma unroll
    for (int n = 0; n < 32; ++n) {
      const int key = sl_key_of(thread, p, n), value = sl_value_of(thread, n);
      if (key < keys && value < values)
        sum = SL_FMA(u.of[p][n], met[key * key_step + (value + 64 * own) * value_step], sum);
    }
  return sum;
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

}  // namespace sl_alike_gradients

#endif
