// For measure.c: candidates whose tensors lie on a CUDA card. Each buffer of a case has a twin there
// with a pattern before and after it; a call copies nothing but what it is timed without.

#define GUARD 4096u  // bytes of pattern on each side of a twin

typedef uint64_t Address;
typedef int32_t EntryOn(const void *, void *stream);

static struct {
  int (*init)(unsigned), (*device)(int *, int), (*name)(char *, int, int);
  int (*context)(void **, int), (*current)(void *), (*version)(int *);
  int (*allocate)(Address *, size_t), (*release)(Address), (*wait)(void);
  int (*upload)(Address, const void *, size_t), (*download)(void *, Address, size_t);
  int (*event)(void **, unsigned), (*record)(void *, void *), (*finished)(void *);
  int (*elapsed)(float *, void *, void *);
} card;

static int card_is_open;
static char card_name[200];   // the card and its driver, or why there is none

// Finds the driver and makes the first card current. False, and why in card_name, where it cannot.
static int open_card(void) {
  static const struct {
    const char *name;
    void *place;
  } wanted[] = {
      {"cuInit", &card.init},          {"cuDeviceGet", &card.device},
      {"cuDeviceGetName", &card.name}, {"cuDevicePrimaryCtxRetain", &card.context},
      {"cuCtxSetCurrent", &card.current}, {"cuDriverGetVersion", &card.version},
      {"cuMemAlloc_v2", &card.allocate}, {"cuMemFree_v2", &card.release},
      {"cuCtxSynchronize", &card.wait}, {"cuMemcpyHtoD_v2", &card.upload},
      {"cuMemcpyDtoH_v2", &card.download}, {"cuEventCreate", &card.event},
      {"cuEventRecord", &card.record}, {"cuEventSynchronize", &card.finished},
      {"cuEventElapsedTime", &card.elapsed},
  };
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *context;
  snprintf(card_name, sizeof card_name, "there is no CUDA driver (libcuda.so.1)");
  if (!library) return 0;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *address = dlsym(library, wanted[i].name);
    if (!address) return 0;
    memcpy(wanted[i].place, &address, sizeof address);
  }
  int device, version;
  char title[120];
  snprintf(card_name, sizeof card_name, "the CUDA driver finds no card");
  if (card.init(0) || card.device(&device, 0) || card.name(title, sizeof title, device) ||
      card.version(&version) || card.context(&context, device) || card.current(context))
    return 0;
  snprintf(card_name, sizeof card_name, "%s, CUDA %d.%d", title, version / 1000, version % 1000 / 10);
  return 1;
}

static void need(int code, const char *what) {
  static char text[100];
  if (code == 0) return;
  snprintf(text, sizeof text, "%s failed on the card with code %d", what, code);
  answer(code == 2 ? "refused" : "crashed", text);
}

// Twins of a case's buffers, and the argument struct with their addresses in it.
typedef struct {
  Address places[MOST_BUFFERS];
  unsigned char *args;
} Twins;

static size_t room(const Buffer *b) { return (size_t)b->size + 2 * GUARD; }

// Copies what the processor's buffers hold now, with the pattern around it.
static void upload_twins(const Case *c, const Twins *twins) {
  for (uint32_t i = 0; i < c->count; i++) {
    const Buffer *b = &c->buffers[i];
    unsigned char *all = malloc(room(b));
    if (!all) answer("refused", "there is no memory to fill its buffers from");
    memset(all, 0xd3, GUARD);
    memcpy(all + GUARD, b->data, b->size);
    memset(all + GUARD + b->size, 0xd3, GUARD);
    need(card.upload(twins->places[i], all, room(b)), "a copy to it");
    free(all);
  }
}

static void make_twins(const Case *c, Twins *twins) {
  twins->args = malloc(c->args_size + 1);
  if (!twins->args) answer("refused", "there is no memory for its arguments");
  memcpy(twins->args, c->buffers[c->count].data, c->args_size);
  for (uint32_t i = 0; i < c->count; i++) {
    need(card.allocate(&twins->places[i], room(&c->buffers[i])), "an allocation");
    const Address place = twins->places[i] + GUARD;
    if (c->buffers[i].offset != NONE)
      memcpy(twins->args + c->buffers[i].offset, &place, sizeof place);
  }
  upload_twins(c, twins);
}

// Copies outputs back, and holds patterns and inputs to what they were.
static void download_twins(const Case *c, const Twins *twins) {
  for (uint32_t i = 0; i < c->count; i++) {
    Buffer *b = (Buffer *)&c->buffers[i];
    unsigned char *all = malloc(room(b));
    if (!all) answer("refused", "there is no memory for its answers");
    need(card.download(all, twins->places[i], room(b)), "a copy from it");
    for (size_t n = 0; n < GUARD; n++) {
      if (all[n] != 0xd3) answer("memory", "it wrote before a buffer on the card");
      if (all[GUARD + b->size + n] != 0xd3) answer("memory", "it wrote after a buffer on the card");
    }
    if (!is_input(b)) memcpy(b->data, all + GUARD, b->size);
    else if (memcmp(b->data, all + GUARD, b->size) != 0)
      answer("memory", "it wrote into an input on the card");
    free(all);
  }
}

static void free_twins(const Case *c, Twins *twins) {
  for (uint32_t i = 0; i < c->count; i++) card.release(twins->places[i]);
  free(twins->args);
}
