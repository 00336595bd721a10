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
  sl_f32 start;    // the product before the block
  sl_f32 product;  // of the decays so far
  sl_f32 gone;     // start - product, as a sum
  sl_f32 largest;  // of the magnitudes of folded keys so far
  sl_f32 squares;  // the largest of the decays' logarithms', where sl_fold_near took them
} sl_folding;

SL_INLINE sl_folding sl_fold_begin(sl_f32 start) {
  return (sl_folding){start, start, sl_zero(), sl_zero(), sl_zero()};
}

// A token's key over the product of decays up to its own.
SL_INLINE void sl_fold_key(sl_folding *x, float *folded, sl_f32 key) {
  const sl_f32 quotient = sl_mul(key, sl_inverse(x->product));
  sl_store(folded, quotient);
  x->largest = sl_max(x->largest, sl_abs(quotient));
}

// The next token: its key over the product of decays; taken is 1 - decay. Returns the
// product by which its query reads, before its own decay when `before`.
SL_INLINE sl_f32 sl_fold_token(
    sl_folding *x, const int before, float *folded, sl_f32 key, sl_f32 decay, sl_f32 taken) {
  const sl_f32 past = x->product;
  x->gone = sl_fma(taken, past, x->gone);
  x->product = sl_mul(past, decay);
  sl_fold_key(x, folded, key);
  return before ? past : x->product;
}

// The same of a decay's logarithm, right while all are in [-ln 2, 0]: the product goes
// on by what the decay takes away, and no decay is rounded.
SL_INLINE sl_f32 sl_fold_near(
    sl_folding *x, const int before, float *folded, sl_f32 key, sl_f32 log) {
  const sl_f32 past = x->product, change = sl_exp_less_one_near(log);
  x->squares = sl_max(x->squares, sl_mul(log, log));
  x->gone = sl_nfma(change, past, x->gone);
  x->product = sl_fma(change, past, past);
  sl_fold_key(x, folded, key);
  return before ? past : x->product;
}

// Whether decays are so near to one, of the squares of their logarithms.
SL_INLINE int sl_fold_is_near(sl_f32 squares) {
  const sl_f32 bound = sl_set(0x1.ebfbep-2f);  // the square of ln 2
  return sl_sum(sl_less(bound, squares, sl_set(1.0f), sl_zero())) == 0.0f;
}

// After the last token of a block that began at one: the product as a factor, and for
// each of the first `count` keys of the vector whether it must stay exact, which is
// returned too.
SL_INLINE sl_f32 sl_fold_end(
    const sl_folding x, float *slope, float *base, float *exact, int64_t count) {
  const sl_f32 one = sl_set(1.0f);
  const sl_f32 small = sl_less(x.largest, sl_set(0x1p64f), one, sl_zero());
  const sl_f32 folds = sl_less(sl_set(0x1p-32f), x.product, small, sl_zero());
  sl_store_factor(slope, base, x.product, x.gone);
  sl_store_n(exact, sl_sub(one, folds), count);
  return sl_load_n(exact, count);
}

// The product E of the decays since the state was last scaled, of every key, from
// block to block: the state in memory is the true one over E.
typedef struct {
  float *slope;  // E as a factor
  float *base;
  float *begin_slope;  // out: what the state is scaled by before the block, mostly one
  float *begin_base;
} sl_carried;

// E as a number.
SL_INLINE sl_f32 sl_fold_start(const sl_carried past, const int64_t j, int64_t count) {
  return sl_add(sl_load_n(past.slope + j, count), sl_load_n(past.base + j, count));
}

// After the last token of a block that began at a carried E: which of the keys must
// stay exact, as above; the new E goes to slope and base, as a factor, and *due becomes
// positive in a lane whose E is small. Above 1/2, E is what all its decays took from
// one, and below it what the block's took from the last E, where that is little: a
// constant decay, rounded the same way at every token, must not add up.
SL_INLINE sl_f32 sl_fold_end_carried(
    const sl_folding x, float *slope, float *base, float *exact, const sl_carried past, int64_t j,
    sl_f32 *due, int64_t count) {
  const sl_f32 one = sl_set(1.0f), half = sl_set(0.5f);
  const sl_f32 failures = sl_fold_end(x, slope + j, base + j, exact + j, count);
  const sl_f32 near = sl_load_n(past.base + j, count);
  const sl_f32 gone = sl_sub(x.gone, sl_load_n(past.slope + j, count));
  const sl_f32 slow = sl_sub(x.start, x.gone);
  const sl_f32 left = sl_less(sl_add(x.product, x.product), x.start, x.product, slow);
  const sl_f32 is_near = sl_less(gone, half, near, sl_zero());
  sl_store(slope + j, sl_less(half, is_near, sl_neg(gone), left));
  sl_store(base + j, is_near);
  // No key has an E of zero but those past the last one.
  const sl_f32 is_key = sl_less(sl_zero(), x.start, one, sl_zero());
  *due = sl_less(sl_less(half, is_near, one, left), sl_set(0x1p-16f), is_key, *due);
  return failures;
}

