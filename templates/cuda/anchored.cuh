// One head's walk over chunks of 64 tokens on Hopper, K = 128, 128 values a block: two warpgroups
// prepare operands, two multiply. `maps` is what the recurrence says of q, k and the decay.
//
// A piece of a chunk has an anchor, its middle. With a_i the sum of log decays, in base 2, from the anchor to
// token i (negated before the anchor), operands are scaled in place and the state is held as it is
// at the anchor:
//
//     q~_i = q_i 2^{a_i},  k~_i = k_i 2^{-a_i};  U = diag(2^{sum from the last anchor to this}) U
//     P = lower triangle of q~ k~^T;  o = q~ U + P v;  U = U + k~^T v
//
// That is right while no |a_i| is above 62; the decay of a piece's first token is in no a_i, so a
// reset there passes. The piece is the whole chunk (level 0) or, where a sum is too large, each of
// its four quarters (level 1). A chunk that fails both is walked token by token with the decays
// themselves (level 2): S = diag(d_t) S + k_t v_t^T, o_t = S^T q_t.
#ifndef SL_ANCHORED_CUH
#define SL_ANCHORED_CUH

enum {
  sl_chunk = 64,
  sl_panel = 8192,              // bytes of 64 rows of a panel
  sl_tile = 2 * sl_panel,       // 64 x 128 bf16
  sl_gates = SL_GATES_BYTES,    // of one chunk's decays
  sl_stage = 3 * sl_tile + sl_gates,
  sl_stages = 2,
  // Places in shared memory.
  sl_at_state = sl_stages * sl_stage,               // U in bf16, 128 keys x 64 values twice
  sl_at_output = sl_at_state + sl_tile,             // o, 64 x 64, beside each of them
  sl_multiplier = 3 * sl_panel,                     // bytes of both
  sl_at_rows = sl_at_state + 2 * sl_multiplier,         // sums of the walk token by token
  sl_at_factor = sl_at_rows + 2 * 2 * 4 * 64 * 4,   // of U, a stage and quarter
  sl_at_sums = sl_at_factor + sl_stages * 4 * 512,  // a chunk's parity, quarter, and half of it
  sl_at_later = sl_at_sums + 2 * 4 * 2 * 512,       // from the last anchor on, a chunk's parity
  sl_at_level = sl_at_later + 2 * 512,              // a stage
  sl_at_barriers = sl_at_level + 16,
  sl_anchored_bytes = sl_at_barriers + 64,
};

// Barriers: the copies have landed, the operands are ready, the stage may be filled again.
SL_WORD uint32_t sl_landed(uint32_t shared, int stage) { return shared + sl_at_barriers + 8 * stage; }
SL_WORD uint32_t sl_ready(uint32_t shared, int stage) { return sl_landed(shared, stage) + 16; }
SL_WORD uint32_t sl_free(uint32_t shared, int stage) { return sl_landed(shared, stage) + 32; }

// Where a block's head lies.
typedef struct {
  int head, query_head, value, batch, chunks;
  int64_t begin, length;
} sl_place;

// The tensors that are copied.
typedef struct {
  const sl_tensor *q, *k, *v, *gates;
} sl_sources;

// Asks for a chunk's operands; one thread, when the stage is free.
SL_WORD void sl_anchored_load(
    uint32_t shared, const sl_place place, const sl_sources from, const int c) {
  const int stage = c % sl_stages, token = (int)place.begin + sl_chunk * c;
  const uint32_t at = shared + stage * sl_stage, landed = sl_landed(shared, stage);
  sl_barrier_expect(landed, 3 * sl_tile + (SL_GATES_COPIED ? sl_gates : 0));
  if (SL_GATES_COPIED)
    sl_copy_in(at + 3 * sl_tile, from.gates, landed, 0, place.head, token, place.batch);
  for (int p = 0; p < 2; ++p) {
    sl_copy_in(at + p * sl_panel, from.q, landed, 64 * p, place.query_head, token, place.batch);
    sl_copy_in(at + sl_tile + p * sl_panel, from.k, landed, 64 * p, place.head, token, place.batch);
    sl_copy_in(at + 2 * sl_tile + p * sl_panel, from.v, landed, place.value + 64 * p, place.head,
               token, place.batch);
  }
}

