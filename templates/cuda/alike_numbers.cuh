// Sums and factors of tokens for the walks of alike.cuh, a chunk's by a warp.
#ifndef SL_ALIKE_NUMBERS_CUH
#define SL_ALIKE_NUMBERS_CUH

// Each added up over this lane and those before it, side by side.
SL_WORD void sl_sum_up_to_each(float (&x)[2], float (&y)[2]) {
#pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    float before[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      asm volatile("shfl.sync.up.b32 %0, %1, %2, 0, 0xffffffff;"
                   : "=f"(before[i])
                   : "f"(i < 2 ? x[i] : y[i - 2]), "r"(by));
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (SL_LANE >= by) (i < 2 ? x[i] : y[i - 2]) += before[i];
  }
}

// Factors of scores, of two each, where the state is apart. With A_w the sum up to the w-th sixteen of tokens, and M_w
// that up to its middle, rows have 2^{c_i - A_w}, and columns of earlier sixteens 2^{A_w - c_j} (16 w of them for
// each w). Between a sixteen's halves 2^{c_i - M_w} and 2^{M_w - c_j}. None is above 1, so every decay is right, and
// scores need no powers of their own but in the diagonal's eight rows and columns.
SL_WORD void sl_factors_store(
    uint32_t numbers, const float (&whole)[2], const float (&part)[2], const float (&keys)[2]) {
  const int lane = SL_LANE, half = lane / 16;
  const float up_to[3][2] = {
      {sl_of_lane(whole[0], 15), sl_of_lane(part[0], 15)},
      {sl_of_lane(whole[0], 31), sl_of_lane(part[0], 31)},
      {sl_of_lane(whole[1], 15), sl_of_lane(part[1], 15)}};
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t token = (uint32_t)(lane + 32 * m);
#pragma unroll
    for (int w = 1; w < 4; ++w)
      if (2 * m + half < w && 2 * m < w)
        sl_store_word(
            numbers + sl_to_factors + (uint32_t)(32 * w * (w - 1)) + 4 * token,
            SL_BITS(keys[m] * sl_power((up_to[w - 1][0] - whole[m]) + (up_to[w - 1][1] - part[m]))));
    // What lies before the token's sixteen, and up to the middle of it.
    const float before = m ? (half ? up_to[2][0] : up_to[1][0]) : (half ? up_to[0][0] : 0.0f);
    const float rest = m ? (half ? up_to[2][1] : up_to[1][1]) : (half ? up_to[0][1] : 0.0f);
    sl_store_word(
        numbers + sl_to_rows + 4 * token, SL_BITS(sl_power((whole[m] - before) + (part[m] - rest))));
    const int middle = 16 * half + 7;
    const float from =
        (whole[m] - sl_of_lane(whole[m], middle)) + (part[m] - sl_of_lane(part[m], middle));
    const float power = sl_power(lane % 16 < 8 ? -from : from);
    sl_store_word(
        numbers + sl_to_middles + 4 * token, SL_BITS(lane % 16 < 8 ? keys[m] * power : power));
  }
}

