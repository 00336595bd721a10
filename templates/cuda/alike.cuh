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
  // Numbers of chunks: for each token a_i 2^{c_i}, b_j 2^{c_64 - c_j}; 2^{c_64}; c_i in two parts, b_j, and a_i
  // where they are not all one; what rounding leaves of P_ii, or what is added to it; factors of
  // alike_numbers.cuh.
  sl_at_numbers = sl_at_staged + sl_staging * sl_panel,
  sl_to_leaving = 256,
  sl_to_decay = 512,
  sl_to_sums = 528,
  sl_to_keys = sl_to_sums + 512,
  sl_to_queries = sl_to_keys + 256 * SL_KEYS_WEIGHED,
  sl_to_rest = sl_to_queries + 256 * SL_QUERIES_WEIGHED,
  sl_to_factors = sl_to_rest + 256 * (SL_SKIPS || !SL_OUTPUT_GROUPS),
  sl_factored = SL_OUTPUT_GROUPS > 0 && SL_GATED,
  sl_to_middles = sl_to_factors + 384,
  sl_to_rows = sl_to_middles + 256,
  sl_numbers = sl_factored ? sl_to_rows + 256 : sl_to_factors,
  sl_at_barriers = sl_at_numbers + SL_NUMBER_STAGES * sl_numbers,
  // Barriers: q has landed, it is free; k has landed; v has; numbers are there; k is free, v and numbers are; what
  // is handed on is there, it is free. Where the state is apart one barrier says that k and v have landed and that
  // numbers are there. Elsewhere what is handed on is read no later than numbers are.
  sl_apart = SL_OUTPUT_GROUPS > 0,
  sl_key_barriers = sl_apart ? SL_VALUE_STAGES : SL_KEY_STAGES,
  sl_number_barriers = sl_apart ? SL_VALUE_STAGES : SL_NUMBER_STAGES,
  sl_queries_free = SL_QUERY_STAGES,
  sl_keys_landed = 2 * SL_QUERY_STAGES,
  sl_values_landed = sl_keys_landed + !sl_apart * SL_KEY_STAGES,
  sl_numbers_there = sl_values_landed + !sl_apart * SL_VALUE_STAGES,
  sl_keys_free = sl_numbers_there + sl_number_barriers,
  sl_values_free = sl_keys_free + sl_key_barriers,
  sl_handed_there = sl_values_free + SL_VALUE_STAGES,
  sl_handed_free = sl_handed_there + 2,
  sl_barriers = sl_handed_free + 2 * sl_apart,
};

// Where a walk's head lies. Tokens are counted in a batch row.
typedef struct {
  int head, query_head, value, batch, begin, length;
  const float *initial;  // state, or NULL for zero
  float *final;          // or NULL
  float *key_decay;      // of a segment that is summed up, or NULL
  uint16_t *o;
} sl_place;

SL_WORD uint32_t sl_barrier_at(uint32_t shared, const int first, uint32_t stage) {
  return shared + sl_at_barriers + 8 * ((uint32_t)first + stage);
}
SL_WORD uint32_t sl_numbers_at(uint32_t shared, uint32_t n) {
  return shared + sl_at_numbers + n % SL_NUMBER_STAGES * sl_numbers;
}
// Waits until what a barrier of a ring says of the n-th chunk is so; or until one of so many places is free for it.
SL_WORD void sl_wait_for(uint32_t shared, const int first, const uint32_t barriers, uint32_t n) {
  sl_barrier_wait(sl_barrier_at(shared, first, n % barriers), n / barriers & 1);
}
SL_WORD void sl_wait_to_fill(
    uint32_t shared, const int first, const uint32_t barriers, const uint32_t places, uint32_t n) {
  if (n >= places) sl_wait_for(shared, first, barriers, n - places);
}
// How many arrivals a barrier waits for. Landed: the thread that asked for it. There: warps that made it. Free: warps
// that have read it. A warp speaks by one lane, or by all that have stored what others load, or have loaded or
// stored what others, or copies, will overwrite.
SL_WORD int sl_arrivals(const int barrier) {
  if (sl_apart) {
    if (barrier >= sl_handed_there) return 4;
    if (barrier >= sl_values_free) return 128;
    if (barrier >= sl_keys_free) return 128 + 4;
    if (barrier >= sl_numbers_there) return 2 + 32;
    return barrier >= sl_queries_free ? 128 : 1;
  }
  if (barrier >= sl_handed_there) return 32;
  if (barrier >= sl_values_free) return 128 * sl_groups + 128;
  if (barrier >= sl_keys_free) return 4 * sl_groups + 128;
  if (barrier >= sl_numbers_there) return 32;
  return barrier >= sl_queries_free && barrier < sl_keys_landed ? 4 * sl_groups + 4 : 1;
}