// After a block whose keys all fold: E goes on to the next block, or, where it is due,
// the state is scaled by it at this one's end.
SL_INLINE void sl_fold_carry(
    const int columns, const sl_carried x, float *slope, float *base, sl_f32 due) {
  const int scales = sl_sum(due) != 0.0f;
  for (int j = 0; j < columns; j += SL_LANES) {
    const sl_f32 one = sl_set(1.0f), none = sl_zero();
    sl_store_n(x.slope + j, scales ? none : sl_load(slope + j), columns - j);
    sl_store_n(x.base + j, scales ? one : sl_load(base + j), columns - j);
    if (!scales) {
      sl_store(slope + j, none);
      sl_store(base + j, one);
    }
    sl_store(x.begin_slope + j, none);
    sl_store(x.begin_base + j, one);
  }
}

// Before a block that not all keys can be folded in: the state is scaled first.
SL_INLINE void sl_fold_settle(const int columns, const sl_carried x) {
  for (int j = 0; j < columns; j += SL_LANES) {
    sl_store(x.begin_slope + j, sl_load_n(x.slope + j, columns - j));
    sl_store(x.begin_base + j, sl_load_n(x.base + j, columns - j));
    sl_store_n(x.slope + j, sl_zero(), columns - j);
    sl_store_n(x.base + j, sl_set(1.0f), columns - j);
  }
}

// Whether `count` factors are all one.
SL_INLINE int sl_are_one(const float *slope, const float *base, const int count) {
  int others = 0;
  for (int i = 0; i < count; ++i) others += (slope[i] != 0.0f) + (base[i] != 1.0f);
  return others == 0;
}

