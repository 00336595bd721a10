// A state that one warpgroup keeps for the walks of alike.cuh, 64 values of up to 128 keys: it walks on by
// itself, and hands out what the state was before each chunk, rounded. Outputs are made of that by others
// (alike_outputs.cuh), which it does not wait for: a chunk's way from state to state is one product.
#ifndef SL_ALIKE_STATE_CUH
#define SL_ALIKE_STATE_CUH

// v^T of 64 tokens: v[s] has tokens 16 s and on, as products take it on the left.
typedef uint32_t sl_turned_values[4][4];

// Whether v is multiplied with anything before k.
enum { sl_values_decaying = SL_GATED || SL_KEYS_WEIGHED };

// Rows past a walk's end, which another sequence has: zeros, so that nothing is multiplied with it.
SL_WORD void sl_rows_clear(uint32_t panel, int rows) {
  for (int word = 32 * rows + sl_own(SL_THREAD % 128); word < 32 * 64; word += 128)
    sl_store_word(panel + 4 * (uint32_t)word, 0u);
}

// What the n-th chunk's v_j b_j 2^{c_64 - c_j} are made of, as it is loaded: v^T, and factors of two tokens.
typedef struct {
  sl_turned_values v;
  uint32_t leaving[8][2];
  float decay;
} sl_chunk_values;

// Waits for a chunk's k, v and numbers.
SL_WORD void sl_chunk_wait(uint32_t shared, uint32_t n, int rows) {
  sl_wait_for(shared, sl_numbers_there, sl_number_barriers, n);
  if (__builtin_expect(rows >= 64, 1)) return;
  sl_rows_clear(shared + sl_at_values + n % SL_VALUE_STAGES * sl_panel, rows);
  sl_meet(8, 128);
}
SL_WORD void sl_values_load(sl_chunk_values &next, uint32_t shared, uint32_t n) {
  const uint32_t values = shared + sl_at_values + n % SL_VALUE_STAGES * sl_panel;
  const uint32_t numbers = sl_numbers_at(shared, n);
  const int lane = SL_LANE, value = SL_THREAD % 128 / 32 * 16 + lane / 8 % 2 * 8;
#pragma unroll
  for (int s = 0; s < 4; ++s)
    sl_load_turned(next.v[s], values + sl_in_panel(16 * s + lane / 16 * 8 + lane % 8, value));
#pragma unroll
  for (int j = 0; sl_values_decaying && j < 8; ++j)
    sl_load_words(
        next.leaving[j], numbers + sl_to_leaving + 4 * (uint32_t)(8 * j + 2 * (lane % 4)));
  next.decay = SL_GATED ? sl_load_float(numbers + sl_to_decay) : 1.0f;
}
SL_WORD void sl_values_decay(sl_chunk_values &next) {
#pragma unroll
  for (int j = 0; sl_values_decaying && j < 8; ++j)
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      uint32_t &pair = next.v[j / 2][j % 2 * 2 + m];
      pair = sl_pair_times(pair, next.leaving[j]);
    }
}

// Hands out the state before the n-th chunk, a row for each value; and S = 2^{c_64} S.
SL_WORD void sl_state_hand(sl_state &u, uint32_t shared, uint32_t n, float decay) {
  const int lane = SL_LANE, row = SL_THREAD % 128 / 32 * 16 + lane % 16;
  const uint32_t at =
      shared + sl_at_handed + n % 2 * sl_handed + sl_in_panel(row, 8 * (lane / 16));
  sl_wait_to_fill(shared, sl_handed_free, 2, 2, n);
#pragma unroll
  for (int p = 0; p < sl_key_panels; ++p)
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      float *const of = u[p] + 4 * j;
      // Columns 8 j further in the panel: exchanged likewise.
      sl_store_matrices(
          (at + (uint32_t)(p * sl_panel)) ^ (uint32_t)(16 * j), sl_pack(of[0], of[1]),
          sl_pack(of[2], of[3]), sl_pack(of[4], of[5]), sl_pack(of[6], of[7]));
#pragma unroll
      for (int i = 0; SL_GATED && i < 8; ++i) of[i] *= decay;
    }
}

// The n-th chunk, whose v is there, and the next one's v, which is loaded and computed with while this one's
// products go on: they do not wait for it.
SL_WORD void sl_state_step(
    sl_state &u, const sl_chunk_values &own, sl_chunk_values &next, uint32_t shared, uint32_t n,
    int rows) {
  const uint32_t k = shared + sl_at_keys + n % SL_KEY_STAGES * sl_tile;
  // The last chunk's products are over: said here, where all that comes after can be seen to know it.
  sl_products_wait(0);
  if (__builtin_expect(rows < 64, 0)) {
#pragma unroll 1
    for (int p = 0; p < sl_key_panels; ++p) sl_rows_clear(k + (uint32_t)(p * sl_panel), rows);
    sl_publish();
    sl_meet(8, 128);
  }
  // S^T += (decayed v)^T k, by 16 tokens.
  sl_products_begin();
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    if (sl_key_panels == 2)
      sl_product_held_twice(u[0], u[sl_key_panels - 1], own.v[s], k, 2048 * s);
    else
      sl_product_held(u[0], own.v[s], sl_operand(k, 2048 * s));
    if (s != 0) continue;
    // While products go on: the state before this chunk has been handed out.
    sl_publish();
    sl_tell(sl_barrier_at(shared, sl_handed_there, n % 2));
  }
  sl_products_commit();
  sl_products_wait(0);
#pragma unroll
  for (int p = 0; p < sl_key_panels; ++p) sl_sums_are_there(u[p]);
  // k, v and numbers are free, by all lanes: each has loaded, or cleared, what will be overwritten.
  sl_barrier_arrive(sl_barrier_at(shared, sl_keys_free, n % sl_key_barriers));
  if (rows > 64) {
    sl_chunk_wait(shared, n + 1, rows - 64);
    sl_values_load(next, shared, n + 1);
    sl_values_decay(next);
  }
  if (rows > 64) sl_state_hand(u, shared, n + 1, next.decay);
}

template <class Walks>
SL_WORD void sl_alike_states(uint32_t shared, const Walks walks, sl_place place) {
  uint32_t before = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk = sl_walk_on(walks, walk, place)) {
    // Where the state goes is found here, where the block waits for its first copies: what comes after the last
    // product all of the card waits for.
    const int length = sl_uniform(place.length), values = sl_values_from(place.value);
    float *const final = place.final ? place.final + place.value : NULL;
    sl_state u;
#pragma unroll
    for (int i = 0; i < 32 * sl_key_panels; ++i) u[i / 32][i % 32] = 0.0f;
    // A walk that begins with nothing looks for nothing.
    if (place.initial) sl_state_take(u, place.initial + place.value, values);
    const int chunks = (length + 63) / 64;
    sl_chunk_values even, odd;
    if (length > 0) {
      sl_chunk_wait(shared, before, length);
      sl_values_load(even, shared, before);
      sl_values_decay(even);
      sl_state_hand(u, shared, before, even.decay);
    }
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; chunk += 2) {
      const uint32_t n = before + (uint32_t)chunk;
      const int rows = length - 64 * chunk;
      sl_state_step(u, even, odd, shared, n, rows);
      if (rows > 64) sl_state_step(u, odd, even, shared, n + 1, rows - 64);
    }
    before += (uint32_t)chunks;
    if (final) sl_state_keep(u, final, values);
  }
}

#endif
