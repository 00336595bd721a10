// The words of Hopper (sm_90a): barriers in shared memory, bulk tensor copies, products of warpgroups,
// registers that roles hand to each other. A tile for products holds panels of 64 bf16 columns: rows
// of 128 bytes whose 16-byte pieces are exchanged as the card's 128-byte swizzle does.
#ifndef SL_HOPPER_CUH
#define SL_HOPPER_CUH

// A description of a tensor in memory, made by the driver on the processor's side.
typedef struct {
  __attribute__((aligned(64))) uint64_t words[16];
} sl_tensor;

SL_WORD uint32_t sl_address(const void *shared) {
  uint64_t at;
  asm("cvta.to.shared.u64 %0, %1;" : "=l"(at) : "l"(shared));
  return (uint32_t)at;
}

// ---- Barriers ----

SL_WORD void sl_barrier_init(uint32_t barrier, const int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
SL_WORD void sl_barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and announces so many bytes of copies.
SL_WORD void sl_barrier_expect(uint32_t barrier, const int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Waits until the phase of that parity is over. With no limit of its own: one would have a thread that waits for
// long sleep, and wake later.
SL_WORD void sl_barrier_wait(uint32_t barrier, const uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni over;\nbra.uni again;\nover:\n}" ::"r"(barrier), "r"(parity)
      : "memory");
}
// Waits for `threads` threads at one of the block's sixteen named barriers.
SL_WORD void sl_meet(const int which, const int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(which), "r"(threads) : "memory");
}
// Counts for those that meet there, and does not wait.
SL_WORD void sl_pass(const int which, const int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(which), "r"(threads) : "memory");
}
// Waits for the other lanes of the warp, whose writes are then seen.
SL_WORD void sl_meet_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }
// One lane speaks for what all lanes of a warp did.
SL_WORD void sl_tell(uint32_t barrier) {
  sl_meet_warp();
  if (SL_LANE == 0) sl_barrier_arrive(barrier);
}
// sl_meet, and whether any of them brought a value other than 0.
SL_WORD int sl_meet_any(const int which, const int threads, int value) {
  int any;
  asm volatile("{\n.reg .pred p, r;\nsetp.ne.s32 p, %3, 0;\nbar.red.or.pred r, %1, %2, p;\n"
               "selp.s32 %0, 1, 0, r;\n}"
               : "=r"(any)
               : "r"(which), "r"(threads), "r"(value)
               : "memory");
  return any;
}
// What this thread wrote to shared memory is seen by copies and products that come after.
SL_WORD void sl_publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#define sl_give_registers(count) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count))
#define sl_take_registers(count) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count))

// ---- Copies of boxes of tensors [batch, token, head, column] ----

SL_WORD void sl_copy_in(
    uint32_t to, const sl_tensor *tensor, uint32_t barrier, int column, int head, int token,
    int batch) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
      "l"(tensor), "r"(barrier), "r"(column), "r"(head), "r"(token), "r"(batch)
      : "memory");
}
SL_WORD void sl_copy_out(
    const sl_tensor *tensor, uint32_t from, int column, int head, int token, int batch) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(
          tensor),
      "r"(from), "r"(column), "r"(head), "r"(token), "r"(batch)
      : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Has a description at hand before the first copy by it.
SL_WORD void sl_tensor_ahead(const sl_tensor *tensor) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(tensor) : "memory");
}
// Brings a box on its way to the second-level cache.
SL_WORD void sl_copy_ahead(const sl_tensor *tensor, int column, int head, int token, int batch) {
  asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global [%0, {%1, %2, %3, %4}];" ::"l"(tensor),
               "r"(column), "r"(head), "r"(token), "r"(batch)
               : "memory");
}
// Until what this thread copied out may be overwritten.
SL_WORD void sl_copied_out() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

// ---- Panels ----

