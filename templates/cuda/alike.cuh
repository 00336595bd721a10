// Walks of recurrences whose keys all decay alike, or not at all: no operand of a product has to be made
// ready, and one kernel reads q, k and v as they are. With c_i the sum of log2 decays from a chunk's start
// to token i, and a_i, b_j the numbers that q and k are multiplied with,
//
//     P_ij = a_i b_j (q_i k_j) 2^{c_i - c_j}  for j <= i
//     o_i = a_i 2^{c_i} q_i S + P_i v    S = 2^{c_64} S + k^T diag(b_j 2^{c_64 - c_j}) v
//
// No factor is above 1, so every decay is right. c is kept as a whole number and a rest: their differences
// are as good beside a reset as elsewhere.
//
// A warpgroup has 64 values, and the state turned in registers (turned_state.cuh). Either one keeps it and two
// have outputs (alike_state.cuh, alike_outputs.cuh), or each has its values' outputs too, and one more has
// the scores of all (alike_products.cuh, alike_handed.cuh). Two warps have the sums and factors of tokens, and
// threads of two others ask for copies, each as far ahead as there are places. A block goes from walk to walk
// without a pause.
#ifndef SL_ALIKE_CUH
#define SL_ALIKE_CUH

enum {
  sl_panel = 8192,                     // bytes of 64 rows of 64 columns
  sl_key_panels = SL_KEYS / 64,        // of the keys, with zeros past their end
  sl_groups = SL_VALUES / 64,          // warpgroups that have a state
  sl_tile = sl_key_panels * sl_panel,  // bytes of a chunk's q, or of its k
  // What warpgroups hand on: P, or the state before a chunk, rounded, to those that have outputs alone.
  sl_handed = SL_OUTPUT_GROUPS ? sl_tile : sl_panel,
  sl_workers = sl_groups + (SL_OUTPUT_GROUPS ? SL_OUTPUT_GROUPS : 1),
  sl_staging = SL_OUTPUT_GROUPS ? SL_OUTPUT_GROUPS : sl_groups,
  // Rings of chunks: q, k, v; two of what is handed on; outputs on their way.
  sl_at_keys = SL_QUERY_STAGES * sl_tile,
  sl_at_values = sl_at_keys + SL_KEY_STAGES * sl_tile,
  sl_at_handed = sl_at_values + SL_VALUE_STAGES * sl_groups * sl_panel,
  sl_at_staged = sl_at_handed + 2 * sl_handed,
  // Numbers of chunks: for each token a_i 2^{c_i}, b_j 2^{c_64 - c_j}, what rounding leaves of P_ii;
  // 2^{c_64}; c_i in two parts, b_j, and a_i where they are not all one.
  sl_at_numbers = sl_at_staged + sl_staging * sl_panel,
  sl_to_leaving = 256,
  sl_to_rest = 512,
  sl_to_decay = 768,
  sl_to_sums = 784,
  sl_to_keys = sl_to_sums + 512,
  sl_to_queries = sl_to_keys + 256 * SL_KEYS_WEIGHED,
  sl_numbers = sl_to_queries + 256 * SL_QUERIES_WEIGHED,
  sl_at_barriers = sl_at_numbers + SL_NUMBER_STAGES * sl_numbers,
  // Barriers: q has landed, it is free; likewise k and v; numbers are there, they are free; likewise
  // what is handed on.
  sl_queries_free = SL_QUERY_STAGES,
  sl_keys_landed = sl_queries_free + SL_QUERY_STAGES,
  sl_keys_free = sl_keys_landed + SL_KEY_STAGES,
  sl_values_landed = sl_keys_free + SL_KEY_STAGES,
  sl_values_free = sl_values_landed + SL_VALUE_STAGES,
  sl_numbers_there = sl_values_free + SL_VALUE_STAGES,
  sl_numbers_free = sl_numbers_there + SL_NUMBER_STAGES,
  sl_handed_there = sl_numbers_free + SL_NUMBER_STAGES,
  sl_handed_free = sl_handed_there + 2,
  sl_barriers = sl_handed_free + 2,
};

// Where a walk's head lies. Tokens are counted in a batch row.
typedef struct {
  int head, query_head, value, batch, begin, length;
  const float *initial;  // state, or NULL for zero
  float *final;          // or NULL
  float *key_decay;      // of a segment that is summed up, or NULL
  uint16_t *o;
} sl_place;

