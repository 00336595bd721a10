// The gradient where keys and values have decays of their own, a_t and b_t: token by token in f32, with the
// state in registers. A walk forward has S, a walk back its adjoint, each of all keys and 64 values:
//
//     S = diag(a_t) S diag(b_t) + k_t v_t^T        dq_t = S dO_t    o_t = S^T q_t
//     dS = diag(a_{t+1}) dS diag(b_{t+1}) + q_t dO_t^T    dk_t = dS v_t    dv_t = dS^T k_t
//
//     dlog a_t = sum over i >= t of (q_i dq_i - k_i dk_i) + the row sums of S dS at the end
//     dlog b_t = sum over i >= t of (o_i dO_i - v_i dv_i) + the column sums of S dS at the end
//
// Pairs of tokens that do not straddle t cancel in these sums to f32's rounding, for nothing here is
// rounded to sixteen bits but what is written. No decay is divided by, so every decay is right and takes
// the same time. Of grouped heads one query head is walked after another; what they share is added up.
//
// A thread has four keys and eight values of the state: lane l keys 4 (l / 8) of its warp's sixteen and
// values 4 (l % 8) and 32 more.
#ifndef SL_GRADIENT_WALKS_CUH
#define SL_GRADIENT_WALKS_CUH

namespace sl_walked {

enum {
  sl_keys = SL_WALK_KEYS,  // with zeros past the last one
  sl_walk_warps = sl_keys / 16,
  sl_walk_threads = 32 * sl_walk_warps,
  sl_batch = 16,  // tokens at a time
  // Places in shared memory: the next batch's rows on their way; this one's in f32, each [token][column]:
  // q, k and a, then v, dO and b; sums over the tile's values; sums over each warp's keys.
  sl_raw_q = 0,
  sl_raw_k = sl_raw_q + 2 * sl_batch * sl_keys,
  sl_raw_a = sl_raw_k + 2 * sl_batch * sl_keys,
  sl_raw_v = sl_raw_a + 4 * sl_batch * sl_keys,
  sl_raw_d_o = sl_raw_v + 2 * sl_batch * 64,
  sl_raw_b = sl_raw_d_o + 2 * sl_batch * 64,
  sl_at_q = sl_raw_b + 4 * sl_batch * 64,
  sl_at_k = sl_at_q + 4 * sl_batch * sl_keys,
  sl_at_a = sl_at_k + 4 * sl_batch * sl_keys,
  sl_at_v = sl_at_a + 4 * sl_batch * sl_keys,
  sl_at_d_o = sl_at_v + 4 * sl_batch * 64,
  sl_at_b = sl_at_d_o + 4 * sl_batch * 64,
  sl_at_rows = sl_at_b + 4 * sl_batch * 64,
  sl_at_columns = sl_at_rows + 4 * sl_batch * sl_keys,
  sl_walk_bytes = sl_at_columns + 4 * sl_batch * 64 * sl_walk_warps,
};

// A query head of a sequence. Rows begin with the sequence's first token, and lie `step` elements apart.
typedef struct {
  int length, query;  // tokens; which of its head's query heads it is
  int is_last;        // of them
  int query_step, output_step, key_step, value_step;
  const uint16_t *q, *k, *v, *d_o;
  const float *key_gate, *value_gate;
  uint16_t *d_k, *d_v;
  float *d_key_gate, *d_value_gate;
  // Sums over each tile's values, [tile][token][key], so many floats from tile to tile; q dq, [token][key];
  // o dO, [token][value]; what earlier query heads add to dk and dv, likewise.
  float *parts, *terms, *reads, *key_sums, *value_sums;
  int64_t parts_step;
  // S at the end, and the row sums of S dS there, [tile][key].
  float *end, *end_parts;
  const float *initial, *d_final;  // or NULL
  float *d_initial;                // or NULL
} sl_walk;

typedef float sl_tile_of_state[4][8];

SL_WORD int sl_own_key(const int i) { return 16 * SL_WARP + SL_LANE / 8 * 4 + i; }
SL_WORD int sl_own_value(const int j) { return j / 4 * 32 + SL_LANE % 8 * 4 + j % 4; }

// Sixteen bytes, or zeros.
SL_WORD void sl_copy_piece(uint32_t to, const void *from, const int there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
// Rows of a batch's tokens from `first` on: so many columns, of which there are `own`.
template <const int columns, const int own, class Element>
SL_WORD void sl_copy_batch(
    uint32_t to, const Element *from, const int step, const int first, const int length) {
  const int each = 16 / (int)sizeof(Element), pieces = columns / each;
  for (int n = SL_THREAD; n < sl_batch * pieces; n += sl_walk_threads) {
    const int token = first + n / pieces, column = n % pieces * each;
    const int there = token < length && column < own;
    sl_copy_piece(to + 16 * (uint32_t)n, there ? from + (int64_t)token * step + column : from, there);
  }
}

SL_WORD void sl_ask_batch(uint32_t shared, const sl_walk &walk, const int value, const int first) {
  sl_copy_batch<sl_keys, SL_WALK_OWN_KEYS>(
      shared + sl_raw_q, walk.q, walk.query_step, first, walk.length);
  sl_copy_batch<sl_keys, SL_WALK_OWN_KEYS>(
      shared + sl_raw_k, walk.k, walk.key_step, first, walk.length);
  sl_copy_batch<sl_keys, SL_WALK_OWN_KEYS>(
      shared + sl_raw_a, walk.key_gate, walk.key_step, first, walk.length);
  // A tile's last values may be past the last one: rows end where the tensor's do.
  const int rest = SL_WALK_OWN_VALUES % 64 && value + 64 > SL_WALK_OWN_VALUES;
  const auto ask = [&](auto own) __attribute__((always_inline)) {
    sl_copy_batch<64, decltype(own)::values>(
        shared + sl_raw_v, walk.v + value, walk.value_step, first, walk.length);
    sl_copy_batch<64, decltype(own)::values>(
        shared + sl_raw_d_o, walk.d_o + value, walk.output_step, first, walk.length);
    sl_copy_batch<64, decltype(own)::values>(
        shared + sl_raw_b, walk.value_gate + value, walk.value_step, first, walk.length);
  };
  struct whole { enum { values = 64 }; };
  struct part { enum { values = SL_WALK_OWN_VALUES % 64 }; };
  if (rest) ask(part());
  else ask(whole());
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Four numbers in f32 of a batch's rows: two of sixteen bits, scaled, and a decay.
SL_WORD void sl_widen(uint32_t to, uint32_t from, const float scale) {
  const uint32_t x = sl_load_word(from), y = sl_load_word(from + 4);
  const float four[4] = {
      scale * sl_low(x), scale * sl_high(x), scale * sl_low(y), scale * sl_high(y)};
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(four[0]), "f"(four[1]),
               "f"(four[2]), "f"(four[3])
               : "memory");
}
SL_WORD void sl_decays(uint32_t to, uint32_t from) {
  float x[4];
  sl_load_four(x, from);
#pragma unroll
  for (int n = 0; n < 4; ++n) x[n] = sl_power(0x1.715476p0f * x[n]);
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(x[0]), "f"(x[1]), "f"(x[2]),
               "f"(x[3])
               : "memory");
}
SL_WORD void sl_widen_batch(uint32_t shared, const float scale) {
  for (uint32_t n = (uint32_t)SL_THREAD; n < sl_batch * sl_keys / 4; n += sl_walk_threads) {
    sl_widen(shared + sl_at_q + 16 * n, shared + sl_raw_q + 8 * n, scale);
    sl_widen(shared + sl_at_k + 16 * n, shared + sl_raw_k + 8 * n, 1.0f);
    sl_decays(shared + sl_at_a + 16 * n, shared + sl_raw_a + 16 * n);
  }
  for (uint32_t n = (uint32_t)SL_THREAD; n < sl_batch * 64 / 4; n += sl_walk_threads) {
    sl_widen(shared + sl_at_v + 16 * n, shared + sl_raw_v + 8 * n, 1.0f);
    sl_widen(shared + sl_at_d_o + 16 * n, shared + sl_raw_d_o + 8 * n, 1.0f);
    sl_decays(shared + sl_at_b + 16 * n, shared + sl_raw_b + 16 * n);
  }
}

// Sums over a warp's values and over its keys, where a batch's token has its own: lanes halve what they
// hold as they exchange it.
SL_WORD void sl_leave_sums(uint32_t shared, const int token, float (&x)[4], float (&y)[8]) {
  const int lane = SL_LANE;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float sent = lane & 4 ? x[n] : x[n + 2];
    x[n] = (lane & 4 ? x[n + 2] : x[n]) + sl_of_other(sent, 4);
  }
  const float sent = lane & 2 ? x[0] : x[1];
  x[0] = (lane & 2 ? x[1] : x[0]) + sl_of_other(sent, 2);
  x[0] += sl_of_other(x[0], 1);
  if (lane % 2 == 0)
    sl_store_word(
        shared + sl_at_rows + 4 * (uint32_t)(token * sl_keys + sl_own_key(lane / 2 % 4)),
        SL_BITS(x[0]));
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float sent = lane & 16 ? y[n] : y[n + 4];
    y[n] = (lane & 16 ? y[n + 4] : y[n]) + sl_of_other(sent, 16);
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float sent = lane & 8 ? y[n] : y[n + 2];
    y[n] = (lane & 8 ? y[n + 2] : y[n]) + sl_of_other(sent, 8);
  }
  sl_store_floats(
      shared + sl_at_columns
          + 4 * (uint32_t)((SL_WARP * sl_batch + token) * 64 + sl_own_value(lane / 16 * 4 + lane / 8 % 2 * 2)),
      y[0], y[1]);
}
// A sum over all keys.
SL_WORD float sl_column_sum(uint32_t shared, const int token, const int column) {
  float sum = 0.0f;
#pragma unroll
  for (int warp = 0; warp < sl_walk_warps; ++warp)
    sum += sl_load_float(
        shared + sl_at_columns + 4 * (uint32_t)((warp * sl_batch + token) * 64 + column));
  return sum;
}

