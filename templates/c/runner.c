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
// All integers are little endian, without padding.
//
// CASES:
//   8 bytes  "SLCASES1"
//   u32      number of cases; then for each case
//     u32      id
//     u32      length of the entry's name; its bytes, no terminator
//              (int32_t entry(const void *args))
//     u32      size of the argument struct; its bytes
//     u32      number of buffers; then for each buffer
//       u64      size in bytes (0 is legal: a pointer that may not be touched)
//       u32      kind: 0 input        contents follow; read-only for the kernel
//                      1 output       poisoned with 0xFF (NaN), returned
//                      2 workspace    poisoned with 0xFF, not returned
//                      3 in-out       contents follow; returned
//                      4 sparse       input of zeros but for its last bytes:
//                                     u64 how many, and they follow; costs
//                                     addresses, hardly any memory
//       u32      alignment: the address is this many bytes (0..63) beyond a
//                64-byte boundary
//       u32      offset in the argument struct at which the buffer's address is
//                written, as a pointer; 0xFFFFFFFF: nowhere
//       bytes    contents, for kinds 0 and 3
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
// Each buffer ends at an inaccessible page, or as close before it as its
// alignment lets it: alignment (-size mod 64) puts it flush. Between, and
// before the buffer down to another inaccessible page, lies a pattern that is
// NaN in f32, bf16 and f16 and is checked afterwards. Inputs and the argument
// struct are read-only during the call.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 0, OUTPUT = 1, WORKSPACE = 2, IN_OUT = 3, SPARSE = 4 };
enum { STARTED = 1, FINISHED = 2, CRASHED = 3, REFUSED = 4, END = 5 };
enum { BEFORE = 1, AFTER = 2, UNEQUAL = 4, MODE = 8, RETURNED = 16 };
#define NONE 0xffffffffu
#define MOST_BUFFERS 256
#define MOST_BYTES (1ull << 44)

typedef int32_t Entry(const void *);

// Entries take a pointer to a struct of their own; the sanitizer of function
// types is not asked about calls that are meant to be of any type.
#if defined(__clang__)
#define ANY_ENTRY __attribute__((no_sanitize("function")))
#else
#define ANY_ENTRY
#endif

typedef struct {
  uint64_t size;
  uint32_t kind, alignment, offset;
  const unsigned char *contents;          // in the CASES file; NULL of kinds 1 and 2
  uint64_t length;                        // of the contents, which the buffer ends with
  unsigned char *map, *data, *end;        // first byte, the buffer, the guard after it
  size_t map_size;
} Buffer;

typedef struct {
  uint32_t id, args_size, count;
  const unsigned char *args;
  char name[256];
  Buffer buffers[MOST_BUFFERS + 1];       // the last one is the argument struct
} Case;

static size_t page;
static int results = -1;
static Case now;                          // the case under way, for the crash record
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
  uint32_t which = NONE;
  for (uint32_t i = 0; has_address && i <= now.count; i++) {
    uint64_t start = (uint64_t)(uintptr_t)now.buffers[i].map;
    if (start && at >= start && at - start < now.buffers[i].map_size) which = i;
  }
  put_record(CRASHED, now.id);
  put32((uint32_t)number);
  put64(at);
  put32(which);
  put64(which == NONE ? 0 : at - (uint64_t)(uintptr_t)now.buffers[which].data);
  _exit(128 + number);
}