// Bytes from a panel's start to a pair of columns.
SL_WORD uint32_t sl_in_panel(int row, int column) {
  return (uint32_t)(row * 128 + (((column >> 3) ^ (row & 7)) << 4) + (column & 7) * 2);
}
SL_WORD uint32_t sl_load_word(uint32_t at) {
  uint32_t x;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(at));
  return x;
}
SL_WORD float sl_load_float(uint32_t at) { return SL_FROM_BITS(sl_load_word(at)); }
// Two floats that lie side by side.
SL_WORD void sl_load_floats(float (&x)[2], uint32_t at) {
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x[0]), "=f"(x[1]) : "r"(at));
}
SL_WORD void sl_store_word(uint32_t at, uint32_t x) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(x) : "memory");
}
// Four matrices of 8 x 8 bf16, whose rows lie where the lanes say: lane 8 i + r has row r of matrix i.
// A thread's pair of each is of row l / 4, columns 2 (l % 4) and 1 more.
SL_WORD void sl_load_matrices(uint32_t (&x)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(at)
               : "memory");
}
SL_WORD void sl_store_matrices(uint32_t at, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at),
               "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
}
// A matrix of 8 x 8 bf16, of which a thread has the pair of row l / 4 and columns 2 (l % 4) and 1 more:
// the same pair of its transpose.
SL_WORD uint32_t sl_turned(uint32_t x) {
  uint32_t y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}
// The value of a lane.
SL_WORD float sl_of_lane(float x, const int lane) {
  float y;
  asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(y) : "f"(x), "r"(lane));
  return y;
}

// The value of the lane whose number differs in these bits.
SL_WORD uint32_t sl_word_of_other(uint32_t x, const int bits) {
  uint32_t y;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(y) : "r"(x), "r"(bits));
  return y;
}
SL_WORD float sl_of_other(float x, const int bits) {
  return SL_FROM_BITS(sl_word_of_other(SL_BITS(x), bits));
}

SL_WORD void sl_store_floats(uint32_t at, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(x), "f"(y) : "memory");
}
// Four floats that lie side by side, from shared memory and to the card's.
SL_WORD void sl_load_four(float (&x)[4], uint32_t at) {
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
               : "r"(at));
}
SL_WORD void sl_write_four(float *at, const float (&x)[4]) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(at), "f"(x[0]), "f"(x[1]),
               "f"(x[2]), "f"(x[3])
               : "memory");
}
// The lane's own value, which no compiler computes with before this.
SL_WORD int sl_own(int x) {
  int y;
  asm volatile("shfl.sync.bfly.b32 %0, %1, 0, 0x1f, 0xffffffff;" : "=r"(y) : "r"(x));
  return y;
}
// The first lane's value: what is the same in all lanes, told to the compiler.
SL_WORD int sl_uniform(int x) {
  int y;
  asm volatile("shfl.sync.idx.b32 %0, %1, 0, 0x1f, 0xffffffff;" : "=r"(y) : "r"(x));
  return y;
}

// x added up over this lane and those before it.
SL_WORD float sl_sum_up_to(float x) {
#pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    float y;
    asm volatile("shfl.sync.up.b32 %0, %1, %2, 0, 0xffffffff;" : "=f"(y) : "f"(x), "r"(by));
    if (SL_LANE >= by) x += y;
  }
  return x;
}
// Whether any lane of the warp brings a value other than 0.
SL_WORD int sl_any(int value) {
  int any;
  asm volatile("{\n.reg .pred p, r;\nsetp.ne.s32 p, %1, 0;\nvote.sync.any.pred r, p, 0xffffffff;\n"
               "selp.s32 %0, 1, 0, r;\n}"
               : "=r"(any)
               : "r"(value));
  return any;
}
// The bits that all lanes have.
SL_WORD uint32_t sl_bits_of_all(uint32_t bits) {
  uint32_t all;
  asm volatile("redux.sync.and.b32 %0, %1, 0xffffffff;" : "=r"(all) : "r"(bits));
  return all;
}
// How many bits are set.
SL_WORD int sl_count(uint32_t bits) {
  int count;
  asm("popc.b32 %0, %1;" : "=r"(count) : "r"(bits));
  return count;
}

// Two bf16, the first in the lower half, each rounded to nearest.
SL_WORD uint32_t sl_pack(float low, float high) {
  uint32_t x;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
  return x;
}
SL_WORD float sl_low(uint32_t pair) { return SL_FROM_BITS(pair << 16); }
SL_WORD float sl_high(uint32_t pair) { return SL_FROM_BITS(pair & 0xffff0000u); }

