// The recurrence token by token, written once on tiles.h and the words of any
// vocabulary: a piece of the state in registers over a block of tokens, the
// block's decays folded into queries and keys.
#ifndef SL_RECURRENCE_H
#define SL_RECURRENCE_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// ---- Decays folded into operands ----

// A vector of keys while a block's decays are folded into it, token by token.
typedef struct {
  sl_f32 product;  // of the decays so far
  sl_f32 gone;     // 1 - product, as a sum
  sl_f32 folds;    // one where all keys so far stay far from overflow, else zero
} sl_folding;

SL_INLINE sl_folding sl_fold_begin(void) {
  return (sl_folding){sl_set(1.0f), sl_zero(), sl_set(1.0f)};
}

// The next token: its key over the product of decays, and the product itself
// (before its own when `before`); taken is 1 - decay.
SL_INLINE void sl_fold_token(
    sl_folding *x, const int before, float *folded, float *reading, sl_f32 key, sl_f32 decay,
    sl_f32 taken) {
  if (before) sl_store(reading, x->product);
  x->gone = sl_fma(taken, x->product, x->gone);
  x->product = sl_mul(x->product, decay);
  if (!before) sl_store(reading, x->product);
  const sl_f32 quotient = sl_mul(key, sl_inverse(x->product));
  sl_store(folded, quotient);
  x->folds = sl_less(sl_abs(quotient), sl_set(0x1p64f), x->folds, sl_zero());
}

// After the last token: the product as a factor, and for each of the first `count`
// keys of the vector whether it must stay exact, which is returned too.
SL_INLINE sl_f32 sl_fold_end(
    const sl_folding x, float *slope, float *base, float *exact, int64_t count) {
  const sl_f32 folds = sl_less(sl_set(0x1p-32f), x.product, x.folds, sl_zero());
  sl_store_factor(slope, base, x.product, x.gone);
  sl_store_n(exact, sl_sub(sl_set(1.0f), folds), count);
  return sl_load_n(exact, count);
}

// Folds a block's decays into its operands, key by key. With E the running product
// of a key's decays: folded = k / E, reading = E (before the token's own when
// `before`), slope + base the last E as a factor. A key whose E comes near zero, or whose
// k / E comes near overflow, is left exact instead: folded = k, reading = 1, and
// step holds its decays, to be multiplied in at every token. Rows of d, taken,
// reading and step lie as far apart as those of k. Steps are written only where a
// key is exact.
SL_INLINE void sl_fold(
    const int rows, const int columns, const int before, float *folded, float *reading,
    float *step, float *slope, float *base, float *exact, const float *k, const float *d,
    const float *taken, const int64_t row) {
  const sl_f32 one = sl_set(1.0f);
  sl_f32 failures = sl_zero();
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_folding x = sl_fold_begin();
    for (int i = 0; i < rows; ++i) {
      const int64_t at = i * row + j;
      sl_fold_token(
          &x, before, folded + at, reading + at, sl_load(k + at), sl_load(d + at),
          sl_load(taken + at));
    }
    failures = sl_add(failures, sl_fold_end(x, slope + j, base + j, exact + j, columns - j));
  }
  if (sl_sum(failures) == 0.0f) return;
  for (int j = 0; j < columns; j += SL_LANES) {
    const sl_f32 half = sl_set(0.5f), stays = sl_load_n(exact + j, columns - j);
    for (int i = 0; i < rows; ++i) {
      const int64_t at = i * row + j;
      sl_store(folded + at, sl_less(half, stays, sl_load(k + at), sl_load(folded + at)));
      sl_store(reading + at, sl_less(half, stays, one, sl_load(reading + at)));
      sl_store(step + at, sl_less(half, stays, sl_load(d + at), one));
    }
    sl_store(slope + j, sl_less(half, stays, sl_zero(), sl_load(slope + j)));
    sl_store(base + j, sl_less(half, stays, one, sl_load(base + j)));
  }
}

// The same under one decay for all keys: all are folded, or none.
SL_INLINE void sl_fold_column(
    const int rows, const int columns, const int before, float *folded, float *reading,
    float *step, float *slope, float *base, float *exact, const float *k, const float *d,
    const float *taken, const int64_t row) {
  float product = 1.0f;
  sl_decay_total_column(rows, slope, base, d, taken);
  sl_f32 failures = sl_zero();
  for (int i = 0; i < rows; ++i) {
    const float past = product;
    product *= d[i];
    reading[i] = before ? past : product;
    const sl_f32 inverse = sl_set(1.0f / product);
    for (int j = 0; j < columns; j += SL_LANES) {
      const sl_f32 key = sl_mul(sl_load(k + i * row + j), inverse);
      sl_store(folded + i * row + j, key);
      const sl_f32 folds = sl_less(sl_abs(key), sl_set(0x1p64f), sl_zero(), sl_set(1.0f));
      failures = sl_add(failures, folds);
    }
  }
  *exact = product > 0x1p-32f && sl_sum(failures) == 0.0f ? 0.0f : 1.0f;
  if (*exact == 0.0f) return;
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; j += SL_LANES)
      sl_store(folded + i * row + j, sl_load(k + i * row + j));
    reading[i] = 1.0f;
    step[i] = d[i];
  }
  *slope = 0.0f;
  *base = 1.0f;
}

