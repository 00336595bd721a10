// What the third kernel of gradients (gradient_exact.cuh) is made of: its places in shared memory, which
// chunks it takes, products of fewer columns, sums of log decays, dP level by level, the gate's adjoint.
// A block has four warpgroups, and a warpgroup 32 of the keys (of the values, where rows of values are
// made): [4 j + 2 (the later row) + (the later column)] with columns 8 j + 2 (l % 4) and 1 more.
#ifndef SL_GRADIENT_LEVELS_CUH
#define SL_GRADIENT_LEVELS_CUH

namespace sl_gradients {

enum {
  sl_exact_threads = 512,
  sl_sum_row = 544,  // bytes from a token's sums to the next token's
  // Places in shared memory: q, k, v, dO; x, and at the end k^; P in two parts; the state; A; dP + dP^T of
  // two levels and of blocks of 16, and at the end the state's adjoint; sums.
  sl_at_scaled = 4 * sl_tile,
  sl_at_other = sl_at_scaled + sl_tile,
  sl_at_exact_state = sl_at_other + sl_tile,
  sl_at_logs = sl_at_exact_state + sl_state,
  sl_at_levels = sl_at_logs + 64 * sl_sum_row,
  sl_at_exact_sums = sl_at_levels + sl_state,  // of log decays of eight tokens, then of terms
  sl_at_exact_shares = sl_at_exact_sums + 8 * 512,
  sl_at_exact_whole = sl_at_exact_shares + 4 * 512,
  sl_at_found = sl_at_exact_whole + 512,  // a bit for each thread
  sl_at_chunk = sl_at_found + sl_exact_threads / 8,
  sl_at_slots = sl_at_chunk + sl_chunk_bytes,  // how many chunks there are
  sl_at_cuts = sl_at_slots + 8,  // of each block of 16 tokens, a bit for each
  sl_exact_bytes = sl_at_slots + 16,
};

// ---- Which chunk ----

// What each thread found, for all to see.
SL_WORD void sl_leave_found(uint32_t shared, int found) {
  uint32_t all;
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %1, 0;\nvote.sync.ballot.b32 %0, p, 0xffffffff;\n}"
               : "=r"(all)
               : "r"(found)
               : "memory");
  sl_sync();
  if (SL_LANE == 0) sl_store_word(shared + sl_at_found + 4 * (uint32_t)SL_WARP, all);
  sl_sync();
}
// The first thread from `thread` on that found something; sl_exact_threads for none.
SL_WORD int sl_first_found(uint32_t shared, int thread) {
#pragma unroll 1
  for (; thread < sl_exact_threads; thread = (thread | 31) + 1) {
    const uint32_t bits =
        sl_load_word(shared + sl_at_found + 4 * (uint32_t)(thread / 32)) >> (thread % 32);
    int first;
    asm("{\n.reg .b32 x;\nbrev.b32 x, %1;\nbfind.shiftamt.u32 %0, x;\n}" : "=r"(first) : "r"(bits));
    if (bits) return thread + first;
  }
  return sl_exact_threads;
}

// ---- Products of a warpgroup with 32 or 16 columns ----

#define SL_SUMS_8(s, n)                                                                        \
  "+f"(s[n]), "+f"(s[n + 1]), "+f"(s[n + 2]), "+f"(s[n + 3]), "+f"(s[n + 4]), "+f"(s[n + 5]),  \
      "+f"(s[n + 6]), "+f"(s[n + 7])
