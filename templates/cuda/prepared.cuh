// Chunks of 64 tokens made ready for a walk (prepared_walk.cuh) that knows nothing of the recurrence: a
// block has a chunk of a head, and leaves what the walk multiplies in the workspace, in bf16. With d_i the
// decays of token i's keys, all in [0, 1],
//
//     q^_i = q_i d_1...d_i    k^_i = k_i d_{i+1}...d_64    D = d_1...d_64
//     P_ij = sum over keys of q_i k_j d_{j+1}...d_i  for j < i
//
// (q decays up to the token before where the read-out comes before the write). P_ii is q_i k_i, or what
// the recurrence gives the present token's value instead, and what it adds of v beside the state.
//
// Products run over factors alone, so every decay is right. A warp has a quarter of the tokens, 16, and
// the keys, or half of them (SL_PARTS), sixteen at a time: a lane tokens l / 4 and 8 more, keys 4 (l % 4)
// and 3 more. Pairs of
// tokens go by the level at which they part: Q_h(i) are the decays from the start of token i's run of h
// tokens to i, S_h(j) those after j to the end of its run, and
//
//     P_ij = sum over keys of q_i Q_h(i) S_h(j) k_j   where i and j lie in the two halves, of h, of a run
//
// Runs grow by doubling, with T the decay of the other half: Q_2h(i) = T Q_h(i) in a later half, S_2h(j) =
// S_h(j) T in an earlier one. Lanes 4, 8 and 16 apart hold the halves of up to eight tokens, a lane those
// of sixteen; quarters meet in shared memory.
#ifndef SL_PREPARED_CUH
#define SL_PREPARED_CUH

enum {
  sl_panel = 8192,                // bytes of 64 rows of 64 columns
  sl_key_panels = SL_KEYS / 64,   // of the keys, with zeros past their end
  sl_steps = SL_KEYS / 16 / SL_PARTS,  // of sixteen keys, of a warp
  // A chunk's operands in the workspace: panels of q^, of P, and of what rounding leaves of P; panels of
  // k^, and D in f32.
  sl_query_bytes = (sl_key_panels + 2) * sl_panel,
  sl_key_bytes = sl_key_panels * sl_panel + 4 * SL_KEYS,
  sl_prepare_threads = 128 * SL_PARTS,
  // Places in shared memory: for a quarter and key the sum of log decays and then the decay before the
  // quarter, and that after it; of the second and third quarter its own. Operands of products between
  // quarters, of a half and of the chunk, and there before them a lane's own decays, of its first token
  // and of its second. Scores within quarters, of a warp.
  sl_at_before = 0,
  sl_at_after = sl_at_before + 4 * 4 * SL_KEYS,
  sl_at_beside = sl_at_after + 4 * 4 * SL_KEYS,
  sl_at_near = sl_at_beside + 2 * 4 * SL_KEYS,
  sl_at_far = sl_at_near + 128 * SL_KEYS,
  sl_at_within = sl_at_far + 128 * SL_KEYS,
};

// Four keys of a token's row, of sixteen bits or of f32, for maps; zeros past the last one.
SL_WORD float sl_bf16_of(const uint32_t (&x)[2], const int e) {
  return e % 2 ? sl_high(x[e / 2]) : sl_low(x[e / 2]);
}
SL_WORD float sl_f16_of(const uint32_t (&x)[2], const int e) {
  return sl_f16_to_f32((uint16_t)(x[e / 2] >> 16 * (e % 2)));
}
#if SL_OWN_KEYS % 4 == 0
SL_WORD void sl_read_keys(uint32_t (&x)[2], const uint16_t *row, int key) {
  x[0] = x[1] = 0u;
  if (SL_OWN_KEYS == SL_KEYS || key < SL_OWN_KEYS)
    asm volatile("ld.global.nc.L2::128B.v2.b32 {%0, %1}, [%2];" : "=r"(x[0]), "=r"(x[1]) : "l"(row + key));
}
SL_WORD void sl_read_keys(float (&x)[4], const float *row, int key) {
  x[0] = x[1] = x[2] = x[3] = 0.0f;
  if (SL_OWN_KEYS == SL_KEYS || key < SL_OWN_KEYS)
    asm volatile("ld.global.nc.L2::128B.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
                 : "l"(row + key));
}
#else
SL_WORD void sl_read_keys(uint32_t (&x)[2], const uint16_t *row, int key) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int at = key + 2 * n;
    x[n] = at < SL_OWN_KEYS ? row[at] : 0u;
    if (at + 1 < SL_OWN_KEYS) x[n] |= (uint32_t)row[at + 1] << 16;
  }
}
SL_WORD void sl_read_keys(float (&x)[4], const float *row, int key) {
#pragma unroll
  for (int e = 0; e < 4; ++e) x[e] = key + e < SL_OWN_KEYS ? row[key + e] : 0.0f;
}
#endif

