// rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1.h: do not edit. Made by
//   sluice generate rwkv6 --key-dim 64 --value-dim 64 --dtype f32 --gate-dtype f32 --target generic --schedule chunk-fused --chunk 32 --sub-block 16 --key-tile 64 --value-tile 64 --materialization none --threads 1 --products f32
#ifndef SLUICE_RWKV6_K64_V64_F32_GF32_GENERIC_FUSED_C32_S16_KT64_VT64_M0_PF32_N1_H
#define SLUICE_RWKV6_K64_V64_F32_GF32_GENERIC_FUSED_C32_S16_KT64_VT64_M0_PF32_N1_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Arguments of the kernel. Token tensors are dense, [B, T, H, D] or [B, H, T, D];
// docs/abi.md of Sluice says the rest.
struct rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1_args {
  uint32_t abi;   // 1
  uint32_t size;  // sizeof(struct rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1_args)
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
  const float *initial_state;  // [B or sequences, heads, 64, 64], or NULL for zero
  float *final_state;          // likewise, or NULL
  float *o;  // f32 [B, T, query heads, 64]
  const float *q;  // f32 [B, T, query heads, 64]: receptance
  const float *k;  // f32 [B, T, heads, 64]: where a token writes
  const float *v;  // f32 [B, T, heads, 64]: what a token writes
  const float *w;  // f32 [B, T, heads, 64]: log of the negated log decay
  const float *u;  // f32 [heads, 64]: weight of the present token
};

// Computes. Returns 0, or: 1 another ABI, 2 a missing pointer, 3 a wrong size, 4 wrong
// cu_seqlens, 5 a workspace too small, 6 a misaligned pointer, 7 an unknown layout or a
// negative number of threads.
int32_t rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1_forward(const struct rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1_args *args);

// Bytes of workspace that these sizes and threads need, or minus a code.
int64_t rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1_workspace_size(const struct rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1_args *args);

// What the library says of itself, as JSON.
const char *rwkv6_k64_v64_f32_gf32_generic_fused_c32_s16_kt64_vt64_m0_pf32_n1_manifest(void);

#ifdef __cplusplus
}
#endif
#endif
