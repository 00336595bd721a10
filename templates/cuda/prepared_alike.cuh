// The same as prepared.cuh where all keys decay alike, or none does: decays stand outside of the sums
// over keys,
//
//     P_ij = (q_i k_j) W_ij    W_ij = d_{j+1}...d_i = 2^{E_i + the quarters between + F_j}
//
// with E_i the sum of log decays from the start of i's quarter to i, and F_j of those after j to the end of
// j's: sums of numbers of one sign, so that a reset takes no digits of the tokens beside it. In one quarter
// W_ij is summed up from j on.
#ifndef SL_PREPARED_ALIKE_CUH
#define SL_PREPARED_ALIKE_CUH

enum {
  // Places in shared memory, where prepared.cuh has decays of keys: log decays of tokens, E and F.
  sl_at_logs = 0,
  sl_at_up_to = sl_at_logs + 256,
  sl_at_from = sl_at_up_to + 256,
};

// A token's number among so many.
SL_WORD float sl_of_token(uint32_t numbers, const int token) {
  return sl_load_float(numbers + 4 * (uint32_t)token);
}

// What the quarters from one up to another decay by, as a sum of logarithms.
SL_WORD float sl_log_between(uint32_t shared, const int begin, const int end) {
  float sum = 0.0f;
#pragma unroll
  for (int n = 0; n < 4; ++n)
    if (n >= begin && n < end) sum += sl_of_token(shared + sl_at_up_to, 16 * n + 15);
  return sum;
}

// E and F of one token for each of 64 threads.
SL_WORD void sl_log_sums(uint32_t shared) {
  if (SL_THREAD >= 64) return;
  const int own = SL_THREAD % 16;
  float up_to = 0.0f, from = 0.0f;
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    const float logarithm = sl_of_token(shared + sl_at_logs, SL_THREAD - own + n);
    if (n <= own) up_to += logarithm;
    else from += logarithm;
  }
  sl_store_word(shared + sl_at_up_to + 4 * SL_THREAD, SL_BITS(up_to));
  sl_store_word(shared + sl_at_from + 4 * SL_THREAD, SL_BITS(from));
}

// The weights of a lane's scores of one quarter, or of two.
SL_WORD void sl_weigh(uint32_t shared, float (&sum)[2][4], const int later, const int earlier) {
  const int row = SL_LANE / 4, column = 2 * (SL_LANE % 4);
  float weight[2][4];
  if (later == earlier) {
#pragma unroll
    for (int n = 0; n < 8; ++n) weight[n / 4][n % 4] = 0.0f;
#pragma unroll 4
    for (int t = 1; SL_GATED && t < 16; ++t) {
      const float logarithm = sl_of_token(shared + sl_at_logs, 16 * later + t);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const int i = row + n / 2 % 2 * 8, j = column + n % 2 + n / 4 * 8;
        if (j < t && t <= i) weight[n / 4][n % 4] += logarithm;
      }
    }
  } else {
    const float between = SL_GATED ? sl_log_between(shared, earlier + 1, later) : 0.0f;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int i = row + n / 2 % 2 * 8, j = column + n % 2 + n / 4 * 8;
      weight[n / 4][n % 4] = SL_GATED ? sl_of_token(shared + sl_at_up_to, 16 * later + i) + between +
                                            sl_of_token(shared + sl_at_from, 16 * earlier + j)
                                      : 0.0f;
    }
  }
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int i = row + n / 2 % 2 * 8, j = column + n % 2 + n / 4 * 8;
    float &score = sum[n / 4][n % 4];
    score *= SL_GATED ? sl_power(weight[n / 4][n % 4]) : 1.0f;
    if (later != earlier) continue;
    if (i < j) score = 0.0f;
    if (i != j) continue;
    // The token's own weight.
    score = 0.0f;
#pragma unroll
    for (int part = 0; part < SL_PARTS; ++part)
      score += sl_of_token(shared + sl_at_within, 64 * part + 16 * later + i);
  }
}