// Where a chunk's operands go: no keys where another block leaves them. It has `rows` tokens.
typedef struct {
  int rows;
  char *queries, *keys;
} sl_chunk_place;

// What a lane has of sixteen keys: two tokens, four keys.
typedef float sl_held[2][4];
// The same as products take it: two keys of the first token, of the second one, then the other two keys.
typedef uint32_t sl_pairs[4];

SL_WORD void sl_packed(sl_pairs &pairs, const sl_held &x) {
#pragma unroll
  for (int n = 0; n < 4; ++n) pairs[n] = sl_pack(x[n % 2][n / 2 * 2], x[n % 2][n / 2 * 2 + 1]);
}

// The decays of the other half, `apart` lanes from here.
template <const int apart>
SL_WORD void sl_ask(sl_held &other, const sl_held &all) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 4; ++e) other[m][e] = sl_of_other(all[m][e], apart);
}

// Both halves become one run: q of the later one and k of the earlier one decay by the other half.
SL_WORD void sl_join(
    sl_held &all, sl_held &queries, sl_held &keys, const sl_held &other, const bool is_later) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    asm("{\n.reg .pred later;\nsetp.ne.s32 later, %12, 0;\n"
        "@later mul.ftz.f32 %0, %0, %8;\n@later mul.ftz.f32 %1, %1, %9;\n"
        "@later mul.ftz.f32 %2, %2, %10;\n@later mul.ftz.f32 %3, %3, %11;\n"
        "@!later mul.ftz.f32 %4, %4, %8;\n@!later mul.ftz.f32 %5, %5, %9;\n"
        "@!later mul.ftz.f32 %6, %6, %10;\n@!later mul.ftz.f32 %7, %7, %11;\n}"
        : "+f"(queries[m][0]), "+f"(queries[m][1]), "+f"(queries[m][2]), "+f"(queries[m][3]),
          "+f"(keys[m][0]), "+f"(keys[m][1]), "+f"(keys[m][2]), "+f"(keys[m][3])
        : "f"(other[m][0]), "f"(other[m][1]), "f"(other[m][2]), "f"(other[m][3]),
          "r"((int)is_later));
#pragma unroll
    for (int e = 0; e < 4; ++e) all[m][e] *= other[m][e];
  }
}

// sum += products between two halves of runs, and others that do not count; the first eight tokens and
// the last eight apart.
SL_WORD void sl_between(
    float (&sum)[4], const sl_held &queries, const sl_held &keys, const bool is_later) {
  sl_held x;
  sl_pairs pairs;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 4; ++e) x[m][e] = is_later ? queries[m][e] : keys[m][e];
  sl_packed(pairs, x);
  const sl_pairs early = {pairs[0], 0u, pairs[2], 0u}, late = {0u, pairs[1], 0u, pairs[3]};
  sl_warp_product(sum, early, pairs[0], pairs[2]);
  sl_warp_product(sum, late, pairs[1], pairs[3]);
}

// A level within eight tokens, and the run of twice as many.
template <const int apart>
SL_WORD void sl_level(float (&sum)[4], sl_held &all, sl_held &queries, sl_held &keys) {
  const bool is_later = SL_LANE & apart;
  sl_held other;
  // What is asked of other lanes is on its way during the products.
  if (SL_GATED) sl_ask<apart>(other, all);
  sl_between(sum, queries, keys, is_later);
  if (SL_GATED) sl_join(all, queries, keys, other, is_later);
}

// ---- Between warps ----

