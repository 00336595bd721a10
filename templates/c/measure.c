// Judges and times one candidate: its answers are held to the reference's numbers before a clock
// runs, and again after. What crashes, hangs or writes where it must not costs this process only.
//
//   measure LIBRARY CASES --kernel NAME [--timed K] [--time MS] [--limit S] [--round N]
//           [--search ID] [--under TEXT] [--died CODE]
//   measure --machine
//
//   --kernel NAME  the kernel whose entries are called: NAME_forward or NAME_backward, and what says
//                  the workspace that they need
//   --timed K      the K-th case (from 0) is timed too; the others are only judged
//   --time MS      at least so many milliseconds of timed calls (default 100), at least three calls
//   --limit S      seconds after which the candidate counts as hung (default 60)
//   --round N      told again in the answer (default 0)
//   --search ID    tells in the answer what was measured, and seals it
//   --under TEXT   told with the machine: the emulator that runs this
//   --died CODE    runs nothing: answers for a run that exited with CODE and without an answer
//
// Prints one line, a JSON object:
//
//   candidate    NAME
//   round        N
//   machine      what --machine prints: the processor
//   status       ok       right, and timed
//                wrong    an answer beyond its bound, other bits from equal inputs, another
//                         floating-point mode
//                memory   touched what is not its own: a guard page, or the pattern around a buffer
//                crashed  took the process with it in another way
//                hung     ran past the limit
//                refused  has no such entry, wants no or too much workspace, or returned a code
//   detail       what is behind it, as the end of a sentence
//   whole, worst the largest error over its bound, over all rows and over those of one group
//   nanoseconds  of the timed calls, in their order
//   search, library, cases   with --search: ID, and SHA-256 of the two files
//   seal         with --search: SHA-256 of the line before it
//
// Exit status: 0 a line was printed; 2 bad arguments or a bad CASES file, with a sentence.
//
// Each case is called twice on guarded buffers (cases.h) with every output poisoned, and must give
// equal bits. The timed calls then take turns on two unguarded copies, so that no call finds its
// inputs in a cache, and must leave the same bits again.
//
// A case that takes what the case before left (a gradient, of its forward call) is timed with it: a
// timed call is then one of each entry, one after the other.
//
// A candidate with an entry NAME_forward_on wants its tensors on a CUDA card: they are copied there
// and back around each judged call, and the timed calls are timed by the card's own events
// (device.h). The machine is then the card.
#include "cases.h"
#include "sha256.h"

#define COPIES 2
#define MOST_CALLS 10000

static struct {
  const char *kernel, *search, *under;
  long timed, milliseconds, limit, round, died;
} asked = {.timed = -1, .milliseconds = 100, .limit = 60, .died = -1};

static int answers = -1;              // where the line goes; standard output is the candidate's
static int answered;
static char line[1 << 18];
static size_t used;
static char machine[512], digests[2][65];
static double whole, worst;           // errors over their bounds
static uint64_t times[MOST_CALLS];
static uint32_t timed_calls;

// ---- The answer: nothing here may allocate, as a crash ends here too ----

static void say(const char *text) {
  while (*text && used + 1 < sizeof line) line[used++] = *text++;
}

// A text between quotation marks; what JSON would have to escape is left out.
static void say_text(const char *name, const char *text) {
  say(",\"");
  say(name);
  say("\":\"");
  for (; *text; text++) {
    char letter[2] = {*text, 0};
    if ((unsigned char)*text >= 32 && *text != '"' && *text != '\\' && !(*text & 0x80)) say(letter);
  }
  say("\"");
}

static void say_whole(uint64_t number) {
  char digits[24];
  int i = sizeof digits - 1;
  digits[i] = 0;
  do digits[--i] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  say(digits + i);
}

// In millionths of the bound, so that no library function prints it; what is beyond 10^12 is cut off.
static void say_ratio(const char *name, double ratio) {
  say(",\"");
  say(name);
  say("\":");
  uint64_t millionths = ratio < 1e12 ? (uint64_t)(ratio * 1e6 + 0.5) : (uint64_t)1e18;
  say_whole(millionths / 1000000);
  say(".");
  for (uint64_t unit = 100000; unit > 0; unit /= 10) {
    char digit[2] = {(char)('0' + millionths / unit % 10), 0};
    say(digit);
  }
}

