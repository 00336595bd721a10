// The states before segments, from what segments add to a state and how they decay it.
#ifndef SL_SEGMENTS_CUH
#define SL_SEGMENTS_CUH

// How far one segment's numbers lie from the next one's: of states, of keys' decays, of values' decays.
typedef struct {
  int64_t state, keys, values;
} sl_segment_steps;

// One number of a state for each thread: what each of `segments` but the last adds lies at `added`, and the state
// before each takes its place; there are at most `most`. Where there are no decays, the pointers to them are
// NULL. All is asked for before anything is added up.
template <const int most>
SL_WORD void sl_combine_segments(
    float *const added, const float *const of_key, const float *const of_value,
    const sl_segment_steps steps, const int segments, const float *const initial) {
  float own[most], decay[most], state = initial ? *initial : 0.0f;
#pragma unroll
  for (int j = 0; j < most; ++j) {
    own[j] = j + 1 < segments ? added[j * steps.state] : 0.0f;
    decay[j] = j + 1 < segments && of_key ? of_key[j * steps.keys] : 1.0f;
    if (j + 1 < segments && of_value) decay[j] *= of_value[j * steps.values];
  }
#pragma unroll
  for (int j = 0; j < most; ++j) {
    if (j < segments) added[j * steps.state] = state;
    state = SL_FMA(decay[j], state, own[j]);
  }
}

#endif