// Folds a block's decays into its operands, key by key. With E the running product
// of a key's decays: folded = k / E, reading = E (before the token's own when
// `before`), slope + base the last E as a factor. A key whose E comes near zero, or whose
// k / E comes near overflow, is left exact instead: folded = k, reading = 1, and
// step holds its decays, to be multiplied in at every token. Rows of d, taken,
// reading and step lie as far apart as those of k. Steps are written only where a
// key is exact. With `carried`, E goes on from the block before if all keys fold so.
SL_INLINE void sl_fold(
    const int rows, const int columns, const int before, float *folded, float *reading,
    float *step, float *slope, float *base, float *exact, const float *k, const float *d,
    const float *taken, const int64_t row, const sl_carried carried) {
  const sl_f32 one = sl_set(1.0f);
  for (int goes_on = carried.slope != NULL; goes_on >= 0; --goes_on) {
    sl_f32 failures = sl_zero(), due = sl_zero();
    for (int j = 0; j < columns; j += SL_LANES) {
      const int64_t count = columns - j;
      sl_folding x = sl_fold_begin(goes_on ? sl_fold_start(carried, j, count) : one);
      for (int i = 0; i < rows; ++i) {
        const int64_t at = i * row + j;
        const sl_f32 product = sl_fold_token(
            &x, before, folded + at, sl_load(k + at), sl_load(d + at), sl_load(taken + at));
        sl_store(reading + at, product);
      }
      const sl_f32 fails = goes_on
          ? sl_fold_end_carried(x, slope, base, exact, carried, j, &due, count)
          : sl_fold_end(x, slope + j, base + j, exact + j, count);
      failures = sl_add(failures, fails);
    }
    const int whole = sl_sum(failures) == 0.0f;
    if (whole && goes_on) sl_fold_carry(columns, carried, slope, base, due);
    if (whole) return;
    if (!goes_on) break;
    const int from_one = sl_are_one(carried.slope, carried.base, columns);
    sl_fold_settle(columns, carried);
    if (from_one) break;
  }
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

// What is asked for while a recurrence goes on: rows of each of `count` tensors,
// one of `parts` equal parts of them in every piece of the state.
typedef struct {
  const sl_ahead *rows;
  int count;
  uint32_t part;
  uint32_t parts;
} sl_asks;

// Most lines that one piece asks for.
enum { SL_ASKED = 64 };

// The lines of one piece's part of all tensors' rows, and `none` in place of such
// that are not there, until their number is a multiple of `groups`; returns it.
SL_INLINE int sl_asked_lines(
    const sl_asks asks, const int tokens, const int groups, const char *none,
    const char *asked[SL_ASKED]) {
  int count = 0;
  SL_UNROLL for (int n = 0; n < asks.count; ++n) {
    const sl_ahead ahead = asks.rows[n];
    const uint32_t lines = (uint32_t)(ahead.bytes + 63) / 64;
    const uint32_t all = (lines * (uint32_t)tokens + asks.parts - 1) / asks.parts;
    const uint32_t most = (uint32_t)(groups < SL_ASKED ? (SL_ASKED - groups) / asks.count : 0);
    const uint32_t every = all < most ? all : most;
    for (uint32_t m = 0; m < every; ++m) {
      const int64_t row = (asks.part * all + m) / lines, line = (asks.part * all + m) % lines;
      const int is_there = row < tokens && row < ahead.rows;
      asked[count + (int)m] = is_there ? ahead.first + row * ahead.step + line * 64 : none;
    }
    count += (int)every;
  }
  while (count % groups) asked[count++] = none;
  return count;
}

// ---- The recurrence ----

// The operands of a recurrence over a block of tokens. A decay of NULL is one.
typedef struct {
  float *o;  // output: tokens x columns
  int64_t o_row;
  float *out;  // where it goes instead once all keys are in, past the caches; or NULL
  int64_t out_row;
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
  sl_factors begin;  // of key i before the first token
  int begins;        // found out by sl_recur: whether any of these factors is not one
  int ends;
} sl_recurrence;

// sum += S^T q, of a piece's keys from i on.
SL_INLINE void sl_recur_read(
    const int keys, const int vectors, const sl_recurrence x, int64_t i, int64_t t, sl_f32 s[8][4],
    sl_f32 sum[4]) {
  SL_UNROLL for (int a = 0; a < keys; ++a) {
    const sl_f32 query = sl_set(x.q[t * x.q_row + i + a]);
    SL_UNROLL for (int b = 0; b < vectors; ++b) sum[b] = sl_fma(query, s[a][b], sum[b]);
  }
}

// One token: a piece of the state, `keys` rows (at most 8) by `vectors` vectors (at
// most 4) from row i and column j on,
//   S = d S dv + k v^T;  o (+)= S^T q        (in the other order when `before`)
// Of all pieces of these columns it is the `first`, the `last`, or neither.
SL_INLINE void sl_recur_token(
    const int keys, const int vectors, const int before, const int first, const int last,
    const int decays, const sl_recurrence x, int64_t i, int64_t j, int64_t t, sl_f32 s[8][4]) {
  sl_f32 value[4], sum[4];
  float *o = x.o + t * x.o_row + j;
  SL_UNROLL for (int b = 0; b < vectors; ++b) {
    value[b] = sl_load(x.v + t * x.v_row + j + b * SL_LANES);
    sum[b] = first ? sl_zero() : sl_load(o + b * SL_LANES);
  }
  if (before) sl_recur_read(keys, vectors, x, i, t, s, sum);
  SL_UNROLL for (int a = 0; a < keys; ++a) {
    const sl_f32 key = sl_set(x.k[t * x.k_row + i + a]);
    const sl_f32 decay = decays ? sl_set(x.d[t * x.d_row + (i + a) * x.d_step]) : sl_zero();
    SL_UNROLL for (int b = 0; b < vectors; ++b) {
      if (decays) s[a][b] = sl_mul(decay, s[a][b]);
      s[a][b] = sl_times_each(s[a][b], x.dv, t * x.dv_row + j + b * SL_LANES);
      s[a][b] = sl_fma(key, value[b], s[a][b]);
    }
  }
  if (!before) sl_recur_read(keys, vectors, x, i, t, s, sum);
  SL_UNROLL for (int b = 0; b < vectors; ++b) {
    if (last && x.out)
      sl_stream(x.out + t * x.out_row + j + b * SL_LANES, sum[b]);
    else
      sl_store(o + b * SL_LANES, sum[b]);
  }
}

// What token t asks for, as number u of a group of `group`: its share of the group's
// `count` lines and of the piece of the state that follows. A core has a dozen
// requests to the memory under way and no more, and what the next piece loads from
// the second cache needs some of them: requests in a row, however few, are waited for.
SL_INLINE void sl_recur_ask(
    const int tokens, const int keys, const int vectors, const int group, const char **asked,
    const int count, const float *next, int64_t s_row, const int t, const int u) {
  for (int n = u * count / group; n < (u + 1) * count / group; ++n) sl_prefetch(asked[n]);
  const int entries = keys * vectors;
  for (int n = t * entries / tokens; n < (t + 1) * entries / tokens; ++n)
    sl_prefetch(next + n / vectors * s_row + n % vectors * SL_LANES);
}

// A piece of the state stays in registers over all tokens, `unroll` of them, which
// divides `tokens`, written out in a row.
SL_INLINE void sl_recur_piece(
    const int tokens, const int keys, const int vectors, const int unroll, const int before,
    const int first, const int last, const int decays, const sl_recurrence x, int64_t i, int64_t j,
    const sl_asks asks) {
  sl_f32 s[8][4];
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b)
      s[a][b] = sl_load(x.s + (i + a) * x.s_row + j + b * SL_LANES);
  if (x.begins)
    SL_UNROLL for (int a = 0; a < keys; ++a)
      SL_UNROLL for (int b = 0; b < vectors; ++b)
        s[a][b] = sl_times_one(s[a][b], x.begin, i + a);
  const float *next = x.s + (i + keys) * x.s_row + j;
  const int groups = tokens / unroll;
  const char *asked[SL_ASKED];
  const int count = sl_asked_lines(asks, tokens, groups, (const char *)next, asked) / groups;
  for (int g = 0; g < groups; ++g)
    SL_UNROLL for (int u = 0; u < unroll; ++u) {
      const int t = g * unroll + u;
      sl_recur_ask(tokens, keys, vectors, unroll, asked + g * count, count, next, x.s_row, t, u);
      sl_recur_token(keys, vectors, before, first, last, decays, x, i, j, t, s);
    }
  if (!x.keep) return;
  if (x.ends) {
    const int near = sl_bases_are_one(x.end, keys, i, x.end_step);
    SL_UNROLL for (int a = 0; a < keys; ++a)
      SL_UNROLL for (int b = 0; b < vectors; ++b) {
        const int64_t end = (i + a) * x.end_step;
        if (near)
          s[a][b] = sl_fma(sl_set(x.end.slope[end]), s[a][b], s[a][b]);
        else
          s[a][b] = sl_times_one(s[a][b], x.end, end);
      }
  }
  SL_UNROLL for (int a = 0; a < keys; ++a)
    SL_UNROLL for (int b = 0; b < vectors; ++b)
      sl_store(x.s + (i + a) * x.s_row + j + b * SL_LANES, s[a][b]);
}