// One token: what is written to the state and what is read of it, by `back` the other way round.
template <const bool back>
SL_WORD void sl_walk_token(uint32_t shared, sl_tile_of_state &s, const int token) {
  float a[4], write[4], read[4], b[8], write_value[8], read_value[8], x[4], y[8];
  const uint32_t row = shared + 4 * (uint32_t)(token * sl_keys + sl_own_key(0));
  sl_load_four(a, row + sl_at_a);
  sl_load_four(write, row + (back ? sl_at_q : sl_at_k));
  sl_load_four(read, row + (back ? sl_at_k : sl_at_q));
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint32_t at = shared + 4 * (uint32_t)(token * 64 + sl_own_value(4 * half));
    float four[4];
    const auto take = [&](float (&to)[8], uint32_t from) __attribute__((always_inline)) {
      sl_load_four(four, from);
#pragma unroll
      for (int n = 0; n < 4; ++n) to[4 * half + n] = four[n];
    };
    take(b, at + sl_at_b);
    take(write_value, at + (back ? sl_at_d_o : sl_at_v));
    take(read_value, at + (back ? sl_at_v : sl_at_d_o));
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) y[j] = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i] = 0.0f;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (!back) s[i][j] *= a[i] * b[j];
      s[i][j] = sl_fma(write[i], write_value[j], s[i][j]);
      x[i] = sl_fma(s[i][j], read_value[j], x[i]);
      y[j] = sl_fma(s[i][j], read[i], y[j]);
      if (back) s[i][j] *= a[i] * b[j];
    }
  }
  sl_leave_sums(shared, token, x, y);
}