// sum (+)= a b over 16; `across`: rows are what is summed over.
template <const int a_across, const int b_across>
SL_WORD void sl_product(float (&sum)[16], uint64_t a, uint64_t b, const int adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
               "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
               "%16, %17, p, 1, 1, %19, %20;\n}"
               : SL_SUMS_8(sum, 0), SL_SUMS_8(sum, 8)
               : "l"(a), "l"(b), "r"(adds), "n"(a_across), "n"(b_across));
}
SL_WORD void sl_product_rows(float (&sum)[8], uint64_t a, uint64_t b, const int adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
               "{%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, p, 1, 1, 0, 0;\n}"
               : SL_SUMS_8(sum, 0)
               : "l"(a), "l"(b), "r"(adds));
}
// sum = a b^T over 128, `b` the warpgroup's 16 rows of a tile.
SL_WORD void sl_own_scores(float (&sum)[8], uint32_t a, uint32_t b) {
  b += 2048 * (uint32_t)sl_group();
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product_rows(
          sum, sl_operand(a, p * sl_panel + 32 * s), sl_operand(b, p * sl_panel + 32 * s),
          p + s > 0);
}
// sum = a s^T over 128, `s` a state: the warpgroup's 32 keys.
SL_WORD void sl_by_state(float (&sum)[16], uint32_t a, uint32_t state) {
  state += 4096 * (uint32_t)sl_group();
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int s = 0; s < 4; ++s)
      sl_product<0, 0>(
          sum, sl_operand(a, p * sl_panel + 32 * s),
          sl_operand(state, p * (sl_state / 2) + 32 * s), p + s > 0);
}
// sum (+)= a b (`a_across`: a^T b) over 64 tokens, of a tile `b` the warpgroup's 32 columns.
template <const int a_across>
SL_WORD void sl_by_tokens(float (&sum)[16], uint32_t a, uint32_t b, const int adds) {
  b += (uint32_t)(sl_group() / 2 * sl_panel + sl_group() % 2 * 64);
#pragma unroll
  for (int s = 0; s < 4; ++s)
    sl_product<a_across, 1>(
        sum, sl_operand(a, a_across ? 2048 * s : 32 * s), sl_operand(b, 2048 * s), adds | (s > 0));
}

// ---- A thread's numbers ----

SL_WORD int sl_own_column(int group, int n) { return 32 * group + 8 * (n / 4) + sl_column(); }
SL_WORD uint32_t sl_in_tile(int row, int column) {
  return (uint32_t)(column / 64 * sl_panel) + sl_in_panel(row, column & 63);
}
SL_WORD uint32_t sl_in_sums(int row, int column) {
  return (uint32_t)(row * sl_sum_row + 4 * column);
}

// Numbers of the tokens' rows to memory, in bf16, as far as there are `rows`.
SL_WORD void sl_write_own(uint16_t *to, int64_t step, int rows, const float (&x)[16]) {
  const int group = sl_group();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = sl_row() + 8 * h;
    uint16_t *const at = to + (int64_t)row * step + sl_own_column(group, 0);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      sl_write_word(at + 8 * j, sl_pack(x[4 * j + 2 * h], x[4 * j + 2 * h + 1]), row < rows);
  }
}
// The same of adjoints of rows of q or k, through the slope of their map.
template <const bool bends, class Slope>
SL_WORD void sl_write_own_mapped(
    uint16_t *to, const uint16_t *from, int64_t step, int rows, const float (&x)[16],
    const Slope slope) {
  const int group = sl_group();
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = sl_row() + (n & 2) * 4;
    const int64_t at = (int64_t)row * step + sl_own_column(group, n);
    const float pair[2] = {x[n], x[n + 1]};
    sl_write_mapped_pair<bends>(to + at, from + at, pair, slope, row < rows);
  }
}

// Cuts of the warp's block of 16 tokens: where all keys' decays are zero, which does not count for the
// range of an anchor; or, of a block that leaves the range, all.
enum { sl_by_levels = 0xffff };
SL_WORD int sl_own_cuts(uint32_t shared) {
  uint16_t cuts;
  asm volatile("ld.shared.u16 %0, [%1];"
               : "=h"(cuts)
               : "r"(shared + sl_at_cuts + 2 * (uint32_t)(SL_WARP % 4)));
  return sl_uniform(cuts);
}

// Whether a cut lies between two tokens of a block that takes one anchor.
SL_WORD int sl_is_parted(const int cuts, const int row, const int column) {
  const uint32_t from_here = 0xfffffffeu;
  return cuts != sl_by_levels && (uint32_t)cuts & (from_here << column) & ~(from_here << row);
}
// A sum of log decays of which each cut's is -128.
SL_WORD float sl_without_cuts(float x) {
  // 2^23 and half of it: what is added is a whole number then.
  const float cuts = sl_fma(x, 0x1p-7f, 0x1.8p23f) - 0x1.8p23f;
  return sl_fma(cuts, -128.0f, x);
}