// How many values there are for a warpgroup from this one on, or as many as it has: a number, where all have these.
SL_WORD int sl_values_from(const int value) {
  return SL_OWN_VALUES % SL_VALUES ? SL_OWN_VALUES - value : 64;
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

// The block's next walk, and where it lies: seldom one, since few calls have more walks than the card has blocks.
template <class Walks>
SL_WORD int sl_walk_on(const Walks &walks, const int walk, sl_place &place) {
  const int next = walk + (int)SL_BLOCKS;
  if (__builtin_expect(next < walks.count(), 0)) place = walks.at(next);
  return next;
}

// ---- Copies, by one thread ----

// Asks for the n-th chunk of a ring: panels of 64 columns.
SL_WORD void sl_ask_for(
    uint32_t to, uint32_t landed, const int panels, const sl_tensor *const tensor, int column,
    int head, int token, int batch) {
#pragma unroll 1
  for (int end = column + 64 * panels; column < end; column += 64, to += sl_panel)
    sl_copy_in(to, tensor, landed, column, head, token, batch);
}

// A chunk's k and q, or its v, each once its place is free.
SL_WORD void sl_ask_for_chunk(
    uint32_t shared, const sl_place &place, uint32_t n, int token, const sl_tensor *const queries,
    const sl_tensor *const keys, const sl_tensor *const values, const int is_values) {
  if (is_values) {
    // A state that is apart frees its v with its k.
    if (sl_apart) sl_wait_to_fill(shared, sl_keys_free, sl_key_barriers, SL_VALUE_STAGES, n);
    sl_wait_to_fill(shared, sl_values_free, SL_VALUE_STAGES, SL_VALUE_STAGES, n);
    const uint32_t landed = sl_barrier_at(shared, sl_values_landed, n % SL_VALUE_STAGES);
    sl_barrier_expect(landed, sl_groups * sl_panel);
    sl_ask_for(
        shared + sl_at_values + n % SL_VALUE_STAGES * (sl_groups * sl_panel), landed,
        sl_groups, values, place.value, place.head, token, place.batch);
    return;
  }
  sl_wait_to_fill(shared, sl_keys_free, sl_key_barriers, SL_KEY_STAGES, n);
  const uint32_t keys_landed = sl_barrier_at(shared, sl_keys_landed, n % sl_key_barriers);
  sl_barrier_expect(keys_landed, sl_tile);
  sl_ask_for(
      shared + sl_at_keys + n % SL_KEY_STAGES * sl_tile, keys_landed, sl_key_panels,
      keys, 0, place.head, token, place.batch);
  sl_wait_to_fill(shared, sl_queries_free, SL_QUERY_STAGES, SL_QUERY_STAGES, n);
  const uint32_t landed = sl_barrier_at(shared, 0, n % SL_QUERY_STAGES);
  sl_barrier_expect(landed, sl_tile);
  sl_ask_for(
      shared + n % SL_QUERY_STAGES * sl_tile, landed, sl_key_panels, queries, 0,
      place.query_head, token, place.batch);
}

// Those of k and q, or those of v. A block's first chunk has been asked for.
template <class Walks>
SL_WORD void sl_alike_copies(
    uint32_t shared, const Walks walks, sl_place place, const sl_tensor *const queries,
    const sl_tensor *const keys, const sl_tensor *const values, const int is_values) {
  uint32_t n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk = sl_walk_on(walks, walk, place)) {
    const int asked = walk == (int)SL_BLOCK && place.length > 0 ? 64 : 0;
    n += asked / 64;
#pragma unroll 1
    for (int token = place.begin + asked; token < place.begin + place.length; token += 64, ++n)
      sl_ask_for_chunk(shared, place, n, token, queries, keys, values, is_values);
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
