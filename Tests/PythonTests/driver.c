// A stand-in for CUDA's driver (libcuda.so.1), for machines without one: it has the entries that a
// library of ours calls, runs no kernel, and answers what the environment says.
//
//   DRIVER_VERSION     of CUDA that the driver is of: 13000
//   DRIVER_CARD        the card's compute capability: 90
//   DRIVER_INIT        what cuInit answers: 0
//   DRIVER_CONTEXT     what cuCtxGetDevice answers: 0
//   DRIVER_LOAD        what cuLibraryLoadData answers: 0
//   DRIVER_COMPILE     the same where it is given PTX: 0
//   DRIVER_ATTRIBUTE   what cuKernelSetAttribute answers: 0
//   DRIVER_LAUNCH      what cuLaunchKernel answers: 0
// and of graphs:
//   DRIVER_CAPTURED    whether streams are captured: 0
//   DRIVER_PART        whether streams are of a part of the card, a green context: 0
//   DRIVER_CURRENT     the current context's number: 1
//   DRIVER_INSTANTIATE what cuGraphInstantiateWithFlags answers: 0
//   DRIVER_SET         what cuGraphExecKernelNodeSetParams_v2 answers from a graph's second kernel on: 0
//   DRIVER_GRAPH       what cuGraphLaunch answers: 0
//   DRIVER_DELAY       microseconds that setting a kernel takes: 0
// With NO_GRAPHS defined it is a driver that has no graphs.
//
// driver_seen says what was launched since it was asked before, a line a kernel: how (alone, or the graph's
// number), its stream, name, blocks, threads, shared memory, and a digest of its parameters.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int answer(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) { return (void)flags, answer("DRIVER_INIT", 0); }

int cuDriverGetVersion(int *version) { return *version = answer("DRIVER_VERSION", 13000), 0; }

int cuCtxGetDevice(int *device) { return *device = 0, answer("DRIVER_CONTEXT", 0); }

int cuDeviceGetAttribute(int *value, int which, int device) {
  (void)device;
  const int card = answer("DRIVER_CARD", 90);
  *value = which == 75 ? card / 10 : which == 76 ? card % 10 : 132;
  return 0;
}

// The major number of the cards for which driver.py's ptxas made that; 0 for PTX. As the driver itself, the
// stand-in looks at it when it is asked about a kernel, not when the code is loaded.
static int major_of(const char *code) {
  return strncmp(code, "machine code of sm_", 19) == 0 ? code[19] - '0' : 0;
}

int cuLibraryLoadData(
    void **library, const void *code, int *options, void **values, unsigned count, int *more,
    void **theirs, unsigned those) {
  (void)options, (void)values, (void)count, (void)more, (void)theirs, (void)those;
  *library = (void *)code;
  // Of ptxas's own code it knows nothing: PTX says what parameters kernels take.
  if (memcmp(code, "\177ELF", 4) == 0) return 209;
  const int loaded = answer("DRIVER_LOAD", 0);
  return loaded || major_of(code) ? loaded : answer("DRIVER_COMPILE", 0);
}

// A kernel: its name, and the code that it is in.
typedef struct {
  const char *code, *name;
} kernel;

int cuLibraryGetKernel(void **found, void *library, const char *name) {
  kernel *own = malloc(sizeof *own);
  *own = (kernel){library, name};
  *found = own;
  return 0;
}

int cuKernelSetAttribute(int which, int value, void *given, int device) {
  (void)which, (void)value, (void)device;
  const int major = major_of(((kernel *)given)->code);
  if (major && major != answer("DRIVER_CARD", 90) / 10) return 209;
  return answer("DRIVER_ATTRIBUTE", 0);
}

// A digest of a kernel's parameters, whose sizes stand in its PTX: `.align 8 .b8 name[144]` or `.u32 name`.
static uint64_t digest_of(const kernel *of, void **given) {
  uint64_t digest = 14695981039346656037u;
  char head[300];
  snprintf(head, sizeof head, ".entry %s(", of->name);
  const char *at = major_of(of->code) ? NULL : strstr(of->code, head);
  const char *const end = at ? strchr(at, ')') : NULL;
  while (at && (at = strstr(at, ".param ")) && at < end) {
    at += strlen(".param ");
    const char *array = memchr(at, '[', strcspn(at, ",)"));
    const size_t size = array ? strtoul(array + 1, NULL, 10)
                              : strtoul(at + strcspn(at, "0123456789"), NULL, 10) / 8;
    for (size_t i = 0; i < size; ++i) digest = (digest ^ ((uint8_t *)*given)[i]) * 1099511628211u;
    ++given;
  }
  return digest;
}

static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;
static char seen[1 << 20];
static size_t seen_length;

static void see(const char *line) {
  pthread_mutex_lock(&seen_lock);
  if (seen_length < sizeof seen - 500)
    seen_length += (size_t)snprintf(seen + seen_length, 500, "%s\n", line);
  pthread_mutex_unlock(&seen_lock);
}

const char *driver_seen(void) {
  seen[seen_length] = 0;
  seen_length = 0;
  return seen;
}

