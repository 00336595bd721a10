// Words of gradients, on those of tiles.h and of any target.
#ifndef SL_GRADIENTS_H
#define SL_GRADIENTS_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// Asks memory for the lines of a row that is read some rows later.
SL_INLINE void sl_ask_row(const void *p, const int bytes) {
  for (int byte = 0; byte < bytes; byte += 64) sl_prefetch((const char *)p + byte);
}

// What is known of a writer j while readers pass: its decay and key, the sums of
// what passes the one and reads the other, and the product of decays since.
typedef struct {
  sl_f32 decay, key, passing, written, product;
} sl_path;

// Reader i = j, which `before` does not read its own token.
SL_INLINE sl_f32 sl_path_own(sl_path *path, const int before, sl_f32 query, sl_f32 read) {
  if (before) return read;
  path->passing = sl_fma(query, read, path->passing);
  return sl_mul(path->decay, read);
}

// Reader i > j with decay d[i]; gives what it has read with j.
SL_INLINE sl_f32 sl_path_step(
    sl_path *path, const int before, sl_f32 query, sl_f32 decay, sl_f32 score, sl_f32 read) {
  if (!before) path->product = sl_mul(path->product, decay);
  const sl_f32 reading = sl_mul(query, path->product);
  if (before) path->product = sl_mul(path->product, decay);
  path->passing = sl_fma(reading, read, path->passing);
  path->written = sl_fma(score, reading, path->written);
  return sl_fma(path->decay, read, sl_mul(score, path->key));
}

// Writer j before any reader, and its sums at the end.
SL_INLINE sl_path sl_path_begin(const float *d, const float *k, const float *t, const float *w) {
  return (sl_path){sl_load(d), sl_load(k), sl_load(t), sl_load(w), sl_set(1.0f)};
}
SL_INLINE void sl_path_end(const sl_path path, float *t, float *w) {
  sl_store(t, path.passing);
  sl_store(w, path.written);
}

// All that passes the decays d of a chunk. For each token j and each reader i >= j (i > j when
// `before`), with G = d[j + 1] ... d[i] (... d[i - 1] then), of rows q, k, x, w and scores p:
//   t[j] += q[i] G x[i];  w[j] += p[i][j] q[i] G;  x[i] = d[j] x[i] + p[i][j] k[j]
// where p counts below the diagonal only. t gets the adjoint of d, w that of k, x that of q.
// Readers pass two writers at a time, and so are loaded and stored half as often.
SL_INLINE void sl_decayed_paths(
    const int size, const int columns, const int before, float *t, int64_t t_row, float *w,
    int64_t w_row, float *x, int64_t x_row, const float *p, int64_t p_row, const float *q,
    int64_t q_row, const float *k, int64_t k_row, const float *d, int64_t d_row) {
  for (int column = 0; column < columns; column += SL_LANES) {
    float *const ts = t + column, *const ws = w + column, *const xs = x + column;
    const float *const qs = q + column, *const ks = k + column, *const ds = d + column;
    int j = 0;
    for (; j + 2 <= size; j += 2) {
      const int next = j + 1;
      sl_path first =
          sl_path_begin(ds + j * d_row, ks + j * k_row, ts + j * t_row, ws + j * w_row);
      sl_path second = sl_path_begin(
          ds + next * d_row, ks + next * k_row, ts + next * t_row, ws + next * w_row);
      float *own = xs + j * x_row;
      sl_store(own, sl_path_own(&first, before, sl_load(qs + j * q_row), sl_load(own)));
      own = xs + next * x_row;
      const sl_f32 query = sl_load(qs + next * q_row);
      const sl_f32 read = sl_path_step(
          &first, before, query, second.decay, sl_set(p[next * p_row + j]), sl_load(own));
      sl_store(own, sl_path_own(&second, before, query, read));
      for (int i = j + 2; i < size; ++i) {
        const sl_f32 reader = sl_load(qs + i * q_row), decay = sl_load(ds + i * d_row);
        const float *score = p + i * p_row + j;
        const sl_f32 with_first = sl_path_step(
            &first, before, reader, decay, sl_set(score[0]), sl_load(xs + i * x_row));
        sl_store(
            xs + i * x_row,
            sl_path_step(&second, before, reader, decay, sl_set(score[1]), with_first));
      }
      sl_path_end(first, ts + j * t_row, ws + j * w_row);
      sl_path_end(second, ts + next * t_row, ws + next * w_row);
    }
    if (j < size) {
      sl_path last = sl_path_begin(ds + j * d_row, ks + j * k_row, ts + j * t_row, ws + j * w_row);
      float *own = xs + j * x_row;
      sl_store(own, sl_path_own(&last, before, sl_load(qs + j * q_row), sl_load(own)));
      sl_path_end(last, ts + j * t_row, ws + j * w_row);
    }
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
