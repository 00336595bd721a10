// The gradient of recurrences whose keys all decay alike, or not at all: three walks of one kind. With c_i
// the sum of log2 decays from a chunk's start to token i, D_ij = 2^{c_i - c_j} for j <= i, and a what q is
// multiplied with,
//
//     dq_i = sum over j <= i of a D_ij (dO_i v_j) k_j        forward in time, with S^T as the state
//     dk_j = sum over i >= j of a D_ij (v_j dO_i) q_i        back in time, with dS^T
//     dv_j = sum over i >= j of a D_ij (k_j q_i) dO_i        back in time, with dS
//
// Each reads three tensors as they lie in memory, as queries, keys and values, and has its state of 64
// "values" a warpgroup turned in registers: nothing that a walk needs comes from another one, so all of them
// go side by side. A block has 128 values of a walk. Keys above 256, and query heads that share keys, go by
// parts, one launch after the other: each adds to what the one before it left in f32.
//
// The adjoint of a decay's logarithm, E_t, is what all pairs of tokens (i, j) with i >= t > j make up, where
// the initial state counts as a token before all and the final one's adjoint as one behind. In a chunk,
//
//     E_t = sum over i >= t of (q_i dq_i - k_i dk_i) + Y + G
//
// with Y = sum over the chunk of k_j (dS v_j), where dS v_j is the part of dk that comes from behind the
// chunk, and G = 2^{c_64} <S, dS>, of the pairs on both sides of it. q dq and k dk are summed up in f32
// before dq and dk are rounded, and have the same rounded numbers a D_ij (dO_i v_j), so that pairs of tokens
// on one side of t cancel. G needs no state in memory, for pairs on both sides of a chunk's end are told by
// the chunks behind it: with X = sum over a chunk of q_i (S dO_i) likewise,
//
//     G = sum over the chunks behind of (X - Y) - Y of its own + <S, dS> at the sequence's end
//
// where pairs behind a chunk must cancel, of which there are more the longer the sequence. So these sums,
// X' and Y', have the same rounded numbers: S adds up rounded 2^{c_64 - c_j} k_j, dS rounded a 2^{c_i} q_i,
// and these, not q and k times f32 factors, are what the other walk's rows are multiplied with.
#ifndef SL_ALIKE_GRADIENT_CUH
#define SL_ALIKE_GRADIENT_CUH

