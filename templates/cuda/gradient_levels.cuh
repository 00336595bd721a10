// What the third kernel of gradients (gradient_exact.cuh) is made of: its places in shared memory, which
// chunks it takes, products of fewer columns, sums of log decays, dP level by level.
// A block has four warpgroups, and a warpgroup 32 of the keys (of the values, where rows of values are
// made): [4 j + 2 (the later row) + (the later column)] with columns 8 j + 2 (l % 4) and 1 more.
#ifndef SL_GRADIENT_LEVELS_CUH
#define SL_GRADIENT_LEVELS_CUH

namespace sl_gradients {

enum {
  sl_exact_threads = 512,
  sl_sum_row = 544,  // bytes from a token's sums to the next token's
  // Places in shared memory: q, k, v, dO; x; P in two parts; the state's adjoint; A; the state, then dP + dP^T
  // of two levels and of blocks of 16; sums.
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
  sl_at_from = sl_at_slots + 4,  // the one that the block looks at first
  sl_at_cuts = sl_at_slots + 8,  // of each block of 16 tokens, a bit for each
  sl_exact_bytes = sl_at_slots + 16,
  sl_at_own_pairs = sl_at_levels + 3 * sl_panel,  // the diagonal of dP, beside its levels
  // Where states and their adjoints lie; barriers for the copies of gates and of states, and the parity of
  // their phases; which chunk is at hand; the chunk that each thread found, and behind it the next one's place.
  sl_at_bases = sl_exact_bytes,
  sl_at_gates_landed = sl_at_bases + 16,
  sl_at_states_landed = sl_at_gates_landed + 8,
  sl_at_parity = sl_at_states_landed + 8,
  sl_at_hand = sl_at_parity + 4,
  sl_at_list = sl_at_parity + 16,
  sl_list_step = 40,
  sl_at_next = 36,
  sl_listed_bytes = sl_at_list + sl_exact_threads * sl_list_step,
};

// ---- Which chunk ----

// How many chunks there are, from a place whose address is made anew.
SL_WORD int sl_slots_left(uint32_t shared) {
  return (int)sl_load_word((uint32_t)sl_fresh((int)shared) + sl_at_slots);
}
// What each thread found, for all to see.
SL_WORD void sl_leave_found(uint32_t shared, int found) {
  uint32_t all;
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %1, 0;\nvote.sync.ballot.b32 %0, p, 0xffffffff;\n}"
               : "=r"(all)
               : "r"(found)
               : "memory");
  sl_sync();
  if (sl_fresh(SL_LANE) == 0) sl_store_word(shared + sl_at_found + 4 * (uint32_t)SL_WARP, all);
  sl_sync();
}
// Where the chunk that a thread found is said to lie.
SL_WORD uint32_t sl_listed(uint32_t shared, const int thread) {
  return shared + sl_at_list + (uint32_t)(sl_list_step * thread);
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
// The same with `a` in registers, and both in rows.
SL_WORD void sl_product_held(float (&sum)[16], const uint32_t *a, uint64_t b, const int adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
               "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
               "{%16, %17, %18, %19}, %20, p, 1, 1, 0;\n}"
               : SL_SUMS_8(sum, 0), SL_SUMS_8(sum, 8)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
}
SL_WORD void sl_product_held(float (&sum)[8], const uint32_t *a, uint64_t b, const int adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %13, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
               "{%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11}, %12, p, 1, 1, 0;\n}"
               : SL_SUMS_8(sum, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
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

// x or y, and no branch.
SL_WORD float sl_either(int is_first, float x, float y) {
  float z;
  asm("{\n.reg .pred p;\nsetp.ne.s32 p, %1, 0;\nselp.f32 %0, %2, %3, p;\n}"
      : "=f"(z)
      : "r"(is_first), "f"(x), "f"(y));
  return z;
}
// Four lanes have four words of a row each, their own of every fourth: a lane gets four that lie side by side.
SL_WORD void sl_side_by_side(uint32_t (&x)[4]) {
  const int lane = sl_fresh(SL_LANE);
#pragma unroll
  for (int apart = 1; apart < 4; apart *= 2)
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      if (n & apart) continue;
      const float early = SL_FROM_BITS(x[n]), late = SL_FROM_BITS(x[n + apart]);
      const int is_later = lane & apart;
      const float other = sl_of_other(sl_either(is_later, early, late), apart);
      x[n] = SL_BITS(sl_either(is_later, other, early));
      x[n + apart] = SL_BITS(sl_either(is_later, late, other));
    }
}
// Sixteen bytes to memory where they are `there`.
SL_WORD void sl_write_words(uint16_t *to, const uint32_t (&x)[4], const int there) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %5, 0;\n@p st.global.v4.b32 [%0], {%1, %2, %3, %4};\n}" ::"l"(to),
               "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(there)
               : "memory");
}
// Numbers of the tokens' rows to memory, in bf16, as far as there are `rows`.
SL_WORD void sl_write_own(uint16_t *to, int64_t step, int rows, const float (&x)[16]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = sl_row() + 8 * h;
    uint32_t words[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) words[j] = sl_pack(x[4 * j + 2 * h], x[4 * j + 2 * h + 1]);
    sl_side_by_side(words);
    sl_write_words(to + (int64_t)row * step + 32 * sl_group() + 8 * (SL_LANE % 4), words, row < rows);
  }
}
// The same of adjoints of rows of q or k, through the slope of their map.
template <const bool bends, class Slope>
SL_WORD void sl_write_own_mapped(
    uint16_t *to, const uint16_t *from, int64_t step, int rows, float (&x)[16], const Slope slope) {
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const int row = sl_row() + (n & 2) * 4;
    const int64_t at = (int64_t)row * step + sl_own_column(sl_group(), n);
    const uint32_t word = bends && row < rows ? *(const uint32_t *)(from + at) : 0u;
    x[n] *= slope(sl_low(word));
    x[n + 1] *= slope(sl_high(word));
  }
  sl_write_own(to, step, rows, x);
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