SL_WORD uint32_t sl_barrier_at(uint32_t shared, const int first, int stage) {
  return shared + sl_at_barriers + 8 * (uint32_t)(first + stage);
}
SL_WORD uint32_t sl_numbers_at(uint32_t shared, int n) {
  return shared + sl_at_numbers + (uint32_t)(n % SL_NUMBER_STAGES * sl_numbers);
}
// Waits until what a barrier of a ring says of the n-th chunk is so; or until its place is free for it.
SL_WORD void sl_wait_for(uint32_t shared, const int first, const int stages, int n) {
  sl_barrier_wait(sl_barrier_at(shared, first, n % stages), (uint32_t)(n / stages) & 1);
}
SL_WORD void sl_wait_to_fill(uint32_t shared, const int first, const int stages, int n) {
  if (n >= stages) sl_wait_for(shared, first, stages, n - stages);
}
// How many arrivals a barrier waits for. Landed: the thread that asked for it. There: warps that made it.
// Free: warps that have read it, by one lane, or all lanes that have loaded from what copies will overwrite.
SL_WORD int sl_arrivals(const int barrier) {
  if (SL_OUTPUT_GROUPS) {
    if (barrier >= sl_handed_there) return 4;
    if (barrier >= sl_numbers_free) return 8;
    if (barrier >= sl_values_free && barrier < sl_numbers_there) return 256;
    if (barrier >= sl_keys_free && barrier < sl_values_landed) return 8;
    return barrier >= sl_queries_free && barrier < sl_keys_landed ? 128 : 1;
  }
  if (barrier >= sl_handed_free) return 4 * sl_groups;
  if (barrier >= sl_handed_there) return 4;
  if (barrier >= sl_numbers_free) return 4 * sl_groups;
  if (barrier >= sl_values_free && barrier < sl_numbers_there) return 128 * sl_groups;
  if (barrier >= sl_keys_free && barrier < sl_values_landed) return 4 * sl_groups + 4;
  return barrier >= sl_queries_free && barrier < sl_keys_landed ? 4 * sl_groups + 4 : 1;
}

// Two bf16 numbers times two factors, each of which is the sum of two bf16: as if of f32, and rounded once.
SL_WORD uint32_t sl_pair_times(const uint32_t pair, const uint32_t (&factors)[2]) {
  uint32_t x;
  asm("{\n.reg .b32 y;\nmul.rn.bf16x2 y, %1, %3;\nfma.rn.bf16x2 %0, %1, %2, y;\n}"
      : "=r"(x)
      : "r"(pair), "r"(factors[0]), "r"(factors[1]));
  return x;
}
SL_WORD void sl_load_words(uint32_t (&x)[2], uint32_t at) {
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(x[0]), "=r"(x[1]) : "r"(at));
}
// A factor of those that sl_pair_times takes, among a pair's.
SL_WORD void sl_store_factor(uint32_t pairs, uint32_t token, float x) {
  const uint32_t first = sl_pack(x, 0.0f), at = pairs + token / 2 * 8 + token % 2 * 2;
  asm volatile("st.shared.b16 [%0], %1;\nst.shared.b16 [%0 + 4], %2;" ::"r"(at),
               "h"((uint16_t)first), "h"((uint16_t)sl_pack(x - sl_low(first), 0.0f))
               : "memory");
}

// ---- Copies, by one thread ----

// Asks for the n-th chunk of a ring: panels of 64 columns, once its place is free.
SL_WORD void sl_ask_for(
    uint32_t shared, uint32_t ring, const int first, const int stages, const int panels, int n,
    const sl_tensor *const tensor, int column, int head, int token, int batch) {
  const uint32_t landed = sl_barrier_at(shared, first, n % stages);
  sl_wait_to_fill(shared, first + stages, stages, n);
  sl_barrier_expect(landed, panels * sl_panel);
  uint32_t to = shared + ring + (uint32_t)(n % stages * panels * sl_panel);
#pragma unroll 1
  for (int end = column + 64 * panels; column < end; column += 64, to += sl_panel)
    sl_copy_in(to, tensor, landed, column, head, token, batch);
}

// A chunk's k and q, or its v.
SL_WORD void sl_ask_for_chunk(
    uint32_t shared, const sl_place &place, int n, int token, const sl_tensor *const queries,
    const sl_tensor *const keys, const sl_tensor *const values, const int is_values) {
  if (is_values) {
    sl_ask_for(
        shared, sl_at_values, sl_values_landed, SL_VALUE_STAGES, sl_groups, n, values, place.value,
        place.head, token, place.batch);
    return;
  }
  sl_ask_for(
      shared, sl_at_keys, sl_keys_landed, SL_KEY_STAGES, sl_key_panels, n, keys, 0, place.head, token,
      place.batch);
  sl_ask_for(
      shared, 0, 0, SL_QUERY_STAGES, sl_key_panels, n, queries, 0, place.query_head, token,
      place.batch);
}

