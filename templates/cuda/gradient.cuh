// Gradients over chunks of 64 tokens on Hopper, K and V multiples of 128: what the kernels share. States
// and their adjoints lie in tiles of 128 keys by 128 values. Where there is one, a block of the second
// kernel has two warpgroups, and a warpgroup half of the keys (of the values, where rows of values are
// made); gradient_wide.cuh has what goes over more.
// Numbers of 64 tokens and 64 columns lie in a warpgroup's registers as sums of products do: thread
// 32 w + l has rows 16 w + l / 4 and 8 more, columns 8 j + 2 (l % 4) and 1 more, at
// [4 j + 2 (the later row) + (the later column)].
//
// With a_i the sum of log decays, in base 2, from the chunk's middle to token i (negated before it), S
// the state before the chunk, dS the adjoint of the state after it, A and B the sums over the chunk's
// first and second half:
//
//     q~_i = q_i 2^{a_i}   k~_i = k_i 2^{-a_i}   S~ = diag(2^A) S   dS~ = diag(2^B) dS
//     P = lower triangle of q~ k~^T        dP = lower triangle of dO v^T
//     dq~ = dP k~ + dO S~^T    dq_i = 2^{a_i} dq~_i
//     dk~ = dP^T q~ + v dS~^T  dk_i = 2^{-a_i} dk~_i
//     dv = P^T dO + k~ dS~
//     dlog_t = sum over i >= t of (q~_i dq~_i - k~_i dk~_i) + the row sums of S_C dS
//
// which is right while neither half decays by more than 2^-62 from its first step inside it on; the
// decay of the chunk's first token is in no a_i. Other chunks go by factors in [0, 1] alone
// (gradient_exact.cuh).
#ifndef SL_GRADIENT_CUH
#define SL_GRADIENT_CUH

