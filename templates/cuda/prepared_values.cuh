// Gates along the values, between prepared.cuh and the walk: a block has a chunk of a query head and its
// values, a thread two of them. With b_i the decays of a value, all in [0, 1],
//
//     v^_j = v_j b_{j+1}...b_64    E = b_1...b_64    w_i = b_1...b_i
//     r_i = sum over j up to i of P_ij v_j b_{j+1}...b_i
//
// (up to b_{i-1}, but v_i as it is, where the read-out comes before the write), and the walk is
//
//     o_i = w_i (q^_i S) + r_i    S = diag(D) S diag(E) + k^^T v^
//
// r is no product of matrices, since every value decays by itself: it is summed up in f32, 16 tokens by
// 16. Of earlier tokens' values a thread keeps what they have decayed to at the end of their 16, so that
// a pair of tokens of two sixteens costs one FMA, and one of the same 16 tokens another multiplication.
// Nothing is divided, so every decay is right and takes the same time.
#ifndef SL_PREPARED_VALUES_CUH
#define SL_PREPARED_VALUES_CUH

enum {
  sl_values_threads = SL_VALUE_THREADS,
  sl_value_tile = 2 * SL_VALUE_THREADS,  // values of a block
  // A chunk's v^ in the workspace: for each 64 values panels of v^ and of what rounding leaves of it;
  // then E in f32. A chunk's w and r, side by side: for each 64 values rows of tokens.
  sl_value_bytes = SL_VALUE_PANELS * (2 * sl_panel + 256),
  sl_read_panel = 64 * 64 * 8,
  sl_read_bytes = SL_VALUE_PANELS * sl_read_panel,
  // Places in shared memory: P in f32; values at the end of their 16 tokens; decays of 16 tokens.
  sl_at_decayed = 64 * 64 * 4,
  sl_at_sixteens = sl_at_decayed + 64 * 4 * sl_value_tile,
};

// Where a chunk's scores are, and where what is found goes: no values where another block leaves them.
typedef struct {
  int rows;
  const char *scores;
  char *values, *read;
} sl_values_place;

// Two values of a row, of sixteen bits or of f32.
SL_WORD void sl_read_values(uint32_t &x, const uint16_t *at) {
  asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(x) : "l"(at));
}
SL_WORD void sl_read_values(float (&x)[2], const float *at) {
  asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(x[0]), "=f"(x[1]) : "l"(at));
}

// P, whose two parts add up, in rows of f32.
SL_WORD void sl_take_scores(uint32_t shared, const char *const scores) {
  for (int piece = SL_THREAD; piece < 64 * 8; piece += sl_values_threads) {
    const int row = piece / 8, column = piece % 8 * 8;
    const char *const at = scores + sl_in_panel(row, column);
    uint32_t whole[4], rest[4];
    asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(whole[0]), "=r"(whole[1]), "=r"(whole[2]), "=r"(whole[3])
                 : "l"(at));
    asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(rest[0]), "=r"(rest[1]), "=r"(rest[2]), "=r"(rest[3])
                 : "l"(at + sl_panel));
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float x[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const uint32_t a = whole[2 * half + n / 2], b = rest[2 * half + n / 2];
        x[n] = n % 2 ? sl_high(a) + sl_high(b) : sl_low(a) + sl_low(b);
      }
      sl_store_four(shared + (uint32_t)(256 * row + 4 * column + 16 * half), x);
    }
  }
}