// Makes the barriers ready and asks for the first chunks; all threads.
SL_WORD void sl_anchored_begin(uint32_t shared, const sl_place place, const sl_sources from) {
  if (SL_THREAD == 0)
    for (int stage = 0; stage < sl_stages; ++stage) {
      sl_barrier_init(sl_landed(shared, stage), 1);
      sl_barrier_init(sl_ready(shared, stage), 256);
      sl_barrier_init(sl_free(shared, stage), 8);
    }
  if (SL_THREAD < 128) sl_store_word(shared + sl_at_later + 512 + 4 * (uint32_t)SL_THREAD, 0);
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  sl_sync();
  if (SL_THREAD == 0)
    for (int c = 0; c < sl_stages && c < place.chunks; ++c)
      sl_anchored_load(shared, place, from, c);
}

// ---- The first two warpgroups: decays, and operands scaled in place ----
// A warp has a quarter of the chunk's tokens and 64 keys, a thread two of them.

// Two bf16 of q and two of k through their maps, times 2^x and 2^-x.
template <class Maps>
SL_WORD void sl_anchored_operands(
    uint32_t &q, uint32_t &k, const Maps maps, const float (&up)[2], const float (&down)[2]) {
  const float q0 = maps.query(sl_low(q)), q1 = maps.query(sl_high(q));
  const float k0 = maps.key(sl_low(k)), k1 = maps.key(sl_high(k));
  q = sl_pack(q0 * up[0], q1 * up[1]);
  k = sl_pack(k0 * down[0], k1 * down[1]);
}

template <class Maps>
SL_WORD void sl_anchored_prepare(uint32_t shared, const sl_place place, const Maps maps) {
  int column = 2 * SL_LANE, panel = SL_WARP % 2, quarter = SL_WARP / 2;
  // Else the thread's number is read again wherever it is used.
  asm volatile("" : "+r"(column), "+r"(panel), "+r"(quarter));
  const int key = 64 * panel + column, first = 16 * quarter;
  const float log2e = 0x1.715476p0f;
#pragma unroll 1
  for (int c = 0; c < place.chunks; ++c) {
    const int stage = c % sl_stages, rows = (int)sl_least(sl_chunk, place.length - sl_chunk * c);
    const uint32_t at = shared + stage * sl_stage, gates = at + 3 * sl_tile;
    const uint32_t queries = at + panel * sl_panel + first * 128, keys = queries + sl_tile;
    sl_barrier_wait(sl_landed(shared, stage), (c / sl_stages) & 1);
    // Past the sequence's end lies another, or nothing: no value of it may be multiplied by 0.
    if (rows < sl_chunk)
      for (int row = 0; row < 16; ++row)
        if (first + row >= rows)
          for (uint32_t tile = 0; tile < 3; ++tile)
            sl_store_word(queries + tile * sl_tile + sl_in_panel(row, column), 0u);
    // From here on shared memory holds logarithms of decays, 0 past the end.
    maps.settle(gates, place.begin + sl_chunk * c, first, key, rows);
    // Sums over the quarter's halves, its first token apart.
    float own[2], early[2] = {0.0f, 0.0f}, late[2] = {0.0f, 0.0f};
    maps.decays(own, gates, first, key);
#pragma unroll
    for (int n = 1; n < 16; ++n) {
      float d[2];
      maps.decays(d, gates, first + n, key);
#pragma unroll
      for (int e = 0; e < 2; ++e) (n < 8 ? early : late)[e] += d[e];
    }
    const uint32_t place_of_sums = shared + sl_at_sums + 4096 * (c & 1) + 4 * (uint32_t)key;
    const float most = 42.9f;  // 62 ln 2
    int fails = 0;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint32_t to = place_of_sums + 1024 * quarter + 4 * e;
      sl_store_word(to, SL_BITS(early[e] + own[e]));
      sl_store_word(to + 512, SL_BITS(late[e]));
      const float inner = early[e] + late[e] + (quarter == 0 ? 0.0f : own[e]);
      fails |= !(inner >= -most / 2);
    }
    int level = sl_meet_any(1, 256, fails);
    if (level)
      level += sl_meet_any(
          1, 256,
          !(early[0] >= -most && early[1] >= -most && late[0] >= -most && late[1] >= -most));
    float a[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint32_t sums = place_of_sums + 4 * e, totals = 4 * (uint32_t)key + 4 * e;
      const uint32_t factor = shared + sl_at_factor + 2048 * stage + totals;
      const uint32_t later = shared + sl_at_later + totals;
      const float whole = early[e] + own[e] + late[e];
      a[e] = -early[e];
      if (level == 0) {
        // The inner quarter that lies between this one and the middle, or this one itself.
        const uint32_t inner = sums + (quarter < 2 ? 1024 : 2048);
        const float between = sl_load_float(inner) + sl_load_float(inner + 512);
        a[e] = quarter == 2 ? 0.0f : quarter == 3 ? between : -between;
        if (quarter == 0) {
          a[e] -= early[e] + late[e];
          sl_store_word(
              factor,
              SL_BITS(sl_power(
                  log2e * (whole + between + sl_load_float(later + 512 * (~c & 1))))));
        }
        if (quarter == 3) sl_store_word(later + 512 * (c & 1), SL_BITS(whole + between));
      } else if (level == 1) {
        const float before = quarter == 0 ? sl_load_float(later + 512 * (~c & 1))
                                          : sl_load_float(sums + 1024 * quarter - 512);
        sl_store_word(
            factor + 512 * quarter, SL_BITS(sl_power(log2e * (before + early[e] + own[e]))));
        if (quarter == 3) sl_store_word(later + 512 * (c & 1), SL_BITS(late[e]));
      } else {
        if (quarter == 0)
          sl_store_word(factor, SL_BITS(sl_power(log2e * sl_load_float(later + 512 * (~c & 1)))));
        if (quarter == 3) sl_store_word(later + 512 * (c & 1), 0u);
      }
    }
    if (level == 2) {
      const float one[2] = {1.0f, 1.0f};
#pragma unroll 1
      for (int n = 0; n < 16; ++n) {
        const uint32_t in = sl_in_panel(n, column);
        uint32_t q = sl_load_word(queries + in), k = sl_load_word(keys + in);
        sl_anchored_operands(q, k, maps, one, one);
        sl_store_word(queries + in, q);
        sl_store_word(keys + in, k);
      }
    } else {
      // A piece's first decay is in no exponent.
      if (quarter != 0 && level == 0) a[0] += own[0], a[1] += own[1];
#pragma unroll
      for (int from = 0; from < 16; from += 8) {
        uint32_t q[8], k[8];
        float d[8][2];
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          q[n] = sl_load_word(queries + sl_in_panel(from + n, column));
          k[n] = sl_load_word(keys + sl_in_panel(from + n, column));
          maps.decays(d[n], gates, first + from + n, key);
        }
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          if (from + n > 0) a[0] += d[n][0], a[1] += d[n][1];
          const float up[2] = {sl_power(log2e * a[0]), sl_power(log2e * a[1])};
          const float down[2] = {sl_power(-log2e * a[0]), sl_power(-log2e * a[1])};
          sl_anchored_operands(q[n], k[n], maps, up, down);
        }
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          sl_store_word(queries + sl_in_panel(from + n, column), q[n]);
          sl_store_word(keys + sl_in_panel(from + n, column), k[n]);
        }
      }
    }
    if (SL_THREAD == 0) sl_store_word(shared + sl_at_level + 4 * stage, (uint32_t)level);
    sl_publish();
    sl_barrier_arrive(sl_ready(shared, stage));
  }
}