// A and cuts to shared memory. A thread has eight tokens and two keys. Decays below 2^-128 are zero, and
// count no further.
template <class Maps>
SL_WORD void sl_leave_logs(
    uint32_t shared, const float *gate, int step, int rows, const Maps maps) {
  const int part = sl_uniform(SL_WARP / 2), key = sl_key();
  const uint32_t own = shared + sl_at_exact_sums + 4 * (uint32_t)key;
  float x[8][2], whole[2] = {0.0f, 0.0f}, inner[2] = {0.0f, 0.0f};
  int64_t at = (int64_t)(8 * part) * step + (SL_GATE == 2 ? key : 0);
#pragma unroll
  for (int n = 0; n < 8; ++n, at += step) {
    const int there = 8 * part + n < rows;
    if (SL_GATE == 2)
      sl_read_pair(x[n], gate + at, there);
    else
      x[n][0] = x[n][1] = SL_GATE && there ? gate[at] : 0.0f;
  }
  uint32_t cuts = 0u;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int there = 8 * part + n < rows;
#pragma unroll
    for (int e = 0; e < 2; ++e)
      x[n][e] = there ? sl_max(0x1.715476p0f * maps.log_decay(x[n][e]), -128.0f) : 0.0f;
    if (sl_max(x[n][0], x[n][1]) == -128.0f) cuts |= 1u << n;
  }
  cuts = sl_bits_of_all(cuts);
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      if (!(cuts >> n & 1)) inner[e] += x[n][e];
      x[n][e] = whole[e] += x[n][e];
    }
  sl_store_floats(own + 512 * (uint32_t)part, whole[0], whole[1]);
  if (sl_any(!(inner[0] >= -62.0f) | !(inner[1] >= -62.0f))) cuts = sl_by_levels;
  const uint32_t found = shared + sl_at_exact_shares;
  if (SL_LANE == 0) sl_store_word(found + 4 * (uint32_t)SL_WARP, cuts);
  sl_sync();
  float sums[2] = {0.0f, 0.0f};
#pragma unroll
  for (int w = 0; w < 8; ++w) {
    float each[2];
    sl_load_floats(each, own + 512 * w);
    if (w < part) sums[0] += each[0], sums[1] += each[1];
  }
#pragma unroll
  for (int n = 0; n < 8; ++n)
    sl_store_floats(
        shared + sl_at_logs + sl_in_sums(8 * part + n, key), sums[0] + x[n][0],
        sums[1] + x[n][1]);
  // Of its block, eight tokens and half of the keys each.
  uint32_t each[4];
#pragma unroll
  for (int n = 0; n < 4; ++n)
    each[n] = sl_load_word(found + 4 * (uint32_t)(SL_WARP % 4 * 4 + n));
  const int fails = each[0] != each[1] || each[2] != each[3] || (each[0] | each[2]) > 0xffu;
  const uint16_t all = (uint16_t)(fails ? sl_by_levels : each[0] | each[2] << 8);
  asm volatile("st.shared.b16 [%0], %1;" ::"r"(shared + sl_at_cuts + 2 * (uint32_t)(SL_WARP % 4)), "h"(all)
               : "memory");
}

// D = dP + dP^T to shared memory, its diagonal once, without what is beyond a cut of a block that takes one
// anchor: of pairs that part in two halves of 32 tokens, of 16,
// and of those in one block of 16. Warps have 16 rows and warpgroups 16 columns, so all numbers of a
// warp go to the same one.
SL_WORD void sl_leave_levels(uint32_t shared, const float (&dp)[8]) {
  const uint32_t levels = shared + sl_at_levels;
  const int group = sl_group(), warp = sl_uniform(SL_WARP % 4), apart = warp ^ group;
  if (warp < group) return;
  const uint32_t to = levels + (uint32_t)(apart >= 2 ? 0 : apart ? sl_panel : 2 * sl_panel);
  const int first = sl_fresh(sl_row()), first_column = 16 * group + sl_fresh(sl_column());
  const int cuts = apart ? 0 : sl_own_cuts(shared);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int row = first + (n & 2) * 4;
    const int column = first_column + 8 * (n / 4) + (n & 1);
    if (row < column) continue;
    const float kept = cuts && sl_is_parted(cuts, row % 16, column % 16) ? 0.0f : dp[n];
    const uint16_t own = (uint16_t)sl_pack(kept, 0.0f);
    const uint32_t at = to + sl_in_panel(row, column & ~1) + 2 * (column & 1);
    const uint32_t other = to + sl_in_panel(column, row & ~1) + 2 * (row & 1);
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(at), "h"(own) : "memory");
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(other), "h"(own) : "memory");
  }
}

