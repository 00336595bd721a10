// Words of feature maps, on those of tiles.h and of any target: the monomials of degree 0 to 2 of
// d features x, and their adjoint. A row of monomials is
//   1;  x[0] ... x[d-1];  then for each a:  x[a]^2 / sqrt(2), x[a] x[a+1] ... x[a] x[d-1]
#ifndef SL_MONOMIALS_H
#define SL_MONOMIALS_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// What a product counts whose place is the n-th from x[a]^2 on.
static const float sl_square_first[16] = {
    0.70710678118654752f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f,
    1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
static const float sl_places[16] = {
    0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f,
    8.0f, 9.0f, 10.0f, 11.0f, 12.0f, 13.0f, 14.0f, 15.0f};

// Row by row, the monomials of `features` features.
SL_INLINE void sl_monomials(
    const int rows, const int features, float *t, int64_t t_row, const float *x, int64_t x_row) {
  const int count = (features + 1) * (features + 2) / 2;
  for (int i = 0; i < rows; ++i) {
    const float *own = x + i * x_row;
    float *row = t + i * t_row;
    row[0] = 1.0f;
    for (int b = 0; b < features; b += SL_LANES)
      sl_store_n(row + 1 + b, sl_load_n(own + b, features - b), features - b);
    int place = features + 1;
    for (int a = 0; a < features; ++a) {
      const sl_f32 left = sl_set(own[a]);
      for (int b = a; b < features; b += SL_LANES) {
        sl_f32 product = sl_mul(left, sl_load_n(own + b, features - b));
        if (b == a) product = sl_mul(product, sl_load(sl_square_first));
        // What a whole vector writes too much is overwritten by the next feature's products.
        const int at = place + b - a;
        if (at + SL_LANES <= count)
          sl_store(row + at, product);
        else
          sl_store_n(row + at, product, count - at);
      }
      place += features - a;
    }
  }
}

// Row by row, the adjoint t of the features x from that of their monomials, g. With W[a][b] the
// adjoint of the product of x[a] and x[b], a <= b, times that product's weight:
//   t[b] = g[1 + b] + sum over a <= b of x[a] W[a][b] + sum over c >= b of W[b][c] x[c]
SL_INLINE void sl_monomial_adjoint(
    const int rows, const int features, float *t, int64_t t_row, const float *g, int64_t g_row,
    const float *x, int64_t x_row) {
  // No head has more than 4096 keys, and so none more than 89 features.
  sl_f32 sum[SL_VECTORS(89)];
  for (int i = 0; i < rows; ++i) {
    const float *own = x + i * x_row;
    const float *given = g + i * g_row;
    for (int b = 0; b < features; b += SL_LANES)
      sum[b / SL_LANES] = sl_load_n(given + 1 + b, features - b);
    // Where W[a][0] would be.
    const float *products = given + features + 1;
    for (int first = 0; first < features; first += SL_LANES) {
      // The sums over c of one vector of b are finished together.
      sl_f32 later[SL_LANES];
      for (int n = 0; n < SL_LANES; ++n) {
        const int a = first + n;
        later[n] = sl_zero();
        if (a >= features) continue;
        const sl_f32 left = sl_set(own[a]);
        for (int b = first; b < features; b += SL_LANES) {
          sl_f32 w = sl_load_n(products + b, features - b);
          if (b == first) {
            // Before W[a][a] lie products of the feature before.
            const sl_f32 place = sl_load(sl_places);
            const sl_f32 square = sl_mul(w, sl_set(sl_square_first[0]));
            w = sl_less(place, sl_set((float)n + 1.0f), square, w);
            w = sl_less(place, sl_set((float)n), sl_zero(), w);
          }
          sum[b / SL_LANES] = sl_fma(left, w, sum[b / SL_LANES]);
          later[n] = sl_fma(w, sl_load_n(own + b, features - b), later[n]);
        }
        products += features - a - 1;
      }
      sum[first / SL_LANES] = sl_add(sum[first / SL_LANES], sl_sum_rows(later));
    }
    for (int b = 0; b < features; b += SL_LANES)
      sl_store_n(t + i * t_row + b, sum[b / SL_LANES], features - b);
  }
}

#pragma GCC diagnostic pop
#endif
