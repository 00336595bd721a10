// A chunk's scores for the walks of alike.cuh: rows of q times rows of k, weighed with the decay between the
// two tokens.
#ifndef SL_ALIKE_SCORES_CUH
#define SL_ALIKE_SCORES_CUH

// What a lane's two rows of scores are multiplied with, and what is added to their diagonal.
typedef struct {
  float query[2], beside[2];
} sl_row_weights;

SL_WORD void sl_rows_take(
    sl_row_weights &rows, uint32_t numbers, const int lane, const int warp) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t token = (uint32_t)(16 * warp + lane / 4 + 8 * m);
    rows.query[m] =
        sl_load_float(numbers + (SL_QUERIES_WEIGHED ? sl_to_queries + 4 * token : sl_to_decay + 4));
    rows.beside[m] = SL_SKIPS ? sl_load_float(numbers + sl_to_rest + 4 * token) : 0.0f;
  }
}
// Of a quad's lanes, which have a row's scores, the one that has its diagonal's.
SL_WORD int sl_diagonal_lane(const int lane) { return lane / 4 * 4 + lane / 8; }
SL_WORD float sl_diagonal(const float (&sum)[32], const int m, const int lane, const int warp) {
  const int at = 4 * (2 * warp + m) + 2 * m;
  float score;
  // As an instruction: no compiler looks the sum up in memory.
  asm("{\n.reg .pred p;\nsetp.ne.s32 p, %3, 0;\nselp.f32 %0, %1, %2, p;\n}"
      : "=f"(score)
      : "f"(sum[at + 1]), "f"(sum[at]), "r"(lane / 4 % 2));
  return score;
}

// Scores of a warp, 16 rows of them, weighed; zeros for later tokens. Which warp it is is known to the
// compiler: no branches but the one to here.
SL_WORD void sl_scores_weigh(
    float (&sum)[32], uint32_t numbers, const int lane, const int warp) {
  const int first = 16 * warp + lane / 4, column = 2 * (lane % 4);
  // How many columns of the lane's are no later than its row, in the eight rows and columns of the diagonal.
  const int earlier = lane / 4 - column + 1;
  float up_to[2][2];
#pragma unroll
  for (int m = 0; SL_GATED && m < 2; ++m)
    sl_load_floats(up_to[m], numbers + sl_to_sums + 8 * (uint32_t)(first + 8 * m));
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float from[4], key[2] = {1.0f, 1.0f};
    if (SL_GATED && j / 2 <= warp)
      sl_load_four(from, numbers + sl_to_sums + 8 * (uint32_t)(8 * j + column));
    if (SL_KEYS_WEIGHED && j / 2 <= warp)
      sl_load_floats(key, numbers + sl_to_keys + 4 * (uint32_t)(8 * j + column));
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int m = n / 2, e = n % 2;
      float &score = sum[4 * j + n];
      if (j > 2 * warp + m) {
        score = 0.0f;
        continue;
      }
      if (SL_KEYS_WEIGHED) score *= key[e];
      if (SL_GATED)
        score *= sl_power((up_to[m][0] - from[2 * e]) + (up_to[m][1] - from[2 * e + 1]));
      if (j == 2 * warp + m && e >= earlier) score = 0.0f;
    }
  }
  // Taken as late as this: above they would need registers of which there are no more.
  sl_row_weights rows;
  sl_rows_take(rows, numbers, lane, warp);
#pragma unroll
  for (int j = 0; j < 2 * warp + 2; ++j)
#pragma unroll
    for (int n = 0; n < 4; ++n) sum[4 * j + n] *= rows.query[n / 2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    float *const pair = sum + 4 * (2 * warp + m) + 2 * m;
    if (SL_SKIPS && earlier == 1) pair[0] += rows.beside[m];
    if (SL_SKIPS && earlier == 2) pair[1] += rows.beside[m];
  }
}

// What a lane's scores are multiplied with, by factors that a warp has made (alike_numbers.cuh): its rows and the
// columns of earlier sixteens; the later row and the columns of the sixteen's first half; the diagonal's eights.
typedef struct {
  float row[2], key[6][2], later, middle[2], diagonal[2][2], beside[2];
} sl_score_factors;

SL_WORD void sl_factors_take(sl_score_factors &factors, uint32_t numbers) {
  if (!sl_factored) return;
  const int lane = SL_LANE, warp = sl_uniform(SL_THREAD % 128 / 32);
  const uint32_t first = (uint32_t)(16 * warp + lane / 4), column = (uint32_t)(2 * (lane % 4));
  const uint32_t keys = numbers + sl_to_factors + (uint32_t)(32 * warp * (warp - 1)) + 4 * column;
  // As many as the last warp has, of which others use fewer.
#pragma unroll
  for (int j = 0; j < 6; ++j) sl_load_floats(factors.key[j], keys + 32 * (uint32_t)j);
  sl_load_floats(factors.middle, numbers + sl_to_middles + 4 * (16 * (uint32_t)warp + column));
  sl_row_weights rows;
  sl_rows_take(rows, numbers, lane, warp);
  factors.later = rows.query[1] * sl_load_float(numbers + sl_to_middles + 4 * (first + 8));
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const uint32_t row = first + 8 * (uint32_t)m, of = 16 * (uint32_t)warp + 8 * (uint32_t)m + column;
    factors.row[m] = rows.query[m] * sl_load_float(numbers + sl_to_rows + 4 * row);
    factors.beside[m] = rows.beside[m];
    float up_to[2], from[4], key[2] = {1.0f, 1.0f};
    sl_load_floats(up_to, numbers + sl_to_sums + 8 * row);
    sl_load_four(from, numbers + sl_to_sums + 8 * of);
    if (SL_KEYS_WEIGHED) sl_load_floats(key, numbers + sl_to_keys + 4 * of);
#pragma unroll
    for (int e = 0; e < 2; ++e)
      factors.diagonal[m][e] =
          rows.query[m] * key[e]
          * sl_power((up_to[0] - from[2 * e]) + (up_to[1] - from[2 * e + 1]));
  }
}

SL_WORD void sl_scores_scale(
    float (&sum)[32], const sl_score_factors &factors, const int lane, const int warp) {
  // How many columns of the lane's are no later than its row, in the diagonal's eights.
  const int earlier = lane / 4 - 2 * (lane % 4) + 1;
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int m = n / 2, e = n % 2;
      float &score = sum[4 * j + n];
      if (j < 2 * warp) {
        score = score * factors.row[m] * factors.key[j % 6][e];
      } else if (j > 2 * warp + m) {
        score = 0.0f;
      } else if (j < 2 * warp + m) {
        score = score * factors.later * factors.middle[e];
      } else {
        score *= factors.diagonal[m][e];
        if (e >= earlier) score = 0.0f;
        if (SL_SKIPS && earlier == 1 + e) score += factors.beside[m];
      }
    }
}

#endif