// ---- The other warpgroups: 64 values each; the state in registers ----
// u[m] holds keys 64 m + 16 w + l / 4 and 8 more.

// A chunk token by token. u is the state itself; o goes to the output's place in shared memory.
template <class Maps>
SL_WORD void sl_anchored_exact(
    uint32_t shared, uint32_t at, const Maps maps, float (&u)[2][32], const int rows,
    const int own) {
  int lane = SL_LANE, warp = SL_WARP % 4;
#pragma unroll 1
  for (int t = 0; t < rows; ++t) {
    asm volatile("" : "+r"(lane), "+r"(warp));
    float o[16];
#pragma unroll
    for (int n = 0; n < 16; ++n) o[n] = 0.0f;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = 16 * warp + lane / 4 + 8 * (r & 1), shift = row % 2 ? 0 : 16;
      const uint32_t place = at + (r / 2) * sl_panel + sl_in_panel(t, row & ~1);
      const float q = SL_FROM_BITS(sl_load_word(place) << shift & 0xffff0000u);
      const float k = SL_FROM_BITS(sl_load_word(place + sl_tile) << shift & 0xffff0000u);
      const float d = sl_power(0x1.715476p0f * maps.decay(at + 3 * sl_tile, t, 64 * (r / 2) + row));
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const uint32_t v =
            sl_load_word(at + 2 * sl_tile + own * sl_panel + sl_in_panel(t, 8 * j + 2 * (lane % 4)));
        float *const s = &u[r / 2][4 * j + 2 * (r & 1)];
        s[0] = sl_fma(d, s[0], k * sl_low(v));
        s[1] = sl_fma(d, s[1], k * sl_high(v));
        o[2 * j] = sl_fma(q, s[0], o[2 * j]);
        o[2 * j + 1] = sl_fma(q, s[1], o[2 * j + 1]);
      }
    }
    const uint32_t sums = shared + sl_at_rows + (uint32_t)(2 * own + (t & 1)) * 1024;