// What is left of a batch: sums over the tile's values to memory, and what the tile's values make of sums
// over the keys. `later`, of one value, is what later tokens bring the adjoint of its decay.
template <const bool back>
SL_WORD void sl_leave_batch(
    uint32_t shared, const sl_walk &walk, const int tile, const int first, float &later) {
  const int there = walk.length - first < sl_batch ? walk.length - first : (int)sl_batch;
  float *const parts = walk.parts + tile * walk.parts_step + (int64_t)first * sl_keys;
  for (int n = SL_THREAD; n < there * sl_keys / 4; n += sl_walk_threads) {
    float x[4];
    sl_load_four(x, shared + sl_at_rows + 16 * (uint32_t)n);
    sl_write_four(parts + 4 * n, x);
  }
  for (int n = SL_THREAD; n < sl_batch * 64; n += sl_walk_threads) {
    const int token = n / 64, value = 64 * tile + n % 64;
    if (token >= there || value >= SL_WALK_OWN_VALUES) continue;
    float sum = sl_column_sum(shared, token, n % 64);
    float *const read = walk.reads + (int64_t)(first + token) * SL_WALK_OWN_VALUES + value;
    if (!back) {
      *read = sum * sl_load_float(shared + sl_at_d_o + 4 * (uint32_t)n);
      continue;
    }
    sl_store_word(
        shared + sl_at_columns + 4 * (uint32_t)n,
        SL_BITS(sl_fma(-sum, sl_load_float(shared + sl_at_v + 4 * (uint32_t)n), *read)));
    float *const earlier =
        walk.value_sums + (int64_t)(first + token) * SL_WALK_OWN_VALUES + value;
    if (walk.query) sum += *earlier;
    if (walk.is_last) walk.d_v[(int64_t)(first + token) * walk.value_step + value] = sl_f32_to_bf16(sum);
    else *earlier = sum;
  }
  if (!back) return;
  sl_sync();
  const int value = 64 * tile + SL_THREAD;
  if (SL_THREAD >= 64 || value >= SL_WALK_OWN_VALUES) return;
  for (int token = there - 1; token >= 0; --token) {
    const uint32_t at = 4 * (uint32_t)(64 * token + SL_THREAD);
    later += sl_load_float(shared + sl_at_columns + at);
    // A decay of zero passes nothing on.
    const float passed = sl_load_float(shared + sl_at_b + at) == 0.0f ? 0.0f : later;
    float *const to = walk.d_value_gate + (int64_t)(first + token) * walk.value_step + value;
    *to = walk.query ? *to + passed : passed;
  }
}