// Prints the line and ends the process.
static void answer(const char *status, const char *detail) __attribute__((noreturn));
static void answer(const char *status, const char *detail) {
  if (__atomic_exchange_n(&answered, 1, __ATOMIC_SEQ_CST))
    for (;;) pause();  // another thread is already answering
  say("{\"round\":");
  say_whole((uint64_t)asked.round);
  say_text("candidate", asked.kernel);
  say_text("machine", machine);
  say_text("status", status);
  say_text("detail", detail);
  say_ratio("whole", whole);
  say_ratio("worst", worst);
  say(",\"nanoseconds\":[");
  for (uint32_t i = 0; i < timed_calls; i++) {
    if (i > 0) say(",");
    say_whole(times[i]);
  }
  say("]");
  if (asked.search) {
    say_text("search", asked.search);
    say_text("library", digests[0]);
    say_text("cases", digests[1]);
    Sha256 hash;
    char seal[65];
    sha256_begin(&hash);
    sha256_add(&hash, line, used);
    sha256_end(&hash, seal);
    say_text("seal", seal);
  }
  say("}\n");
  for (size_t at = 0; at < used;) {
    ssize_t n = write(answers, line + at, used - at);
    if (n < 0 && errno != EINTR) _exit(3);
    if (n > 0) at += (size_t)n;
  }
  _exit(0);
}

static void on_crash(int number, siginfo_t *info, void *context) {
  (void)context;
  if (number == SIGSEGV || number == SIGBUS) {
    uint32_t which = buffer_around((uint64_t)(uintptr_t)info->si_addr);
    if (which != NONE) answer("memory", "touched what lies outside a buffer, or wrote into an input");
    answer("crashed", number == SIGBUS ? "bus error" : "segmentation fault");
  }
  answer("crashed", number == SIGILL ? "illegal instruction"
                    : number == SIGFPE ? "arithmetic error"
                    : number == SIGABRT ? "abort" : "trap");
}

static void on_limit(int number) {
  (void)number;
  answer("hung", "ran past its time limit");
}

// A candidate that ends the process by itself answers for it.
static void on_exit_called(void) { answer("crashed", "it ended the process"); }

// ---- Judging ----

static double number_at(const unsigned char *p, uint32_t type, uint64_t i) {
  uint32_t bits = 0;
  float x;
  if (type == 0) {
    memcpy(&bits, p + 4 * i, 4);
  } else {
    uint16_t half;
    memcpy(&half, p + 2 * i, 2);
    bits = (uint32_t)half << 16;
    if (type == 2) {
      // f16: a sign, five bits of exponent, ten of fraction.
      uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
      double size = exponent == 31 ? (fraction ? NAN : INFINITY)
                    : exponent == 0 ? ldexp(fraction, -24)
                                    : ldexp(1024 + fraction, (int)exponent - 25);
      return half >> 15 ? -size : size;
    }
  }
  memcpy(&x, &bits, 4);
  return x;
}

// Holds an output to the reference's numbers. False where it is beyond a bound.
static int judge(const Buffer *b) {
  uint32_t head[4];
  double bounds[2];
  memcpy(head, b->contents, sizeof head);
  memcpy(bounds, b->contents + 16, sizeof bounds);
  uint32_t type = head[0], width = head[1], rows = head[2], groups = head[3];
  const unsigned char *places = b->contents + 32, *numbers = places + 12 * (uint64_t)rows;
  double (*sums)[2] = calloc(groups + 1, sizeof *sums), *all = sums ? sums[groups] : NULL;
  if (!sums) answer("refused", "there is no memory to judge it in");
  int finite = 1;
  for (uint64_t r = 0; r < rows; r++) {
    uint64_t place;
    uint32_t group;
    memcpy(&place, places + 12 * r, 8);
    memcpy(&group, places + 12 * r + 8, 4);
    if ((place + 1) * width * (type == 0 ? 4 : 2) > b->size || group >= groups) {
      free(sums);
      answer("refused", "the cases file names a row that there is not");
    }
    for (uint64_t i = 0; i < width; i++) {
      double want, got = number_at(b->data, type, place * width + i);
      memcpy(&want, numbers + 8 * (r * width + i), 8);
      finite &= isfinite(got) != 0;
      sums[group][0] += (got - want) * (got - want);
      sums[group][1] += want * want;
    }
  }
  for (uint32_t g = 0; g < groups; g++) all[0] += sums[g][0], all[1] += sums[g][1];
  for (uint32_t g = 0; g <= groups; g++) {
    // A group that nearly cancels is measured by what its neighbours have.
    double size = g < groups && sums[g][1] * groups < all[1] ? all[1] / groups : sums[g][1];
    double error = sums[g][0] == 0 ? 0 : sqrt(sums[g][0] / size);
    double ratio = finite ? error / bounds[g < groups] : INFINITY;
    double *worst_yet = g < groups ? &worst : &whole;
    if (!(ratio <= *worst_yet)) *worst_yet = ratio;
  }
  free(sums);
  return whole <= 1 && worst <= 1;
}

