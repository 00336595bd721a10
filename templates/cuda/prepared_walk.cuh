// Walks over chunks that prepared.cuh has left in the workspace, which know nothing of the recurrence:
//
//     o = q^ S + P v    S = diag(D) S + k^^T v
//
// A warpgroup has 64 values, and the state turned in registers (turned_state.cuh). One more warp asks for
// copies, some chunks ahead; a block goes from walk to walk without a pause.
//
// With gates along the values (prepared_values.cuh) it is o_i = w_i (q^_i S) + r_i and S = diag(D) S diag(E)
// + k^^T v^, v^ in two bf16 numbers: rounded once, it would be one rounding more than outputs have room for.
//
// A walk that `reads` does all of that. One that does not sums up a segment from zero (prepared_sums.cuh),
// and has nothing brought but k^, D and the values.
#ifndef SL_PREPARED_WALK_CUH
#define SL_PREPARED_WALK_CUH

enum {
  sl_groups = SL_VALUES / 64,  // warpgroups that multiply
  sl_parts = SL_VALUE_GATED ? 2 : 1,  // panels of their values
  // A stage: panels of v, panels of k^, and D; then panels of q^ and the two of P, where walks read. With
  // gates along the values two panels of v^ for one of v, E behind D, and no P.
  sl_walk_value_bytes = sl_groups * sl_parts * sl_panel,
  sl_walk_end_bytes = SL_VALUE_GATED ? 256 * sl_groups : 0,
  sl_walk_query_bytes = SL_VALUE_GATED ? sl_key_panels * sl_panel : sl_query_bytes,
  sl_to_keys = sl_walk_value_bytes,
  sl_to_decays = sl_to_keys + sl_key_panels * sl_panel,
  sl_to_ends = sl_to_keys + sl_key_bytes,
  sl_to_queries = (sl_to_ends + sl_walk_end_bytes + 1023) / 1024 * 1024,
  sl_summed_bytes = sl_walk_value_bytes + sl_key_bytes + sl_walk_end_bytes,
};

// What the stages of a block take.
template <const bool reads> struct sl_ring {
  enum {
    stages = reads ? SL_STAGES : SL_SUM_STAGES,
    stage = sl_to_queries + (reads ? sl_walk_query_bytes : 0),
    copied = sl_summed_bytes + (reads ? sl_walk_query_bytes : 0),
    at_staged = stages * stage,                                 // outputs on their way, of each warpgroup
    at_barriers = at_staged + (reads ? sl_groups * sl_panel : 0),  // a stage has landed; it is free
  };
};

// Where a walk's head lies. Tokens are counted in a batch row.
typedef struct {
  int head, query_head, value, batch, begin, length;
  const char *queries, *keys;  // of the first chunk
  const char *values, *ends, *read;  // of the walk's values, where those have gates
  const float *initial;        // state, or NULL for zero
  float *final;                // or NULL
  float *key_decay, *value_decay;  // of a segment that is summed up, or NULL
  uint16_t *o;
} sl_place;

// Copies bytes that lie side by side, sixteen or a multiple of it.
SL_WORD void sl_copy_bytes(uint32_t to, const char *from, const int bytes, uint32_t barrier) {
  asm volatile("{\n.reg .u64 at;\ncvta.to.global.u64 at, %1;\n"
               "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [at], %2, [%3];\n}" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}
// Brings such bytes on their way to the second-level cache.
SL_WORD void sl_bytes_ahead(const char *from, const int bytes) {
  asm volatile("{\n.reg .u64 at;\ncvta.to.global.u64 at, %0;\n"
               "cp.async.bulk.prefetch.L2.global [at], %1;\n}" ::"l"(from),
               "r"(bytes)
               : "memory");
}

// sum += a^T b with `a` across, and `b` in panels whose rows are the sums' columns.
SL_WORD void sl_product_turned(float (&sum)[32], uint64_t a, uint64_t b) {
  asm volatile(SL_PRODUCT ", %32, %33, 1, 1, 1, 1, 0;" : SL_SUMS(sum) : "l"(a), "l"(b));
}

template <const bool reads> SL_WORD uint32_t sl_landed(uint32_t shared, int stage) {
  return shared + sl_ring<reads>::at_barriers + 8 * stage;
}
template <const bool reads> SL_WORD uint32_t sl_free(uint32_t shared, int stage) {
  return sl_landed<reads>(shared, sl_ring<reads>::stages + stage);
}
template <const bool reads> SL_WORD uint32_t sl_turn_of(int n) {
  return (uint32_t)(n / sl_ring<reads>::stages) & 1;
}

// ---- Copies, by one thread ----

template <const bool reads, class Walks>
SL_WORD void sl_walk_copies(
    uint32_t shared, const Walks walks, const sl_tensor *const values) {
  typedef sl_ring<reads> ring;
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    const char *queries = place.queries, *keys = place.keys;
    const char *decayed = place.values, *ends = place.ends, *read = place.read;
#pragma unroll 1
    for (int done = 0; done < place.length; done += 64, ++n) {
      const int stage = n % ring::stages;
      const uint32_t to = shared + stage * ring::stage, landed = sl_landed<reads>(shared, stage);
      if (n >= ring::stages)
        sl_barrier_wait(sl_free<reads>(shared, stage), sl_turn_of<reads>(n - ring::stages));
      sl_barrier_expect(landed, ring::copied);
      if (reads) sl_copy_bytes(to + sl_to_queries, queries, sl_walk_query_bytes, landed);
      sl_copy_bytes(to + sl_to_keys, keys, sl_key_bytes, landed);
      queries += walks.query_step, keys += walks.key_step;
      if (SL_VALUE_GATED) {
        sl_copy_bytes(to, decayed, sl_walk_value_bytes, landed);
        sl_copy_bytes(to + sl_to_ends, ends, sl_walk_end_bytes, landed);
        if (reads) sl_bytes_ahead(read, sl_groups * 64 * 64 * 8);
        decayed += walks.value_step, ends += walks.value_step, read += walks.read_step;
      } else {
#pragma unroll
        for (int group = 0; group < sl_groups; ++group)
          sl_copy_in(
              to + group * sl_panel, values, landed, place.value + 64 * group,
              place.head, place.begin + done, place.batch);
      }
    }
  }
}