// Where a lane finds a quarter's operand of sixteen keys.
SL_WORD uint32_t sl_in_operands(const int quarter, const int sixteen) {
  return (uint32_t)((quarter * (SL_KEYS / 16) + sixteen) * 512 + 16 * SL_LANE);
}
SL_WORD void sl_load_pairs(sl_pairs &x, uint32_t at) {
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(at));
}
SL_WORD void sl_store_pairs(uint32_t at, const sl_pairs &x) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(x[0]), "r"(x[1]), "r"(x[2]),
               "r"(x[3])
               : "memory");
}
SL_WORD void sl_store_four(uint32_t at, const float (&x)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(x[0]), "f"(x[1]), "f"(x[2]),
               "f"(x[3])
               : "memory");
}
// Four bytes, or eight, to the card's memory.
SL_WORD void sl_write_word(char *at, uint32_t x) {
  asm volatile("st.global.b32 [%0], %1;" ::"l"(at), "r"(x) : "memory");
}
SL_WORD void sl_write_two(char *at, uint32_t x, uint32_t y) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(at), "r"(x), "r"(y) : "memory");
}

// What each quarter's operands decay by, from sums of log decays, and the chunk's whole decay.
SL_WORD void sl_outer_decays(uint32_t shared, char *const whole) {
  for (int key = SL_THREAD; key < SL_KEYS; key += sl_prepare_threads) {
    const uint32_t before = shared + sl_at_before + 4 * (uint32_t)key;
    const uint32_t after = before + (sl_at_after - sl_at_before);
    const uint32_t beside = before + (sl_at_beside - sl_at_before);
    float sum[4], left = 0.0f, right = 0.0f;
#pragma unroll
    for (int n = 0; n < 4; ++n) sum[n] = sl_load_float(before + 4 * SL_KEYS * n);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      sl_store_word(before + 4 * SL_KEYS * n, SL_BITS(sl_power(left)));
      sl_store_word(after + 4 * SL_KEYS * (3 - n), SL_BITS(sl_power(right)));
      left += sum[n], right += sum[3 - n];
    }
    sl_store_word(beside, SL_BITS(sl_power(sum[1])));
    sl_store_word(beside + 4 * SL_KEYS, SL_BITS(sl_power(sum[2])));
    if (whole) sl_write_word(whole + 4 * key, SL_BITS(sl_power(left)));
  }
}

SL_WORD void sl_decay_by(sl_held &x, const float (&factor)[4]) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 4; ++e) x[m][e] *= factor[e];
}

// An operand's sixteen keys, in its panel of the workspace.
SL_WORD void sl_leave_operand(char *panel, const sl_held &x, const int token, const int column) {
  sl_pairs pairs;
  sl_packed(pairs, x);
#pragma unroll
  for (int m = 0; m < 2; ++m)
    sl_write_two(panel + sl_in_panel(token + 8 * m, column), pairs[m], pairs[2 + m]);
}

// Scores of 16 x 16 tokens, where the walk finds them, as two bf16 numbers: one score alone may be all of
// an output.
SL_WORD void sl_leave_scores(char *scores, const float (&sum)[2][4], const int row, const int column) {
#pragma unroll
  for (int t = 0; t < 2; ++t)
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      char *const at =
          scores + sl_in_panel(row + SL_LANE / 4 + 8 * m, column + 8 * t + 2 * (SL_LANE % 4));
      const float x = sum[t][2 * m], y = sum[t][2 * m + 1];
      const uint32_t pair = sl_pack(x, y);
      sl_write_word(at, pair);
      sl_write_word(at + sl_panel, sl_pack(x - sl_low(pair), y - sl_high(pair)));
    }
}

// sum += products of 16 tokens' operands with those of 16 others, over all keys.
SL_WORD void sl_scores_of(float (&sum)[2][4], uint32_t left, uint32_t right) {
#pragma unroll 4
  for (int sixteen = 0; sixteen < SL_KEYS / 16; ++sixteen) {
    sl_pairs x, y;
    sl_load_pairs(x, left + 512 * sixteen);
    sl_load_pairs(y, right + 512 * sixteen);
    sl_warp_product(sum[0], x, y[0], y[2]);
    sl_warp_product(sum[1], x, y[1], y[3]);
  }
}

// The scores of a later quarter with an earlier one: of the same half, or of the two.
SL_WORD void sl_scores_between(uint32_t shared, char *scores, const int later, const int earlier) {
  const uint32_t from = shared + (later / 2 == earlier / 2 ? sl_at_near : sl_at_far);
  float sum[2][4];
#pragma unroll
  for (int n = 0; n < 4; ++n) sum[0][n] = sum[1][n] = 0.0f;
  sl_scores_of(sum, from + sl_in_operands(later, 0), from + sl_in_operands(earlier, 0));
  sl_leave_scores(scores, sum, 16 * later, 16 * earlier);
#pragma unroll
  for (int n = 0; n < 4; ++n) sum[0][n] = sum[1][n] = 0.0f;
  sl_leave_scores(scores, sum, 16 * earlier, 16 * later);
}

