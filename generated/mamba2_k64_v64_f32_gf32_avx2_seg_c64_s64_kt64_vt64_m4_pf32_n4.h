// mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4.h: do not edit. Made by
//   sluice generate mamba2 --key-dim 64 --value-dim 64 --dtype f32 --gate-dtype f32 --target avx2 --schedule segmented --chunk 64 --sub-block 64 --key-tile 64 --value-tile 64 --materialization segments:4 --threads 4 --products f32
#ifndef SLUICE_MAMBA2_K64_V64_F32_GF32_AVX2_SEG_C64_S64_KT64_VT64_M4_PF32_N4_H
#define SLUICE_MAMBA2_K64_V64_F32_GF32_AVX2_SEG_C64_S64_KT64_VT64_M4_PF32_N4_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Arguments of the kernel. Token tensors are dense, [B, T, H, D] or [B, H, T, D];
// docs/abi.md of Sluice says the rest.
struct mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_args {
  uint32_t abi;   // 1
  uint32_t size;  // sizeof(struct mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_args)
  int64_t batch;
  int64_t length;       // tokens a batch row; of all packed sequences together
  int64_t query_heads;  // heads of q and o: a multiple of heads
  int64_t heads;        // heads of everything else
  int64_t sequences;    // packed sequences; 0 when there are none
  const int64_t *cu_seqlens;  // sequences + 1 offsets, or NULL
  int32_t threads;            // 0: 4
  int32_t layout;             // 0: [B, T, H, D]; 1: [B, H, T, D]
  float scale;
  uint32_t reserved;
  void *workspace;  // aligned to 64 bytes
  uint64_t workspace_size;
  const float *initial_state;  // [B or sequences, heads, 64, 64], or NULL for zero
  float *final_state;          // likewise, or NULL
  float *o;  // f32 [B, T, query heads, 64]
  const float *q;  // f32 [B, T, query heads, 64]: C: reads the state
  const float *k;  // f32 [B, T, heads, 64]: B: writes the state
  const float *v;  // f32 [B, T, heads, 64]: x: the layer's input
  const float *dt;  // f32 [B, T, heads]: step size before its softplus
  const float *A_log;  // f32 [heads]: log of the decay rate of a head
  const float *dt_bias;  // f32 [heads]: added to dt
  const float *D;  // f32 [heads]: weight of the skip from x to the output
};

// Computes. Returns 0, or: 1 another ABI, 2 a missing pointer, 3 a wrong size, 4 wrong
// cu_seqlens, 5 a workspace too small, 6 a misaligned pointer, 7 an unknown layout or a
// negative number of threads.
int32_t mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_forward(const struct mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_args *args);

// Bytes of workspace that these sizes and threads need, or minus a code.
int64_t mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_workspace_size(const struct mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_args *args);

// What the library says of itself, as JSON.
const char *mamba2_k64_v64_f32_gf32_avx2_seg_c64_s64_kt64_vt64_m4_pf32_n4_manifest(void);

#ifdef __cplusplus
}
#endif
#endif