template <const bool back>
SL_WORD void sl_walk_tile(uint32_t shared, const sl_walk walk, const int tile, const float scale) {
  sl_tile_of_state s;
  const float *const begin = back ? (walk.query ? NULL : walk.d_final) : walk.initial;
  const auto each = [&](auto what) __attribute__((always_inline)) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int key = sl_own_key(i), value = 64 * tile + sl_own_value(j);
        const bool there = key < SL_WALK_OWN_KEYS && value < SL_WALK_OWN_VALUES;
        what(s[i][j], (int64_t)key * SL_WALK_OWN_VALUES + value, there);
      }
  };
  each([&](float &x, int64_t at, bool there)
           __attribute__((always_inline)) { x = begin && there ? begin[at] : 0.0f; });
  const int last = (walk.length - 1) / sl_batch * sl_batch;
  float later = 0.0f;
  if (walk.length > 0) sl_ask_batch(shared, walk, 64 * tile, back ? last : 0);
  if (back && begin) {
    float x[4] = {0.0f, 0.0f, 0.0f, 0.0f}, y[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) y[j] = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int key = sl_own_key(i), value = 64 * tile + sl_own_value(j);
        const bool there = key < SL_WALK_OWN_KEYS && value < SL_WALK_OWN_VALUES;
        const float product =
            there ? s[i][j] * walk.end[(int64_t)key * SL_WALK_OWN_VALUES + value] : 0.0f;
        x[i] += product, y[j] += product;
      }
    sl_leave_sums(shared, 0, x, y);
    sl_sync();
    if (SL_THREAD < sl_keys)
      walk.end_parts[tile * sl_keys + SL_THREAD] =
          sl_load_float(shared + sl_at_rows + 4 * (uint32_t)SL_THREAD);
    if (SL_THREAD < 64) later = sl_column_sum(shared, 0, SL_THREAD);
  }
