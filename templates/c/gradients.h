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
// Of one vector of columns and a few tokens, pair by pair; readers pass two writers at a time, and
// so are loaded and stored half as often.
SL_INLINE void sl_paths_within(
    const int size, const int before, float *t, int64_t t_row, float *w, int64_t w_row, float *x,
    int64_t x_row, const float *p, int64_t p_row, const float *q, int64_t q_row, const float *k,
    int64_t k_row, const float *d, int64_t d_row) {
  int j = 0;
  for (; j + 2 <= size; j += 2) {
    const int next = j + 1;
    sl_path first = sl_path_begin(d + j * d_row, k + j * k_row, t + j * t_row, w + j * w_row);
    sl_path second =
        sl_path_begin(d + next * d_row, k + next * k_row, t + next * t_row, w + next * w_row);
    float *own = x + j * x_row;
    sl_store(own, sl_path_own(&first, before, sl_load(q + j * q_row), sl_load(own)));
    own = x + next * x_row;
    const sl_f32 query = sl_load(q + next * q_row);
    const sl_f32 read = sl_path_step(
        &first, before, query, second.decay, sl_set(p[next * p_row + j]), sl_load(own));
    sl_store(own, sl_path_own(&second, before, query, read));
    for (int i = j + 2; i < size; ++i) {
      const sl_f32 reader = sl_load(q + i * q_row), decay = sl_load(d + i * d_row);
      const float *score = p + i * p_row + j;
      const sl_f32 with_first = sl_path_step(
          &first, before, reader, decay, sl_set(score[0]), sl_load(x + i * x_row));
      sl_store(
          x + i * x_row,
          sl_path_step(&second, before, reader, decay, sl_set(score[1]), with_first));
    }
    sl_path_end(first, t + j * t_row, w + j * w_row);
    sl_path_end(second, t + next * t_row, w + next * w_row);
  }
  if (j < size) {
    sl_path last = sl_path_begin(d + j * d_row, k + j * k_row, t + j * t_row, w + j * w_row);
    float *own = x + j * x_row;
    sl_store(own, sl_path_own(&last, before, sl_load(q + j * q_row), sl_load(own)));
    sl_path_end(last, t + j * t_row, w + j * w_row);
  }
}

// Writers whose paths to later readers are taken together.
#define SL_WRITERS 8

// The same of the first writers and the readers behind them, `size` tokens in all. With F[j] the
// decays from j to the last of these writers, D all of theirs, and Q[i] = q[i] under those since:
//   R[j] = sum of p[i][j] Q[i];  a = sum of Q[i] x[i];  x[i] = D x[i] + sum of p[i][j] F[j] k[j]
//   for j, first to last:  t[j] += F[j] a;  w[j] += F[j] R[j];  a = d[j] a + k[j] R[j]
// Two multiplications a pair, as matrix products have; one pass over the readers does them all.
SL_INLINE void sl_paths_beyond(
    const int size, const int before, float *t, int64_t t_row, float *w, int64_t w_row, float *x,
    int64_t x_row, const float *p, int64_t p_row, const float *q, int64_t q_row, const float *k,
    int64_t k_row, const float *d, int64_t d_row) {
  sl_f32 leaving[SL_WRITERS], written[SL_WRITERS], read[SL_WRITERS], all = sl_set(1.0f);
  SL_UNROLL for (int j = SL_WRITERS - 1; j >= 0; --j) {
    leaving[j] = all;
    written[j] = sl_mul(all, sl_load(k + j * k_row));
    read[j] = sl_zero();
    all = sl_mul(all, sl_load(d + j * d_row));
  }
  sl_f32 product = sl_set(1.0f), passing = sl_zero();
  for (int i = SL_WRITERS; i < size; ++i) {
    const float *score = p + i * p_row;
    const sl_f32 decay = sl_load(d + i * d_row), now = sl_load(x + i * x_row);
    if (!before) product = sl_mul(product, decay);
    const sl_f32 reading = sl_mul(sl_load(q + i * q_row), product);
    if (before) product = sl_mul(product, decay);
    passing = sl_fma(reading, now, passing);
    // Two sums that do not wait for each other.
    sl_f32 even = sl_mul(all, now), odd = sl_zero();
    SL_UNROLL for (int j = 0; j < SL_WRITERS; j += 2) {
      const sl_f32 one = sl_set(score[j]), other = sl_set(score[j + 1]);
      read[j] = sl_fma(one, reading, read[j]);
      read[j + 1] = sl_fma(other, reading, read[j + 1]);
      even = sl_fma(one, written[j], even);
      odd = sl_fma(other, written[j + 1], odd);
    }
    sl_store(x + i * x_row, sl_add(even, odd));
  }
  SL_UNROLL for (int j = 0; j < SL_WRITERS; ++j) {
    float *const own = t + j * t_row, *const mine = w + j * w_row;
    sl_store(own, sl_fma(leaving[j], passing, sl_load(own)));
    sl_store(mine, sl_fma(leaving[j], read[j], sl_load(mine)));
    const sl_f32 key = sl_load(k + j * k_row);
    passing = sl_fma(sl_load(d + j * d_row), passing, sl_mul(key, read[j]));
  }
}

// The same of a whole chunk.
SL_INLINE void sl_decayed_paths(
    const int size, const int columns, const int before, float *t, int64_t t_row, float *w,
    int64_t w_row, float *x, int64_t x_row, const float *p, int64_t p_row, const float *q,
    int64_t q_row, const float *k, int64_t k_row, const float *d, int64_t d_row) {
  for (int column = 0; column < columns; column += SL_LANES)
    for (int j = 0; j < size; j += SL_WRITERS) {
      float *const ts = t + j * t_row + column, *const ws = w + j * w_row + column;
      float *const xs = x + j * x_row + column;
      const float *const ps = p + j * p_row + j, *const qs = q + j * q_row + column;
      const float *const ks = k + j * k_row + column, *const ds = d + j * d_row + column;
      const int rest = size - j;
      if (rest > SL_WRITERS)
        sl_paths_beyond(
            rest, before, ts, t_row, ws, w_row, xs, x_row, ps, p_row, qs, q_row, ks, k_row, ds,
            d_row);
      sl_paths_within(
          rest < SL_WRITERS ? rest : SL_WRITERS, before, ts, t_row, ws, w_row, xs, x_row, ps, p_row,
          qs, q_row, ks, k_row, ds, d_row);
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
