// gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1.h: do not edit. Made by
//   sluice generate gla --key-dim 128 --value-dim 128 --dtype f32 --gate-dtype f32 --target avx512 --schedule register-recurrent --chunk 16 --sub-block 16 --key-tile 128 --head-tile 4 --value-tile 128 --materialization none --threads 1 --products f32
#ifndef SLUICE_GLA_K128_V128_F32_GF32_AVX512_REGISTER_C16_S16_KT128_VT128_HT4_M0_PF32_N1_H
#define SLUICE_GLA_K128_V128_F32_GF32_AVX512_REGISTER_C16_S16_KT128_VT128_HT4_M0_PF32_N1_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Arguments of the kernel. Token tensors are dense, [B, T, H, D] or [B, H, T, D];
// docs/abi.md of Sluice says the rest.
struct gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_args {
  uint32_t abi;   // 1
  uint32_t size;  // sizeof(struct gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_args)
  int64_t batch;
  int64_t length;       // tokens a batch row; of all packed sequences together
  int64_t query_heads;  // heads of q and o: a multiple of heads
  int64_t heads;        // heads of everything else
  int64_t sequences;    // packed sequences; 0 when there are none
  const int64_t *cu_seqlens;  // sequences + 1 offsets, or NULL
  int32_t threads;            // 0: 1
  int32_t layout;             // 0: [B, T, H, D]; 1: [B, H, T, D]
  float scale;
  uint32_t reserved;
  void *workspace;  // aligned to 64 bytes
  uint64_t workspace_size;
  const float *initial_state;  // [B or sequences, heads, 128, 128], or NULL for zero
  float *final_state;          // likewise, or NULL
  float *o;  // f32 [B, T, query heads, 128]
  const float *q;  // f32 [B, T, query heads, 128]: what a token asks for
  const float *k;  // f32 [B, T, heads, 128]: where a token writes
  const float *v;  // f32 [B, T, heads, 128]: what a token writes
  const float *g;  // f32 [B, T, heads, 128]: log decay, <= 0
};

// Computes. Returns 0, or: 1 another ABI, 2 a missing pointer, 3 a wrong size, 4 wrong
// cu_seqlens, 5 a workspace too small, 6 a misaligned pointer, 7 an unknown layout or a
// negative number of threads.
int32_t gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_forward(const struct gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_args *args);

// Bytes of workspace that these sizes and threads need, or minus a code.
int64_t gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_workspace_size(const struct gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_args *args);

// What the library says of itself, as JSON.
const char *gla_k128_v128_f32_gf32_avx512_register_c16_s16_kt128_vt128_ht4_m0_pf32_n1_manifest(void);

#ifdef __cplusplus
}
#endif
#endif
