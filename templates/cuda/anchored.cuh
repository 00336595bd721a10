// Walks over chunks of 64 tokens on Hopper, K = 128, 128 or 64 values a walk (SL_VALUES): two warpgroups
// prepare operands, two multiply; a block goes from walk to walk without a pause. Those that multiply
// have half of 128 values each; of 64 values one keeps the state, and the other reads it out. `Walks` lists them (where their tensors lie, what the recurrence says of q, k and the decay).
//
// A chunk has an anchor, its middle. With a_i the sum of log decays, in base 2, from the anchor to
// token i (negated before the anchor), operands are scaled in place and the state is held as it is
// at the anchor:
//
//     q~_i = q_i 2^{a_i},  k~_i = k_i 2^{-a_i};  U = diag(2^{sum from the last anchor to this}) U
//     P = lower triangle of q~ k~^T;  o = q~ U + P v;  U = U + k~^T v
//
// That is right while no |a_i| is above 62; the decay of the chunk's first token is in no a_i, so a
// reset there passes. A chunk that fails the test goes by factors in [0, 1] alone, which is right for
// every decay. With d_i the decays themselves, S the state before the chunk,
//
//     q^_i = q_i d_1...d_i,  k^_i = k_i d_{i+1}...d_64;  o = q^ S + P v;  S = diag(d_1...d_64) S + k^^T v
//
// and P from the preparing warps: between the two halves of the chunk and of a half as products of operands
// that are decayed up to the border between them; within a quarter about an anchor of its own, and on down
// to two tokens where that has no range either.
#ifndef SL_ANCHORED_CUH
#define SL_ANCHORED_CUH

enum {
  sl_chunk = 64,
  sl_panel = 8192,         // bytes of 64 rows of a panel
  sl_tile = 2 * sl_panel,  // 64 x 128 bf16
  sl_columns = 64,         // values of a panel, and of a warpgroup
  sl_value_panels = SL_VALUES / sl_columns,
  // Whether one panel is all: then a warpgroup keeps the state and another one reads it out, and warps of
  // their own ask for copies; where the state takes their registers, those that multiply do.
  sl_is_narrow = sl_value_panels == 1,
  sl_stages = 3,
  sl_gate_stages = sl_is_narrow ? 2 : 1,
  sl_cursors = 16,
  sl_stage = 2 * sl_tile + sl_value_panels * sl_panel,  // q, k, v
  sl_gates = 64 * 128 * 4,
  // Places in shared memory.
  sl_at_gates = sl_stages * sl_stage,           // chunks' decays
  // U in bf16, 128 keys of each panel, and outputs on their way: where a warpgroup does both, in the place
  // of U's later keys.
  sl_at_state = sl_at_gates + sl_gate_stages * sl_gates,
  sl_at_scores = sl_at_state + (sl_is_narrow ? 3 : 4) * sl_panel,  // P of the exact form
  sl_at_sums = sl_at_scores + sl_panel,         // of log decays, a chunk's parity and quarter
  sl_at_outer = sl_at_sums + 2 * 4 * 512,       // decays after a quarter, of the exact form
  sl_at_later = sl_at_outer + 4 * 512,          // from the anchor on, a chunk's parity
  sl_at_before = sl_at_later + 2 * 512,         // factors of U before the chunk, a stage
  sl_at_after = sl_at_before + sl_stages * 512, // and after it
  sl_at_cursors = sl_at_after + sl_stages * 512,     // the latest chunks, in turn
  sl_at_level = sl_at_cursors + sl_cursors * 32,    // 1 for the exact form, a stage
  sl_at_barriers = sl_at_level + 16,
  sl_anchored_bytes = sl_at_barriers + 8 * (3 * sl_stages + 2 * sl_gate_stages + 2),
};

// Barriers: copies have landed, operands are ready, the stage may be filled again; gates landed,
// and their place may be filled again; U is held, and may be overwritten.
SL_WORD uint32_t sl_landed(uint32_t shared, int stage) { return shared + sl_at_barriers + 8 * stage; }
SL_WORD uint32_t sl_ready(uint32_t shared, int stage) { return sl_landed(shared, sl_stages + stage); }
SL_WORD uint32_t sl_free(uint32_t shared, int stage) { return sl_landed(shared, 2 * sl_stages + stage); }
SL_WORD uint32_t sl_gates_landed(uint32_t shared, int n) {
  return sl_landed(shared, 3 * sl_stages + n % sl_gate_stages);
}
SL_WORD uint32_t sl_gates_free(uint32_t shared, int n) {
  return sl_gates_landed(shared, n) + 8 * sl_gate_stages;
}
SL_WORD uint32_t sl_state_ready(uint32_t shared) {
  return sl_landed(shared, 3 * sl_stages + 2 * sl_gate_stages);
}
SL_WORD uint32_t sl_state_free(uint32_t shared) { return sl_state_ready(shared) + 8; }