// Sums and factors of a chunk. A lane has two tokens, 32 apart.
template <class Maps>
SL_WORD void sl_alike_numbers(
    uint32_t numbers, const Maps &maps, const typename Maps::token_numbers (&tokens)[2],
    const int rows) {
  float whole[2] = {0.0f, 0.0f}, part[2] = {0.0f, 0.0f};
  float whole_sum = 0.0f, part_sum = 0.0f, keys[2];
#pragma unroll
  for (int m = 0; SL_GATED && m < 2; ++m) {
    float logarithm = SL_LANE + 32 * m < rows ? 0x1.715476p0f * maps.log_decay(tokens[m]) : 0.0f;
    // 2 to this is 0.
    if (logarithm < -1024.0f) logarithm = -1024.0f;
    whole[m] = (logarithm + SL_ROUNDER) - SL_ROUNDER;
    part[m] = logarithm - whole[m];
  }
  if (SL_GATED) {
    sl_sum_up_to_each(whole, part);
    whole[1] += sl_of_lane(whole[0], 31), part[1] += sl_of_lane(part[0], 31);
    whole_sum = sl_of_lane(whole[1], 31), part_sum = sl_of_lane(part[1], 31);
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t token = (uint32_t)(SL_LANE + 32 * m);
    const float query = maps.query_weight(tokens[m]), key = maps.key_weight(tokens[m]);
    keys[m] = key;
    sl_store_word(numbers + 4 * token, SL_BITS(query * sl_power(whole[m] + part[m])));
    sl_store_factor(
        numbers + sl_to_leaving, token,
        key * sl_power((whole_sum - whole[m]) + (part_sum - part[m])));
    // What the present token's value is weighted with beside its score.
    if (SL_SKIPS) sl_store_word(numbers + sl_to_rest + 4 * token, SL_BITS(maps.beside(tokens[m])));
    if (SL_GATED) sl_store_floats(numbers + sl_to_sums + 8 * token, whole[m], part[m]);
    if (SL_KEYS_WEIGHED) sl_store_word(numbers + sl_to_keys + 4 * token, SL_BITS(key));
    if (SL_QUERIES_WEIGHED) sl_store_word(numbers + sl_to_queries + 4 * token, SL_BITS(query));
    if (token == 0) sl_store_floats(numbers + sl_to_decay, sl_power(whole_sum + part_sum), query);
  }
  if (sl_factored) sl_factors_store(numbers, whole, part, keys);
}

// What is read of tokens of a walk's first chunks, this one and the next but one.
template <class Walks>
SL_WORD void sl_alike_first_tokens(
    const Walks &walks, const sl_place &place, const int first,
    typename Walks::maps::token_numbers (&next)[2][2]) {
  const typename Walks::maps maps = walks.maps_at(place);
  if (place.length == 0) return;
#pragma unroll
  for (int m = 0; m < 4; ++m)
    next[m / 2][m % 2] = maps.token_at(
        (int)sl_least(64 * first + m / 2 * 128 + SL_LANE + m % 2 * 32, place.length - 1));
}

// Every other chunk's numbers, by one of two warps. What they read of a token is on its way four chunks ahead:
// under load the card's memory takes longer than two chunks do.
template <class Walks>
SL_WORD void sl_alike_number_walks(
    uint32_t shared, const Walks walks, sl_place place, const int own,
    typename Walks::maps::token_numbers (&next)[2][2]) {
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk = sl_walk_on(walks, walk, place)) {
    const typename Walks::maps maps = walks.maps_at(place);
    const int last = place.length - 1, chunks = (place.length + 63) / 64, first = (n + own) % 2;
    if (__builtin_expect(walk != (int)SL_BLOCK, 0)) sl_alike_first_tokens(walks, place, first, next);
#pragma unroll 1
    for (int pair = first; pair < chunks; pair += 4)
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const int of_walk = pair + 2 * m, chunk = n + of_walk, done = 64 * of_walk;
        if (of_walk >= chunks) break;
        const typename Walks::maps::token_numbers tokens[2] = {next[m][0], next[m][1]};
        // Past the sequence's end its last token is read, and not used.
#pragma unroll
        for (int half = 0; half < 2; ++half)
          next[m][half] =
              maps.token_at((int)sl_least((int64_t)done + 256 + SL_LANE + 32 * half, last));
        if (sl_apart)
          sl_wait_to_fill(
              shared, sl_keys_free, sl_key_barriers, SL_NUMBER_STAGES, (uint32_t)chunk);
        sl_wait_to_fill(
            shared, sl_values_free, SL_VALUE_STAGES, SL_NUMBER_STAGES, (uint32_t)chunk);
        sl_alike_numbers(
            sl_numbers_at(shared, (uint32_t)chunk), maps, tokens, last + 1 - done);
        // By all lanes: each has stored what others load.
        sl_barrier_arrive(sl_barrier_at(
            shared, sl_numbers_there, (uint32_t)chunk % sl_number_barriers));
      }
    n += chunks;
  }
}

#endif