// ---- Products, by a warpgroup ----

// S = diag(D) S, or diag(D) S diag(E): `ends` is the warpgroup's. E goes first and by itself, for which
// registers have room.
SL_WORD void sl_state_decay(sl_state &u, uint32_t decays, uint32_t ends) {
  if (SL_VALUE_GATED) {
    float end[2];
#pragma unroll
    for (int m = 0; m < 2; ++m)
      end[m] = sl_load_float(ends + 4 * (uint32_t)sl_value_of(SL_THREAD, 2 * m));
#pragma unroll
    for (int p = 0; p < sl_key_panels; ++p)
#pragma unroll
      for (int n = 0; n < 32; ++n) u[p][n] *= end[n / 2 % 2];
  }
#pragma unroll
  for (int p = 0; p < sl_key_panels && SL_GATED; ++p)
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      float decay[2];
      sl_load_floats(decay, decays + 4 * (uint32_t)sl_key_of(SL_LANE, p, 4 * j));
#pragma unroll
      for (int n = 0; n < 4; ++n) u[p][4 * j + n] *= decay[n % 2];
    }
}

// S^T += v^T k^
SL_WORD void sl_state_add(sl_state &u, uint32_t v, uint32_t keys) {
#pragma unroll
  for (int p = 0; p < sl_key_panels; ++p)
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int part = 0; part < sl_parts; ++part)
        sl_product_outer(
            u[p], sl_operand(v, part * sl_panel + 2048 * k),
            sl_operand(keys, p * sl_panel + 2048 * k));
}

// Past the walk's end lies another sequence: no value of it may be multiplied by 0.
SL_WORD void sl_values_end(uint32_t v, const int rows, const int own) {
  if (SL_VALUE_GATED) return;
  for (int word = 32 * rows + SL_THREAD % 128; word < 32 * 64; word += 128)
    sl_store_word(v + 4 * (uint32_t)word, 0u);
  sl_publish();
  sl_meet(8 + own, 128);
}

// o = w o + r for a chunk's output: w and r of a thread's values and tokens lie in rows of tokens, side
// by side.
enum { sl_read_ahead = sl_key_panels > 2 ? 2 : 8 };  // as many eights of tokens as registers hold
SL_WORD void sl_take_read(float (&x)[sl_read_ahead][4][2], const char *const read, const int from) {
#pragma unroll
  for (int j = 0; j < sl_read_ahead; ++j)
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int token = 8 * (from + j) + SL_LANE % 4 * 2 + n % 2;
      asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];"
                   : "=f"(x[j][n][0]), "=f"(x[j][n][1])
                   : "l"(read + (64 * token + sl_value_of(SL_THREAD, n)) * 8));
    }
}
SL_WORD void sl_add_read(
    float (&sum)[32], const float (&x)[sl_read_ahead][4][2], const int from) {
#pragma unroll
  for (int j = 0; j < sl_read_ahead; ++j)
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float &o = sum[4 * (from + j) + n];
      o = sl_fma(x[j][n][0], o, x[j][n][1]);
    }
}