namespace sl_gradients {

enum {
  sl_panel = 8192,         // bytes of 64 rows of a panel
  sl_tile = 2 * sl_panel,  // 64 x 128 bf16
  sl_state = 2 * sl_tile,  // 128 x 128 bf16: two panels of 128 rows
  // Tiles of a head's state, and values of a token.
  sl_key_tiles = SL_KEY_TILES,
  sl_value_tiles = SL_VALUE_TILES,
  sl_state_tiles = sl_key_tiles * sl_value_tiles,
  sl_values = 128 * sl_value_tiles,
};

// One head of one sequence, or one tile of its state: keys and values from a tile's first one on.
typedef struct {
  int64_t at;          // elements from a tensor's start to the first token's keys
  int step;            // elements from a token to the next
  int64_t value_at;    // the same two of values
  int value_step;
  // Query heads, which share the keys and values; of the first one the same two, of its q and of the
  // output's adjoint, and elements to the next one's.
  int queries;
  int64_t query_at, output_at;
  int query_step, output_step;
  int64_t query_next, output_next;
  int64_t slot;        // where the first chunk's states lie, in tiles of states
  int slot_step;       // states from a chunk to the next
  int64_t length;      // tokens
  int64_t state;       // floats to the head's matrix
  int64_t sums;        // floats to the first segment's sum on the way forward; that back is next
  int tile_sums;       // floats of all its segments' sums
} sl_place;

// The tile of so many keys and values of a head whose state has several.
SL_WORD sl_place sl_in_tile_of(sl_place place, const int keys, const int values) {
  const int tile = keys * sl_value_tiles + values;
  place.at += 128 * keys;
  place.query_at += 128 * keys;
  place.value_at += 128 * values;
  place.output_at += 128 * values;
  place.slot += tile;
  place.state += (int64_t)(128 * keys) * sl_values + 128 * values;
  place.sums += tile * place.tile_sums;
  return place;
}

// The tensors.
typedef struct {
  const uint16_t *q, *k, *v, *d_o;
  const float *gate;
  const float *initial, *d_final;
  uint16_t *d_q, *d_k, *d_v;
  float *d_gate;
  float *d_initial;
  // Of each chunk, head and tile: S~ and dS~ as they lie in shared memory, and whether it is exact.
  char *states, *adjoints;
  int32_t *exact;
  float *segments;  // what segments of walks add up to
  // Rows of dv and dk of each chunk and head, as far as key tiles and query heads are added up.
  float *partial;
} sl_tensors;

// The same value, of which the compiler knows nothing: addresses that are made of it are made anew. Kept
// from one use to the next they would crowd sums out of registers.
SL_WORD int sl_fresh(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
SL_WORD float sl_fresh(float x) {
  asm volatile("" : "+f"(x));
  return x;
}
SL_WORD int64_t sl_fresh(int64_t x) {
  asm volatile("" : "+l"(x));
  return x;
}

SL_WORD int sl_group() { return sl_uniform(SL_THREAD / 128); }
SL_WORD int sl_row() { return SL_THREAD % 128 / 32 * 16 + SL_LANE / 4; }
SL_WORD int sl_column() { return 2 * (SL_LANE % 4); }

// ---- Which chunk ----

// Where a chunk lies: elements to its first row and gate, its slot, and its tokens. It is kept in shared
// memory, since registers have no room for it while a chunk is multiplied.
typedef struct {
  int64_t at, gate, slot;
  int step, gate_step, rows;
} sl_chunk;
enum { sl_chunk_bytes = 64 };

SL_WORD void sl_leave_number(uint32_t to, int64_t x) {
  asm volatile("st.shared.b64 [%0], %1;" ::"r"(to), "l"(x) : "memory");
}
SL_WORD void sl_leave_chunk(uint32_t to, const sl_place place, int chunk) {
  sl_leave_number(to, place.at + 64 * (int64_t)chunk * place.step);
  sl_leave_number(to + 8, place.at + 64 * (int64_t)chunk * place.step);
  sl_leave_number(to + 16, place.slot + chunk * place.slot_step);
  sl_store_word(to + 24, (uint32_t)place.step);
  sl_store_word(to + 28, (uint32_t)place.step);
  sl_store_word(
      to + 32,
      (uint32_t)sl_least(64, sl_greatest(0, place.length - 64 * (int64_t)chunk)));
}
// Its tokens alone: what is not wanted is not to be read.
SL_WORD int sl_rows_left(uint32_t from) { return (int)sl_load_word(from + 32); }
SL_WORD int64_t sl_number_left(uint32_t from) {
  int64_t x;
  asm volatile("ld.shared.b64 %0, [%1];" : "=l"(x) : "r"(from));
  return x;
}
SL_WORD sl_chunk sl_chunk_left(uint32_t from) {
  const sl_chunk own = {
      sl_number_left(from), sl_number_left(from + 8), sl_number_left(from + 16), (int)sl_load_word(from + 24),
      (int)sl_load_word(from + 28), (int)sl_load_word(from + 32)};
  return own;
}

// ---- Copies ----

// Sixteen bytes to shared memory; zeros where they are not `there`.
SL_WORD void sl_copy_sixteen(uint32_t to, const void *from, const int there) {
  asm volatile("{\n.reg .u64 at;\ncvta.to.global.u64 at, %1;\n"
               "cp.async.cg.shared.global [%0], [at], 16, %2;\n}" ::"r"(to),
               "l"(from), "r"(there ? 16 : 0)
               : "memory");
}
// Bytes that lie side by side, sixteen or a multiple of it: a barrier counts them.
SL_WORD void sl_copy_bytes(uint32_t to, const void *from, const int bytes, uint32_t barrier) {
  asm volatile("{\n.reg .u64 at;\ncvta.to.global.u64 at, %1;\n"
               "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [at], %2, [%3];\n}" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}
// Brings bytes into the second-level cache, where they are asked for later.
SL_WORD void sl_ask_ahead(const char *from, const int bytes) {
  asm volatile("{\n.reg .u64 at;\ncvta.to.global.u64 at, %0;\n"
               "cp.async.bulk.prefetch.L2.global [at], %1;\n}" ::"l"(from),
               "r"(bytes)
               : "memory");
}
SL_WORD void sl_copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all committed groups but so many, the latest.
#define sl_copies_wait(groups) asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory")

// 64 tokens' rows of 128 bf16 into two panels; zeros past the `rows` that there are.
template <const int threads>
SL_WORD void sl_copy_rows(uint32_t to, const uint16_t *from, int step, int rows) {
  const int thread = sl_fresh(SL_THREAD), piece = thread % 16;
  const uint16_t *at = from + (int64_t)(thread / 16) * step + 8 * piece;
#pragma unroll
  for (int n = 0; n < 1024 / threads; ++n, at += threads / 16 * (int64_t)step) {
    const int row = thread / 16 + n * (threads / 16), there = row < rows;
    sl_copy_sixteen(
        to + (uint32_t)(piece / 8 * sl_panel) + sl_in_panel(row, piece % 8 * 8),
        there ? at : from, there);
  }
}
// A state as it was stored.
template <const int threads>
SL_WORD void sl_copy_state(uint32_t to, const char *from) {
#pragma unroll
  for (int n = 0; n < sl_state / 16 / threads; ++n) {
    const int at = 16 * (n * threads + SL_THREAD);
    sl_copy_sixteen(to + (uint32_t)at, from + at, 1);
  }
}

SL_WORD float sl_from_below(float x, const int lanes) {
  float y;
  asm volatile("shfl.sync.down.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(y) : "f"(x), "r"(lanes));
  return y;
}

SL_WORD float sl_of_partner(float x, const int apart) {
  float y;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(y) : "f"(x), "r"(apart));
  return y;
}

// Two floats from memory, zeros where they are not `there`.
SL_WORD void sl_read_pair(float (&x)[2], const float *from, const int there) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %3, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\n"
               "@p ld.global.v2.f32 {%0, %1}, [%2];\n}"
               : "=&f"(x[0]), "=&f"(x[1])
               : "l"(from), "r"(there)
               : "memory");
}
// Two floats, or two bf16, to memory where they are `there`.
SL_WORD void sl_write_pair(float *to, const float (&x)[2], const int there) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %3, 0;\n@p st.global.v2.f32 [%0], {%1, %2};\n}" ::
                   "l"(to), "f"(x[0]), "f"(x[1]), "r"(there)
               : "memory");
}
SL_WORD void sl_write_word(uint16_t *to, uint32_t x, const int there) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %2, 0;\n@p st.global.b32 [%0], %1;\n}" ::"l"(to),
               "r"(x), "r"(there)
               : "memory");
}

