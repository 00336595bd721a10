// Cases that kernels are called on, and the guarded memory of such a call: shared by the
// programs that run kernels (runner.c, which returns answers; measure.c, which judges and times).
//
// All integers are little endian, without padding.
//
// CASES:
//   8 bytes  "SLCASES1"
//   u32      number of cases; then for each case
//     u32      id
//     u32      length of the entry's name; its bytes, no terminator
//              (int32_t entry(const void *args)); measure.c puts the kernel's
//              name in place of a * at its beginning
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
//                      5 repeated     input: u64 how many bytes, and they
//                                     follow; again and again from its start
//                      6 asked        workspace whose size the kernel says: its
//                                     entry *_workspace_size is asked; u32 the
//                                     offset in the argument struct at which
//                                     the size goes; measure.c only
//                      7 checked      output, with the reference's numbers
//                                     (below); measure.c only
//                      8 handed       input: what an output of the case before
//                                     was left as; u32 that buffer's number;
//                                     measure.c only
//       u32      alignment: the address is this many bytes (0..63) beyond a
//                64-byte boundary
//       u32      offset in the argument struct at which the buffer's address is
//                written, as a pointer; 0xFFFFFFFF: nowhere
//       bytes    contents, for kinds 0 and 3
//
// What follows a checked output, rows of numbers of which some are compared:
//   u32 type of its elements: 0 f32, 1 bf16, 2 f16
//   u32 numbers a row, u32 rows that follow, u32 groups
//   f64 the bound of RMS of the difference over RMS of the reference, over all
//       rows; f64 the same over the rows of one group
//   u64 the row's place in the buffer and u32 its group, for each row
//   f64 its numbers, for each row
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
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { INPUT, OUTPUT, WORKSPACE, IN_OUT, SPARSE, REPEATED, ASKED, CHECKED, HANDED };
enum { BEFORE = 1, AFTER = 2 };
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
  uint64_t length;                        // of the contents, which a sparse buffer ends with
  uint32_t size_offset;                   // of kind 6: where the size goes
  uint32_t from;                          // of kind 8: the buffer of the case before
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
static Case now;                          // the case under way, for what is said of a crash

// ---- Reading cases ----

typedef struct {
  const unsigned char *at, *end;
} Reader;

static void bad_file(const char *what) {
  fprintf(stderr, "the cases file is unusable: %s.\n", what);
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
    if (b->kind > HANDED) bad_file("a buffer is of unknown kind");
    if (b->alignment > 63) bad_file("a buffer's alignment is above 63");
    if (b->offset != NONE && (c->args_size < sizeof(void *) || b->offset > c->args_size - sizeof(void *)))
      bad_file("a buffer's address lies outside the argument struct");
    if (b->kind == OUTPUT || b->kind == WORKSPACE) continue;
    if (b->kind == ASKED) {
      b->size_offset = take32(r);
      if (c->args_size < 8 || b->size_offset > c->args_size - 8)
        bad_file("a workspace's size lies outside the argument struct");
    } else if (b->kind == HANDED) {
      b->from = take32(r);
    } else if (b->kind == CHECKED) {
      b->length = 32;
      b->contents = r->at;
      const unsigned char *head = take(r, 32);
      uint32_t width, rows;
      memcpy(&width, head + 4, sizeof width);
      memcpy(&rows, head + 8, sizeof rows);
      take(r, (uint64_t)rows * (12 + 8 * (uint64_t)width));
    } else {
      b->length = b->kind == SPARSE || b->kind == REPEATED ? take64(r) : b->size;
      if (b->length > b->size || (b->kind == REPEATED && b->length == 0 && b->size > 0))
        bad_file("a buffer's contents are longer than itself, or nothing repeats");
      b->contents = take(r, b->length);
    }
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

static int is_input(const Buffer *b) {
  return b->kind == INPUT || b->kind == SPARSE || b->kind == REPEATED ||
         b->kind == HANDED;
}

static void fill(Buffer *b) {
  if (b->kind == REPEATED) {
    for (uint64_t at = 0; at < b->size; at += b->length)
      memcpy(b->data + at, b->contents, b->size - at < b->length ? b->size - at : b->length);
  } else if (is_input(b) || b->kind == IN_OUT) {
    memcpy(b->data + b->size - b->length, b->contents, b->length);
  } else {
    memset(b->data, 0xff, b->size);
  }
}

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

// ---- Crashes ----

// The buffer in or around which an address lies (the number of buffers: the
// argument struct), or NONE.
static uint32_t buffer_around(uint64_t at) {
  uint32_t which = NONE;
  for (uint32_t i = 0; i <= now.count; i++) {
    uint64_t start = (uint64_t)(uintptr_t)now.buffers[i].map;
    if (start && at >= start && at - start < now.buffers[i].map_size) which = i;
  }
  return which;
}

// Signals of a crash go to the handler, which must not return.
static void catch_crashes(void (*handler)(int, siginfo_t *, void *)) {
  static unsigned char other_stack[1 << 16];
  stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
  sigaltstack(&stack, NULL);
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  const int signals[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGABRT, SIGTRAP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

// ---- The cases file ----

static Reader open_cases(const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat facts;
  if (file < 0 || fstat(file, &facts) != 0) bad_file("it cannot be opened");
  if (facts.st_size < 12) bad_file("it is truncated");
  unsigned char *p = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  if (p == MAP_FAILED) bad_file("it cannot be mapped");
  close(file);
  Reader reader = {p, p + facts.st_size};
  if (memcmp(take(&reader, 8), "SLCASES1", 8) != 0) bad_file("it does not begin with SLCASES1");
  return reader;
}

// The whole file is checked before anything of it runs. Returns the number of cases.
static uint32_t check_cases(Reader *cases) {
  uint32_t count = take32(cases);
  Reader reader = *cases;
  for (uint32_t i = 0; i < count; i++) take_case(&reader, &now);
  if (reader.at != reader.end) bad_file("bytes follow the last case");
  return count;
}