// Those of k and q, or those of v. A block's first chunk has been asked for.
template <class Walks>
SL_WORD void sl_alike_copies(
    uint32_t shared, const Walks walks, const sl_tensor *const queries, const sl_tensor *const keys,
    const sl_tensor *const values, const int is_values) {
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    const int asked = walk == (int)SL_BLOCK && place.length > 0 ? 64 : 0;
    n += asked / 64;
#pragma unroll 1
    for (int token = place.begin + asked; token < place.begin + place.length; token += 64, ++n)
      sl_ask_for_chunk(shared, place, n, token, queries, keys, values, is_values);
  }
}

// ---- Numbers of tokens, by a warp ----

// Sums and factors of a chunk. A lane has two tokens, 32 apart.
template <class Maps>
SL_WORD void sl_alike_numbers(
    uint32_t numbers, const Maps &maps, const typename Maps::token_numbers (&tokens)[2],
    const int rows) {
  float whole[2] = {0.0f, 0.0f}, part[2] = {0.0f, 0.0f};
  float whole_sum = 0.0f, part_sum = 0.0f;
#pragma unroll
  for (int m = 0; SL_GATED && m < 2; ++m) {
    float logarithm = SL_LANE + 32 * m < rows ? 0x1.715476p0f * maps.log_decay(tokens[m]) : 0.0f;
    // 2 to this is 0.
    if (logarithm < -1024.0f) logarithm = -1024.0f;
    const float nearest = (logarithm + SL_ROUNDER) - SL_ROUNDER;
    whole[m] = sl_sum_up_to(nearest) + whole_sum;
    part[m] = sl_sum_up_to(logarithm - nearest) + part_sum;
    whole_sum = sl_of_lane(whole[m], 31), part_sum = sl_of_lane(part[m], 31);
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t token = (uint32_t)(SL_LANE + 32 * m);
    const float query = maps.query_weight(tokens[m]), key = maps.key_weight(tokens[m]);
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
}

// Every other chunk's numbers, by one of two warps. What they read of a token is on its way four chunks ahead:
// under load the card's memory takes longer than two chunks do.
template <class Walks>
SL_WORD void sl_alike_number_walks(uint32_t shared, const Walks walks, const int own) {
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    const typename Walks::maps maps = walks.maps_at(place);
    const int last = place.length - 1, chunks = (place.length + 63) / 64, first = (n + own) % 2;
    typename Walks::maps::token_numbers next[2][2];
#pragma unroll
    for (int m = 0; m < 4; ++m)
      if (last >= 0)
        next[m / 2][m % 2] =
            maps.token_at((int)sl_least(64 * first + m / 2 * 128 + SL_LANE + m % 2 * 32, last));
#pragma unroll 1
    for (int of_walk = first; of_walk < chunks; of_walk += 2) {
      const int chunk = n + of_walk, done = 64 * of_walk;
      const typename Walks::maps::token_numbers tokens[2] = {next[0][0], next[0][1]};
      // Past the sequence's end its last token is read, and not used.
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        next[0][m] = next[1][m];
        next[1][m] = maps.token_at((int)sl_least((int64_t)done + 256 + SL_LANE + 32 * m, last));
      }
      sl_wait_to_fill(shared, sl_numbers_free, SL_NUMBER_STAGES, chunk);
      sl_alike_numbers(sl_numbers_at(shared, chunk), maps, tokens, last + 1 - done);
      if (SL_OUTPUT_GROUPS) {
        // One barrier for all that the state waits for.
        sl_wait_for(shared, sl_keys_landed, SL_KEY_STAGES, chunk);
        sl_wait_for(shared, sl_values_landed, SL_VALUE_STAGES, chunk);
      }
      sl_tell(sl_barrier_at(shared, sl_numbers_there, chunk % SL_NUMBER_STAGES));
    }
    n += chunks;
  }
}

// A walk's last tokens, fewer than a chunk, one by one from where a warpgroup has staged them: `rows` from token
// `done` on, as far as `values` goes.
SL_WORD void sl_alike_last(
    uint16_t *const o, const int o_token, const int done, const int rows, const int values,
    const uint32_t staged, const int thread) {
  for (int word = sl_own(thread); word < 32 * rows; word += 128) {
    const int row = word / 32, column = word % 32 * 2;
    if (column < values)
      *(uint32_t *)(o + (int64_t)(done + row) * o_token + column) =
          sl_load_word(staged + sl_in_panel(row, column));
  }
}

#endif
