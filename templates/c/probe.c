// What the machine can do, for floors: multiplications with addition in f32, and
// copies that no cache holds. It follows a vocabulary and common.h.
//
//   probe THREADS      prints {"flops": F, "bytes": B}, both a second
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// Enough chains that no multiplication waits for another.
enum { chains = 12, steps = 400000, turns = 12 };

static float multiply(void) {
  sl_f32 x[chains];
  for (int i = 0; i < chains; ++i) x[i] = sl_set((float)i);
  const sl_f32 a = sl_set(0.999f), b = sl_set(0.001f);
  for (int step = 0; step < steps; ++step) {
    for (int i = 0; i < chains; ++i) x[i] = sl_fma(x[i], a, b);
    // The chains must not be seen through.
    __asm__ volatile("" ::: "memory");
  }
  float sum = 0;
  for (int i = 0; i < chains; ++i) sum += sl_sum(x[i]);
  return sum;
}

int main(int count, char **words) {
  const int threads = count > 1 ? atoi(words[1]) : 1;
  if (threads < 1) return 2;
  const size_t size = (size_t)64 << 20;
  char *from = malloc(size), *to = malloc(size);
  if (!from || !to) return 3;
  memset(from, 1, size);
  memset(to, 2, size);
  double least_multiply = 1e9, least_copy = 1e9;
  float sum = 0;
  for (int turn = 0; turn < turns; ++turn) {
    double start = seconds();
#ifdef _OPENMP
#pragma omp parallel num_threads(threads) reduction(+ : sum)
#endif
    sum += multiply();
    double time = seconds() - start;
    if (time < least_multiply) least_multiply = time;
    start = seconds();
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads)
#endif
    for (int part = 0; part < threads; ++part) {
      const size_t piece = size / (size_t)threads;
      memcpy(to + (size_t)part * piece, from + (size_t)part * piece, piece);
    }
    time = seconds() - start;
    if (time < least_copy) least_copy = time;
  }
  const double flops = 2.0 * SL_LANES * chains * (double)steps * threads;
  printf("{\"flops\": %.4g, \"bytes\": %.4g}\n", flops / least_multiply, 2.0 * (double)size / least_copy);
  return sum == 1.0f && to[0] == 3;
}