// ---- Decays ----
// Along the tokens a thread has two neighbouring keys and sixteen tokens, a quarter of the chunk.

SL_WORD int sl_key() { return 64 * (SL_WARP % 2) + 2 * SL_LANE; }
SL_WORD int sl_quarter() { return sl_uniform(SL_WARP / 2); }

// The gate's numbers of the thread's tokens and keys, as they lie in memory.
SL_WORD void sl_read_gates(float (&x)[16][2], const float *gate, int step, int rows) {
  int64_t own = (int64_t)sl_quarter() * 16 * step + sl_key();
#pragma unroll
  for (int n = 0; n < 16; ++n, own = sl_fresh(own + step)) {
    const int there = 16 * sl_quarter() + n < rows;
    if (SL_GATED)
      sl_read_pair(x[n], gate + own, there);
    else
      x[n][0] = x[n][1] = 0.0f;
  }
}
// Base-2 logarithms of the decays, 0 past the sequence's end.
template <class Maps>
SL_WORD void sl_log_decays(float (&x)[16][2], const Maps maps, int rows) {
#pragma unroll
  for (int n = 0; n < 16; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e)
      x[n][e] =
          16 * sl_quarter() + n < rows ? 0x1.715476p0f * maps.log_decay(x[n][e]) : 0.0f;
}

// Each quarter's sum of log decays to shared memory, that of the chunk's first token apart: no half
// counts it. All kernels add the same way, and so agree about a chunk.
SL_WORD void sl_leave_quarter(uint32_t sums, float (&x)[16][2]) {
  const uint32_t own = sums + 4 * (uint32_t)sl_key();
  if (sl_quarter() == 0) {
    sl_store_floats(own + 2048, x[0][0], x[0][1]);
    x[0][0] = x[0][1] = 0.0f;
  }
  float whole[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 16; ++n) whole[0] += x[n][0], whole[1] += x[n][1];
  sl_store_floats(own + 512 * (uint32_t)sl_quarter(), whole[0], whole[1]);
}
enum { sl_sums_bytes = 5 * 512 };

// The sums of log decays from the chunk's middle to each token.
SL_WORD void sl_from_middle(float (&x)[16][2], uint32_t sums) {
  const uint32_t own = sums + 4 * (uint32_t)sl_key();
  const int quarter = sl_quarter();
  float a[2] = {0.0f, 0.0f}, other[2];
  if (quarter == 3) sl_load_floats(a, own + 1024);
  if (quarter < 2) {
    sl_load_floats(other, own + 512);
    a[0] = -other[0], a[1] = -other[1];
  }
  if (quarter == 0) {
    sl_load_floats(other, own);
    a[0] -= other[0], a[1] -= other[1];
  }
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    x[n][0] = a[0] += x[n][0];
    x[n][1] = a[1] += x[n][1];
  }
}