// What a warp found within its quarter: six numbers a lane.
SL_WORD uint32_t sl_in_within(const int part, const int quarter, const int n) {
  return (uint32_t)(sl_at_within + ((part * 4 + quarter) * 6 + n) * 128 + 4 * SL_LANE);
}

// Scores within a quarter, of all keys.
SL_WORD void sl_scores_within(uint32_t shared, char *scores, const int quarter) {
  float found[6] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
  for (int part = 0; part < SL_PARTS; ++part)
#pragma unroll
    for (int n = 0; n < 6; ++n) found[n] += sl_load_float(shared + sl_in_within(part, quarter, n));
  const float sum[2][4] = {{found[0], found[1], found[4], found[5]}, {0.0f, 0.0f, found[2], found[3]}};
  sl_leave_scores(scores, sum, 16 * quarter, 16 * quarter);
}

// ---- A block ----

// `is_whole` where no token and no key is past the end.
template <const bool is_whole, class Maps>
SL_WORD void sl_prepare_chunk(uint32_t shared, const Maps maps, const sl_chunk_place place) {
  const int lane = SL_LANE, quarter = sl_uniform(SL_WARP % 4), part = sl_uniform(SL_WARP / 4);
  const int first = 16 * quarter + lane / 4, column = 4 * (lane % 4);
  typename Maps::token_numbers of_token[2];
  typename Maps::keys next[2];
  bool has[2];
  int token[2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    has[m] = is_whole || first + 8 * m < place.rows;
    // Past the sequence's end its last token is read, and not used.
    token[m] = has[m] ? first + 8 * m : place.rows - 1;
    of_token[m] = maps.token_at(token[m]);
    next[m] = maps.keys_at(token[m], 16 * sl_steps * part + column);
  }
  // Decays, 1 past the end of tokens and keys; what a quarter decays each key by.
  if (SL_GATED) {
#pragma unroll
    for (int from = 0; from < sl_steps; from += 2) {
      typename Maps::gates gates[2][2];
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int m = 0; m < 2; ++m)
          gates[n][m] = maps.gates_at(token[m], 16 * (sl_steps * part + from + n) + column);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const int sixteen = sl_steps * part + from + n, key = 16 * sixteen + column;
        float sum[4];
        sl_held decay;
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          sum[e] = 0.0f;
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            const float logarithm =
                has[m] && (is_whole || key + e < SL_OWN_KEYS)
                    ? 0x1.715476p0f * maps.log_decay(gates[n][m], of_token[m], key, e)
                    : 0.0f;
            sum[e] += logarithm;
            decay[m][e] = sl_power(logarithm);
          }
          sum[e] += sl_of_other(sum[e], 4);
          sum[e] += sl_of_other(sum[e], 8);
          sum[e] += sl_of_other(sum[e], 16);
        }
        sl_store_four(shared + sl_at_near + sl_in_operands(quarter, sixteen), decay[0]);
        sl_store_four(shared + sl_at_far + sl_in_operands(quarter, sixteen), decay[1]);
        if (lane < 4) sl_store_four(shared + sl_at_before + 4 * (SL_KEYS * quarter + key), sum);
      }
    }
    sl_sync();
    sl_outer_decays(shared, place.keys ? place.keys + sl_key_panels * sl_panel : NULL);
    sl_sync();
  }
  float ones[4], twos[4], fours[4], across[4], own[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 4; ++n) ones[n] = twos[n] = fours[n] = across[n] = 0.0f;