// Along the tokens a thread has two neighbouring keys and eight tokens: the gate's numbers, from memory.
SL_WORD void sl_read_eight(float (&x)[8][2], const float *gate, int step, int rows) {
  const int part = sl_uniform(SL_WARP / 2);
  int64_t at = (int64_t)(8 * part) * step + sl_key();
#pragma unroll
  for (int n = 0; n < 8; ++n, at += step) {
    const int there = 8 * part + n < rows;
    if (SL_GATED)
      sl_read_pair(x[n], gate + at, there);
    else
      x[n][0] = x[n][1] = 0.0f;
  }
}

// A and cuts to shared memory, from the gate's numbers. Decays below 2^-128 are zero, and count no further.
template <class Maps>
SL_WORD void sl_leave_logs(uint32_t shared, float (&x)[8][2], int rows, const Maps maps) {
  const int part = sl_uniform(SL_WARP / 2), key = sl_key();
  const uint32_t own = shared + sl_at_exact_sums + 4 * (uint32_t)key;
  float whole[2] = {0.0f, 0.0f}, inner[2] = {0.0f, 0.0f};
  uint32_t cuts = 0u;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const int there = 8 * part + n < rows;
#pragma unroll
    for (int e = 0; e < 2; ++e)
      x[n][e] = there ? sl_max(0x1.715476p0f * maps.log_decay(x[n][e]), -128.0f) : 0.0f;
    // Bits and not one comparison after the other, which maps that branch have no registers for.
    cuts |= (uint32_t)sl_fresh(sl_max(x[n][0], x[n][1]) == -128.0f) << n;
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
  if (sl_fresh(SL_LANE) == 0) sl_store_word(found + 4 * (uint32_t)SL_WARP, cuts);
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

// sl_store_matrices, each matrix turned.
SL_WORD void sl_store_turned(uint32_t at, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at),
               "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
}
// D = dP + dP^T to shared memory, its diagonal apart in f32, without what is beyond a cut of a block that takes
// one anchor: of pairs that part in two halves of 32 tokens, of 16, and of those in one block of 16. Warps have
// 16 rows and warpgroups 16 columns, so all numbers of a warp go to the same one, and zeros to the others.
SL_WORD void sl_leave_levels(uint32_t shared, const float (&dp)[8]) {
  const int group = sl_group(), warp = sl_uniform(SL_WARP % 4), apart = warp ^ group;
  if (warp < group) return;
  const int own = apart >= 2 ? 0 : apart ? 1 : 2, lane = sl_fresh(SL_LANE);
  uint32_t x[4];
#pragma unroll
  for (int n = 0; n < 4; ++n) x[n] = sl_pack(dp[2 * n], dp[2 * n + 1]);
  const int row = lane % 16, column = lane / 16 * 8;
  const uint32_t to = shared + sl_at_levels;
  const uint32_t below = to + sl_in_panel(16 * warp + row, 16 * group + column);
  const uint32_t above = to + sl_in_panel(16 * group + row, 16 * warp + column);
  if (!apart) {
    const int cuts = sl_own_cuts(shared);
    if (cuts != 0 && cuts != sl_by_levels)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int later = lane / 4 + n % 2 * 8, earlier = 2 * (lane % 4) + n / 2 * 8;
        if (sl_is_parted(cuts, later, earlier)) x[n] &= 0xffff0000u;
        if (sl_is_parted(cuts, later, earlier + 1)) x[n] &= 0xffffu;
      }
    // What lies above the diagonal is what lies below it, turned.
    const int after = lane / 4 - 2 * (lane % 4);
    const uint32_t low = (after >= 1 ? 0xffffu : 0u) | (after >= 2 ? 0xffff0000u : 0u);
    const uint32_t high = (after >= 0 ? 0u : 0xffffu) | (after >= 1 ? 0u : 0xffff0000u);
    x[0] = (x[0] & low) | (sl_turned(x[0]) & high);
    x[2] = sl_turned(x[1]);
    x[3] = (x[3] & low) | (sl_turned(x[3]) & high);
    if (after == 0 || after == 1) {
      const uint32_t at = shared + sl_at_own_pairs + 4 * (uint32_t)(16 * warp + lane / 4);
      sl_store_word(at, SL_BITS(sl_either(after, dp[1], dp[0])));
      sl_store_word(at + 32, SL_BITS(sl_either(after, dp[7], dp[6])));
    }
  }
