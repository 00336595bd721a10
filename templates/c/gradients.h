// Words of gradients, on those of tiles.h and of any target.
#ifndef SL_GRADIENTS_H
#define SL_GRADIENTS_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// The mirror image, from the last row back: each row j of t goes through
// x = d[i] (x + p[i][j] v[i]) for i = last ... j + 1 in turn; when `before`, x = d[i] x + p[i][j] v[i].
SL_INLINE void sl_decayed_adjoints(
    const int size, const int columns, const int before, float *t, int64_t t_row, const float *p,
    int64_t p_row, const float *v, int64_t v_row, const float *d, int64_t d_row) {
  for (int j = 0; j < size; ++j)
    for (int column = 0; column < columns; column += SL_LANES) {
      sl_f32 x = sl_load(t + j * t_row + column);
      for (int i = size - 1; i > j; --i) {
        const sl_f32 score = sl_set(p[i * p_row + j]);
        const sl_f32 value = sl_load(v + i * v_row + column);
        const sl_f32 decay = sl_load(d + i * d_row + column);
        x = before ? sl_fma(score, value, sl_mul(decay, x)) : sl_mul(decay, sl_fma(score, value, x));
      }
      sl_store(t + j * t_row + column, x);
    }
}

// t = the sum over sequences, in their order, of rows of `count` numbers, `heads` rows a sequence.
SL_INLINE void sl_sum_sequences(
    const int64_t count, int64_t sequences, int64_t heads, float *t, const float *rows) {
  for (int64_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int64_t n = 0; n < sequences; ++n) sum += rows[n * heads * count + i];
    t[i] = sum;
  }
}

#pragma GCC diagnostic pop
#endif