static void catch_crashes(void) {
  static unsigned char other_stack[1 << 16];
  stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
  sigaltstack(&stack, NULL);
  struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  const int signals[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGABRT, SIGTRAP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

// ---- Reading cases ----

typedef struct {
  const unsigned char *at, *end;
} Reader;

static void bad_file(const char *what) {
  fprintf(stderr, "runner: the cases file is unusable: %s.\n", what);
  exit(2);
}

static const unsigned char *take(Reader *r, uint64_t size) {
  if ((uint64_t)(r->end - r->at) < size) bad_file("it is truncated");
  r->at += size;
  return r->at - size;
}

static uint32_t take32(Reader *r) {
  uint32_t x;
  memcpy(&x, take(r, sizeof x), sizeof x);
  return x;
}

static uint64_t take64(Reader *r) {
  uint64_t x;
  memcpy(&x, take(r, sizeof x), sizeof x);
  return x;
}

static void take_case(Reader *r, Case *c) {
  memset(c, 0, sizeof *c);
  c->id = take32(r);
  uint32_t length = take32(r);
  if (length == 0 || length >= sizeof c->name) bad_file("an entry's name is empty or too long");
  memcpy(c->name, take(r, length), length);
  c->args_size = take32(r);
  c->args = take(r, c->args_size);
  c->count = take32(r);
  if (c->count > MOST_BUFFERS) bad_file("a case has more than 256 buffers");
  for (uint32_t i = 0; i < c->count; i++) {
    Buffer *b = &c->buffers[i];
    b->size = take64(r);
    b->kind = take32(r);
    b->alignment = take32(r);
    b->offset = take32(r);
    if (b->size > MOST_BYTES) bad_file("a buffer is larger than 2^44 bytes");
    if (b->kind > SPARSE) bad_file("a buffer is of unknown kind");
    if (b->alignment > 63) bad_file("a buffer's alignment is above 63");
    if (b->offset != NONE && (c->args_size < sizeof(void *) || b->offset > c->args_size - sizeof(void *)))
      bad_file("a buffer's address lies outside the argument struct");
    if (b->kind == OUTPUT || b->kind == WORKSPACE) continue;
    b->length = b->kind == SPARSE ? take64(r) : b->size;
    if (b->length > b->size) bad_file("a buffer's contents are longer than itself");
    b->contents = take(r, b->length);
  }
}

// ---- Buffers ----

// A pattern by address: 0xFFD3 wherever a 16-bit or 32-bit number is aligned.
static unsigned char canary(const unsigned char *p) { return (uintptr_t)p & 1 ? 0xff : 0xd3; }

static void fill_canary(unsigned char *p, unsigned char *end) {
  for (; p < end; p++) *p = canary(p);
}

static int canary_whole(const unsigned char *p, const unsigned char *end) {
  for (; p < end; p++)
    if (*p != canary(p)) return 0;
  return 1;
}

static void fill(Buffer *b) {
  if (b->contents)
    memcpy(b->data + b->size - b->length, b->contents, b->length);
  else
    memset(b->data, 0xff, b->size);
}

static int is_input(const Buffer *b) { return b->kind == INPUT || b->kind == SPARSE; }

// Maps a buffer: guard page, pattern, buffer, pattern, guard page. At least a
// page of pattern comes before it. False if there is no memory.
static int map_buffer(Buffer *b, int guarded) {
  size_t body = (b->size + 64 + 2 * page - 1) / page * page;
  b->map_size = body + 2 * page;
  b->map = mmap(NULL, b->map_size, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (b->map == MAP_FAILED) {
    b->map = NULL;
    return 0;
  }
#ifdef MADV_HUGEPAGE
  // Zeros are then mapped 2 MiB at a time.
  if (b->kind == SPARSE) madvise(b->map, b->map_size, MADV_HUGEPAGE);
#endif
  b->end = b->map + page + body;
  uintptr_t latest = (uintptr_t)b->end - b->size;
  b->data = (unsigned char *)(latest - ((latest - b->alignment) & 63));
  if (!guarded) {
    fill(b);
    return 1;
  }
  fill_canary(b->map + page, b->data);
  fill(b);
  fill_canary(b->data + b->size, b->end);
  return mprotect(b->map, page, PROT_NONE) == 0 && mprotect(b->end, page, PROT_NONE) == 0;
}

static void unmap_case(Case *c) {
  for (uint32_t i = 0; i <= c->count; i++) {
    Buffer *b = &c->buffers[i];
    if (b->map) munmap(b->map, b->map_size);
    b->map = NULL;
  }
}

// Maps every buffer and, last, the argument struct with the addresses in it.
static int map_case(Case *c, int guarded) {
  Buffer *args = &c->buffers[c->count];
  *args = (Buffer){.size = c->args_size, .kind = INPUT, .contents = c->args, .length = c->args_size,
                   .offset = NONE};
  args->alignment = (uint32_t)(-c->args_size & 63) & ~15u;
  for (uint32_t i = 0; i <= c->count; i++)
    if (!map_buffer(&c->buffers[i], guarded)) return 0;
  for (uint32_t i = 0; i < c->count; i++)
    if (c->buffers[i].offset != NONE)
      memcpy(args->data + c->buffers[i].offset, &c->buffers[i].data, sizeof(void *));
  for (uint32_t i = 0; guarded && i <= c->count; i++) {
    Buffer *b = &c->buffers[i];
    size_t body = (size_t)(b->end - b->map) - page;
    if (is_input(b) && mprotect(b->map + page, body, PROT_READ) != 0) return 0;
  }
  return 1;
}

static void check_canaries(uint32_t *flags, uint32_t *which) {
  for (uint32_t i = 0; i < now.count; i++) {
    Buffer *b = &now.buffers[i];
    uint32_t damage = canary_whole(b->map + page, b->data) ? 0 : BEFORE;
    if (!canary_whole(b->data + b->size, b->end)) damage |= AFTER;
    if (damage && *which == NONE) *which = i;
    *flags |= damage;
  }
}

static int returned(const Buffer *b) { return b->kind == OUTPUT || b->kind == IN_OUT; }

// ---- Calls ----

// The control bits of floating point, without the sticky exception flags.
static uint64_t float_mode(void) {
#if defined(__x86_64__)
  return __builtin_ia32_stmxcsr() & ~0x3fu;
#elif defined(__aarch64__)
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
#else
  return 0;
#endif
}

static uint64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

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

static Reader open_cases(const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat facts;
  if (file < 0 || fstat(file, &facts) != 0) bad_file("it cannot be opened");
  if (facts.st_size < 12) bad_file("it is truncated");
  unsigned char *p = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  if (p == MAP_FAILED) bad_file("it cannot be mapped");
  close(file);
  return (Reader){p, p + facts.st_size};
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

  // The whole file is checked before anything of it runs.
  Reader reader = open_cases(argv[2]);
  if (memcmp(take(&reader, 8), "SLCASES1", 8) != 0) bad_file("it does not begin with SLCASES1");
  uint32_t count = take32(&reader);
  Reader again = reader;
  for (uint32_t i = 0; i < count; i++) take_case(&reader, &now);
  if (reader.at != reader.end) bad_file("bytes follow the last case");

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
  catch_crashes();
  for (uint32_t i = 0; i < count; i++) {
    take_case(&again, &now);
    if (i >= first) run_case(library, repeats, timings, copies);
  }
  put_record(END, NONE);
  return close(results) == 0 ? 0 : 3;
}
