// Runs the kernels of a library on stored cases, in a process of its own: what
// crashes or writes where it must not costs this process only.
//
//   runner LIBRARY CASES RESULTS [--first K] [--repeat N] [--time N [--rotate R]]
//
//   --first K    begin with the K-th case (from 0): goes on after a crash.
//   --repeat N   after the first call, N more on the same inputs, every output
//                and workspace poisoned again; outputs must be equal to the bit.
//   --time N     then N timed calls, on plain buffers without guards. In-out
//                buffers are not put back between these.
//   --rotate R   the timed calls take turns on R copies of all buffers
//                (default 1), so that caches do not flatter.
//
// Exit status: 0 every case ran; 2 bad arguments or a bad CASES file, with a
// sentence; 3 the library or RESULTS cannot be used; 128 + signal after a crash.
//
// RESULTS:
//   8 bytes  "SLRESUL1"; then records, each written before the next step is
//   taken, each beginning with u32 tag and u32 case id:
//   1 started   nothing more; written before the entry is called
//   2 finished  i32 what the entry returned
//               u32 flags: 1  memory before a buffer was overwritten
//                          2  memory after a buffer was overwritten
//                          4  a repeated call gave other bits
//                          8  the floating-point mode was not restored
//                         16  a repeated call returned something else
//               u32 the first buffer of which 1, 2 or 4 is true, or 0xFFFFFFFF
//               u32 number of returned buffers; for each u32 index in the case,
//                   u64 size, its bytes as the first call left them
//               u32 number of timings; for each u64 nanoseconds
//   3 crashed   i32 signal, u64 address that was touched (SIGSEGV, SIGBUS),
//               u32 the buffer in or around which that lies (the number of
//                   buffers: the argument struct), or 0xFFFFFFFF,
//               i64 the address less the buffer's. The last record.
//   4 refused   u32 length and bytes of a sentence (no such entry, no memory)
//   5 end       case id 0xFFFFFFFF; the last record of a whole run
//
#include "cases.h"

enum { STARTED = 1, FINISHED = 2, CRASHED = 3, REFUSED = 4, END = 5 };
// Further flags of a finished call, beside BEFORE and AFTER.
enum { UNEQUAL = 4, MODE = 8, RETURNED = 16 };

static int results = -1;
static int crashing;

// ---- Writing records ----