// 2^x, error about 2 ulp.
SL_WORD float sl_power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x, error about 1 ulp.
SL_WORD float sl_inverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---- Products of a warpgroup: 64 x 64 sums in 32 registers a thread ----
// Thread 32 w + l holds rows 16 w + l / 4 and 8 more, columns 8 j + 2 (l % 4) and 1 more, in
// sum[4 j + 2 (row is the later one) + (column is the later one)].

// How products find an operand in panels: 8 rows (of the summed index, where it runs across rows) lie 1024
// bytes apart, 128-byte swizzle.
SL_WORD uint64_t sl_operand(uint32_t tile, const int offset) {
  const uint32_t place = (tile >> 4) + (uint32_t)(offset >> 4);
  return ((uint64_t)(1u << 30 | 64u) << 32) | (uint64_t)(64u << 16 | place);
}
SL_WORD void sl_products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
SL_WORD void sl_products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all committed groups but so many, the latest.
#define sl_products_wait(groups) \
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory")
SL_WORD void sl_products_end() {
  sl_products_commit();
  sl_products_wait(0);
}

#define SL_SUMS(s)                                                                             \
  "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]), "+f"(s[4]), "+f"(s[5]), "+f"(s[6]),          \
      "+f"(s[7]), "+f"(s[8]), "+f"(s[9]), "+f"(s[10]), "+f"(s[11]), "+f"(s[12]), "+f"(s[13]),  \
      "+f"(s[14]), "+f"(s[15]), "+f"(s[16]), "+f"(s[17]), "+f"(s[18]), "+f"(s[19]),            \
      "+f"(s[20]), "+f"(s[21]), "+f"(s[22]), "+f"(s[23]), "+f"(s[24]), "+f"(s[25]),            \
      "+f"(s[26]), "+f"(s[27]), "+f"(s[28]), "+f"(s[29]), "+f"(s[30]), "+f"(s[31])
#define SL_SUM_NAMES                                                                           \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "     \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
// Sums that products have left: no compiler reads them before this.
SL_WORD void sl_sums_are_there(float (&sum)[32]) { asm volatile("" : SL_SUMS(sum)::"memory"); }

#define SL_PRODUCT "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " SL_SUM_NAMES
// sum (+)= a b over 16, with `a` and `b` in panels whose rows are the sums' rows and columns.
SL_WORD void sl_product_rows(float (&sum)[32], uint64_t a, uint64_t b, const int adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n" SL_PRODUCT
               ", %32, %33, p, 1, 1, 0, 0;\n}"
               : SL_SUMS(sum)
               : "l"(a), "l"(b), "r"(adds));
}
// The same with `a` in rows and `b` across: its rows are what is summed over.
SL_WORD void sl_product_across(float (&sum)[32], uint64_t a, uint64_t b, const int adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n" SL_PRODUCT
               ", %32, %33, p, 1, 1, 0, 1;\n}"
               : SL_SUMS(sum)
               : "l"(a), "l"(b), "r"(adds));
}
// The same with both across: sum += a^T b.
SL_WORD void sl_product_outer(float (&sum)[32], uint64_t a, uint64_t b) {
  asm volatile(SL_PRODUCT ", %32, %33, 1, 1, 1, 1, 1;" : SL_SUMS(sum) : "l"(a), "l"(b));
}
// The same with `a` in registers, as pairs of sums lie in them.
SL_WORD void sl_product_held(float (&sum)[32], const uint32_t *a, uint64_t b) {
  asm volatile(SL_PRODUCT ", {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
               : SL_SUMS(sum)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// One warp's product: 16 x 8 sums += 16 x 16 by 16 x 8, `b` stored with its columns as rows.
SL_WORD void sl_warp_product(
    float (&sum)[4], const uint32_t (&a)[4], const uint32_t b0, const uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same over 8: 16 x 8 by 8 x 8.
SL_WORD void sl_warp_product_of_eight(
    float (&sum)[4], const uint32_t a0, const uint32_t a1, const uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
               "{%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a0), "r"(a1), "r"(b));
}

#endif