static int is_output(const Buffer *b) { return b->kind == OUTPUT || b->kind == CHECKED; }

// Copies the outputs in a row into `copy`, or compares them with it.
static int equal_outputs(const Case *c, unsigned char *copy, int compares) {
  for (uint32_t i = 0; i < c->count; i++) {
    const Buffer *b = &c->buffers[i];
    if (!is_output(b)) continue;
    if (!compares) memcpy(copy, b->data, b->size);
    else if (memcmp(copy, b->data, b->size) != 0) return 0;
    copy += b->size;
  }
  return 1;
}

#include "device.h"

// ---- Calls ----

static void *symbol(void *library, const char *suffix) {
  char name[512];
  snprintf(name, sizeof name, "%s%s", asked.kernel, suffix);
  return dlsym(library, name);
}

// The case before the present one, its entry, and its outputs in a row, as its calls left them.
static Case before;
static Entry *entry_before;
static unsigned char *handed;

// Gives the present case what it takes of the case before. Whether it takes anything.
static int take_handed(void) {
  int takes = 0;
  for (uint32_t i = 0; i < now.count; i++) {
    Buffer *b = &now.buffers[i];
    if (b->kind != HANDED) continue;
    if (!handed || b->from >= before.count || !is_output(&before.buffers[b->from]) ||
        before.buffers[b->from].size != b->size)
      answer("refused", "the cases file hands over what there is not");
    b->contents = handed, b->length = b->size;
    for (uint32_t k = 0; k < b->from; k++)
      if (is_output(&before.buffers[k])) b->contents += before.buffers[k].size;
    takes = 1;
  }
  return takes;
}

// Learns the size of the workspace; `args` becomes the argument struct with the size in it.
ANY_ENTRY
static void ask_workspace(void *library, unsigned char *args) {
  for (uint32_t i = 0; i < now.count; i++) {
    Buffer *b = &now.buffers[i];
    if (b->kind != ASKED) continue;
    union {
      void *address;
      int64_t (*entry)(const void *);
    } size = {symbol(library, strcmp(now.name, "*_forward") == 0 ? "_workspace_size"
                                                                  : "_backward_workspace_size")};
    if (!size.address) answer("refused", "the library has no such workspace_size entry");
    int64_t bytes = size.entry(args);
    if (bytes < 0 || (uint64_t)bytes > MOST_BYTES)
      answer("refused", "its workspace has an impossible size");
    b->size = (uint64_t)bytes;
    memcpy(args + b->size_offset, &b->size, sizeof b->size);
  }
}

// The same on the card: with the tensors copied there before and back after.
ANY_ENTRY
static void call_on_card(EntryOn *entry, const char *(*message)(int32_t)) {
  static Twins twins;
  make_twins(&now, &twins);
  int32_t code = entry(twins.args, NULL);
  if (code != 0) answer("refused", message ? message(code) : "it returned a code that is not 0");
  need(card.wait(), "the kernel");
  download_twins(&now, &twins);
  free_twins(&now, &twins);
}

ANY_ENTRY
static void time_on_card(EntryOn *entry, unsigned char *first) {
  static Twins twins[COPIES];
  static Case turns[COPIES];
  void *start, *stop;
  need(card.event(&start, 0), "an event");
  need(card.event(&stop, 0), "an event");
  for (int i = 0; i < COPIES; i++) {
    turns[i] = now;
    if (!map_case(&turns[i], 0)) answer("refused", "there is no memory for the timed buffers");
    make_twins(&turns[i], &twins[i]);
    entry(twins[i].args, NULL);
  }
  need(card.wait(), "the kernel");
  uint64_t begin = nanoseconds();
  while (timed_calls < MOST_CALLS && (timed_calls < 3 ||
         nanoseconds() - begin < (uint64_t)asked.milliseconds * 1000000u)) {
    float milliseconds;
    // The call before keeps the card busy while this one is put on its way.
    int32_t code = entry(twins[(timed_calls + 1) % COPIES].args, NULL);
    need(card.record(start, NULL), "an event");
    code |= entry(twins[timed_calls % COPIES].args, NULL);
    need(card.record(stop, NULL), "an event");
    need(card.finished(stop), "the kernel");
    need(card.elapsed(&milliseconds, start, stop), "an event");
    times[timed_calls++] = (uint64_t)(milliseconds * 1e6 + 0.5);
    if (code != 0) answer("refused", "it returned a code that is not 0");
  }
  for (int i = 0; i < COPIES; i++) {
    download_twins(&turns[i], &twins[i]);
    if (!equal_outputs(&turns[i], first, 1))
      answer("wrong", "a timed call gave other bits than the judged one");
    free_twins(&turns[i], &twins[i]);
    unmap_case(&turns[i]);
  }
}

