// The kernels of a call are put on its stream together, as one CUDA graph whose kernels are given their
// blocks and parameters anew for each launch: three kernels take a third of the processor's time that
// launches one by one take.
//
// A graph is of a stream and of a list of kernels, and two streams share none: launches of one graph wait for
// each other, on whatever streams. The driver does not guard a graph, so one thread has it at a time.
// What it is given the driver copies, and launches that are on their way already keep theirs.
//
// Kernels are launched one by one
// - where a call has one alone: as a graph it takes less of the processor's time, and more of the card's;
// - while the stream is captured, as the caller's graph then has the kernels themselves;
// - at a stream's first calls, so that a stream of one call costs no graph;
// - where another thread has the graph, or all graphs are made: none is given back, as nobody tells
//   that a stream or a context is gone (their numbers never come again, so neither do their graphs);
// - on a stream of another context than the current one, or of a part of the card (a green context), whose
//   kernels a graph of the current context would run elsewhere;
// - where the driver lacks an entry, or one fails: what failed has launched nothing.

enum {
  most_launches = 8,  // that go together; those beyond them follow
  most_graphs = 64,   // of a library
};

typedef struct {
  void *stream;
  int count;
  int kernels[most_launches];
  unsigned blocks[most_launches];
  void **given[most_launches];  // read when they are put on the stream
} launches;

// The driver's CUDA_KERNEL_NODE_PARAMS_v2.
typedef struct {
  handle function;
  unsigned blocks[3], threads[3], memory;
  void **given, **packed;
  handle kernel, context;  // in place of a function
} node_parameters;

static struct {
  int (*is_captured)(handle, int *);
  int (*context_number)(handle, uint64_t *);
  int (*stream_number)(handle, uint64_t *);
  int (*contexts_of)(handle, handle *, handle *);
  int (*exchange_capture_mode)(int *);
  int (*function)(handle *, handle);
  int (*create)(handle *, unsigned);
  int (*add)(handle *, handle, const handle *, size_t, const node_parameters *);
  int (*instantiate)(handle *, handle, uint64_t);
  int (*destroy)(handle);
  int (*set)(handle, handle, const node_parameters *);
  int (*launch)(handle, handle);
} graph_driver;

typedef struct {
  uint64_t context, stream;  // the driver's numbers
  int count, kernels[most_launches];
  handle functions[most_launches], nodes[most_launches], ready;
  pthread_mutex_t lock;
} graph;

static pthread_once_t graphs_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t graphs_lock = PTHREAD_MUTEX_INITIALIZER;
static int has_graphs;
static graph graphs[most_graphs];
static _Atomic int graph_count;

static void find_graphs(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  const driver_entry wanted[] = {
      {"cuStreamIsCapturing", &graph_driver.is_captured},
      {"cuCtxGetId", &graph_driver.context_number},
      {"cuStreamGetId", &graph_driver.stream_number},
      {"cuStreamGetCtx_v2", &graph_driver.contexts_of},
      {"cuThreadExchangeStreamCaptureMode", &graph_driver.exchange_capture_mode},
      {"cuKernelGetFunction", &graph_driver.function},
      {"cuGraphCreate", &graph_driver.create},
      {"cuGraphAddKernelNode_v2", &graph_driver.add},
      {"cuGraphInstantiateWithFlags", &graph_driver.instantiate},
      {"cuGraphDestroy", &graph_driver.destroy},
      {"cuGraphExecKernelNodeSetParams_v2", &graph_driver.set},
      {"cuGraphLaunch", &graph_driver.launch},
  };
  has_graphs = library && !find_entries(library, wanted, sizeof wanted / sizeof *wanted);
}

static node_parameters parameters_of(const graph *own, const launches *all, int i) {
  const int which = all->kernels[i];
  return (node_parameters){
      .function = own->functions[i],
      .blocks = {all->blocks[i], 1, 1},
      .threads = {(unsigned)kernel_threads[which], 1, 1},
      .memory = (unsigned)kernel_memory[which],
      .given = all->given[i],
  };
}

static graph *find_graph(const launches *all, uint64_t context, uint64_t stream) {
  const int count = graph_count;
  for (graph *own = graphs; own < graphs + count; ++own)
    if (own->stream == stream && own->context == context && own->count == all->count &&
        !memcmp(own->kernels, all->kernels, sizeof *all->kernels * (size_t)all->count))
      return own;
  return NULL;
}