namespace sl_alike_gradients {

enum {
  sl_panel = 8192,  // bytes of 64 rows of 64 columns
  sl_groups = 2,    // warpgroups that have a state
  sl_block_threads = 128 * (sl_groups + 2),
  sl_value_stages = 2,
  // Numbers of a chunk: for each token what its output's and its state's part are multiplied with, what
  // rounding leaves of its own score; 2^{c_64} and a; c_i in two parts.
  sl_to_leaving = 256,
  sl_to_rest = 512,
  sl_to_decay = 768,
  sl_to_sums = 784,
  sl_numbers = sl_to_sums + 512,
  sl_group_sums = 1024 + 64,  // sums of a warpgroup's warps: of each token, two of all
  // What is kept of a tile of 64 values: floats of its outputs; floats of a chunk's sums, which are those of
  // each token, X' or Y', what Y has more than Y', and <S, dS> at the sequence's end.
  sl_tile_parts = 64 * 64,
  sl_rounded_sum = 64,
  sl_unrounded_sum = 65,
  sl_final_sum = 66,
  sl_chunk_sums = 68,
  // All that a block's shared memory holds, at whose end the walk lies.
  sl_shared_bytes = 227 * 1024,
  sl_at_walk = sl_shared_bytes - 256,
  // Which tensor is meant.
  sl_of_q = 0, sl_of_k, sl_of_v, sl_of_d_o, sl_of_d_q, sl_of_d_k, sl_of_d_v, sl_tensor_count,
};

typedef struct {
  sl_tensor of[sl_tensor_count];
} sl_tensors;

// A walk, found by one thread and left in shared memory for all.
typedef struct {
  // Which tensors, and their heads; partners are those whose rows the outputs' are multiplied with.
  int queries, keys, values, partners, outputs;
  int query_head, key_head, value_head, partner_head, output_head;
  int batch, begin, length;  // tokens are counted in a batch row
  int first, count, step;    // chunks, in the walk's order
  int column, value;         // the first ones of queries and keys, and of values
  int own_keys, own_values;  // how many there are from those on
  int gate_step, output_step, key_step, value_step;
  const float *gate;
  // The state at the walk's ends, or NULL, and what its end is multiplied with. What is kept is added to what
  // is there already if so told.
  const float *initial, *met;
  float *final;
  int adds_final;
  int adds, keeps;  // whether outputs are added to what was kept, and whether they are kept
  float *parts, *sums;
  int adds_sums;
  int64_t chunk_step;  // tiles of 64 values from chunk to chunk, in parts and sums
  // Which part of a sequence it goes through, in the walk's order; what those add to a state that begins at
  // zero, and how a state decays over them.
  int segment;
  float *added, *decays;
  uint16_t *output;
} sl_walk;
static_assert(sizeof(sl_walk) <= 256, "sl_at_walk");

// Places in shared memory of walks with so many panels of keys: rings of queries, keys and values; partners;
// two chunks' scores; outputs on their way; numbers; sums of warps; barriers; the walk.
template <int Panels, bool Sums>
struct sl_places {
  static constexpr int panels = Panels;
  static constexpr bool sums = Sums;
  static constexpr int tile = Panels * sl_panel;
  static constexpr int fixed = (3 * sl_groups + 2 + (Sums ? sl_groups : 0)) * sl_panel;
  static constexpr int small = 2 * sl_numbers + (Sums ? sl_group_sums * sl_groups : 0) + 512;
  static constexpr int both = (sl_shared_bytes - fixed - small) / tile;
  static constexpr int query_stages = both / 2 < 4 ? both / 2 : 4;
  static constexpr int key_stages = both - both / 2 < 4 ? both - both / 2 : 4;
  static constexpr int at_keys = query_stages * tile;
  static constexpr int at_values = at_keys + key_stages * tile;
  static constexpr int at_partners = at_values + sl_value_stages * sl_groups * sl_panel;
  static constexpr int at_scores = at_partners + (Sums ? sl_groups * sl_panel : 0);
  static constexpr int at_staged = at_scores + 2 * sl_panel;
  static constexpr int at_numbers = at_staged + sl_groups * sl_panel;
  static constexpr int at_sums = at_numbers + 2 * sl_numbers;
  static constexpr int at_barriers = at_sums + (Sums ? sl_group_sums * sl_groups : 0);
  // Barriers: queries have landed, their place is free; likewise keys, values and partners; numbers are
  // there; scores are; both are free.
  static constexpr int queries_landed = 0;
  static constexpr int queries_free = query_stages;
  static constexpr int keys_landed = 2 * query_stages;
  static constexpr int keys_free = keys_landed + key_stages;
  static constexpr int values_landed = keys_free + key_stages;
  static constexpr int values_free = values_landed + sl_value_stages;
  static constexpr int partners_landed = values_free + sl_value_stages;
  static constexpr int partners_free = partners_landed + 1;
  static constexpr int numbers_there = partners_free + 1;
  static constexpr int scores_there = numbers_there + 2;
  static constexpr int scores_free = scores_there + 2;
  static constexpr int barriers = scores_free + 2;
  static_assert(at_barriers + 8 * barriers <= sl_at_walk, "fixed, small");
};

template <class Places>
SL_WORD uint32_t sl_barrier_at(uint32_t shared, const int first, int stage) {
  return shared + (uint32_t)Places::at_barriers + 8 * (uint32_t)(first + stage);
}
template <class Places>
SL_WORD uint32_t sl_numbers_at(uint32_t shared, int n) {
  return shared + (uint32_t)Places::at_numbers + (uint32_t)(n % 2 * sl_numbers);
}
// Waits until what a barrier of a ring says of the n-th chunk is so; or until its place is free for it.
template <class Places>
SL_WORD void sl_wait_for(uint32_t shared, const int first, const int stages, int n) {
  sl_barrier_wait(
      sl_barrier_at<Places>(shared, first, n % stages), (uint32_t)(n / stages) & 1);
}
template <class Places>
SL_WORD void sl_wait_to_fill(uint32_t shared, const int first, const int stages, int n) {
  if (n >= stages) sl_wait_for<Places>(shared, first, stages, n - stages);
}
// A number, with which no compiler computes before this.
SL_WORD int sl_again(int x) {
  int y;
  asm volatile("mov.b32 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// Every lane says for itself what it is done with: so a tool that looks for races sees it.
SL_WORD void sl_tell_each(uint32_t barrier) {
  sl_meet_warp();
  sl_barrier_arrive(barrier);
}

// The first token of the n-th chunk on the way, from the sequence's first one.
SL_WORD int sl_token_of(const volatile sl_walk *walk, int n) {
  return 64 * (walk->first + n * walk->step);
}

// ---- Copies, by one thread ----

template <class Places>
SL_WORD void sl_ask_for(
    uint32_t shared, const int ring, const int first, const int free, const int stages,
    const int panels, int n, const sl_tensor *const tensor, int column, int head, int token,
    int batch) {
  const uint32_t landed = sl_barrier_at<Places>(shared, first, n % stages);
  sl_wait_to_fill<Places>(shared, free, stages, n);
  sl_barrier_expect(landed, panels * sl_panel);
  uint32_t to = shared + (uint32_t)(ring + n % stages * panels * sl_panel);
#pragma unroll 1
  for (int end = column + 64 * panels; column < end; column += 64, to += sl_panel)
    sl_copy_in(to, tensor, landed, column, head, token, batch);
}

// All of a walk's tensors, or those alone that its state takes.
template <class Places>
SL_WORD void sl_walk_copies(
    uint32_t shared, const volatile sl_walk *const walk, const sl_tensors *const tensors,
    const int has_outputs) {
#pragma unroll 1
  for (int n = 0; n < walk->count; ++n) {
    const int token = walk->begin + sl_token_of(walk, n), batch = walk->batch;
    const int column = walk->column, value = walk->value;
    sl_ask_for<Places>(
        shared, Places::at_keys, Places::keys_landed, Places::keys_free, Places::key_stages,
        Places::panels, n, tensors->of + walk->keys, column, walk->key_head, token, batch);
    if (has_outputs)
      sl_ask_for<Places>(
          shared, 0, Places::queries_landed, Places::queries_free, Places::query_stages,
          Places::panels, n, tensors->of + walk->queries, column, walk->query_head, token, batch);
    sl_ask_for<Places>(
        shared, Places::at_values, Places::values_landed, Places::values_free, sl_value_stages,
        sl_groups, n, tensors->of + walk->values, value, walk->value_head, token, batch);
    if (Places::sums)
      sl_ask_for<Places>(
          shared, Places::at_partners, Places::partners_landed, Places::partners_free, 1, sl_groups,
          n, tensors->of + walk->partners, value, walk->partner_head, token, batch);
  }
}

// ---- Numbers of tokens, by a warp ----

// Sums and factors of a chunk. A lane has two tokens, 32 apart. c is kept as a whole number and a rest:
// their differences are as good beside a reset as elsewhere.
template <class Maps>
SL_WORD void sl_chunk_numbers(
    uint32_t numbers, const Maps &maps, const float (&gates)[2], const int rows, const int back) {
  float whole[2] = {0.0f, 0.0f}, part[2] = {0.0f, 0.0f};
  float whole_sum = 0.0f, part_sum = 0.0f;
#pragma unroll
  for (int m = 0; SL_WALK_GATED && m < 2; ++m) {
    float logarithm = SL_LANE + 32 * m < rows ? 0x1.715476p0f * maps.log_decay(gates[m]) : 0.0f;
    // 2 to this is 0.
    if (logarithm < -1024.0f) logarithm = -1024.0f;
    const float nearest = (logarithm + SL_ROUNDER) - SL_ROUNDER;
    whole[m] = sl_sum_up_to(nearest) + whole_sum;
    part[m] = sl_sum_up_to(logarithm - nearest) + part_sum;
    whole_sum = sl_of_lane(whole[m], 31), part_sum = sl_of_lane(part[m], 31);
  }
  const float weight = maps.query_weight();
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t token = (uint32_t)(SL_LANE + 32 * m);
    // From the chunk's start to the token, with q's weight; from the token to the chunk's end.
    const float before = weight * sl_power(whole[m] + part[m]);
    const float behind = sl_power((whole_sum - whole[m]) + (part_sum - part[m]));
    sl_store_word(numbers + 4 * token, SL_BITS(back ? behind : before));
    sl_store_word(numbers + sl_to_leaving + 4 * token, SL_BITS(back ? before : behind));
    if (SL_WALK_GATED) sl_store_floats(numbers + sl_to_sums + 8 * token, whole[m], part[m]);
    if (token == 0) sl_store_floats(numbers + sl_to_decay, sl_power(whole_sum + part_sum), weight);
  }
}

template <class Places, class Maps>
SL_WORD void sl_walk_numbers(
    uint32_t shared, const volatile sl_walk *const walk, const Maps &maps) {
  const int count = walk->count;
  if (count == 0) return;
  float next[2] = {0.0f, 0.0f};
#pragma unroll 1
  for (int n = -1; n < count; ++n) {
    const float gates[2] = {next[0], next[1]};
    // The next chunk's gates are on their way meanwhile; past the sequence's end its last one is read, and
    // not used.
    const int ahead = sl_token_of(walk, n + 1 < count ? n + 1 : count - 1);
#pragma unroll
    for (int m = 0; SL_WALK_GATED && m < 2; ++m)
      next[m] = sl_load(
          walk->gate
          + sl_least(ahead + SL_LANE + 32 * m, walk->length - 1) * walk->gate_step);
    if (n < 0) continue;
    sl_wait_to_fill<Places>(shared, Places::scores_free, 2, n);
    sl_chunk_numbers(
        sl_numbers_at<Places>(shared, n), maps, gates, walk->length - sl_token_of(walk, n),
        walk->step < 0);
    sl_tell_each(sl_barrier_at<Places>(shared, Places::numbers_there, n % 2));
  }
}

}  // namespace sl_alike_gradients

#endif