// ---- What is asked for ----

// Rows in memory that will be read soon.
typedef struct {
  const char *first;  // the first row
  int64_t step;       // bytes from one row to the next
  int64_t rows;       // how many there are; may be negative
  int64_t bytes;      // bytes of a row
} sl_ahead;

// Asks for one of `parts` parts of the rows, equal ones as far as whole lines allow.
SL_INLINE void sl_ask(
    const sl_ahead ahead, const int most_rows, const uint32_t part, const uint32_t parts) {
  const uint32_t lines = (uint32_t)(ahead.bytes + 63) / 64;
  const uint32_t all = lines * (uint32_t)most_rows;
  if (all == 0) return;
  const uint32_t most = (all + parts - 1) / parts, every = all < parts ? parts / all : 1;
  if (part % every != 0) return;
  for (uint32_t n = part / every * most; n < part / every * most + most && n < all; ++n)
    if (n / lines < ahead.rows)
      sl_prefetch(ahead.first + n / lines * ahead.step + n % lines * 64);
}

// What is asked for while a recurrence goes on: rows of each of `count` tensors,
// one of `parts` equal parts of them in every piece of the state.
typedef struct {
  const sl_ahead *rows;
  int count;
  uint32_t part;
  uint32_t parts;
} sl_asks;

// ---- The recurrence ----

// The operands of a recurrence over a block of tokens. A decay of NULL is one.
typedef struct {
  float *o;  // output: tokens x columns
  int64_t o_row;
  float *s;  // state: keys x columns
  int64_t s_row;
  int keep;        // whether the state after the block takes its place
  const float *q;  // tokens x keys
  int64_t q_row;
  const float *k;  // tokens x keys
  int64_t k_row;
  const float *v;  // tokens x columns
  int64_t v_row;
  const float *d;  // decay of token t and key i at t * d_row + i * d_step
  int64_t d_row;
  int64_t d_step;
  const float *decays;  // at i * d_step: 0 where all decays of key i are one
  sl_factors dv;        // decay of token t and column j
  int64_t dv_row;
  sl_factors end;  // of key i at the end, at i * end_step
  int64_t end_step;
} sl_recurrence;

// One token: a piece of the state, `keys` rows (at most 8) by `vectors` vectors (at
// most 4) from row i and column j on,
//   S = d S dv + k v^T;  o (+)= S^T q        (in the other order when `before`)
SL_INLINE void sl_recur_token(
    const int keys, const int vectors, const int before, const int first, const int decays,
    const sl_recurrence x, int64_t i, int64_t j, int64_t t, sl_f32 s[8][4]) {
  sl_f32 value[4], sum[4];
  float *o = x.o + t * x.o_row + j;
  SL_UNROLL for (int b = 0; b < vectors; ++b) {
    value[b] = sl_load(x.v + t * x.v_row + j + b * SL_LANES);
    sum[b] = first ? sl_zero() : sl_load(o + b * SL_LANES);
  }
  SL_UNROLL for (int a = 0; a < keys; ++a) {
    const sl_f32 query = sl_set(x.q[t * x.q_row + i + a]);
    const sl_f32 key = sl_set(x.k[t * x.k_row + i + a]);
    const sl_f32 decay = decays ? sl_set(x.d[t * x.d_row + (i + a) * x.d_step]) : sl_zero();
    SL_UNROLL for (int b = 0; b < vectors; ++b) {
      if (before) sum[b] = sl_fma(query, s[a][b], sum[b]);
      if (decays) s[a][b] = sl_mul(decay, s[a][b]);
      s[a][b] = sl_times_each(s[a][b], x.dv, t * x.dv_row + j + b * SL_LANES);
      s[a][b] = sl_fma(key, value[b], s[a][b]);
      if (!before) sum[b] = sl_fma(query, s[a][b], sum[b]);
    }
  }
  SL_UNROLL for (int b = 0; b < vectors; ++b) sl_store(o + b * SL_LANES, sum[b]);
}