template <class Maps>
SL_WORD void sl_prepare_values(
    uint32_t shared, const Maps maps, const sl_values_place place, const int tile) {
  sl_take_scores(shared, place.scores);
  sl_sync();
  const int value = sl_value_tile * tile + 2 * SL_THREAD;
  if (value >= 64 * SL_VALUE_PANELS) return;
  const bool is_value = value < SL_OWN_VALUES;
  const uint32_t own = shared + sl_at_decayed + 8 * (uint32_t)SL_THREAD;
  const uint32_t sixteens = shared + sl_at_sixteens + 8 * (uint32_t)SL_THREAD;
  const int in_panel = value % 64;
  float entering[2] = {1.0f, 1.0f};
#pragma unroll 1
  for (int block = 0; block < 4; ++block) {
    const uint32_t scores = shared + 16 * 256 * (uint32_t)block;
    // Past the last token and value v is 0 and does not decay.
    float v[16][2], b[16][2], r[16][2];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int row = 16 * block + i;
      const bool is_there = row < place.rows && is_value;
      v[i][0] = v[i][1] = 0.0f, b[i][0] = b[i][1] = 1.0f;
      r[i][0] = r[i][1] = 0.0f;
      if (!is_there) continue;
      uint32_t pair;
      sl_read_values(pair, maps.value_row(row) + value);
      v[i][0] = sl_low(pair), v[i][1] = sl_high(pair);
      const typename Maps::token_numbers of_token = maps.token_at(row);
      const typename Maps::value_gates of = maps.value_gates_at(row, value);
#pragma unroll
      for (int e = 0; e < 2; ++e)
        b[i][e] = sl_power(0x1.715476p0f * maps.value_log_decay(of, of_token, value, e));
    }
    // From earlier sixteens, as they are before this one.
#pragma unroll 1
    for (int earlier = 0; earlier < block; ++earlier) {
      float decay[2];
      sl_load_floats(decay, sixteens + 4 * sl_value_tile * (uint32_t)earlier);
#pragma unroll
      for (int i = 0; i < 16; ++i) r[i][0] *= decay[0], r[i][1] *= decay[1];
#pragma unroll
      for (int from = 0; from < 16; from += 4) {
        float x[4][2];
#pragma unroll
        for (int j = 0; j < 4; ++j)
          sl_load_floats(x[j], own + 4 * sl_value_tile * (uint32_t)(16 * earlier + from + j));
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          float p[4];
          sl_load_four(p, scores + (uint32_t)(256 * i + 64 * earlier + 4 * from));
#pragma unroll
          for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e) r[i][e] = sl_fma(p[j], x[j][e], r[i][e]);
        }
      }
    }
    // Within this one, token by token; v_j becomes what it has decayed to.
    float within[2] = {1.0f, 1.0f};
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float w[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float before = within[e];
        within[e] *= b[i][e];
        const float of_earlier = SL_READS_PREVIOUS ? before : within[e];
        w[e] = entering[e] * of_earlier;
        r[i][e] *= of_earlier;
#pragma unroll
        for (int j = 0; j < i; ++j)
          if (!SL_READS_PREVIOUS) v[j][e] *= b[i][e];
      }
#pragma unroll
      for (int from = 0; from <= i; from += 4) {
        float p[4];
        sl_load_four(p, scores + (uint32_t)(256 * i + 4 * from) + 64 * (uint32_t)block);
#pragma unroll
        for (int j = from; j < from + 4; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (j <= i) r[i][e] = sl_fma(p[j - from], v[j][e], r[i][e]);
      }
#pragma unroll
      for (int j = 0; j < i; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (SL_READS_PREVIOUS) v[j][e] *= b[i][e];
      const float both[4] = {w[0], r[i][0], w[1], r[i][1]};
      sl_write_four(
          (float *)(place.read + value / 64 * sl_read_panel
                    + (64 * (16 * block + i) + in_panel) * 8),
          both);
    }
#pragma unroll
    for (int i = 0; i < 16; ++i)
      sl_store_floats(
          own + 4 * sl_value_tile * (uint32_t)(16 * block + i), v[i][0], v[i][1]);
    sl_store_floats(sixteens + 4 * sl_value_tile * (uint32_t)block, within[0], within[1]);
    entering[0] *= within[0], entering[1] *= within[1];
  }
  if (!place.values) return;
  char *const values = place.values + value / 64 * (2 * sl_panel);
  float leaving[2] = {1.0f, 1.0f};
#pragma unroll 1
  for (int block = 3; block >= 0; --block) {
    float decay[2];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int row = 16 * block + i;
      float x[2];
      sl_load_floats(x, own + 4 * sl_value_tile * (uint32_t)row);
      x[0] *= leaving[0], x[1] *= leaving[1];
      const uint32_t pair = sl_pack(x[0], x[1]);
      char *const at = values + sl_in_panel(row, in_panel);
      sl_write_word(at, pair);
      sl_write_word(at + sl_panel, sl_pack(x[0] - sl_low(pair), x[1] - sl_high(pair)));
    }
    sl_load_floats(decay, sixteens + 4 * sl_value_tile * (uint32_t)block);
    leaving[0] *= decay[0], leaving[1] *= decay[1];
  }
  sl_write_two(
      place.values + SL_VALUE_PANELS * 2 * sl_panel + 4 * value, SL_BITS(entering[0]),
      SL_BITS(entering[1]));
}

#endif
