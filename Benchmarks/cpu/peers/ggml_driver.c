// ggml's gated linear attention through its public interface: a graph of one node, made once and
// computed as often as wanted.
#include <ggml-cpu.h>
#include <ggml.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  struct ggml_context *context;
  struct ggml_cgraph *graph;
  struct ggml_cplan plan;
  struct ggml_tensor *k, *v, *q, *g, *state, *result;
} driver;

static struct ggml_tensor *tensor(struct ggml_context *context, int64_t size, int64_t heads, int64_t tokens) {
  return ggml_new_tensor_3d(context, GGML_TYPE_F32, size, heads, tokens);
}

// A graph for `sequences` sequences of `length` tokens, with K = V = `size`; NULL without memory.
driver *driver_make(int64_t size, int64_t heads, int64_t length, int64_t sequences, float scale, int threads) {
  const int64_t tokens = length * sequences;
  const size_t bytes = (size_t)(6 * tokens + 4 * size * sequences) * (size_t)(size * heads) * sizeof(float);
  driver *d = calloc(1, sizeof *d);
  if (!d) return NULL;
  d->context = ggml_init((struct ggml_init_params){bytes + (16 << 20), NULL, false});
  if (!d->context) {
    free(d);
    return NULL;
  }
  d->k = tensor(d->context, size, heads, tokens);
  d->v = tensor(d->context, size, heads, tokens);
  d->q = tensor(d->context, size, heads, tokens);
  d->g = tensor(d->context, size, heads, tokens);
  d->state = ggml_new_tensor_2d(d->context, GGML_TYPE_F32, size * size * heads, sequences);
  memset(d->state->data, 0, ggml_nbytes(d->state));
  d->result = ggml_gated_linear_attn(d->context, d->k, d->v, d->q, d->g, d->state, scale);
  d->graph = ggml_new_graph(d->context);
  ggml_build_forward_expand(d->graph, d->result);
  d->plan = ggml_graph_plan(d->graph, threads, NULL);
  d->plan.work_data = d->plan.work_size ? malloc(d->plan.work_size) : NULL;
  return d;
}

// Copies the inputs, [sequences, length, heads, size] each; g is the decay itself, not its logarithm.
void driver_set(driver *d, const float *q, const float *k, const float *v, const float *g) {
  memcpy(d->q->data, q, ggml_nbytes(d->q));
  memcpy(d->k->data, k, ggml_nbytes(d->k));
  memcpy(d->v->data, v, ggml_nbytes(d->v));
  memcpy(d->g->data, g, ggml_nbytes(d->g));
}

// Computes; 0 when done.
int driver_run(driver *d) { return (int)ggml_graph_compute(d->graph, &d->plan); }

// The outputs of all tokens, then the states.
const float *driver_result(const driver *d) { return d->result->data; }

void driver_free(driver *d) {
  free(d->plan.work_data);
  ggml_free(d->context);
  free(d);
}