template <class Walks>
SL_WORD void sl_walk_products(
    uint32_t shared, const Walks walks, const sl_tensor *const outputs, const int own) {
  const int thread = SL_THREAD % 128;
  typedef sl_ring<true> ring;
  const uint32_t staged = shared + ring::at_staged + (uint32_t)(own * sl_panel);
  int n = 0;
#pragma unroll 1
  for (int walk = (int)SL_BLOCK; walk < walks.count(); walk += (int)SL_BLOCKS) {
    const sl_place place = walks.at(walk);
    // The warpgroup's values may lie past the last one.
    const int value = place.value + 64 * own, values = SL_OWN_VALUES - value;
    sl_state u;
    sl_state_take(u, place.initial ? place.initial + value : NULL, values);
#pragma unroll 1
    for (int done = 0; done < place.length; done += 64, ++n) {
      const int stage = n % ring::stages, rows = sl_uniform(place.length - done);
      const uint32_t at = shared + stage * ring::stage, queries = at + sl_to_queries;
      const uint32_t scores = queries + sl_key_panels * sl_panel;
      const uint32_t v = at + (uint32_t)(own * sl_parts * sl_panel);
      const uint32_t keys = at + sl_to_keys, ends = at + sl_to_ends + (uint32_t)(256 * own);
      sl_barrier_wait(sl_landed<true>(shared, stage), sl_turn_of<true>(n));
      if (rows < 64) sl_values_end(v, rows, own);
      // o^T = S^T q^^T + v^T P^T, by 128 keys: registers have room for no more of S^T in bf16.
      float sum[32];
#pragma unroll
      for (int half = 0; half < sl_key_panels; half += 2) {
        uint32_t held[8][4];
#pragma unroll
        for (int k = 0; k < 8; ++k)
#pragma unroll
          for (int m = 0; m < 4; ++m) {
            const int panel = half + k / 4;
            if (panel < sl_key_panels)
              held[k][m] = sl_pack(u[panel][k % 4 * 8 + 2 * m], u[panel][k % 4 * 8 + 2 * m + 1]);
          }
        if ((SL_GATED || SL_VALUE_GATED) && half + 2 >= sl_key_panels)
          sl_state_decay(u, at + sl_to_decays, ends);
        sl_products_begin();
#pragma unroll
        for (int k = 0; k < 8; ++k)
          if (half + k / 4 < sl_key_panels)
            sl_product_of_held(
                sum, held[k], sl_operand(queries, (half + k / 4) * sl_panel + k % 4 * 32),
                half + k > 0);
        if (half + 2 < sl_key_panels) sl_products_end();
      }
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int part = 0; part < 2 && !SL_VALUE_GATED; ++part)
          sl_product_turned(
              sum, sl_operand(v, 2048 * k), sl_operand(scores, part * sl_panel + 32 * k));
      sl_state_add(u, v, keys);
      const char *const read = place.read + (done / 64) * walks.read_step + own * (64 * 64 * 8);
      float found[sl_read_ahead][4][2];
      if (SL_VALUE_GATED) sl_take_read(found, read, 0);
      sl_products_end();
      if (SL_VALUE_GATED) {
        sl_add_read(sum, found, 0);
#pragma unroll
        for (int from = sl_read_ahead; from < 8; from += sl_read_ahead) {
          sl_take_read(found, read, from);
          sl_add_read(sum, found, from);
        }
      }
      // Each thread speaks for its own reads: tools do not follow one lane that speaks for its warp.
      sl_barrier_arrive(sl_free<true>(shared, stage));
      // What was staged for the last chunk has been copied out before it is overwritten.
      if (thread == 0) sl_copied_out();
      sl_meet(8 + own, 128);
      sl_output_stage(sum, staged);
      sl_publish();
      sl_meet(8 + own, 128);
      if (rows >= 64) {
        if (thread == 0)
          sl_copy_out(
              outputs, staged, value, place.query_head, place.begin + done, place.batch);
        continue;
      }
      // The walk's last tokens one by one.
      for (int word = thread; word < 32 * rows; word += 128) {
        const int token = word / 32, column = word % 32 * 2;
        if (column < values)
          *(uint32_t *)(place.o + (int64_t)(done + token) * walks.o_token + 64 * own + column) =
              sl_load_word(staged + sl_in_panel(token, column));
      }
    }
    if (place.final) sl_state_keep(u, place.final + value, values);
  }
  if (thread == 0) sl_copied_out();
}

// ---- All walks ----

// Readies the barriers of a block.
template <const bool reads> SL_WORD void sl_walk_begin(uint32_t shared) {
  if (SL_THREAD == 0) {
    for (int stage = 0; stage < sl_ring<reads>::stages; ++stage) {
      sl_barrier_init(sl_landed<reads>(shared, stage), 1);
      sl_barrier_init(sl_free<reads>(shared, stage), 128 * sl_groups);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  sl_sync();
}

template <class Walks>
SL_WORD void sl_prepared_walks(
    const Walks walks, const sl_tensor *const values, const sl_tensor *const outputs) {
  SL_SHARED scratch[];
  const uint32_t shared = sl_address(scratch);
  sl_walk_begin<true>(shared);
  if (SL_WARP < 4 * sl_groups) {
    if (sl_groups > 1) sl_take_registers(232);
    sl_walk_products(shared, walks, outputs, sl_uniform(SL_WARP / 4));
  } else {
    if (sl_groups > 1) sl_give_registers(40);
    if (SL_THREAD == 128 * sl_groups) sl_walk_copies<true>(shared, walks, values);
  }
}

#endif