#pragma unroll 1
  for (int n = 0; n < walk.length; n += sl_batch) {
    const int first = back ? last - n : n;
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    sl_sync();
    sl_widen_batch(shared, scale);
    sl_sync();
    if (n + sl_batch < walk.length)
      sl_ask_batch(shared, walk, 64 * tile, back ? first - sl_batch : first + sl_batch);
#pragma unroll 2
    for (int m = 0; m < sl_batch; ++m) sl_walk_token<back>(shared, s, back ? sl_batch - 1 - m : m);
    sl_sync();
    sl_leave_batch<back>(shared, walk, tile, first, later);
  }
  if (!back) {
    if (walk.d_final && walk.query == 0)
      each([&](float &x, int64_t at, bool there)
               __attribute__((always_inline)) { if (there) walk.end[at] = x; });
  } else if (walk.d_initial) {
    each([&](float &x, int64_t at, bool there) __attribute__((always_inline)) {
      if (there) walk.d_initial[at] = walk.query ? walk.d_initial[at] + x : x;
    });
  }
}

// dq of a token's key, from each tile's share, and q dq.
SL_WORD void sl_leave_query(
    uint16_t *to, const uint16_t *q, float *term, const float *parts, const int64_t parts_step,
    const float scale) {
  float sum = 0.0f;
#pragma unroll
  for (int tile = 0; tile < SL_WALK_TILES; ++tile) sum += parts[tile * parts_step];
  sum *= scale;
  *to = sl_f32_to_bf16(sum);
  *term = sum * sl_load_bf16(q);
}

// dk of a key and the adjoint of its decay, token by token from the last one.
SL_WORD void sl_leave_key(const sl_walk walk, const int key) {
  float later = 0.0f;
#pragma unroll
  for (int tile = 0; tile < SL_WALK_TILES; ++tile)
    if (walk.d_final && walk.query == 0) later += walk.end_parts[tile * sl_keys + key];
  enum { sl_ahead = 8 };  // tokens whose numbers are read at once
#pragma unroll 1
  for (int end = walk.length; end > 0; end -= sl_ahead) {
    float sum[sl_ahead], term[sl_ahead], log_decay[sl_ahead], k[sl_ahead];
#pragma unroll
    for (int n = 0; n < sl_ahead; ++n) {
      const int token = end - 1 - n > 0 ? end - 1 - n : 0;
      const int64_t row = (int64_t)token * sl_keys + key, at = (int64_t)token * walk.key_step + key;
      sum[n] = 0.0f;
#pragma unroll
      for (int tile = 0; tile < SL_WALK_TILES; ++tile)
        sum[n] += walk.parts[tile * walk.parts_step + row];
      term[n] = walk.terms[row];
      log_decay[n] = walk.key_gate[at];
      k[n] = sl_load_bf16(walk.k + at);
    }
#pragma unroll
    for (int n = 0; n < sl_ahead; ++n) {
      const int token = end - 1 - n;
      if (token < 0) break;
      const int64_t row = (int64_t)token * sl_keys + key, at = (int64_t)token * walk.key_step + key;
      later += sl_fma(-k[n], sum[n], term[n]);
      const float passed = sl_power(0x1.715476p0f * log_decay[n]) == 0.0f ? 0.0f : later;
      walk.d_key_gate[at] = walk.query ? walk.d_key_gate[at] + passed : passed;
      if (walk.query) sum[n] += walk.key_sums[row];
      if (walk.is_last) walk.d_k[at] = sl_f32_to_bf16(sum[n]);
      else walk.key_sums[row] = sum[n];
    }
  }
}

}  // namespace sl_walked

#endif