template <const bool is_whole, class Maps>
SL_WORD void sl_prepare_chunk_alike(uint32_t shared, const Maps maps, const sl_chunk_place place) {
  const int lane = SL_LANE, quarter = sl_uniform(SL_WARP % 4), part = sl_uniform(SL_WARP / 4);
  const int first = 16 * quarter + lane / 4, column = 4 * (lane % 4);
  typename Maps::token_numbers of_token[2];
  typename Maps::keys next[2];
  bool has[2];
  int token[2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    has[m] = is_whole || first + 8 * m < place.rows;
    token[m] = has[m] ? first + 8 * m : place.rows - 1;
    next[m] = maps.keys_at(token[m], 16 * sl_steps * part + column);
    of_token[m] = maps.token_at(token[m]);
  }
  float entering[2] = {1.0f, 1.0f}, leaving[2] = {1.0f, 1.0f}, own[2] = {0.0f, 0.0f};
  if (SL_GATED) {
    const typename Maps::gates none = {};
#pragma unroll
    for (int m = 0; m < 2; ++m)
      if (part == 0 && lane % 4 == 0)
        sl_store_word(
            shared + sl_at_logs + 4 * (uint32_t)(first + 8 * m),
            SL_BITS(has[m] ? 0x1.715476p0f * maps.log_decay(none, of_token[m], 0, 0) : 0.0f));
    sl_sync();
    sl_log_sums(shared);
    sl_sync();
    const float before = sl_log_between(shared, 0, quarter);
    const float after = sl_log_between(shared, quarter + 1, 4);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      entering[m] = sl_power(before + sl_of_token(shared + sl_at_up_to, first + 8 * m));
      leaving[m] = sl_power(sl_of_token(shared + sl_at_from, first + 8 * m) + after);
    }
    if (place.keys)
      for (int key = SL_THREAD; key < SL_KEYS; key += sl_prepare_threads)
        sl_write_word(
            place.keys + sl_key_panels * sl_panel + 4 * key,
            SL_BITS(sl_power(sl_log_between(shared, 0, 4))));
  }
#pragma unroll 2
  for (int n = 0; n < sl_steps; ++n) {
    const int sixteen = sl_steps * part + n, key = 16 * sixteen + column;
    sl_held q, k;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const typename Maps::keys of_keys = next[m];
      if (n + 1 < sl_steps) next[m] = maps.keys_at(token[m], key + 16);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool is_there = has[m] && (is_whole || key + e < SL_OWN_KEYS);
        q[m][e] = is_there ? maps.query(of_keys, of_token[m], key, e) : 0.0f;
        k[m][e] = is_there ? maps.key(of_keys, of_token[m], key, e) : 0.0f;
        if (is_there) own[m] += maps.present(of_keys, of_token[m], key, e, q[m][e], k[m][e]);
      }
    }
    sl_pairs pairs;
    sl_packed(pairs, q);
    sl_store_pairs(shared + sl_at_near + sl_in_operands(quarter, sixteen), pairs);
    sl_packed(pairs, k);
    sl_store_pairs(shared + sl_at_far + sl_in_operands(quarter, sixteen), pairs);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int e = 0; e < 4; ++e) q[m][e] *= entering[m], k[m][e] *= leaving[m];
    sl_leave_operand(place.queries + key / 64 * sl_panel, q, first, key % 64);
    if (place.keys) sl_leave_operand(place.keys + key / 64 * sl_panel, k, first, key % 64);
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    own[m] += sl_of_other(own[m], 1);
    own[m] += sl_of_other(own[m], 2);
    if (part == 0 && has[m]) own[m] += maps.beside(of_token[m]);
    if (lane % 4 == 0)
      sl_store_word(
          shared + sl_at_within + 4 * (uint32_t)(64 * part + first + 8 * m), SL_BITS(own[m]));
  }
  sl_sync();
  char *const scores = place.queries + sl_key_panels * sl_panel;
#pragma unroll 1
  for (int share = sl_uniform(SL_WARP); share < 16; share += sl_prepare_threads / 32) {
    const int row = share / 4, of = share % 4;
    float sum[2][4];
#pragma unroll
    for (int n = 0; n < 8; ++n) sum[n / 4][n % 4] = 0.0f;
    if (of <= row) {
      sl_scores_of(
          sum, shared + sl_at_near + sl_in_operands(row, 0), shared + sl_at_far + sl_in_operands(of, 0));
      sl_weigh(shared, sum, row, of);
    }
    sl_leave_scores(scores, sum, 16 * row, 16 * of);
  }
}

template <class Maps>
SL_WORD void sl_prepare_alike(uint32_t shared, const Maps maps, const sl_chunk_place place) {
  if (SL_OWN_KEYS == SL_KEYS && place.rows == 64)
    sl_prepare_chunk_alike<true>(shared, maps, place);
  else
    sl_prepare_chunk_alike<false>(shared, maps, place);
}

#endif