#pragma unroll
    for (int n = 0; n < 16; ++n) {
#pragma unroll
      for (int apart = 4; apart < 32; apart *= 2) {
        float other;
        asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;"
                     : "=f"(other)
                     : "f"(o[n]), "r"(apart));
        o[n] += other;
      }
      if (lane < 4)
        sl_store_word(
            sums + 256 * (uint32_t)warp + 4 * (uint32_t)(n / 2 * 8 + 2 * lane + n % 2),
            SL_BITS(o[n]));
    }
    sl_meet(2 + own, 128);
    if (warp == t % 4) {
      float both[2] = {0.0f, 0.0f};
#pragma unroll
      for (uint32_t w = 0; w < 4; ++w) {
        both[0] += sl_load_float(sums + 256 * w + 8 * (uint32_t)lane);
        both[1] += sl_load_float(sums + 256 * w + 8 * (uint32_t)lane + 4);
      }
      sl_store_word(
          shared + sl_at_output + own * sl_multiplier + sl_in_panel(t, 2 * lane),
          sl_pack(both[0], both[1]));
    }
  }
}

// U in bf16, where products find it.
SL_WORD void sl_anchored_hold(const float (&u)[2][32], uint32_t held, int row, int column) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        sl_store_word(
            held + m * sl_panel + sl_in_panel(row + 8 * e, 8 * j + column),
            sl_pack(u[m][4 * j + 2 * e], u[m][4 * j + 2 * e + 1]));
}

// U = diag(factor) U; the factors of a quarter of the chunk.
SL_WORD void sl_anchored_scale(float (&u)[2][32], uint32_t factors, int row) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float factor = sl_load_float(factors + 4 * (uint32_t)(64 * m + row + 8 * e));
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        u[m][4 * j + 2 * e] *= factor;
        u[m][4 * j + 2 * e + 1] *= factor;
      }
    }
}

// sum = q~ U
SL_WORD void sl_anchored_read(float (&sum)[32], uint32_t at, uint32_t held) {
#pragma unroll
  for (int k = 0; k < 8; ++k)
    sl_product_across(
        sum, sl_operand(at + k / 4 * sl_panel + k % 4 * 32), sl_operand(held + k * 2048), k > 0);
}

// p = q~ k~^T
SL_WORD void sl_anchored_scores(float (&p)[32], uint32_t at) {
#pragma unroll
  for (int k = 0; k < 8; ++k)
    sl_product_rows(
        p, sl_operand(at + k / 4 * sl_panel + k % 4 * 32),
        sl_operand(at + sl_tile + k / 4 * sl_panel + k % 4 * 32), k > 0);
}

// The scores as weights of values: from token `from` of the chunk up to the row's own.
SL_WORD void sl_anchored_weights(
    uint32_t (&weights)[16], const float (&p)[32], int row, int column, int from) {
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int i = row + 8 * e, low = 8 * j + column;
      weights[2 * j + e] = sl_pack(
          low >= from && low <= i ? p[4 * j + 2 * e] : 0.0f,
          low >= from && low < i ? p[4 * j + 2 * e + 1] : 0.0f);
    }
}

template <class Maps>
SL_WORD void sl_anchored_multiply(
    uint32_t shared, const sl_place place, const Maps maps, const sl_sources from,
    const sl_tensor *output, uint16_t *const o, const int64_t o_token, const float *const initial,
    float *const final, const int64_t state_row, const int own) {
  int lane = SL_LANE, warp = SL_WARP % 4, thread = SL_THREAD % 128;
  asm volatile("" : "+r"(lane), "+r"(warp), "+r"(thread));
  int row = 16 * warp + lane / 4, column = 2 * (lane % 4);
  uint32_t held = shared + sl_at_state + own * sl_multiplier;
  float u[2][32];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 32; ++n)
      u[m][n] = initial ? initial[(64 * m + row + n / 2 % 2 * 8) * state_row + 64 * own + column +
                                  n / 4 * 8 + n % 2]
                        : 0.0f;
