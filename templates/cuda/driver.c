// CUDA's driver, reached by dlopen when it is first needed: building needs no toolkit, and running
// needs nothing but the driver. What is kept between calls is the driver's addresses and the
// loaded kernels, both found once.

enum {
  no_driver = 16,     // there is no libcuda.so.1, or no card
  old_driver = 17,    // it is older than what the kernel was made with
  foreign_card = 18,  // the card is older than the kernel, or of another kind
  no_context = 19,    // the calling thread has no current CUDA context
  out_of_memory = 20,
  driver_failed = 21,  // any other failure of a call of the driver
};

typedef void *handle;

static struct {
  int (*initialize)(unsigned);
  int (*version)(int *);
  int (*current_device)(int *);
  int (*attribute)(int *, int, int);
  int (*load)(handle *, const void *, int *, void **, unsigned, int *, void **, unsigned);
  int (*kernel)(handle *, handle, const char *);
  int (*set_attribute)(int, int, handle, int);
  int (*launch)(
      handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **,
      void **);
  int (*encode)(
      void *, int, unsigned, void *, const uint64_t *, const uint64_t *, const unsigned *,
      const unsigned *, int, int, int, int);
} driver;

// What the last failed call of this thread found; kernel_message prints it.
static _Thread_local struct {
  int found, code;
} problem_seen;

static pthread_once_t driver_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t kernels_lock = PTHREAD_MUTEX_INITIALIZER;
static int32_t driver_problem;
static int driver_found, driver_code;
enum { kernel_count = sizeof kernel_names / sizeof *kernel_names };
static const struct {
  const void *code;
  int card;  // what machine code is for; 0: PTX, which the driver compiles for any card
} images[] = {{image, 0}, MACHINE_CODES};
enum { image_count = sizeof images / sizeof *images };
// By image: a machine may have cards of several kinds.
static _Atomic int kernels_loaded[image_count];
static handle kernels[image_count][kernel_count];
static _Thread_local int image_used;  // by the card that prepare() last saw
static _Atomic uint64_t prepared_devices;
static _Thread_local int64_t processors;  // of the card that prepare() last saw

// An entry of the driver, and where its address is kept.
typedef struct {
  const char *name;
  void *place;
} driver_entry;

// Finds so many entries. Whether one is missing.
static int find_entries(void *library, const driver_entry *wanted, size_t count) {
  int missing = 0;
  for (size_t i = 0; i < count; ++i) {
    void *address = dlsym(library, wanted[i].name);
    missing |= !address;
    memcpy(wanted[i].place, &address, sizeof address);
  }
  return missing;
}

static void find_driver(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  driver_problem = no_driver;
  if (!library) return;
  const driver_entry wanted[] = {
      {"cuInit", &driver.initialize},          {"cuDriverGetVersion", &driver.version},
      {"cuCtxGetDevice", &driver.current_device}, {"cuDeviceGetAttribute", &driver.attribute},
      {"cuLibraryLoadData", &driver.load},     {"cuLibraryGetKernel", &driver.kernel},
      {"cuKernelSetAttribute", &driver.set_attribute}, {"cuLaunchKernel", &driver.launch},
      {"cuTensorMapEncodeTiled", &driver.encode},
  };
  const int missing = find_entries(library, wanted, sizeof wanted / sizeof *wanted);
  if (!driver.initialize || !driver.version || driver.version(&driver_found)) return;
  driver_problem = old_driver;
  if (missing || driver_found < driver_needed) return;
  driver_code = driver.initialize(0);
  driver_problem = driver_code ? no_driver : 0;
}

// What a call of the driver answered, as a code of ours; 2 is its word for no memory.
static int32_t failure(int code) {
  problem_seen.code = code;
  return code == 2 ? out_of_memory : code ? driver_failed : 0;
}