// What a token asks for, as number u of a group of `group` that begins at t: one
// tensor's rows where it is that tensor's turn, and its share of the piece of the
// state that follows. A core has a dozen requests to the memory under way and no
// more, and what the next piece loads from the second cache needs some of them:
// requests in a row, however few, are waited for.
SL_INLINE void sl_recur_ask(
    const int tokens, const int keys, const int vectors, const int group, const sl_asks asks,
    const float *next, int64_t s_row, int t, const int u) {
  const uint32_t groups = (uint32_t)(tokens / group);
  SL_UNROLL for (int n = 0; n < asks.count; ++n)
    if (n * group / asks.count == u)
      sl_ask(
          asks.rows[n], tokens, asks.part * groups + (uint32_t)(t / group), asks.parts * groups);
  const int entries = keys * vectors;
  for (int n = (t + u) * entries / tokens; n < (t + u + 1) * entries / tokens; ++n)
    sl_prefetch(next + n / vectors * s_row + n % vectors * SL_LANES);
}

// A piece of the state stays in registers over all tokens, `unroll` of them, which
// divides `tokens`, written out in a row.
SL_INLINE void sl_recur_piece(
    const int tokens, const int keys, const int vectors, const int unroll, const int before,
    const int first, const int decays, const sl_recurrence x, int64_t i, int64_t j,
    const sl_asks asks) {
  sl_f32 s[8][4];
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b)
      s[a][b] = sl_load(x.s + (i + a) * x.s_row + j + b * SL_LANES);
  const float *next = x.s + (i + keys) * x.s_row + j;
  for (int t = 0; t < tokens; t += unroll)
    SL_UNROLL for (int u = 0; u < unroll; ++u) {
      sl_recur_ask(tokens, keys, vectors, unroll, asks, next, x.s_row, t, u);
      sl_recur_token(keys, vectors, before, first, decays, x, i, j, t + u, s);
    }
  if (!x.keep) return;
  const int near = sl_bases_are_one(x.end, keys, i, x.end_step);
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b) {
      const int64_t end = (i + a) * x.end_step;
      if (near)
        s[a][b] = sl_fma(sl_set(x.end.slope[end]), s[a][b], s[a][b]);
      else
        s[a][b] = sl_times_one(s[a][b], x.end, end);
    }
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b)
      sl_store(x.s + (i + a) * x.s_row + j + b * SL_LANES, s[a][b]);
}

// The same, without the decays where all of the piece's are one.
SL_INLINE void sl_recur_keys(
    const int tokens, const int keys, const int vectors, const int unroll, const int before,
    const int first, const sl_recurrence x, int64_t i, int64_t j, const sl_asks asks) {
  float decays = x.d && !x.decays ? 1.0f : 0.0f;
  if (x.decays)
    for (int a = 0; a < keys; ++a) decays += x.decays[(i + a) * x.d_step];
  if (decays != 0.0f)
    sl_recur_piece(tokens, keys, vectors, unroll, before, first, 1, x, i, j, asks);
  else
    sl_recur_piece(tokens, keys, vectors, unroll, before, first, 0, x, i, j, asks);
}

// All pieces of a panel of `vectors` vectors from column j on.
SL_INLINE void sl_recur_panel(
    const int tokens, const int keys, const int piece_keys, const int vectors, const int unroll,
    const int before, const sl_recurrence x, int64_t j, sl_asks asks) {
  const int rest = keys % piece_keys;
  sl_recur_keys(
      tokens, keys < piece_keys ? rest : piece_keys, vectors, unroll, before, 1, x, 0, j, asks);
  for (int64_t i = piece_keys; i + piece_keys <= keys; i += piece_keys) {
    ++asks.part;
    sl_recur_keys(tokens, piece_keys, vectors, unroll, before, 0, x, i, j, asks);
  }
  if (rest && keys > piece_keys) {
    ++asks.part;
    sl_recur_keys(tokens, rest, vectors, unroll, before, 0, x, keys - rest, j, asks);
  }
}

// The recurrence over `tokens` tokens, in pieces of `piece_keys` keys by
// `piece_vectors` vectors, `unroll` tokens in a row; meanwhile the rows of `count`
// tensors are asked for.
SL_INLINE void sl_recur(
    const int tokens, const int keys, const int columns, const int piece_keys,
    const int piece_vectors, const int unroll, const int before, const sl_recurrence x,
    const sl_ahead *rows, const int count) {
  const int vectors = SL_VECTORS(columns);
  const int rest = vectors % piece_vectors;
  const uint32_t pieces = (uint32_t)((keys + piece_keys - 1) / piece_keys);
  const uint32_t parts = pieces * (uint32_t)((vectors + piece_vectors - 1) / piece_vectors);
  sl_asks asks = {rows, count, 0, parts};
  int64_t j = 0;
  for (; j + piece_vectors * SL_LANES <= vectors * SL_LANES; j += piece_vectors * SL_LANES) {
    sl_recur_panel(tokens, keys, piece_keys, piece_vectors, unroll, before, x, j, asks);
    asks.part += pieces;
  }
  if (rest) sl_recur_panel(tokens, keys, piece_keys, rest, unroll, before, x, j, asks);
}

#pragma GCC diagnostic pop

#endif
