// Products of what lies in a warpgroup's registers turned, as rows of values, for walks whose state does.
#ifndef SL_TURNED_PRODUCTS_CUH
#define SL_TURNED_PRODUCTS_CUH

// sum (+)= a b over 16: `a` in registers, as pairs of sums lie in them, `b` in panels whose rows are the
// sums' columns.
SL_WORD void sl_product_of_held(
    float (&sum)[32], const uint32_t (&a)[4], uint64_t b, const int adds) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n" SL_PRODUCT
               ", {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"
               : SL_SUMS(sum)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));
}
// A warp's sums of 64 columns in bf16, to its sixteen rows of a panel: `at` is the place of the lane's row and
// matrix, and that of columns 8 j further is exchanged likewise.
SL_WORD void sl_store_sums_in_panel(uint32_t at, const float (&sum)[32]) {
#pragma unroll
  for (int j = 0; j < 8; j += 2)
    sl_store_matrices(
        at ^ (uint32_t)(16 * j),
        sl_pack(sum[4 * j], sum[4 * j + 1]), sl_pack(sum[4 * j + 2], sum[4 * j + 3]),
        sl_pack(sum[4 * j + 4], sum[4 * j + 5]), sl_pack(sum[4 * j + 6], sum[4 * j + 7]));
}

// Four matrices as sl_store_matrices stores them, each turned.
SL_WORD void sl_store_turned(uint32_t at, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at),
               "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
}

// Two panels of columns at once: sum += a b over 16, `a` in registers, `b` in panels that lie side by
// side, whose rows are what is summed over.
SL_WORD void sl_product_held_twice(
    float (&low)[32], float (&high)[32], const uint32_t (&a)[4], uint32_t panels, const int offset) {
  // The second panel lies 8192 bytes on.
  const uint64_t b = sl_operand(panels, offset) + ((uint64_t)(512u - 64u) << 16);
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
               "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
               : SL_SUMS(low), SL_SUMS(high)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Four matrices as sl_load_matrices loads them, each turned.
SL_WORD void sl_load_turned(uint32_t (&x)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(at)
               : "memory");
}

// Two bf16 numbers times two factors. Volatile: what it has of the pair in f32 is not kept from other uses.
SL_WORD uint32_t sl_pair_times(const uint32_t pair, const float (&factors)[2]) {
  uint32_t x;
  asm volatile("{\n.reg .f32 low, high;\n.reg .b32 y;\nprmt.b32 y, %1, 0, 0x1044;\nmov.b32 low, y;\n"
               "prmt.b32 y, %1, 0, 0x3244;\nmov.b32 high, y;\nmul.ftz.f32 low, low, %2;\n"
               "mul.ftz.f32 high, high, %3;\ncvt.rn.bf16x2.f32 %0, high, low;\n}"
               : "=r"(x)
               : "r"(pair), "f"(factors[0]), "f"(factors[1]));
  return x;
}
#endif