#pragma unroll 1
  for (int n = 0; n < sl_steps; ++n) {
    const int sixteen = sl_steps * part + n, key = 16 * sixteen + column;
    const uint32_t near = shared + sl_at_near + sl_in_operands(quarter, sixteen);
    const uint32_t far = near + (sl_at_far - sl_at_near);
    sl_held q, k, all;
    if (SL_GATED) {
      sl_load_four(all[0], near);
      sl_load_four(all[1], far);
    }
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const typename Maps::keys of_keys = next[m];
      // The row's address is made anew: kept, those of all tensors would crowd registers.
      int row = token[m];
      asm volatile("" : "+r"(row));
      if (n + 1 < sl_steps) next[m] = maps.keys_at(row, key + 16);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool is_there = has[m] && (is_whole || key + e < SL_OWN_KEYS);
        q[m][e] = is_there ? maps.query(of_keys, of_token[m], key, e) : 0.0f;
        k[m][e] = is_there ? maps.key(of_keys, of_token[m], key, e) : 0.0f;
        if (is_there) own[m] += maps.present(of_keys, of_token[m], key, e, q[m][e], k[m][e]);
        if (SL_GATED && !SL_READS_PREVIOUS) q[m][e] *= all[m][e];
      }
    }
    sl_level<4>(ones, all, q, k);
    sl_level<8>(twos, all, q, k);
    sl_level<16>(fours, all, q, k);
    // The last eight tokens with the first; then all sixteen.
    sl_pairs late, early;
    sl_packed(late, q);
    sl_packed(early, k);
    const sl_pairs rows = {0u, late[1], 0u, late[3]};
    sl_warp_product(across, rows, early[0], early[2]);
    if (SL_GATED) {
#pragma unroll
      for (int e = 0; e < 4; ++e) q[1][e] *= all[0][e], k[0][e] *= all[1][e];
    }
    // What other quarters need: q of the later of two, k of the earlier; of the outer quarters with
    // the decay of the one beside them where the chunk's halves meet.
    sl_pairs pairs;
    sl_packed(pairs, quarter % 2 ? q : k);
    sl_store_pairs(near, pairs);
    if (SL_GATED && (quarter == 0 || quarter == 3)) {
      float beside[4];
      sl_load_four(
          beside, shared + sl_at_beside + 4 * (uint32_t)((quarter == 3 ? SL_KEYS : 0) + key));
      sl_held beyond;
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int e = 0; e < 4; ++e) beyond[m][e] = quarter / 2 ? q[m][e] : k[m][e];
      sl_decay_by(beyond, beside);
      sl_packed(pairs, beyond);
    } else {
      sl_packed(pairs, quarter / 2 ? q : k);
    }
    sl_store_pairs(far, pairs);
    if (SL_GATED) {
      float before[4], after[4];
      sl_load_four(before, shared + sl_at_before + 4 * (uint32_t)(SL_KEYS * quarter + key));
      sl_load_four(after, shared + sl_at_after + 4 * (uint32_t)(SL_KEYS * quarter + key));
      sl_decay_by(q, before);
      sl_decay_by(k, after);
    }
    sl_leave_operand(place.queries + key / 64 * sl_panel, q, first, key % 64);
    if (place.keys) sl_leave_operand(place.keys + key / 64 * sl_panel, k, first, key % 64);
  }
  // Each level's own products; a token's own weight stands in its row's four lanes.
  float found[6];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    own[m] += sl_of_other(own[m], 1);
    own[m] += sl_of_other(own[m], 2);
    if (part == 0 && has[m]) own[m] += maps.beside(of_token[m]);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int i = lane / 4, j = 2 * (lane % 4) + e, apart = i ^ j;
      float score = fours[2 * m + e];
      if (apart / 2 == 1) score = twos[2 * m + e];
      if (apart == 1) score = ones[2 * m + e];
      if (apart == 0) score = own[m];
      found[2 * m + e] = i < j ? 0.0f : score;
    }
  }
  found[4] = across[2], found[5] = across[3];
#pragma unroll
  for (int n = 0; n < 6; ++n)
    sl_store_word(shared + sl_in_within(part, quarter, n), SL_BITS(found[n]));
  sl_sync();
  char *const scores = place.queries + sl_key_panels * sl_panel;
  // Six pairs of quarters, and the four quarters themselves.
#pragma unroll 1
  for (int share = sl_uniform(SL_WARP); share < 10; share += sl_prepare_threads / 32) {
    if (share >= 6) sl_scores_within(shared, scores, share - 6);
    else if (share >= 4) sl_scores_between(shared, scores, 2 * share - 7, 2 * share - 8);
    else sl_scores_between(shared, scores, 2 + share / 2, share % 2);
  }
}

template <class Maps>
SL_WORD void sl_prepare(uint32_t shared, const Maps maps, const sl_chunk_place place) {
  if (SL_OWN_KEYS == SL_KEYS && place.rows == 64) sl_prepare_chunk<true>(shared, maps, place);
  else sl_prepare_chunk<false>(shared, maps, place);
}

#endif
