// Words of gradients, on those of tiles.h and of any target.
#ifndef SL_GRADIENTS_H
#define SL_GRADIENTS_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// All that passes the decays d of a chunk. For each token j and each reader i >= j (i > j when
// `before`), with G = d[j + 1] ... d[i] (... d[i - 1] then), of rows q, k, x, w and scores p:
//   t[j] += q[i] G x[i];  w[j] += p[i][j] q[i] G;  x[i] = d[j] x[i] + p[i][j] k[j]
// where p counts below the diagonal only. t gets the adjoint of d, w that of k, x that of q.
SL_INLINE void sl_decayed_paths(
    const int size, const int columns, const int before, float *t, int64_t t_row, float *w,
    int64_t w_row, float *x, int64_t x_row, const float *p, int64_t p_row, const float *q,
    int64_t q_row, const float *k, int64_t k_row, const float *d, int64_t d_row) {
  for (int column = 0; column < columns; column += SL_LANES)
    for (int j = 0; j < size; ++j) {
      const sl_f32 decay = sl_load(d + j * d_row + column);
      const sl_f32 key = sl_load(k + j * k_row + column);
      sl_f32 passing = sl_load(t + j * t_row + column);
      sl_f32 written = sl_load(w + j * w_row + column);
      sl_f32 product = sl_set(1.0f);
      if (!before) {
        const sl_f32 read = sl_load(x + j * x_row + column);
        passing = sl_fma(sl_load(q + j * q_row + column), read, passing);
        sl_store(x + j * x_row + column, sl_mul(decay, read));
      }
      for (int i = j + 1; i < size; ++i) {
        const sl_f32 score = sl_set(p[i * p_row + j]);
        const sl_f32 read = sl_load(x + i * x_row + column);
        const sl_f32 later = sl_load(d + i * d_row + column);
        if (!before) product = sl_mul(product, later);
        const sl_f32 reading = sl_mul(sl_load(q + i * q_row + column), product);
        if (before) product = sl_mul(product, later);
        passing = sl_fma(reading, read, passing);
        written = sl_fma(score, reading, written);
        sl_store(x + i * x_row + column, sl_fma(decay, read, sl_mul(score, key)));
      }
      sl_store(t + j * t_row + column, passing);
      sl_store(w + j * w_row + column, written);
    }
}

// The same of single columns, where q = k = 1 and p is of pairs of tokens: t and x alone.
SL_INLINE void sl_decayed_paths_column(
    const int size, const int before, float *t, const float *p, int64_t p_row, float *x,
    const float *d) {
  for (int j = 0; j < size; ++j) {
    float passing = t[j], product = 1.0f;
    if (!before) {
      passing += x[j];
      x[j] *= d[j];
    }
    for (int i = j + 1; i < size; ++i) {
      if (!before) product *= d[i];
      passing += product * x[i];
      if (before) product *= d[i];
      x[i] = d[j] * x[i] + p[i * p_row + j];
    }
    t[j] = passing;
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
