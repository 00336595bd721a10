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
#include <stdlib.h>
#include <string.h>

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
  const int loaded = answer("DRIVER_LOAD", 0);
  return loaded || major_of(code) ? loaded : answer("DRIVER_COMPILE", 0);
}

int cuLibraryGetKernel(void **kernel, void *library, const char *name) {
  (void)name;
  *kernel = library;
  return 0;
}

int cuKernelSetAttribute(int which, int value, void *kernel, int device) {
  (void)which, (void)value, (void)device;
  if (major_of(kernel) && major_of(kernel) != answer("DRIVER_CARD", 90) / 10) return 209;
  return answer("DRIVER_ATTRIBUTE", 0);
}

int cuLaunchKernel(
    void *kernel, unsigned x, unsigned y, unsigned z, unsigned a, unsigned b, unsigned c,
    unsigned memory, void *stream, void **given, void **extra) {
  (void)kernel, (void)x, (void)y, (void)z, (void)a, (void)b, (void)c;
  (void)memory, (void)stream, (void)given, (void)extra;
  return answer("DRIVER_LAUNCH", 0);
}

int cuTensorMapEncodeTiled(
    void *map, int type, unsigned rank, void *data, const void *sizes, const void *strides,
    const void *box, const void *steps, int interleave, int swizzle, int promotion, int fill) {
  (void)map, (void)type, (void)rank, (void)data, (void)sizes, (void)strides, (void)box, (void)steps;
  return (void)interleave, (void)swizzle, (void)promotion, (void)fill, 0;
}
