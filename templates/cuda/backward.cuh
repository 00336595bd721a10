// Words of gradients for one block of threads: those of templates/c/gradients.h, with tiles as block.cuh
// has them.
#ifndef SL_GRADIENTS_CUH
#define SL_GRADIENTS_CUH

// From here on for all tiles and words.
#undef SL_TILE_THREAD
#define SL_TILE_THREAD sl_thread_anew()

// All that passes the decays d of a chunk. For each token j and each reader i >= j (i > j when
// `before`), with G = d[j + 1] ... d[i] (... d[i - 1] then), of rows q, k, x, w and scores p:
//   t[j] += q[i] G x[i];  w[j] += p[i][j] q[i] G;  x[i] = d[j] x[i] + p[i][j] k[j]
// where p counts below the diagonal only. t gets the adjoint of d, w that of k, x that of q. Columns
// do not know of each other: a thread has one.
SL_WORD void sl_decayed_paths(
    const int size, const int columns, const int before, float *t, const int t_row, float *w,
    const int w_row, float *x, const int x_row, const float *p, const int p_row, const float *q,
    const int q_row, const float *k, const int k_row, const float *d, const int d_row) {
  for (int column = SL_TILE_THREAD; column < columns; column += SL_THREADS)
    for (int j = 0; j < size; ++j) {
      const float decay = d[j * d_row + column], key = k[j * k_row + column];
      float passing = t[j * t_row + column], written = w[j * w_row + column], product = 1.0f;
      if (!before) {
        const float read = x[j * x_row + column];
        passing = sl_fma(q[j * q_row + column], read, passing);
        x[j * x_row + column] = decay * read;
      }
      for (int i = j + 1; i < size; ++i) {
        const float score = p[i * p_row + j], read = x[i * x_row + column];
        const float later = d[i * d_row + column];
        if (!before) product *= later;
        const float reading = q[i * q_row + column] * product;
        if (before) product *= later;
        passing = sl_fma(reading, read, passing);
        written = sl_fma(score, reading, written);
        x[i * x_row + column] = sl_fma(decay, read, score * key);
      }
      t[j * t_row + column] = passing;
      w[j * w_row + column] = written;
    }
  sl_sync();
}

// The same of single columns, where q = k = 1 and p is of pairs of tokens: t and x alone. One
// thread does it: a column is short.
SL_WORD void sl_decayed_paths_column(
    const int size, const int before, float *t, const float *p, const int p_row, float *x,
    const float *d) {
  if (SL_TILE_THREAD == 0)
    for (int j = 0; j < size; ++j) {
      float passing = t[j], product = 1.0f;
      if (!before) {
        passing += x[j];
        x[j] *= d[j];
      }
      for (int i = j + 1; i < size; ++i) {
        if (!before) product *= d[i];
        passing = sl_fma(product, x[i], passing);
        if (before) product *= d[i];
        x[i] = sl_fma(d[j], x[i], p[i * p_row + j]);
      }
      t[j] = passing;
    }
  sl_sync();
}

// t = the sum over sequences, in their order, of rows of `count` numbers, `heads` rows a sequence.
SL_WORD void sl_sum_sequences(
    const int64_t count, int64_t sequences, int64_t heads, float *t, const float *rows) {
  for (int64_t i = SL_TILE_THREAD; i < count; i += SL_THREADS) {
    float sum = 0.0f;
    for (int64_t n = 0; n < sequences; ++n) sum += rows[n * heads * count + i];
    t[i] = sum;
  }
  sl_sync();
}

#endif