// x[i] becomes the sum over the warp's sixteen rows from its own on.
SL_WORD void sl_sum_from(float (&x)[16]) {
  const int place = SL_LANE / 4;
#pragma unroll
  for (int n = 0; n < 16; ++n)
#pragma unroll
    for (int apart = 1; apart < 8; apart *= 2) {
      const float other = sl_from_below(x[n], 4 * apart);
      x[n] += place + apart < 8 ? other : 0.0f;
    }
#pragma unroll
  for (int n = 0; n < 16; ++n)
    if (!(n & 2)) x[n] += sl_of_lane(x[n ^ 2], SL_LANE % 4);
}

// The gate's adjoint, from the terms q dq - k dk: what passes a token's decay is the sum of those from
// it on and of what leaves the chunk.
template <class Maps>
SL_WORD void sl_gate_adjoint(
    float (&terms)[16], uint32_t shared, const float *gate, float *d_gate, int64_t step, int rows,
    const float (&leaving)[8], const Maps maps) {
  const int group = sl_group();
  const int warp = sl_uniform(SL_WARP % 4);
  const uint32_t sums = shared + sl_at_exact_sums;
  // The gate's numbers, asked for before they are wanted.
  float own[8][2];
#pragma unroll
  for (int m = 0; m < 8; ++m) {
    const int row = sl_row() + (m & 1) * 8, there = row < rows;
    if (SL_GATE == 2)
      sl_read_pair(own[m], gate + (int64_t)row * step + sl_own_column(group, 2 * m), there);
    else
      own[m][0] = own[m][1] = there ? gate[(int64_t)row * step] : 0.0f;
  }
  sl_sum_from(terms);
  if (SL_LANE < 4)
#pragma unroll
    for (int n = 0; n < 16; n += 4)
      sl_store_floats(
          sums + 512 * (uint32_t)warp + 4 * (uint32_t)sl_own_column(group, n), terms[n], terms[n + 1]);
  sl_sync();
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float later[2] = {leaving[2 * j], leaving[2 * j + 1]};
#pragma unroll
    for (int w = 1; w < 4; ++w)
      if (w > warp) {
        float each[2];
        sl_load_floats(each, sums + 512 * w + 4 * (uint32_t)sl_own_column(group, 4 * j));
        later[0] += each[0];
        later[1] += each[1];
      }
#pragma unroll
    for (int n = 0; n < 4; ++n) terms[4 * j + n] += later[n & 1];
  }
  float token[2] = {0.0f, 0.0f};
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = sl_row() + (n & 2) * 4, there = row < rows;
    const int64_t at = (int64_t)row * step + (SL_GATE == 2 ? sl_own_column(group, n) : 0);
    float x[2] = {terms[n], terms[n + 1]};
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      // A decay of zero passes nothing on.
      if (0x1.715476p0f * maps.log_decay(own[n / 2][e]) < -126.0f) x[e] = 0.0f;
      if (SL_GATE_BENDS) x[e] *= maps.gate_slope(own[n / 2][e]);
      token[n / 2 & 1] += x[e];
    }
    if (SL_GATE == 2) sl_write_pair(d_gate + at, x, there);
  }
  if (SL_GATE != 1) return;
  // All keys have one gate: those of a warpgroup are added here, and the warpgroups' below.
  sl_sync();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    token[h] += sl_of_partner(token[h], 1);
    token[h] += sl_of_partner(token[h], 2);
    if (SL_LANE % 4 == 0)
      sl_store_word(
          sums + 256 * (uint32_t)group + 4 * (uint32_t)(sl_row() + 8 * h),
          SL_BITS(token[h]));
  }
  sl_sync();
  if (SL_THREAD < rows && SL_THREAD < 64) {
    float all = 0.0f;
#pragma unroll
    for (int g = 0; g < 4; ++g) all += sl_load_float(sums + 256 * g + 4 * (uint32_t)SL_THREAD);
    d_gate[SL_THREAD * step] = all;
  }
}

}  // namespace sl_gradients

#endif