// Loads the image used. Machine code must be for the card: the driver looks at it only when a kernel is
// asked for. PTX it compiles here, and keeps what it compiled. A call that fails, as on a full card, leaves
// the next one to try again. 0, or what is wrong.
static int32_t load_kernels(void) {
  static handle libraries[image_count];
  handle *const library = &libraries[image_used], *const own = kernels[image_used];
  if (kernels_loaded[image_used]) return 0;
  int code = 0;
  pthread_mutex_lock(&kernels_lock);
  if (!*library) {
    code = driver.load(library, images[image_used].code, NULL, NULL, 0, NULL, NULL, 0);
    if (code) *library = NULL;
  }
  for (size_t i = 0; !code && i < kernel_count; ++i)
    code = driver.kernel(&own[i], *library, kernel_names[i]);
  kernels_loaded[image_used] = !code;
  pthread_mutex_unlock(&kernels_lock);
  return failure(code);
}

// Makes the kernels ready on the current context's device. 0, or what is wrong.
static int32_t prepare(void) {
  pthread_once(&driver_once, find_driver);
  problem_seen.found = driver_found;
  problem_seen.code = driver_code;
  if (driver_problem) return driver_problem;
  int device, major, minor;
  if (driver.current_device(&device)) return no_context;
  int code = driver.attribute(&major, 75, device), count = 0;
  if (!code) code = driver.attribute(&minor, 76, device);
  if (!code) code = driver.attribute(&count, 16, device);
  processors = count;
  problem_seen.code = code;
  if (code) return driver_failed;
  problem_seen.found = 10 * major + minor;
  if (10 * major + minor < card_needed || (card_is_exact && 10 * major + minor != card_needed))
    return foreign_card;
  // Machine code runs on cards of its own major number, from its minor one on.
  static _Atomic int is_refused;  // by a driver that does not know this machine code
  image_used = 0;
  for (int i = 1; i < image_count && !is_refused; ++i)
    if (major == images[i].card / 10 && minor >= images[i].card % 10) image_used = i;
  int32_t problem = load_kernels();
  if (problem == driver_failed && image_used) {
    is_refused = 1;
    image_used = 0;
    problem = load_kernels();
  }
  if (problem) return problem;
  const uint64_t own = device < 64 ? (uint64_t)1 << device : 0;
  if (own & prepared_devices) return 0;
  // 8: the most shared memory that a launch may ask for.
  for (size_t i = 0; i < kernel_count; ++i) {
    code = driver.set_attribute(8, kernel_memory[i], kernels[image_used][i], device);
    if (code) return failure(code);
  }
  prepared_devices |= own;
  return 0;
}

// A sentence about a code, for the thread that got it.
static const char *describe(int32_t code) {
  static _Thread_local char text[200];
  const int found = problem_seen.found;
  switch (code) {
    case 0: return "Nothing is wrong.";
    case 1: return "The caller knows another version of the argument struct.";
    case 2: return "A pointer is missing.";
    case 3: return "A size is wrong, or too large.";
    case 4: return "cu_seqlens goes with one batch row and at least one sequence.";
    case 5: return "The workspace is too small.";
    case 6: return "A pointer is misaligned.";
    case 7: return "The layout is unknown, or the number of threads negative.";
    case no_driver:
      snprintf(text, sizeof text, "There is no CUDA driver (libcuda.so.1), or no card (code %d).",
               problem_seen.code);
      break;
    case old_driver:
      snprintf(text, sizeof text, "The driver is of CUDA %d.%d, and this kernel needs %d.%d.",
               found / 1000, found % 1000 / 10, driver_needed / 1000, driver_needed % 1000 / 10);
      break;
    case foreign_card:
      snprintf(text, sizeof text,
               "The card has compute capability %d.%d, and this kernel needs %d.%d%s.", found / 10,
               found % 10, card_needed / 10, card_needed % 10,
               card_is_exact ? " exactly" : " or more");
      break;
    case no_context: return "No CUDA context is current in the calling thread.";
    case out_of_memory: return "The card is out of memory.";
    default:
      snprintf(text, sizeof text, "A call of the CUDA driver failed with code %d.",
               problem_seen.code);
  }
  return text;
}
