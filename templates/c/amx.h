// Words of the matrix unit, AMX with bf16: they follow tiles.h. A matrix register
// holds 16 rows of 64 bytes; one instruction adds the product of 16 x 32 and
// 32 x 16 bf16 to 16 x 16 f32, pair by pair along the 32. The left operand lies
// in rows; the right one in pairs, rows 2p and 2p + 1 interleaved. Operands are
// padded with zeros to whole registers. Subnormal operands and results are zero.
#ifndef SL_AMX_H
#define SL_AMX_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// ---- Permission and mode ----

// Asks the kernel once more for the right of this process to use the registers:
// arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). Whether it is granted.
static inline int sl_matrix_permitted(void) {
  long result = 158;  // arch_prctl
  register long request __asm__("rdi") = 0x1023, feature __asm__("rsi") = 18;
  __asm__ volatile("syscall" : "+a"(result) : "r"(request), "r"(feature) : "rcx", "r11", "memory");
  return result == 0;
}

// All eight registers of this thread are 16 rows of 64 bytes.
static inline void sl_matrix_begin(void) {
  uint8_t shapes[64] __attribute__((aligned(64))) = {1};
  for (int i = 0; i < 8; ++i) {
    shapes[16 + 2 * i] = 64;
    shapes[48 + i] = 16;
  }
  _tile_loadconfig(shapes);
}

// Gives the registers back: a thread without them is cheaper to switch.
static inline void sl_matrix_end(void) { _tile_release(); }

// ---- Products ----

// One product of a sum: `depth` of a's columns, in rows, by as many rows of b, in
// pairs.
typedef struct {
  const uint16_t *a;
  int64_t a_row;
  const uint16_t *b;
  int64_t b_row;
  int64_t depth;
} sl_matrix_term;

// What happens to a product's target once it is summed, block by block while it is in
// the first cache: rows are scaled by a factor each, and rows 2p and 2p + 1 copied in
// bf16, interleaved. NULL stands for neither.
typedef struct {
  const float *scale;
  uint16_t *pairs;
  int64_t pairs_row;
} sl_after;

// The same for `rows` x `columns`, an even number of rows, from row i and column j on.
SL_INLINE void sl_matrix_finish(
    const int rows, const int columns, float *t, int64_t t_row, int64_t i, int64_t j,
    const sl_after after) {
  for (int r = 0; r < rows; r += 2) {
    float *even = t + (i + r) * t_row + j, *odd = even + t_row;
    SL_UNROLL for (int column = 0; column < columns; column += SL_LANES) {
      sl_f32 x = sl_load(even + column), y = sl_load(odd + column);
      if (after.scale) {
        x = sl_mul(x, sl_set(after.scale[i + r]));
        y = sl_mul(y, sl_set(after.scale[i + r + 1]));
        sl_store(even + column, x);
        sl_store(odd + column, y);
      }
      if (after.pairs)
        sl_pairs_store(
            after.pairs + (i + r) / 2 * after.pairs_row + 2 * (j + column), sl_pairs_zip(x, y));
    }
  }
}

// A block of a product that is summed and waits for what happens then.
typedef struct {
  int64_t i;
  int64_t j;
  int rows;
  int columns;
} sl_summed;

// The rows of a summed block from row `from` on, at most `most`.
SL_INLINE void sl_matrix_finish_part(
    const sl_summed block, int from, const int most, float *t, int64_t t_row,
    const sl_after after) {
  const int rows = (int)sl_least(most, block.rows - from);
  if (block.columns == 32)
    sl_matrix_finish(rows, 32, t, t_row, block.i + from, block.j, after);
  else
    sl_matrix_finish(rows, 16, t, t_row, block.i + from, block.j, after);
}