ANY_ENTRY
static void call_guarded(Entry *entry) {
  uint64_t mode = float_mode();
  int32_t code = entry(now.buffers[now.count].data);
  if (float_mode() != mode) answer("wrong", "it left another floating-point mode");
  if (code != 0) answer("refused", "it returned a code that is not 0");
  uint32_t flags = 0, which = NONE;
  check_canaries(&flags, &which);
  if (flags) answer("memory", flags & BEFORE ? "it wrote before a buffer" : "it wrote after a buffer");
}

// Times calls of the present case's entry, each after one of `first_entry` where that is not NULL.
ANY_ENTRY
static void time_calls(Entry *first_entry, Entry *entry, unsigned char *first) {
  static Case turns[COPIES][2];
  Entry *const entries[2] = {first_entry, entry};
  const int start = first_entry ? 0 : 1;
  for (int i = 0; i < COPIES; i++)
    for (int part = start; part < 2; part++) {
      turns[i][part] = part ? now : before;
      if (!map_case(&turns[i][part], 0)) answer("refused", "there is no memory for the timed buffers");
      entries[part](turns[i][part].buffers[turns[i][part].count].data);
    }
  uint64_t begin = nanoseconds();
  while (timed_calls < MOST_CALLS && (timed_calls < 3 ||
         nanoseconds() - begin < (uint64_t)asked.milliseconds * 1000000u)) {
    const Case *turn = turns[timed_calls % COPIES];
    int32_t code = 0;
    uint64_t since = nanoseconds();
    for (int part = start; part < 2; part++)
      code |= entries[part](turn[part].buffers[turn[part].count].data);
    times[timed_calls++] = nanoseconds() - since;
    if (code != 0) answer("refused", "it returned a code that is not 0");
  }
  for (int i = 0; i < COPIES; i++) {
    if (!equal_outputs(&turns[i][1], first, 1) ||
        (first_entry && !equal_outputs(&turns[i][0], handed, 1)))
      answer("wrong", "a timed call gave other bits than the judged one");
    for (int part = start; part < 2; part++) unmap_case(&turns[i][part]);
  }
}

static void run_case(void *library, int is_timed) {
  union {
    void *address;
    Entry *entry;
  } own = {symbol(library, now.name + 1)};
  union {
    void *address;
    EntryOn *entry;
  } own_on = {symbol(library, "_forward_on")};
  union {
    void *address;
    const char *(*entry)(int32_t);
  } message = {symbol(library, "_message")};
  if (now.name[0] != '*' || !own.address) answer("refused", "the library has no such entry");
  const int on_card = own_on.address != NULL;
  if (on_card && !card_is_open) {
    card_is_open = open_card();
    if (!card_is_open) answer("refused", card_name);
    snprintf(machine, sizeof machine, "%s", card_name);
  }
  unsigned char *args = malloc(now.args_size + 1);
  if (!args) answer("refused", "there is no memory for its arguments");
  memcpy(args, now.args, now.args_size);
  ask_workspace(library, args);
  now.args = args;
  const int follows = take_handed();
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < now.count; i++)
    if (is_output(&now.buffers[i])) bytes += now.buffers[i].size;
  unsigned char *first = malloc(bytes + 1);
  if (!first || !map_case(&now, 1)) answer("refused", "there is no memory for its buffers");
  if (on_card) call_on_card(own_on.entry, message.entry);
  else call_guarded(own.entry);
  for (uint32_t i = 0; i < now.count; i++)
    if (now.buffers[i].kind == CHECKED && !judge(&now.buffers[i]))
      answer("wrong", "its answer is beyond the bound");
  equal_outputs(&now, first, 0);
  for (uint32_t i = 0; i < now.count; i++)
    if (!is_input(&now.buffers[i])) fill(&now.buffers[i]);
  if (on_card) call_on_card(own_on.entry, message.entry);
  else call_guarded(own.entry);
  if (!equal_outputs(&now, first, 1)) answer("wrong", "a second call gave other bits");
  unmap_case(&now);
  if (is_timed && on_card) time_on_card(own_on.entry, first);
  else if (is_timed) time_calls(follows ? entry_before : NULL, own.entry, first);
  // What the next case may take, until it has run.
  free(handed);
  free((void *)before.args);
  handed = first, before = now, entry_before = own.entry;
}