// Where a walk's head lies. Tokens are counted in a batch row.
typedef struct {
  int head, query_head, value, batch, begin, length;
  const float *initial;  // state, or NULL for zero
  float *final;          // or NULL
  float *decay;          // the walk's whole decay, for every key; or NULL
  uint16_t *o;
} sl_place;

// The tensors that are copied.
typedef struct {
  const sl_tensor *q, *k, *v, *gates, *o;
} sl_tensors;

// One chunk of a walk, with the tokens that are left from it on; `walk` is negative past the last.
typedef struct {
  int walk, chunk, left, token, head, query_head, value, batch;
} sl_cursor;

// A block's chunk number n has stage n mod sl_stages, and uses it for the time of that parity.
SL_WORD int sl_stage_of(int n) { return n % sl_stages; }
SL_WORD uint32_t sl_turn_of(int n) { return (uint32_t)(n / sl_stages) & 1; }
// Where its decays are, for the time of that parity.
SL_WORD uint32_t sl_gates_of(uint32_t shared, int n) {
  return shared + sl_at_gates + (uint32_t)(n % sl_gate_stages * sl_gates);
}
SL_WORD uint32_t sl_gates_turn_of(int n) { return (uint32_t)(n / sl_gate_stages) & 1; }
// A quarter's gates of two keys, where copies have brought them.
SL_WORD void sl_gates_take(float (&gates)[16][2], uint32_t at) {
#pragma unroll
  for (int n = 0; n < 16; ++n) sl_load_floats(gates[n], at + (uint32_t)(512 * n));
}
// Where its sums of log decays from the anchor on are.
SL_WORD uint32_t sl_later(uint32_t shared, int n) {
  return shared + sl_at_later + (uint32_t)(512 * (n & 1));
}
// Where it stands in turns of sl_cursors.
SL_WORD int sl_in_turn(int n) { return n & (sl_cursors - 1); }

// ---- Copies, by one thread ----

// The first chunk of this walk or a later one of this block.
template <class Walks>
SL_WORD sl_cursor sl_first(int walk, const Walks walks) {
  for (; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    if (place.length <= 0) continue;
    const sl_cursor first = {walk, 0, place.length, place.begin, place.head, place.query_head,
                             place.value, place.batch};
    return first;
  }
  const sl_cursor none = {-1, 0, 0, 0, 0, 0, 0, 0};
  return none;
}

// The chunk after this one, of this block's walks.
template <class Walks>
SL_WORD sl_cursor sl_next(sl_cursor at, const Walks walks) {
  if (at.walk < 0) return at;
  if (at.left <= sl_chunk) return sl_first(at.walk + (int)SL_BLOCKS, walks);
  ++at.chunk, at.left -= sl_chunk, at.token += sl_chunk;
  return at;
}

// Asks for half of a chunk's q, k or v, when its stage is free: the first and second half of q, of k, of
// v in turn. Who asks for the first announces all.
template <const bool reads>
SL_WORD void sl_copy_operand(
    uint32_t shared, const sl_cursor *cursor, const sl_tensors from, const int stage,
    const int which) {
  const sl_cursor at = *cursor;
  if (at.walk < 0 || which >= 6) return;
  const uint32_t to = shared + stage * sl_stage, landed = sl_landed(shared, stage);
  const int half = which % 2;
  if (which == 0)
    sl_barrier_expect(landed, (reads ? 2 : 1) * sl_tile + sl_value_panels * sl_panel);
  if (which < 2) {
    if (reads)
      sl_copy_in(to + half * sl_panel, from.q, landed, 64 * half, at.query_head, at.token, at.batch);
  } else if (which < 4) {
    sl_copy_in(
        to + sl_tile + half * sl_panel, from.k, landed, 64 * half, at.head, at.token, at.batch);
  } else if (half < sl_value_panels) {
    sl_copy_in(
        to + 2 * sl_tile + half * sl_panel, from.v, landed, at.value + sl_columns * half, at.head,
        at.token, at.batch);
  }
}

