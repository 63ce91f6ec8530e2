// Multiply-adds per second of this processor's registers and of the kernels of step.c on data in the first cache, on one thread.
#include "../basecaller/native/step.c"

#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
enum { TURNS = 20000, K = 96 };
static float a[ROWS * K + 64], b[K * 2 * VL + 64], out[ROWS * 2 * VL + 64];

// What registers alone could do: as many independent multiply-adds as a product keeps, and no loads.
EXPORT double peak(void) {
  vec c[ROWS][2], x = splat(1.0000001f), y = splat(1e-9f);
  UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++) c[i][h] = splat((float)(2 * i + h));
  double started = now();
  for (int t = 0; t < TURNS * K; t++) {
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++) c[i][h] = c[i][h] * x + y;
  }
  double seconds = now() - started;
  UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++) ST(out + (i * 2 + h) * VL, c[i][h]);
  return (double)TURNS * K * ROWS * 2 * VL / seconds;
}
#define RATE(name, begin, product, finish, cell, e)                                                              \
  EXPORT double name(void) {                                                                                     \
    double started = now();                                                                                      \
    for (int t = 0; t < TURNS; t++) {                                                                            \
      vec c[ROWS][2];                                                                                            \
      UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++) c[i][h] = LD(out + (i * 2 + h) * VL); \
      begin(c);                                                                                                  \
      product(c, (cell *)a, K / e, K / e, (cell *)b);                                                            \
      finish(c);                                                                                                 \
      UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++) ST(out + (i * 2 + h) * VL, c[i][h]); \
    }                                                                                                            \
    return (double)TURNS * K * ROWS * 2 * VL / (now() - started);                                                \
  }
RATE(rate, begin, product, finish, float, 1)
#if HALF_WIDTH
RATE(half, begin16, product16, finish16, uint32_t, 2)
EXPORT double rate_half(void) {
  if (!half_width()) return 0;
  tiles_on();
  double rate = half();
  tiles_off();
  return rate;
}
#else
EXPORT double rate_half(void) { return 0; }
#endif