#pragma unroll 1
  for (int c = 0; c < place.chunks; ++c) {
    const int stage = c % sl_stages, rows = (int)sl_least(sl_chunk, place.length - sl_chunk * c);
    const uint32_t at = shared + stage * sl_stage, values = at + 2 * sl_tile + own * sl_panel;
    const uint32_t factors = shared + sl_at_factor + 2048 * stage;
    sl_barrier_wait(sl_ready(shared, stage), (c / sl_stages) & 1);
    const int level = (int)sl_load_word(shared + sl_at_level + 4 * stage);
    // Addresses are made anew for each chunk: kept, they would crowd the sums out of registers.
    asm volatile("" : "+r"(row), "+r"(column), "+r"(held));
    const uint32_t staged = held + sl_tile;
    sl_anchored_scale(u, factors, row);
    // What was staged for the last chunk has been copied out before it is overwritten.
    if (thread == 0) sl_copied_out();
    if (level == 2) {
      sl_meet(2 + own, 128);
      sl_anchored_exact(shared, at, maps, u, rows, own);
    } else {
      sl_anchored_hold(u, held, row, column);
      sl_publish();
      sl_meet(2 + own, 128);
      float p[32], sum[32];
      uint32_t weights[16];
      sl_products_begin();
      sl_anchored_scores(p, at);
      if (level == 0) {
        sl_anchored_read(sum, at, held);
        sl_products_end();
        sl_anchored_weights(weights, p, row, column, 0);
        sl_products_begin();
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
          for (int k = 0; k < 4; ++k)
            sl_product_outer(
                u[m], sl_operand(at + sl_tile + m * sl_panel + k * 2048),
                sl_operand(values + k * 2048));
      } else {
        sl_products_end();
        sl_anchored_weights(weights, p, row, column, 16 * warp);
#pragma unroll
        for (int n = 0; n < 32; ++n) sum[n] = 0.0f;
        // A quarter's rows are one warp's, and 16 tokens are one step of a product.
#pragma unroll 1
        for (int s = 0; s < 4; ++s) {
          asm volatile("" : "+r"(row), "+r"(column), "+r"(held));
          if (s > 0) {
            sl_anchored_scale(u, factors + 512 * s, row);
            sl_meet(2 + own, 128);
            sl_anchored_hold(u, held, row, column);
            sl_publish();
            sl_meet(2 + own, 128);
          }
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            uint32_t q[16];
#pragma unroll
            for (int n = 0; n < 16; ++n)
              q[n] = warp == s ? sl_load_word(
                                     at + half * sl_panel +
                                     sl_in_panel(row + n % 2 * 8, n / 4 * 16 + n / 2 % 2 * 8 + column))
                               : 0u;
            sl_products_begin();
#pragma unroll
            for (int k = 0; k < 4; ++k)
              sl_product_held(sum, &q[4 * k], sl_operand(held + half * sl_panel + k * 2048));
            sl_products_end();
          }
          sl_products_begin();
#pragma unroll
          for (int m = 0; m < 2; ++m)
            sl_product_outer(
                u[m], sl_operand(at + sl_tile + m * sl_panel + s * 2048),
                sl_operand(values + s * 2048));
          sl_products_end();
        }
        sl_products_begin();
      }
#pragma unroll
      for (int k = 0; k < 4; ++k)
        sl_product_held(sum, &weights[4 * k], sl_operand(values + k * 2048));
      sl_products_end();
      asm volatile("" : "+r"(row), "+r"(column));
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          sl_store_word(
              staged + sl_in_panel(row + 8 * e, 8 * j + column),
              sl_pack(sum[4 * j + 2 * e], sum[4 * j + 2 * e + 1]));
    }
    // One lane speaks for the reads of all.
    sl_meet_warp();
    if (lane == 0) sl_barrier_arrive(sl_free(shared, stage));
    if (thread == 0 && own == stage && c + sl_stages < place.chunks) {
      sl_barrier_wait(sl_free(shared, stage), (c / sl_stages) & 1);
      sl_anchored_load(shared, place, from, c + sl_stages);
    }
    sl_publish();
    sl_meet(2 + own, 128);
    if (rows == sl_chunk) {
      if (thread == 0)
        sl_copy_out(output, staged, place.value + 64 * own, place.query_head,
                    (int)place.begin + sl_chunk * c, place.batch);
    } else {
      for (int n = thread; n < 32 * rows; n += 128)
        *(uint32_t *)(o + (sl_chunk * c + n / 32) * o_token + 64 * own + n % 32 * 2) =
            sl_load_word(staged + sl_in_panel(n / 32, n % 32 * 2));
    }
  }
  if (thread == 0) sl_copied_out();
  if (!final) return;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int key = 64 * m + row + 8 * e;
      const uint32_t later = shared + sl_at_later + 512 * ((place.chunks - 1) & 1);
      const float rest =
          place.chunks == 0 ? 1.0f : sl_power(0x1.715476p0f * sl_load_float(later + 4 * (uint32_t)key));
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float *const to = final + key * state_row + 64 * own + column + 8 * j;
        to[0] = rest * u[m][4 * j + 2 * e];
        to[1] = rest * u[m][4 * j + 2 * e + 1];
      }
    }
}

#endif