// Asks for the decays of chunk number n, when their place is free.
SL_WORD void sl_copy_gates(
    uint32_t shared, const sl_cursor *const cursors, const sl_tensors from, const int n) {
  const sl_cursor at = cursors[sl_in_turn(n)];
  if (!SL_GATES_COPIED || at.walk < 0) return;
  sl_barrier_expect(sl_gates_landed(shared, n), sl_gates);
  sl_copy_in(
      sl_gates_of(shared, n), from.gates, sl_gates_landed(shared, n), 0, at.head, at.token, at.batch);
}

// The same, so far to the second-level cache.
SL_WORD void sl_gates_ahead(const sl_cursor *const cursors, const sl_tensors from, const int n) {
  const sl_cursor at = cursors[sl_in_turn(n)];
  if (SL_GATES_COPIED && at.walk >= 0) sl_copy_ahead(from.gates, 0, at.head, at.token, at.batch);
}

// Four warps, a lane of each: a stage that is free takes the chunk that comes next in it.
template <const bool reads>
SL_WORD void sl_anchored_copy(
    uint32_t shared, const sl_cursor *const cursors, const sl_tensors from) {
  const int own = (int)SL_WARP % 4;
  if (SL_LANE != 0) return;
#pragma unroll 1
  for (int n = 0; cursors[sl_in_turn(n)].walk >= 0; ++n) {
    if (own == 3) {
      if (!SL_GATES_COPIED) return;
      sl_barrier_wait(sl_gates_free(shared, n), sl_gates_turn_of(n));
      sl_copy_gates(shared, cursors, from, n + sl_gate_stages);
    } else {
      sl_barrier_wait(sl_free(shared, sl_stage_of(n)), sl_turn_of(n));
      for (int which = own; which < 6; which += 3)
        sl_copy_operand<reads>(
            shared, &cursors[sl_in_turn(n + sl_stages)], from, sl_stage_of(n), which);
    }
  }
}

// The place of the gates is free: all threads that prepare say so, each for itself, or one asks for the next
// ones. Whether this thread does:
SL_WORD int sl_releases_gates() { return sl_is_narrow || SL_THREAD == 96; }
SL_WORD void sl_release_gates(
    uint32_t shared, const sl_cursor *const cursors, const sl_tensors from, const int n) {
  if (sl_is_narrow) sl_barrier_arrive(sl_gates_free(shared, n));
  else sl_copy_gates(shared, cursors, from, n + sl_gate_stages);
}

// Makes the barriers ready and asks for the first chunks; all threads.
template <const bool reads, class Walks>
SL_WORD void sl_anchored_begin(
    uint32_t shared, sl_cursor *const cursors, const Walks walks, const sl_tensors from) {
  // Scores above the diagonal stay zero.
  for (int n = SL_THREAD; n < sl_panel / 4; n += SL_THREADS)
    sl_store_word(shared + sl_at_scores + 4 * (uint32_t)n, 0u);
  sl_publish();
  if (SL_THREAD == 0) {
    for (int stage = 0; stage < sl_stages; ++stage) {
      sl_barrier_init(sl_landed(shared, stage), 1);
      sl_barrier_init(sl_ready(shared, stage), 256);
      sl_barrier_init(sl_free(shared, stage), sl_is_narrow && !reads ? 4 : 8);
    }
    for (int stage = 0; stage < sl_gate_stages; ++stage) {
      sl_barrier_init(sl_gates_landed(shared, stage), 1);
      sl_barrier_init(sl_gates_free(shared, stage), 256);
    }
    sl_barrier_init(sl_state_ready(shared), 128);
    sl_barrier_init(sl_state_free(shared), 4);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    for (int n = 0; n < sl_stages; ++n)
      cursors[n] = n ? sl_next(cursors[n - 1], walks) : sl_first((int)SL_BLOCK, walks);
    for (int n = 0; n < sl_gate_stages; ++n) sl_copy_gates(shared, cursors, from, n);
    for (int n = 0; n < sl_stages; ++n)
      for (int which = 0; which < 6; ++which)
        sl_copy_operand<reads>(shared, &cursors[n], from, n, which);
  }
  sl_sync();
}

#endif
