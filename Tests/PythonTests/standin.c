// A kernel written by hand with the layout of docs/abi.md: what the Python module is tested against
// where nothing can build a real one. Token by token, one thread, no vectors; never shipped.
//
// MANIFEST is the manifest's text, KEY and VALUE the sizes, GATE the number of decays a token and
// head (0, 1 or KEY), ELEMENT 0 for f32, 1 for bf16, 2 for f16; ENTRY(x) is the symbol NAME_x.
#include <math.h>
#include <stdint.h>
#include <string.h>

struct arguments {
  uint32_t abi, size;
  int64_t batch, length, query_heads, heads, sequences;
  const int64_t *cu_seqlens;
  int32_t threads, layout;
  float scale;
  uint32_t reserved;
  void *workspace;
  uint64_t workspace_size;
  const float *initial_state;
  float *final_state;
  void *o;
  const void *q, *k, *v;
#if GATE
  const float *g;
#endif
};

#if ELEMENT == 0
typedef float element;
static float load(element x) { return x; }
static element store(float x) { return x; }
#elif ELEMENT == 1
typedef uint16_t element;
static float load(element x) {
  uint32_t bits = (uint32_t)x << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
static element store(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return (element)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#else
typedef _Float16 element;
static float load(element x) { return (float)x; }
static element store(float x) { return (element)x; }
#endif

#define STATE ((int64_t)KEY * VALUE)

static int32_t problem(const struct arguments *a) {
  if (a->abi != 1 || a->size != sizeof *a) return 1;
  if (a->batch < 0 || a->length < 0 || a->heads < 1 || a->query_heads < 1) return 3;
  if (a->query_heads % a->heads != 0) return 3;
  if (a->sequences > 0 && (a->batch != 1 || a->cu_seqlens[a->sequences] != a->length)) return 4;
  if (a->layout != 0 || a->threads < 0) return 7;
  return 0;
}

int64_t ENTRY(workspace_size)(const struct arguments *a) {
  int32_t code = problem(a);
  return code ? -code : STATE * (int64_t)sizeof(float);
}

int32_t ENTRY(forward)(const struct arguments *a) {
  int32_t code = problem(a);
  if (code) return code;
  if (a->workspace_size < STATE * sizeof(float)) return 5;
  if ((uintptr_t)a->workspace % 64 != 0) return 6;
  int64_t rows = a->sequences ? a->sequences : a->batch, group = a->query_heads / a->heads;
  float *state = a->workspace;
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t head = 0; head < a->heads; head++) {
      int64_t place = (row * a->heads + head) * STATE;
      int64_t from = a->sequences ? a->cu_seqlens[row] : row * a->length;
      int64_t to = a->sequences ? a->cu_seqlens[row + 1] : from + a->length;
      for (int64_t i = 0; i < STATE; i++)
        state[i] = a->initial_state ? a->initial_state[place + i] : 0;
      for (int64_t t = from; t < to; t++) {
        int64_t token = t * a->heads + head;
        const element *k = (const element *)a->k + token * KEY;
        const element *v = (const element *)a->v + token * VALUE;
        for (int64_t i = 0; i < KEY; i++) {
          float decay = 1;
#if GATE
          decay = expf(a->g[token * GATE + i % GATE]);
#endif
          for (int64_t j = 0; j < VALUE; j++)
            state[i * VALUE + j] = decay * state[i * VALUE + j] + load(k[i]) * load(v[j]);
        }
        for (int64_t reader = head * group; reader < (head + 1) * group; reader++) {
          const element *q = (const element *)a->q + (t * a->query_heads + reader) * KEY;
          element *o = (element *)a->o + (t * a->query_heads + reader) * VALUE;
          for (int64_t j = 0; j < VALUE; j++) {
            float sum = 0;
            for (int64_t i = 0; i < KEY; i++) sum += load(q[i]) * state[i * VALUE + j];
            o[j] = store(a->scale * sum);
          }
        }
      }
      if (a->final_state) memcpy(a->final_state + place, state, STATE * sizeof(float));
    }
  }
  return 0;
}

const char *ENTRY(manifest)(void) { return MANIFEST; }