#pragma unroll
  for (int level = 0; level < 3; ++level) {
    const uint32_t kept = own == level ? 0xffffffffu : 0u, there = (uint32_t)(level * sl_panel);
    sl_store_matrices(below + there, x[0] & kept, x[1] & kept, x[2] & kept, x[3] & kept);
    if (apart) sl_store_turned(above + there, x[0] & kept, x[2] & kept, x[1] & kept, x[3] & kept);
  }
}

// The chunk's sums as they grow, of the thread's numbers.
typedef struct {
  float dq[16], dk[16], terms[16];
} sl_exact_sums;

// P of the thread's rows and its warpgroup's 16 columns, in bf16 and what that leaves.
SL_WORD void sl_leave_scores(uint32_t shared, const float (&p)[8]) {
  const int group = sl_group(), first = sl_fresh(sl_row());
#pragma unroll
  for (int n = 0; n < 8; n += 2) {
    const int column = 16 * group + 8 * (n / 4) + sl_column();
    const uint32_t to = shared + sl_at_other + sl_in_panel(first + (n & 2) * 4, column);
    const uint32_t pair = sl_pack(p[n], p[n + 1]);
    sl_store_word(to, pair);
    sl_store_word(to + sl_panel, sl_pack(p[n] - sl_low(pair), p[n + 1] - sl_high(pair)));
  }
}

}  // namespace sl_gradients

#endif