// t (+)= the sum of all terms for 16 or, if `tall`, 32 rows from row i on and 16 or,
// if `wide`, 32 columns from column j on, in registers 0 to 3; 4 and 5 hold the left
// operand, 6 and 7 the right one. Between products, which the core's other units have no
// part in, the block before is finished, eight rows at a time.
SL_INLINE sl_summed sl_matrix_block(
    const int tall, const int wide, const int count, float *t, int64_t t_row,
    const sl_matrix_term *terms, int64_t i, int64_t j, const int keep, const int rows,
    const sl_after after, const sl_summed last) {
  float *here = t + i * t_row + j, *below = here + 16 * t_row;
  if (keep) {
    _tile_loadd(0, here, t_row * 4);
    if (wide) _tile_loadd(1, here + 16, t_row * 4);
    if (tall) _tile_loadd(2, below, t_row * 4);
    if (tall && wide) _tile_loadd(3, below + 16, t_row * 4);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  int finished = 0;
  SL_UNROLL for (int n = 0; n < count; ++n) {
    const sl_matrix_term x = terms[n];
    const uint16_t *left = x.a + i * x.a_row, *right = x.b + 2 * j;
    for (int64_t p = 0; p < x.depth; p += 32) {
      _tile_loadd(4, left + p, x.a_row * 2);
      _tile_loadd(6, right + p / 2 * x.b_row, x.b_row * 2);
      _tile_dpbf16ps(0, 4, 6);
      if (wide) {
        _tile_loadd(7, right + p / 2 * x.b_row + 32, x.b_row * 2);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (tall) {
        _tile_loadd(5, left + 16 * x.a_row + p, x.a_row * 2);
        _tile_dpbf16ps(2, 5, 6);
      }
      if (tall && wide) _tile_dpbf16ps(3, 5, 7);
      if (finished < last.rows) sl_matrix_finish_part(last, finished, 8, t, t_row, after);
      finished += 8;
    }
  }
  _tile_stored(0, here, t_row * 4);
  if (wide) _tile_stored(1, here + 16, t_row * 4);
  if (tall) _tile_stored(2, below, t_row * 4);
  if (tall && wide) _tile_stored(3, below + 16, t_row * 4);
  if (finished < last.rows) sl_matrix_finish_part(last, finished, 32, t, t_row, after);
  const int own = after.scale || after.pairs ? (int)sl_least(tall ? 32 : 16, rows - i) : 0;
  return (sl_summed){i, j, own, wide ? 32 : 16};
}

// t (+)= the sum of `count` products, in blocks of whole registers: padding of t is
// written too.
SL_INLINE void sl_multiply_matrix(
    const int rows, const int columns, const int count, float *t, int64_t t_row,
    const sl_matrix_term *terms, const sl_before before, const sl_after after) {
  if (before.keep && (before.rows.slope || before.columns.slope))
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; j += SL_LANES)
        sl_store(t + i * t_row + j, sl_block_start(t + i * t_row + j, before, i, j));
  const int whole_rows = (rows + 15) / 32 * 32, whole_columns = (columns + 15) / 32 * 32;
  const int keep = before.keep;
  sl_summed last = {0, 0, 0, 0};
  // The left operand's rows stay in the first cache for all columns, and so does most of the right.
  for (int64_t i = 0; i < whole_rows; i += 32) {
    for (int64_t j = 0; j < whole_columns; j += 32)
      last = sl_matrix_block(1, 1, count, t, t_row, terms, i, j, keep, rows, after, last);
    if (whole_columns < columns)
      last =
          sl_matrix_block(1, 0, count, t, t_row, terms, i, whole_columns, keep, rows, after, last);
  }
  if (whole_rows < rows) {
    for (int64_t j = 0; j < whole_columns; j += 32)
      last = sl_matrix_block(0, 1, count, t, t_row, terms, whole_rows, j, keep, rows, after, last);
    if (whole_columns < columns)
      last = sl_matrix_block(
          0, 0, count, t, t_row, terms, whole_rows, whole_columns, keep, rows, after, last);
  }
  if (last.rows > 0) sl_matrix_finish_part(last, 0, 32, t, t_row, after);
}

// ---- What surrounds products ----

// a / b, error below 4 ulp, for b where sl_inverse is defined; elsewhere it may also
// be NaN.
static inline sl_f32 sl_quotient(sl_f32 a, sl_f32 b) { return sl_mul(a, sl_inverse(b)); }

// Running products of d down each column, as numbers of [1, 2) and powers of two:
// m[0] = 1, m[i + 1] p[i] = m[i] d[i]; a product below 2^-126 counts as zero, and
// leaves p[i] = 0, m[i + 1] = 1. p may be d.
SL_INLINE void sl_running_mantissas(
    const int rows, const int columns, float *m, int64_t m_row, float *p, int64_t p_row,
    const float *d, int64_t d_row) {
  const sl_f32 one = sl_set(1.0f);
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_f32 now = one;
    sl_store(m + j, now);
    for (int64_t i = 0; i < rows; ++i) {
      const sl_f32 product = sl_mul(now, sl_load(d + i * d_row + j));
      const __mmask16 kept = _mm512_cmp_ps_mask(product, sl_set(0x1p-126f), _CMP_GE_OQ);
      now = _mm512_mask_getmant_ps(one, kept, product, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
      sl_store(
          p + i * p_row + j, _mm512_maskz_scalef_ps(kept, one, _mm512_getexp_ps(product)));
      sl_store(m + (i + 1) * m_row + j, now);
    }
  }
}

// Whether every magnitude lies below a limit, a bf16 number; NaN does not.
SL_INLINE int sl_all_magnitudes_below_bf16(
    const int rows, const int columns, const uint16_t *x, int64_t x_row, float limit) {
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  __m512i greatest = _mm512_setzero_si512();
  for (int64_t i = 0; i < rows; ++i)
    for (int j = 0; j < columns; j += 32) {
      const int left = columns - j;
      const __mmask32 seen = left < 32 ? (1u << left) - 1 : 0xffffffffu;
      const __m512i entry = _mm512_maskz_loadu_epi16(seen, x + i * x_row + j);
      greatest = _mm512_max_epu16(greatest, _mm512_and_si512(entry, magnitude));
    }
  return !_mm512_cmpge_epu16_mask(greatest, _mm512_set1_epi16((short)(sl_bits(limit) >> 16)));
}

// Asks for `bytes` at p, to be read some thousand cycles later. Any p.
SL_INLINE void sl_request(const void *p, const int bytes) {
  SL_UNROLL for (int line = 0; line < bytes; line += 64)
    __builtin_prefetch((const char *)p + line, 0, 2);
}

// Rows of a tile to tokens in memory, rounded to bf16; `streams` goes past the caches
// where a row's lines are whole.
SL_INLINE void sl_matrix_store_rows(
    int64_t rows, const int columns, uint16_t *x, int64_t x_row, const float *t, int64_t t_row,
    int64_t valid, int streams) {
  const int aligned = (((uintptr_t)x | (uint64_t)x_row * 2) & 63) == 0;
  if (!streams || !aligned || valid < columns || columns % 32) {
    sl_store_rows_bf16(rows, columns, x, x_row, t, t_row, valid, 0);
    return;
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int j = 0; j + 32 <= columns; j += 32) {
      const float *p = t + i * t_row + j;
      const __m512bh both = _mm512_cvtne2ps_pbh(sl_load(p + 16), sl_load(p));
      _mm512_stream_si512((__m512i *)(x + i * x_row + j), (__m512i)both);
    }
}

// ---- Layout ----

// The transpose of a bf16 matrix between rows and pairs: from rows of x, columns
// 2p and 2p + 1 become row p of t, interleaved; and the other way from pairs to
// rows. Either way it is the transpose of 32-bit words, `words` of them a row.
SL_INLINE void sl_transpose_words(
    const int rows, const int words, uint16_t *t, int64_t t_row, const uint16_t *x,
    int64_t x_row) {
  sl_transpose_tile(rows, words, (float *)t, t_row / 2, (const float *)x, x_row / 2);
}

// Rows 2p and 2p + 1 of a bf16 matrix, interleaved; padding of x's rows to 32 and an
// odd last row's neighbour are read, and hold zeros.
SL_INLINE void sl_zip_rows(
    const int rows, const int columns, uint16_t *t, int64_t t_row, const uint16_t *x,
    int64_t x_row) {
  const __m512i near = _mm512_set_epi32(
      0x002f000f, 0x002e000e, 0x002d000d, 0x002c000c, 0x002b000b, 0x002a000a, 0x00290009,
      0x00280008, 0x00270007, 0x00260006, 0x00250005, 0x00240004, 0x00230003, 0x00220002,
      0x00210001, 0x00200000);
  const __m512i far = _mm512_add_epi16(near, _mm512_set1_epi16(16));
  for (int64_t i = 0; i < rows; i += 2)
    for (int64_t j = 0; j < columns; j += 32) {
      const __m512i even = _mm512_loadu_si512(x + i * x_row + j);
      const __m512i odd = _mm512_loadu_si512(x + (i + 1) * x_row + j);
      uint16_t *place = t + i / 2 * t_row + 2 * j;
      _mm512_storeu_si512(place, _mm512_permutex2var_epi16(even, near, odd));
      if (j + 16 < columns)
        _mm512_storeu_si512(place + 32, _mm512_permutex2var_epi16(even, far, odd));
    }
}

// The same of rows in memory, bf16, of which the first `tokens` and in them `columns`
// are there; what is not is zero.
SL_INLINE void sl_zip_tokens(
    int64_t tokens, const int rows, const int columns, uint16_t *t, int64_t t_row,
    const uint16_t *x, int64_t x_row, int64_t valid) {
  const __m512i once = _mm512_set_epi32(
      0x000f000f, 0x000e000e, 0x000d000d, 0x000c000c, 0x000b000b, 0x000a000a, 0x00090009,
      0x00080008, 0x00070007, 0x00060006, 0x00050005, 0x00040004, 0x00030003, 0x00020002,
      0x00010001, 0x00000000);
  const __m512i far = _mm512_add_epi16(once, _mm512_set1_epi16(16));
  for (int64_t i = 0; i < rows; i += 2) {
    const uint16_t *row = x + i * x_row;
    if (i + 1 < tokens) sl_request(row + 8 * x_row, columns * 2);
    if (i + 1 < tokens) sl_request(row + 9 * x_row, columns * 2);
    for (int64_t j = 0; j < columns; j += 32) {
      const int64_t left = sl_greatest(0, sl_least(32, valid - j));
      const __mmask32 seen = (__mmask32)((1ull << left) - 1);
      const __m512i even = _mm512_maskz_loadu_epi16(i < tokens ? seen : 0, row + j);
      const __m512i odd = _mm512_maskz_loadu_epi16(i + 1 < tokens ? seen : 0, row + x_row + j);
      uint16_t *place = t + i / 2 * t_row + 2 * j;
      _mm512_storeu_si512(
          place, _mm512_mask_permutexvar_epi16(
                     _mm512_permutexvar_epi16(once, even), 0xaaaaaaaau, once, odd));
      if (j + 16 < columns)
        _mm512_storeu_si512(
            place + 32, _mm512_mask_permutexvar_epi16(
                            _mm512_permutexvar_epi16(far, even), 0xaaaaaaaau, far, odd));
    }
  }
}

// Pairs told apart again: row p of x becomes rows 2p and 2p + 1 of t, in whole vectors
// of 16 columns.
SL_INLINE void sl_unzip_rows(
    const int rows, const int columns, uint16_t *t, int64_t t_row, const uint16_t *x,
    int64_t x_row) {
  const __m512i even = _mm512_set_epi32(
      0x003e003c, 0x003a0038, 0x00360034, 0x00320030, 0x002e002c, 0x002a0028, 0x00260024,
      0x00220020, 0x001e001c, 0x001a0018, 0x00160014, 0x00120010, 0x000e000c, 0x000a0008,
      0x00060004, 0x00020000);
  const __m512i odd = _mm512_add_epi16(even, _mm512_set1_epi16(1));
  for (int64_t i = 0; i < rows; i += 2)
    for (int64_t j = 0; j < columns; j += 32) {
      const uint16_t *pairs = x + i / 2 * x_row + 2 * j;
      uint16_t *place = t + i * t_row + j;
      const __m512i first = _mm512_loadu_si512(pairs);
      const __m512i second = j + 16 < columns ? _mm512_loadu_si512(pairs + 32) : first;
      const __mmask32 there = j + 16 < columns ? 0xffffffffu : 0xffffu;
      _mm512_mask_storeu_epi16(place, there, _mm512_permutex2var_epi16(first, even, second));
      if (i + 1 < rows)
        _mm512_mask_storeu_epi16(
            place + t_row, there, _mm512_permutex2var_epi16(first, odd, second));
    }
}

// p[i] = lane i as bf16 for i < n; returns what bf16 made of the lanes.
SL_INLINE sl_f32 sl_keep_bf16(uint16_t *p, sl_f32 x, int64_t n) {
  const __m256i rounded = sl_avx512_to_bf16(x);
  _mm256_mask_storeu_epi16(p, sl_avx512_mask(n), rounded);
  return sl_avx512_from_bf16(rounded);
}

// p[i] = the upper half of lane i, a bf16, for i < n; returns what p holds of all lanes.
// Towards zero, which takes half the time of rounding: for numbers whose rest is kept too.
SL_INLINE sl_f32 sl_keep_high_bf16(uint16_t *p, sl_f32 x, int64_t n) {
  const __m512i high = _mm512_and_si512((__m512i)x, _mm512_set1_epi32((int)0xffff0000));
  _mm256_mask_storeu_epi16(
      p, sl_avx512_mask(n), _mm512_cvtepi32_epi16(_mm512_srli_epi32(high, 16)));
  return (sl_f32)high;
}

#pragma GCC diagnostic pop
#endif