// The same, without the decays where all of the piece's are one.
SL_INLINE void sl_recur_keys(
    const int tokens, const int keys, const int vectors, const int unroll, const int before,
    const int first, const int last, const sl_recurrence x, int64_t i, int64_t j,
    const sl_asks asks) {
  float decays = x.d && !x.decays ? 1.0f : 0.0f;
  if (x.decays)
    for (int a = 0; a < keys; ++a) decays += x.decays[(i + a) * x.d_step];
  if (decays != 0.0f)
    sl_recur_piece(tokens, keys, vectors, unroll, before, first, last, 1, x, i, j, asks);
  else
    sl_recur_piece(tokens, keys, vectors, unroll, before, first, last, 0, x, i, j, asks);
}

// All pieces of a panel of `vectors` vectors from column j on.
SL_INLINE void sl_recur_panel(
    const int tokens, const int keys, const int piece_keys, const int vectors, const int unroll,
    const int before, const sl_recurrence x, int64_t j, sl_asks asks) {
  const int last = keys % piece_keys ? keys % piece_keys : piece_keys;  // keys of the last one
  const int whole = keys - last;
  if (whole) sl_recur_keys(tokens, piece_keys, vectors, unroll, before, 1, 0, x, 0, j, asks);
  for (int64_t i = piece_keys; i < whole; i += piece_keys) {
    ++asks.part;
    sl_recur_keys(tokens, piece_keys, vectors, unroll, before, 0, 0, x, i, j, asks);
  }
  if (whole) ++asks.part;
  sl_recur_keys(tokens, last, vectors, unroll, before, !whole, 1, x, whole, j, asks);
}

// The recurrence over `tokens` tokens, in pieces of `piece_keys` keys by
// `piece_vectors` vectors, `unroll` tokens in a row; meanwhile the rows of `count`
// tensors are asked for.
SL_INLINE void sl_recur(
    const int tokens, const int keys, const int columns, const int piece_keys,
    const int piece_vectors, const int unroll, const int before, sl_recurrence x,
    const sl_ahead *rows, const int count) {
  x.begins = x.begin.slope && !sl_are_one(x.begin.slope, x.begin.base, keys);
  x.ends = x.end.slope && !(x.begin.slope && sl_are_one(x.end.slope, x.end.base, keys));
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