static void put(const void *bytes, uint64_t size) {
  const unsigned char *p = bytes;
  while (size > 0) {
    ssize_t n = write(results, p, size > 1u << 30 ? 1u << 30 : (size_t)size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(3);
    p += n;
    size -= (uint64_t)n;
  }
}

static void put32(uint32_t x) { put(&x, sizeof x); }
static void put64(uint64_t x) { put(&x, sizeof x); }

static void put_record(uint32_t tag, uint32_t id) {
  put32(tag);
  put32(id);
}

static void refuse(const char *sentence) {
  put_record(REFUSED, now.id);
  put32((uint32_t)strlen(sentence));
  put(sentence, strlen(sentence));
}

// Only what is safe in a signal handler: memory and write(2).
static void on_crash(int number, siginfo_t *info, void *context) {
  (void)context;
  if (__atomic_exchange_n(&crashing, 1, __ATOMIC_SEQ_CST))
    for (;;) pause();  // another thread is already writing the record
  int has_address = number == SIGSEGV || number == SIGBUS;
  uint64_t at = has_address ? (uint64_t)(uintptr_t)info->si_addr : 0;
  uint32_t which = has_address ? buffer_around(at) : NONE;
  put_record(CRASHED, now.id);
  put32((uint32_t)number);
  put64(at);
  put32(which);
  put64(which == NONE ? 0 : at - (uint64_t)(uintptr_t)now.buffers[which].data);
  _exit(128 + number);
}

// ---- Calls ----

static int returned(const Buffer *b) { return b->kind == OUTPUT || b->kind == IN_OUT; }

// Repeats the call on equal inputs, compares with `first` (all returned buffers
// in a row).
ANY_ENTRY
static void repeat(Entry *entry, const unsigned char *first, int32_t code, long count,
                   uint32_t *flags, uint32_t *which) {
  for (long n = 0; n < count; n++) {
    for (uint32_t i = 0; i < now.count; i++)
      if (!is_input(&now.buffers[i])) fill(&now.buffers[i]);
    if (entry(now.buffers[now.count].data) != code) *flags |= RETURNED;
    check_canaries(flags, which);
    const unsigned char *p = first;
    for (uint32_t i = 0; i < now.count; i++) {
      Buffer *b = &now.buffers[i];
      if (!returned(b)) continue;
      if (memcmp(p, b->data, b->size) != 0) {
        if (*which == NONE) *which = i;
        *flags |= UNEQUAL;
      }
      p += b->size;
    }
  }
}

// Times `count` calls on `copies` unguarded copies. Returns how many it timed:
// all, or none for want of memory.
ANY_ENTRY
static long time_calls(Entry *entry, uint64_t *times, long count, long copies) {
  Case *turns = calloc((size_t)copies, sizeof *turns);
  long mapped = 0, timed = 0;
  int whole = turns != NULL;
  for (; whole && mapped < copies; mapped++) {
    turns[mapped] = now;
    whole = map_case(&turns[mapped], 0);
  }
  for (long r = 0; whole && r < copies; r++) entry(turns[r].buffers[now.count].data);
  for (; whole && timed < count; timed++) {
    const void *args = turns[timed % copies].buffers[now.count].data;
    uint64_t start = nanoseconds();
    entry(args);
    times[timed] = nanoseconds() - start;
  }
  for (long r = 0; r < mapped; r++) unmap_case(&turns[r]);
  free(turns);
  return timed;
}

ANY_ENTRY
static void run_case(void *library, long repeats, long timings, long copies) {
  union {
    void *address;
    Entry *entry;
  } symbol = {dlsym(library, now.name)};
  if (!symbol.address) {
    refuse("the library has no such entry");
    return;
  }
  if (!map_case(&now, 1)) {
    refuse("no memory for the buffers");
    unmap_case(&now);
    return;
  }
  put_record(STARTED, now.id);
  uint32_t flags = 0, which = NONE, outputs = 0;
  uint64_t mode = float_mode(), bytes = 0;
  int32_t code = symbol.entry(now.buffers[now.count].data);
  if (float_mode() != mode) flags |= MODE;
  check_canaries(&flags, &which);

  for (uint32_t i = 0; i < now.count; i++)
    if (returned(&now.buffers[i])) bytes += now.buffers[i].size, outputs++;
  unsigned char *first = malloc(bytes + 1), *p = first;
  uint64_t *times = calloc((size_t)timings + 1, sizeof *times);
  if (!first || !times) {
    refuse("no memory for the results");
  } else {
    for (uint32_t i = 0; i < now.count; i++) {
      Buffer *b = &now.buffers[i];
      if (returned(b)) memcpy(p, b->data, b->size), p += b->size;
    }
    repeat(symbol.entry, first, code, repeats, &flags, &which);
    unmap_case(&now);
    long timed = timings > 0 && code == 0 ? time_calls(symbol.entry, times, timings, copies) : 0;
    put_record(FINISHED, now.id);
    put32((uint32_t)code);
    put32(flags);
    put32(which);
    put32(outputs);
    p = first;
    for (uint32_t i = 0; i < now.count; i++) {
      if (!returned(&now.buffers[i])) continue;
      put32(i);
      put64(now.buffers[i].size);
      put(p, now.buffers[i].size);
      p += now.buffers[i].size;
    }
    put32((uint32_t)timed);
    put(times, (uint64_t)timed * sizeof *times);
  }
  unmap_case(&now);
  free(first);
  free(times);
}

// ---- The command ----

static long option(char **argv, int argc, const char *name, long otherwise, long least) {
  for (int i = 4; i < argc; i += 2) {
    if (strcmp(argv[i], name) != 0) continue;
    char *rest = NULL;
    long n = i + 1 < argc ? strtol(argv[i + 1], &rest, 10) : 0;
    if (!rest || rest == argv[i + 1] || *rest || n < least || n > 100000000) {
      fprintf(stderr, "runner: %s needs a whole number from %ld.\n", name, least);
      exit(2);
    }
    return n;
  }
  return otherwise;
}

int main(int argc, char **argv) {
  static const char *const names[] = {"--first", "--repeat", "--time", "--rotate"};
  for (int i = 4; i < argc; i += 2) {
    int known = 0;
    for (int k = 0; k < 4; k++) known |= strcmp(argv[i], names[k]) == 0;
    if (!known) argc = 0;
  }
  if (argc < 4) {
    fputs("usage: runner LIBRARY CASES RESULTS [--first K] [--repeat N] [--time N [--rotate R]]\n",
          stderr);
    return 2;
  }
  long first = option(argv, argc, "--first", 0, 0), repeats = option(argv, argc, "--repeat", 0, 0);
  long timings = option(argv, argc, "--time", 0, 0), copies = option(argv, argc, "--rotate", 1, 1);
  page = (size_t)sysconf(_SC_PAGESIZE);

  Reader again = open_cases(argv[2]);
  uint32_t count = check_cases(&again);

  // Where nothing is timed there may be more threads than processors: who waits, sleeps.
  if (!timings) setenv("OMP_WAIT_POLICY", "passive", 0);
  char path[4096];
  int length = snprintf(path, sizeof path, "%s%s", strchr(argv[1], '/') ? "" : "./", argv[1]);
  void *library = length < (int)sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) {
    fprintf(stderr, "runner: the library cannot be loaded: %s.\n", dlerror());
    return 3;
  }
  results = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (results < 0) {
    fprintf(stderr, "runner: %s cannot be written: %s.\n", argv[3], strerror(errno));
    return 3;
  }
  put("SLRESUL1", 8);
  catch_crashes(on_crash);
  for (uint32_t i = 0; i < count; i++) {
    take_case(&again, &now);
    if (i >= first) run_case(library, repeats, timings, copies);
  }
  put_record(END, NONE);
  return close(results) == 0 ? 0 : 3;
}