// ---- The command ----

// The processor, from the kernel's list: x86's model, family and model number, or Arm's implementer
// and part. Sluice reads the same lines of its own machine.
static void learn_machine(void) {
  static const char *const names[] = {"model name", "cpu family", "model", "CPU implementer", "CPU part"};
  char row[512], found[5][128] = {{0}}, host[400];
  FILE *list = fopen("/proc/cpuinfo", "r");
  while (list && fgets(row, sizeof row, list) && row[0] != '\n') {
    char *colon = strchr(row, ':');
    if (!colon) continue;
    char *end = colon;
    while (end > row && (end[-1] == ' ' || end[-1] == '\t')) end--;
    char *value = colon + 1 + (colon[1] == ' ');
    value[strcspn(value, "\n")] = 0;
    for (int i = 0; i < 5; i++)
      if (strlen(names[i]) == (size_t)(end - row) && strncmp(row, names[i], (size_t)(end - row)) == 0)
        snprintf(found[i], sizeof *found, "%.127s", value);
  }
  if (list) fclose(list);
  if (found[1][0])
    snprintf(host, sizeof host, "%s, family %s, model %s", found[0], found[1], found[2]);
  else if (found[3][0])
    snprintf(host, sizeof host, "implementer %s, part %s", found[3], found[4]);
  else
    snprintf(host, sizeof host, "an unknown processor");
  snprintf(machine, sizeof machine, "%.80s%s%s", asked.under ? asked.under : "",
           asked.under ? " on " : "", host);
}

static long number(const char *name, const char *text, long least) {
  char *rest = NULL;
  long n = text ? strtol(text, &rest, 10) : 0;
  if (!text || rest == text || *rest || n < least || n > 100000000) {
    fprintf(stderr, "measure: %s needs a whole number from %ld.\n", name, least);
    exit(2);
  }
  return n;
}

static void digest(const char *path, char text[65]) {
  static unsigned char piece[1 << 16];
  Sha256 hash;
  sha256_begin(&hash);
  FILE *file = fopen(path, "rb");
  size_t n = 0;
  while (file && (n = fread(piece, 1, sizeof piece, file)) > 0) sha256_add(&hash, piece, n);
  if (file) fclose(file);
  sha256_end(&hash, text);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--machine") == 0) {
    learn_machine();
    return puts(machine) < 0;
  }
  for (int i = 3; i < argc; i += 2) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(name, "--kernel") == 0) asked.kernel = value;
    else if (strcmp(name, "--search") == 0) asked.search = value;
    else if (strcmp(name, "--under") == 0) asked.under = value;
    else if (strcmp(name, "--died") == 0) asked.died = number(name, value, 0);
    else if (strcmp(name, "--timed") == 0) asked.timed = number(name, value, 0);
    else if (strcmp(name, "--time") == 0) asked.milliseconds = number(name, value, 0);
    else if (strcmp(name, "--limit") == 0) asked.limit = number(name, value, 1);
    else if (strcmp(name, "--round") == 0) asked.round = number(name, value, 0);
    else argc = 0;
  }
  if (argc < 3 || !asked.kernel) {
    fputs("usage: measure LIBRARY CASES --kernel NAME [--timed K] [--time MS] [--limit S] "
          "[--round N]\n               [--search ID] [--under TEXT] [--died CODE]\n       measure --machine\n",
          stderr);
    return 2;
  }
  learn_machine();
  page = (size_t)sysconf(_SC_PAGESIZE);
  Reader reader = open_cases(argv[2]);
  uint32_t count = check_cases(&reader);
  if (asked.search) digest(argv[1], digests[0]), digest(argv[2], digests[1]);

  // What the candidate prints is no answer.
  answers = dup(STDOUT_FILENO);
  if (answers < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 2;
  if (asked.died >= 0) {
    char how[64];
    snprintf(how, sizeof how, "its process ended with %ld and no answer", asked.died);
    answer("crashed", how);
  }
  catch_crashes(on_crash);
  signal(SIGALRM, on_limit);
  alarm((unsigned)asked.limit);
  atexit(on_exit_called);
  char path[4096];
  snprintf(path, sizeof path, "%s%s", strchr(argv[1], '/') ? "" : "./", argv[1]);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) answer("refused", dlerror());
  for (uint32_t i = 0; i < count; i++) {
    take_case(&reader, &now);
    run_case(library, asked.timed == (long)i);
  }
  answer("ok", "");
}