// Sums from the middle as two numbers of sixteen bits, in steps of 2^-9: they are within 64. What is
// scaled by them errs by 4e-4, a quarter of what bf16 rounds off.
SL_WORD uint32_t sl_bytes_of(uint32_t low, uint32_t high, const uint32_t which) {
  uint32_t x;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(x) : "r"(low), "r"(high), "r"(which));
  return x;
}
SL_WORD uint32_t sl_pack_sums(float low, float high) {
  // 2^23 + 2^15 + 512 x: the number lies in the float's lower half.
  return sl_bytes_of(
      SL_BITS(sl_fma(low, 0x1p9f, 0x1.01p23f)), SL_BITS(sl_fma(high, 0x1p9f, 0x1.01p23f)), 0x5410);
}
SL_WORD float sl_low_sum(uint32_t pair) {
  return sl_fma(SL_FROM_BITS(sl_bytes_of(pair, 0x4b000000u, 0x7410)), 0x1p-9f, -0x1.01p14f);
}
SL_WORD float sl_high_sum(uint32_t pair) {
  return sl_fma(SL_FROM_BITS(sl_bytes_of(pair, 0x4b000000u, 0x7432)), 0x1p-9f, -0x1.01p14f);
}

// Two numbers of a panel, mapped one by one.
template <class Map>
SL_WORD void sl_pair(float (&x)[2], uint32_t word, const Map map) {
  x[0] = map(sl_low(word));
  x[1] = map(sl_high(word));
}

// ---- Products ----

// sum = a b^T over 128, both in rows: their panels lie so far apart.
SL_WORD void sl_rows_by_rows(
    float (&sum)[32], uint32_t a, const int a_panel, uint32_t b, const int b_panel) {
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product_rows(
          sum, sl_operand(a, p * a_panel + 32 * s), sl_operand(b, p * b_panel + 32 * s),
          p + s > 0);
}
// sum += a b with `a` 64 x 64 in registers and `b` a panel's 64 rows.
SL_WORD void sl_held_by_panel(float (&sum)[32], const uint32_t (&a)[16], uint32_t b) {
#pragma unroll
  for (int s = 0; s < 4; ++s) sl_product_held(sum, a + 4 * s, sl_operand(b, 2048 * s));
}

// Sums as two left operands: each pair rounded to bf16, and what that leaves.
SL_WORD void sl_in_two_parts(uint32_t (&a)[16], uint32_t (&rest)[16], const float (&x)[32]) {
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    a[n] = sl_pack(x[2 * n], x[2 * n + 1]);
    rest[n] = sl_pack(x[2 * n] - sl_low(a[n]), x[2 * n + 1] - sl_high(a[n]));
  }
}

// Rows by columns of 64 tokens: entries whose column (`upper`: row) comes later become 0.
template <const bool upper>
SL_WORD void sl_keep_past(float (&x)[32]) {
  // Of the thread's first entry, by how much its row is later.
  const int later = sl_fresh(sl_row() - sl_column());
#pragma unroll
  for (int n = 0; n < 32; ++n) {
    const int column = 8 * (n / 4) + (n & 1) - (n & 2) * 4;
    if (upper ? later > column : later < column) x[n] = 0.0f;
  }
}

// Numbers of the tokens' half rows to memory, in bf16, as far as there are `rows`.
SL_WORD void sl_write_rows(uint16_t *to, int64_t step, int rows, const float (&x)[32]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = sl_row() + 8 * h;
    if (row >= rows) continue;
    uint32_t *const at = (uint32_t *)(to + (int64_t)row * step + sl_column());
#pragma unroll
    for (int j = 0; j < 8; ++j) at[4 * j] = sl_pack(x[4 * j + 2 * h], x[4 * j + 2 * h + 1]);
  }
}

// Sums, in pairs, as 64 rows of a panel.
SL_WORD void sl_store_sums(uint32_t panel, const uint32_t (&pairs)[16]) {
  const int lane = sl_fresh(SL_LANE), row = SL_THREAD % 128 / 32 * 16 + lane % 16;
#pragma unroll
  for (int b = 0; b < 4; ++b)
    sl_store_matrices(
        panel + sl_in_panel(row, 8 * (2 * b + lane / 16)), pairs[4 * b], pairs[4 * b + 1],
        pairs[4 * b + 2], pairs[4 * b + 3]);
}

// Sums to a table of 64 x 128 floats, whose pieces of eight are exchanged so that all banks are in use.
SL_WORD uint32_t sl_in_table(int row, int column) {
  return (uint32_t)(512 * row + (((column >> 3) ^ (row & 7)) << 5) + 4 * (column & 7));
}
SL_WORD void sl_store_table(uint32_t table, const float (&x)[32]) {
  const int row = sl_fresh(sl_row()), column = 64 * sl_group() + sl_column();
#pragma unroll
  for (int n = 0; n < 32; n += 2)
    sl_store_floats(
        table
            + sl_in_table(row + (n & 2) * 4, 8 * (n / 4) + column),
        x[n], x[n + 1]);
}

}  // namespace sl_gradients

#endif