static void describe(
    char *to, const kernel *of, unsigned blocks, unsigned threads, unsigned memory, void **given) {
  snprintf(to, 400, "%s %u %u %u %llx", of->name, blocks, threads, memory,
           (unsigned long long)digest_of(of, given));
}

int cuLaunchKernel(
    void *given, unsigned x, unsigned y, unsigned z, unsigned a, unsigned b, unsigned c,
    unsigned memory, void *stream, void **parameters, void **extra) {
  (void)y, (void)z, (void)b, (void)c, (void)extra;
  const int code = answer("DRIVER_LAUNCH", 0);
  char text[400], line[450];
  describe(text, given, x, a, memory, parameters);
  snprintf(line, sizeof line, "alone %zu %s", (size_t)stream, text);
  if (!code) see(line);
  return code;
}

#ifndef NO_GRAPHS

// A graph is its kernels in their order; a node is one of them, as `place` + 1.
typedef struct {
  int number, count;
  char kernels[16][400];
  // The thread that has set parameters and not launched yet, and where the graph has been launched.
  _Atomic(pthread_t) setting;
  _Atomic size_t stream;
} graph;

typedef struct {
  kernel *function;
  unsigned blocks[3], threads[3], memory;
  void **given, **packed;
  void *kernel, *context;
} node_parameters;

static void keep(graph *to, int place, const node_parameters *given) {
  describe(to->kernels[place], given->function, given->blocks[0], given->threads[0], given->memory,
           given->given);
}

int cuStreamIsCapturing(void *stream, int *status) {
  return (void)stream, *status = answer("DRIVER_CAPTURED", 0), 0;
}

// A context is its number.
int cuCtxGetId(void *context, uint64_t *number) {
  return *number = context ? (uintptr_t)context : (uintptr_t)answer("DRIVER_CURRENT", 1), 0;
}

int cuStreamGetId(void *stream, uint64_t *number) { return *number = (uintptr_t)stream + 100, 0; }

int cuStreamGetCtx_v2(void *stream, void **context, void **part) {
  (void)stream;
  *context = (void *)1;
  *part = answer("DRIVER_PART", 0) ? (void *)1 : NULL;
  return 0;
}

static _Thread_local int capture_mode;

int cuThreadExchangeStreamCaptureMode(int *mode) {
  const int before = capture_mode;
  capture_mode = *mode;
  *mode = before;
  return 0;
}

int cuKernelGetFunction(void **function, void *of) { return *function = of, 0; }

int cuGraphCreate(void **to, unsigned flags) {
  (void)flags;
  *to = calloc(1, sizeof(graph));
  return 0;
}

int cuGraphAddKernelNode_v2(
    void **node, void *to, void *const *before, size_t count, const node_parameters *given) {
  graph *own = to;
  if (count != (own->count > 0) || (count && *before != (void *)(uintptr_t)own->count)) return 1;
  keep(own, own->count, given);
  *node = (void *)(uintptr_t)++own->count;
  return 0;
}

int cuGraphInstantiateWithFlags(void **to, void *from, uint64_t flags) {
  static _Atomic int number;
  (void)flags;
  if (capture_mode != 2) return 900;
  const int code = answer("DRIVER_INSTANTIATE", 0);
  if (code) return code;
  graph *own = malloc(sizeof *own);
  memcpy(own, from, sizeof *own);
  own->number = ++number;
  *to = own;
  return 0;
}

int cuGraphDestroy(void *from) { return free(from), 0; }

int cuGraphExecKernelNodeSetParams_v2(void *to, void *node, const node_parameters *given) {
  graph *own = to;
  const int place = (int)(uintptr_t)node - 1, delay = answer("DRIVER_DELAY", 0);
  if (place == 0) {
    if (own->setting) see("two threads have a graph");
    own->setting = pthread_self();
  } else if (!pthread_equal(own->setting, pthread_self())) {
    see("two threads have a graph");
  }
  if (delay) usleep((useconds_t)delay);
  const int code = place ? answer("DRIVER_SET", 0) : 0;
  if (code) own->setting = 0;
  if (!code) keep(own, place, given);
  return code;
}

int cuGraphLaunch(void *given, void *stream) {
  graph *own = given;
  const size_t before = own->stream;
  char line[450];
  own->setting = 0;
  if (before && before != (size_t)stream + 1) see("two streams share a graph");
  own->stream = (size_t)stream + 1;
  const int code = answer("DRIVER_GRAPH", 0);
  for (int i = 0; !code && i < own->count; ++i) {
    snprintf(line, sizeof line, "%d %zu %s", own->number, (size_t)stream, own->kernels[i]);
    see(line);
  }
  return code;
}

#endif

int cuTensorMapEncodeTiled(
    void *map, int type, unsigned rank, void *data, const void *sizes, const void *strides,
    const void *box, const void *steps, int interleave, int swizzle, int promotion, int fill) {
  (void)type, (void)rank, (void)sizes, (void)strides, (void)box, (void)steps, (void)interleave;
  memset(map, 0, 128);
  memcpy(map, &data, sizeof data);
  return (void)swizzle, (void)promotion, (void)fill, 0;
}