// Makes the graph, one kernel behind the other. Whether that failed.
static int build_graph(graph *own, const launches *all) {
  handle context, part, nodes;
  uint64_t number;
  if (graph_driver.contexts_of(all->stream, &context, &part) || part) return 1;
  if (graph_driver.context_number(context, &number) || number != own->context) return 1;
  if (graph_driver.create(&nodes, 0)) return 1;
  int code = 0;
  for (int i = 0; !code && i < all->count; ++i) {
    code = graph_driver.function(&own->functions[i], kernels[image_used][all->kernels[i]]);
    const node_parameters given = parameters_of(own, all, i);
    if (!code)
      code = graph_driver.add(&own->nodes[i], nodes, i ? &own->nodes[i - 1] : NULL, i > 0, &given);
  }
  if (!code) code = graph_driver.instantiate(&own->ready, nodes, 0);
  if (code) {
    graph_driver.destroy(nodes);
    own->ready = NULL;
  }
  return code != 0;
}

// Makes a graph where there is room for one more. One that fails keeps its place, and is not tried again.
static graph *make_graph(const launches *all, uint64_t context, uint64_t stream) {
  if (pthread_mutex_trylock(&graphs_lock)) return NULL;
  graph *own = find_graph(all, context, stream);
  int mode = 2;  // nothing here disturbs what this or another thread captures
  if (!own && graph_count < most_graphs && !graph_driver.exchange_capture_mode(&mode)) {
    own = &graphs[graph_count];
    *own = (graph){.context = context, .stream = stream, .count = all->count};
    memcpy(own->kernels, all->kernels, sizeof own->kernels);
    pthread_mutex_init(&own->lock, NULL);
    build_graph(own, all);
    graph_driver.exchange_capture_mode(&mode);
    ++graph_count;  // from here on other threads see it
  }
  pthread_mutex_unlock(&graphs_lock);
  return own;
}

// Puts them on the stream as a graph. Whether that was done; if not, nothing was.
static int launch_graph(const launches *all) {
  static _Atomic uint64_t last_stream;  // that had no graph
  pthread_once(&graphs_once, find_graphs);
  int is_captured;
  uint64_t context, stream;
  if (!has_graphs || graph_driver.is_captured(all->stream, &is_captured) || is_captured ||
      graph_driver.context_number(NULL, &context) ||
      graph_driver.stream_number(all->stream, &stream))
    return 0;
  graph *own = find_graph(all, context, stream);
  if (!own) {
    const uint64_t last = last_stream;
    last_stream = stream;
    if (last == stream) own = make_graph(all, context, stream);
  }
  if (!own || !own->ready || pthread_mutex_trylock(&own->lock)) return 0;
  int code = 0;
  for (int i = 0; !code && i < all->count; ++i) {
    const node_parameters given = parameters_of(own, all, i);
    code = graph_driver.set(own->ready, own->nodes[i], &given);
  }
  if (!code) code = graph_driver.launch(own->ready, all->stream);
  pthread_mutex_unlock(&own->lock);
  return !code;
}

// Puts them on the stream, after which there are none. 0, or what is wrong.
static int32_t launch(launches *all) {
  const int count = all->count;
  const int is_done = count > 1 && launch_graph(all);
  int code = 0;
  for (int i = 0; !code && !is_done && i < count; ++i) {
    const int which = all->kernels[i];
    code = driver.launch(
        kernels[image_used][which], all->blocks[i], 1, 1, (unsigned)kernel_threads[which], 1, 1,
        (unsigned)kernel_memory[which], all->stream, all->given[i], NULL);
  }
  all->count = 0;
  return failure(code);
}

// Adds one kernel of `blocks` blocks with its parameters. 0, or what is wrong.
static int32_t add(launches *all, int which, int64_t blocks, void **given) {
  if (blocks == 0) return 0;
  if (blocks > 0x7fffffff) return 3;
  const int32_t problem = all->count == most_launches ? launch(all) : 0;
  const int i = all->count++;
  all->kernels[i] = which;
  all->blocks[i] = (unsigned)blocks;
  all->given[i] = given;
  return problem;
}
