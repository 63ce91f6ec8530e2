// Loss and gradients of RawCTCNet with CTC, or only its scores, in one call on one thread. The reference is
// networks/rawctcnet.py and networks/tower.py; tests compare the two.
//
// Activations are rows, [frame][channel]. The reads of a batch follow one another, separated by GAP rows. These are zero wherever a dilated
// tap may read them, so there are no masks and no padding, and taps are read in place. All sizes are arguments: one build serves every network.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// ---- vectors, as wide as the processor's: compilers split wider ones badly.
// A product keeps ROWS x 2 sums in registers: 24 of 32, or 12 of 16; 16 of 32 on ARM. A weight's gradient keeps OUTER x 2.
#if defined(__AVX512F__)
#include <immintrin.h>
enum { VL = 16, ROWS = 12, OUTER = 8 };
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { VL = 8, ROWS = 6, OUTER = 6 };
enum { WIDE = 192 };  // columns from which `outer` packs its strips: in narrower networks it is no faster
#define SCARCE  // few registers: block.h makes compilers keep the sums in them
#elif defined(__aarch64__)
enum { VL = 4, ROWS = 8, OUTER = 4 };  // with more sums GCC keeps some in memory
#else
#error "needs AVX-512, AVX2 with FMA, or NEON"
#endif
#if defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#define AMX  // bfloat16 products in tile registers are many times faster than in vectors
#endif
enum { GAP = 12, CHUNK = 192, LANES = 16, PAD = 16, SPARE = 20 };  // LANES: a row of scores, more than any alphabet; PAD: around CTC's states;
// SPARE: rows that a read's cells along time may need beyond its frames and its gap
#if defined(AMX)
// A tile register holds 16 rows of 16 cells (see block.h). `product` keeps its sums in tiles 0 and 1, and its rows in 2; `outer` keeps its sums
// in 3 and 4, and its rows in 5. Both use 6 and 7 for the panel.
enum { DEEP = 16 };
static const struct {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} TILE_SHAPES = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {ROWS, ROWS, ROWS, DEEP, DEEP, DEEP, DEEP, DEEP}};
static void tiles_on(void) { _tile_loadconfig(&TILE_SHAPES); }
static void tiles_off(void) { _tile_release(); }
#else
static void tiles_on(void) {}
static void tiles_off(void) {}
#endif
typedef float vec __attribute__((vector_size(4 * VL)));
typedef float vec_at __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * VL)));
#define AI static inline __attribute__((always_inline))
#if !defined(UNROLL)  // builds for sanitizers define it as nothing
#define UNROLL _Pragma("GCC unroll 16")
#endif
// Keeps a vector in a register: GCC would load it again for each multiply-add, and AVX2 processors do only two loads per cycle.
#if defined(__x86_64__)
#define KEEP(v) __asm__("" : "+v"(v))
#else
#define KEEP(v) __asm__("" : "+w"(v))
#endif
#define EXPORT __attribute__((visibility("default")))

AI vec LD(const float *p) { return *(const vec_at *)p; }
AI void ST(float *p, vec v) { *(vec_at *)p = v; }
AI vec splat(float x) { return x - (vec){}; }
AI vec choose(bits mask, vec a, vec b) { return (vec)(((bits)a & mask) | ((bits)b & ~mask)); }
#if defined(__AVX512F__)  // one instruction each; min(high, max(low, x)) keeps NaN
AI vec vmax(vec a, vec b) { return _mm512_max_ps(a, b); }
AI vec vmin(vec a, vec b) { return _mm512_min_ps(a, b); }
#elif defined(__AVX2__)
AI vec vmax(vec a, vec b) { return _mm256_max_ps(a, b); }
AI vec vmin(vec a, vec b) { return _mm256_min_ps(a, b); }
#else
AI vec vmax(vec a, vec b) { return choose((bits)(a > b), a, b); }
AI vec vmin(vec a, vec b) { return choose((bits)(a < b), a, b); }
#endif
AI float total(vec v) {
  float s[VL];
  memcpy(s, &v, sizeof s);
  for (int w = VL / 2; w; w /= 2)
    for (int i = 0; i < w; i++) s[i] += s[i + w];
  return s[0];
}
// e^x for x in [-87, 88], clamped, about 1 ulp
AI vec vexp(vec x) {
  x = vmin(splat(88.f), vmax(splat(-87.f), x));
  vec n = x * 1.44269504f + 12582912.f;
  bits exponent = (bits)n << 23;
  n -= 12582912.f;
  vec r = x - n * 0.693145752f - n * 1.42860677e-6f;
  vec p = r * 1.3981999507e-3f + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.f;
  return (vec)((bits)p + exponent);
}
// For 2^x: splits x into a whole number and a fraction f in [-0.5, 0.5]. Clamps x to [-60, 60]; tanh and sigmoid are saturated beyond.
AI vec split_60(vec x, vec *f) {
  x = vmin(splat(60.f), vmax(splat(-60.f), x));
  vec n = x + 12582912.f;  // 1.5 * 2^23: rounds, and leaves the number in the low bits
  *f = x - (n - 12582912.f);
  return n;
}
AI vec scale(vec p, vec n) { return (vec)((bits)p + ((bits)n << 23)); }

// ---- sizes, weights, workspace
typedef struct {  // filled by basecaller/native/step.py
  int32_t channels, skips, kernel, blocks, labels, stride, norm, projection, half;
  const int32_t *dilations;
} Size;
typedef struct {
  int32_t reads;
  int64_t samples;                 // in a row of signal: [reads][samples], zero after a read's end
  const float *signal;
  const int64_t *frames, *scored;  // of each read: frames that the network sees, and frames that CTC scores
  const int64_t *targets, *target_lengths;  // NULL: no loss
} Batch;
typedef struct {  // weights of one residual block, in the shapes of networks/tower.py, or their gradients
  float *gate, *gate_bias, *residual, *residual_bias, *projection, *norm, *norm_bias, *skip, *mean, *variance;
} Block;
typedef struct {
  float *stem, *stem_bias, *mix, *mix_bias, *skip, *skip_bias, *head, *head_bias, *scores, *scores_bias;
  Block tower;  // of block 0
} Weights;
typedef struct {
  int reads;
  size_t rows;
  const int *start, *frames;
} Rows;
typedef struct {  // buffers of a pass, in one piece of memory
  int *start, *frames;
  float *signal, *first, *x, *pre, *halves, *mean, *scale, *skip, *head, *scores, *g_scores, *g_head, *g_skip, *g[2], *unit, *both;
  float *stem_in, *mix_in, *head_in, *scores_in, *mix_out, *head_out, *scores_out, *narrow;  // panels; gradients of narrow weights
  float *gate, *residual, *projection, *skips, *unit_tile, *ctc;
  float *cells_w, *cells_x, *cells_both, *cells_skip, *across_unit, *across_both, *across_x, *across_odd, *across_g, *across_skip;
  int padded;  // channels of whole panels
  size_t floats;
} Work;

static int stem_width(const Size *z) { return z->stride == 1 ? 1 : 2 * z->stride + 1; }
static int whole(int columns) { return (columns + 2 * VL - 1) / (2 * VL) * 2 * VL; }
// Parameters lie in one piece of memory in the order of RawCTCNet.named_parameters().
static Weights weights_of(const Size *z, float *p, float *mean, float *variance) {
  size_t c = z->channels, s = z->skips, n = z->blocks;
  Weights w;
#define TAKE(name, count) w.name = p, p += (count)
#define MAYBE(name, there, count) w.name = (there) ? p : NULL, p += (there) ? (count) : 0
  TAKE(stem, c * stem_width(z)); TAKE(stem_bias, c); TAKE(mix, c * c); TAKE(mix_bias, c);
  TAKE(tower.gate, n * 2 * c * z->kernel * c); TAKE(tower.gate_bias, n * 2 * c);
  TAKE(tower.residual, (n - 1) * c * c); TAKE(tower.residual_bias, (n - 1) * c);
  MAYBE(tower.projection, z->projection, (n - 1) * c * c); MAYBE(tower.norm, z->norm, n * c); MAYBE(tower.norm_bias, z->norm, n * c);
  TAKE(skip, s * n * c); TAKE(skip_bias, s); TAKE(head, s * s); TAKE(head_bias, s);
  TAKE(scores, z->labels * s); TAKE(scores_bias, z->labels);
  w.tower.mean = mean, w.tower.variance = variance;
  return w;
}
static Block block_of(const Size *z, const Weights *w, int i) {
  size_t c = z->channels, at = i * c;
  Block b = w->tower;
  b.gate += at * 2 * z->kernel * c, b.gate_bias += at * 2, b.residual += at * c, b.residual_bias += at, b.skip = w->skip + at;
  if (b.projection) b.projection += at * c;
  if (b.norm) b.norm += at, b.norm_bias += at;
  if (b.mean) b.mean += at, b.variance += at;
  return b;
}
static size_t ctc_floats(size_t frames, size_t labels) {
  size_t width = (labels + 1 + LANES - 1) / LANES * LANES + 2 * PAD;
  return frames * (2 * width + LANES + 1) + 4 * width + LANES * width + 64;
}
// Lays out the workspace of a pass over so many rows from `base` on; `floats` is its size. `back`: gradients too.
static Work layout(const Size *z, int reads, size_t rows, int64_t longest_frames, int64_t longest_target, int back, float *base) {
  size_t c = z->channels, s = z->skips, n = back ? z->blocks : 2, wc = whole(z->channels), ws = whole(z->skips), used = 0, cells = z->half ? rows + 16 : 0;
  Work w;
#define ROOM(name, count) w.name = base + used, used += ((count) + 64 + 15) / 16 * 16
  w.start = (int *)base, used += (reads + 15) / 16 * 16, w.frames = (int *)(base + used), used += (reads + 15) / 16 * 16;
  ROOM(signal, rows * z->stride + 2 * (size_t)stem_width(z)); ROOM(first, rows * c); ROOM(x, n * rows * c);
  w.pre = w.x;
  if (z->norm) { ROOM(pre, n * rows * c); }
  ROOM(halves, back ? n * rows * 2 * c : 0); ROOM(mean, z->blocks * c); ROOM(scale, z->blocks * c);
  ROOM(skip, rows * s); ROOM(head, rows * s); ROOM(scores, rows * LANES); ROOM(g_scores, rows * LANES);
  ROOM(g_head, back ? rows * s : 0); ROOM(g_skip, back ? rows * s : 0); ROOM(g[0], back ? rows * c : 0); ROOM(g[1], back ? rows * c : 0);
  ROOM(unit, back ? rows * c : 0); ROOM(both, back ? rows * 2 * c : 0);
  ROOM(stem_in, stem_width(z) * wc); ROOM(mix_in, c * wc); ROOM(head_in, s * ws); ROOM(scores_in, s * whole(LANES));
  ROOM(mix_out, c * wc); ROOM(head_out, s * ws); ROOM(scores_out, LANES * ws); ROOM(narrow, (LANES + stem_width(z) + OUTER) * (c > s ? c : s));
  ROOM(gate, 2 * z->kernel * c * wc); ROOM(residual, c * wc); ROOM(projection, c * wc); ROOM(skips, (c > s ? c : s) * (wc > ws ? wc : ws));
  ROOM(unit_tile, ROWS * c); ROOM(ctc, ctc_floats(longest_frames, longest_target));
  ROOM(cells_w, cells ? 2 * c * z->kernel * c + s * c : 0); ROOM(cells_x, cells * c); ROOM(cells_both, cells * 2 * c); ROOM(cells_skip, cells * s);
  ROOM(across_unit, cells * c); ROOM(across_both, cells * 2 * c); ROOM(across_x, cells * c); ROOM(across_odd, cells * c);
  ROOM(across_g, cells * c); ROOM(across_skip, (cells + (size_t)reads * SPARE) * s);
  w.padded = wc, w.floats = used;
  return w;
}

// Tiles of ROWS frames of all reads. A read's last tile may reach into the gap, which is zeroed again where it matters.
#define TILES(r, q, t)                  \
  for (int q = 0; q < (r)->reads; q++) \
    for (int t = 0; t < (r)->frames[q]; t += ROWS)
static void zero_gaps(const Rows *r, float *x, int width) {
  memset(x, 0, (size_t)GAP * width * 4);
  for (int q = 0; q < r->reads; q++) {
    size_t end = r->start[q] + r->frames[q], next = q + 1 < r->reads ? (size_t)r->start[q + 1] : r->rows;
    memset(x + end * width, 0, (next - end) * width * 4);
  }
}
// out[columns] += the sum of n rows
static void sum_rows(int columns, int n, const float *x, float *out) {
  for (int j = 0; j < columns; j += VL) {
    vec a = {}, b = {}, c = {}, d = {};
    const float *at = x + j;
    int t = 0;
    for (; t + 4 <= n; t += 4, at += 4 * (size_t)columns) a += LD(at), b += LD(at + columns), c += LD(at + 2 * (size_t)columns), d += LD(at + 3 * (size_t)columns);
    for (; t < n; t++, at += columns) a += LD(at);
    ST(out + j, LD(out + j) + ((a + b) + (c + d)));
  }
}
// to[n][VL], rows `apart` numbers apart = from[VL][n] transposed, in squares by log2(VL) perfect shuffles
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (bits){__VA_ARGS__})
#endif
#if defined(__AVX512F__)
#define LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif defined(__AVX2__)
#define LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define LOW(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define HIGH(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#endif
static void transpose(int n, const float *from, int ld, float *to, int apart) {
  int j = 0;
  for (; j + VL <= n; j += VL) {
    vec a[2][VL];
    UNROLL for (int i = 0; i < VL; i++) a[0][i] = LD(from + (size_t)i * ld + j);
    UNROLL for (int stage = 0, width = 1; width < VL; width *= 2, stage ^= 1)
      UNROLL for (int i = 0; i < VL / 2; i++) {
        a[!stage][2 * i] = LOW(a[stage][i], a[stage][i + VL / 2]);
        a[!stage][2 * i + 1] = HIGH(a[stage][i], a[stage][i + VL / 2]);
      }
    UNROLL for (int i = 0; i < VL; i++) ST(to + ((size_t)j + i) * apart, a[VL == 8][i]);
  }
  for (; j < n; j++)
    for (int i = 0; i < VL; i++) memcpy(to + (size_t)j * apart + i, from + (size_t)i * ld + j, 4);
}

#include "block.h"
#if defined(AMX)
#define HALF_WIDTH 32  // channels of a tile of bfloat16
#elif defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define HALF_WIDTH 16  // of a vector, as a number: #if takes the names of constants for 0
#else
#define HALF_WIDTH 0
#endif
#if HALF_WIDTH
#define HALF
#include "block.h"
#undef HALF
#endif

// ---- layers that are one product: out [rows][columns] = f(a [rows][k] b + bias), or (a b) f'(y) in the backward pass
enum { PLAIN, ELU, LEAKY, ELU_BACK, LEAKY_BACK };  // both derivatives are functions of the output y
static void dense(const Rows *r, int f, const float *a, int lda, int k, const float *b, const float *bias, int columns, float *out, const float *y) {
  TILES(r, q, t)
    for (int j = 0; j < columns; j += 2 * VL) {
      size_t row = r->start[q] + t;
      vec c[ROWS][2];
      UNROLL for (int i = 0; i < ROWS; i++) c[i][0] = c[i][1] = (vec){};
      product(c, a + row * lda, lda, k, b + (size_t)j * k);
      UNROLL for (int h = 0; h < 2; h++) if (j + h * VL < columns) {
        vec shift = bias ? LD(bias + j + h * VL) : (vec){};
        UNROLL for (int i = 0; i < ROWS; i++) {
          size_t at = (row + i) * columns + j + h * VL;
          vec v = c[i][h] + shift;
          if (f == ELU) v = choose((bits)(v > 0.f), v, vexp(vmin(splat(0), v)) - 1.f);
          if (f == LEAKY) v = vmax(v * 0.01f, v);
          if (f == ELU_BACK) v *= choose((bits)(LD(y + at) > 0.f), splat(1), LD(y + at) + 1.f);
          if (f == LEAKY_BACK) v = choose((bits)(LD(y + at) > 0.f), v, v * 0.01f);
          ST(out + at, v);
        }
      }
    }
}
// Adds the gradients of such a layer's weight [outputs][inputs] and bias.
static void dense_gradient(const Rows *r, int outputs, int inputs, const float *g, int ldg, const float *x, int ldx, float *weight, float *bias) {
  for (int q = 0; q < r->reads; q++) {
    size_t row = r->start[q];
    outer(outputs, inputs, r->frames[q], (left){g + row * ldg, ldg, 1}, x + row * ldx, ldx, weight, inputs);
    if (bias) sum_rows(outputs, r->frames[q], g + row * ldg, bias);
  }
}

// ---- batch normalisation over the frames of all reads, two vectors of channels at a time: `two` is VL, or 0 if there is no second vector and
// the first is used twice
#define BOTH UNROLL for (int h = 0; h < 2; h++)
#define FRAMES(r, at, j)                \
  for (int q = 0; q < (r)->reads; q++) \
    for (size_t at = (size_t)(r)->start[q] * c + j, end = at + (size_t)(r)->frames[q] * c; at < end; at += c)
enum { SUM, SQUARES, GRADIENT };
// Sums over all frames: of x, of (x - mean)^2, or of g (to `plain`) and of g (x - mean).
AI void norm_sums(const Rows *r, int c, int j, int two, int kind, const float *x, const float *g, const vec mean[2], vec sum[2], vec plain[2]) {
  vec s[2][2] = {}, p[2][2] = {};
  for (int q = 0; q < r->reads; q++) {
    size_t at = (size_t)r->start[q] * c + j, end = at + (size_t)r->frames[q] * c;
#define ADD(i, at) BOTH { \
      vec v = LD(x + at + h * two) - mean[h]; \
      if (kind == GRADIENT) p[i][h] += LD(g + at + h * two), v *= LD(g + at + h * two); \
      s[i][h] += kind == SQUARES ? v * v : v; }
    for (; at + c < end; at += 2 * (size_t)c) { ADD(0, at) ADD(1, at + c) }
    if (at < end) ADD(0, at)
#undef ADD
  }
  BOTH sum[h] = s[0][h] + s[1][h], plain[h] = p[0][h] + p[1][h];
}
static float frames_of(const Rows *r) {
  size_t n = 0;
  for (int q = 0; q < r->reads; q++) n += r->frames[q];
  return (float)n;
}
// Stores `mean` and `scale` [c] for the backward pass. Training updates the running statistics (momentum 0.1); otherwise they are used as they are.
static void norm_forward(const Rows *r, int c, int training, const Block *b, const float *x, float *out, float *mean, float *scale) {
  float n = frames_of(r);
  for (int j = 0; j < c; j += 2 * VL) {
    int two = j + VL < c ? VL : 0;
    vec m[2], v[2], a[2], shift[2], none[2] = {};
    BOTH m[h] = LD(b->mean + j + h * two), v[h] = LD(b->variance + j + h * two);
    if (training) {
      vec m0[2] = {m[0], m[1]}, v0[2] = {v[0], v[1]};
      norm_sums(r, c, j, two, SUM, x, NULL, none, m, a);
      BOTH m[h] *= 1 / n;
      norm_sums(r, c, j, two, SQUARES, x, NULL, m, v, a);
      BOTH {
        v[h] *= 1 / n;
        ST(b->mean + j + h * two, m0[h] * 0.9f + m[h] * 0.1f);
        ST(b->variance + j + h * two, v0[h] * 0.9f + v[h] * (n / (n - 1)) * 0.1f);
      }
    }
    BOTH {
      for (int i = 0; i < VL; i++) mean[j + h * two + i] = m[h][i], scale[j + h * two + i] = 1 / sqrtf(v[h][i] + 1e-5f);
      a[h] = LD(b->norm + j + h * two) * LD(scale + j + h * two), shift[h] = LD(b->norm_bias + j + h * two) - m[h] * a[h];
    }
    FRAMES(r, at, j) BOTH ST(out + at + h * two, LD(x + at + h * two) * a[h] + shift[h]);
  }
  zero_gaps(r, out, c);
}
static void norm_backward(const Rows *r, int c, const Block *b, const Block *grad, const float *x, const float *mean, const float *scale, float *g) {
  float n = frames_of(r);
  for (int j = 0; j < c; j += 2 * VL) {
    int two = j + VL < c ? VL : 0;
    vec m[2], a[2], shift[2], slope[2];
    BOTH m[h] = LD(mean + j + h * two);
    norm_sums(r, c, j, two, GRADIENT, x, g, m, slope, shift);
    for (int h = 0; h < (two ? 2 : 1); h++) {
      vec s = LD(scale + j + h * two);
      ST(grad->norm + j + h * two, LD(grad->norm + j + h * two) + slope[h] * s);
      ST(grad->norm_bias + j + h * two, LD(grad->norm_bias + j + h * two) + shift[h]);
    }
    BOTH {
      vec s = LD(scale + j + h * two);
      a[h] = LD(b->norm + j + h * two) * s, shift[h] *= 1 / n, slope[h] *= s * s * (1 / n);
    }
    FRAMES(r, at, j) {
      vec out[2];
      BOTH out[h] = a[h] * (LD(g + at + h * two) - shift[h] - (LD(x + at + h * two) - m[h]) * slope[h]);
      BOTH ST(g + at + h * two, out[h]);
    }
  }
}

#include "ctc.h"

// ---- the whole network
static Rows rows_of(const Batch *batch, Work *w, size_t rows) {
  size_t at = GAP;
  for (int q = 0; q < batch->reads; q++) {
    w->start[q] = (int)at, w->frames[q] = (int)batch->frames[q];
    at += batch->frames[q] + GAP;
  }
  return (Rows){batch->reads, rows, w->start, w->frames};
}
static void forward_any(const Size *z, const Rows *r, int i, const Weights *weights, const Work *w, const float *x, float *halves, float *next) {
  Block b = block_of(z, weights, i);
#if HALF_WIDTH
  if (z->half) { forward_block16(z, r, z->dilations[i], &b, w, x, halves, next, w->skip); return; }
#endif
  forward_block(z, r, z->dilations[i], &b, w, x, halves, next, w->skip);
}
static void backward_any(const Size *z, const Rows *r, int i, const Block *b, const Block *grad, const Work *w, const float *x, const float *halves, const float *g, float *g_x) {
  int d = z->dilations[i], last = i + 1 == z->blocks;
#if HALF_WIDTH
  if (z->half) { backward_block16(z, r, d, last, b, grad, w, x, halves, g, g_x); return; }
#endif
  backward_block(z, r, d, last, b, grad, w, x, halves, g, g_x);
}
static void forward(const Size *z, const Batch *batch, const Rows *r, const Weights *p, const Work *w, int back) {
  const int c = z->channels, s = z->skips, width = stem_width(z), n = z->blocks;
  const size_t block = r->rows * c;
  float none[LANES] = {};
  memset(w->signal, 0, (r->rows * z->stride + 2 * (size_t)width) * 4);  // windows of frames are the rows of a product, `stride` samples apart
  for (int q = 0; q < r->reads; q++) {
    size_t all = (size_t)r->frames[q] * z->stride, have = batch->samples;
    memcpy(w->signal + (size_t)r->start[q] * z->stride + width / 2, batch->signal + (size_t)q * batch->samples, (have < all ? have : all) * 4);
  }
  pack_columns(whole(c) / VL / 2, 2 * VL, VL, c, width, p->stem, width, w->stem_in);
  pack_columns(whole(c) / VL / 2, 2 * VL, VL, c, c, p->mix, c, w->mix_in);
  pack_columns(whole(s) / VL / 2, 2 * VL, VL, s, s, p->head, s, w->head_in);
  memset(w->scores_in, 0, (size_t)s * whole(LANES) * 4);
  memcpy(none, p->scores_bias, z->labels * 4);
  for (int i = 0; i < z->labels; i++)
    for (int k = 0; k < s; k++) w->scores_in[(size_t)(i / (2 * VL) * s + k) * 2 * VL + i % (2 * VL)] = p->scores[(size_t)i * s + k];
  dense(r, ELU, w->signal, z->stride, width, w->stem_in, p->stem_bias, c, w->first, NULL);
  dense(r, ELU, w->first, c, c, w->mix_in, p->mix_bias, c, w->pre, NULL);
  zero_gaps(r, w->pre, c);
  for (size_t t = 0; t < r->rows; t++)
    for (int j = 0; j < s; j += VL) ST(w->skip + t * s + j, LD(p->skip_bias + j));
  for (int i = 0; i < n; i++) {
    size_t here = block * (back ? i : i % 2), there = block * (back ? i + 1 : (i + 1) % 2);
    Block b = block_of(z, p, i);
    if (z->norm) norm_forward(r, c, back, &b, w->pre + here, w->x + here, w->mean + (size_t)i * c, w->scale + (size_t)i * c);
    forward_any(z, r, i, p, w, w->x + here, back ? w->halves + 2 * here : NULL, i + 1 < n ? w->pre + there : NULL);
  }
  TILES(r, q, t)
    for (size_t at = ((size_t)r->start[q] + t) * s, end = at + (size_t)ROWS * s; at < end; at += VL) ST(w->skip + at, vmax(LD(w->skip + at) * 0.01f, LD(w->skip + at)));
  dense(r, LEAKY, w->skip, s, s, w->head_in, p->head_bias, s, w->head, NULL);
  dense(r, PLAIN, w->head, s, s, w->scores_in, none, LANES, w->scores, NULL);
}
static void backward(const Size *z, const Rows *r, const Weights *p, const Weights *grad, const Work *w) {
  const int c = z->channels, s = z->skips, width = stem_width(z), n = z->blocks;
  const size_t block = r->rows * c;
  pack_rows(z->labels, s, p->scores, s, w->scores_out);
  pack_rows(s, s, p->head, s, w->head_out);
  pack_rows(c, c, p->mix, c, w->mix_out);
  // weights with fewer rows than a tile of sums: summed in padded rows, then added to their gradients
  int stem_rows = (width + OUTER - 1) / OUTER * OUTER;
  float bias[LANES] = {}, *stem = w->narrow;
  memset(w->narrow, 0, (size_t)LANES * s * 4);
  dense_gradient(r, LANES, s, w->g_scores, LANES, w->head, s, w->narrow, bias);
  for (size_t i = 0; i < (size_t)z->labels * s; i++) grad->scores[i] += w->narrow[i];
  for (int i = 0; i < z->labels; i++) grad->scores_bias[i] += bias[i];
  dense(r, LEAKY_BACK, w->g_scores, LANES, z->labels, w->scores_out, NULL, s, w->g_head, w->head);
  dense_gradient(r, s, s, w->g_head, s, w->skip, s, grad->head, grad->head_bias);
  dense(r, LEAKY_BACK, w->g_head, s, s, w->head_out, NULL, s, w->g_skip, w->skip);
  for (int q = 0; q < r->reads; q++) sum_rows(s, r->frames[q], w->g_skip + (size_t)r->start[q] * s, grad->skip_bias);
#if HALF_WIDTH
  if (z->half) along16(r->rows, s, w->g_skip, s, (uint32_t *)w->cells_skip);
#endif
  float *g = w->g[0], *g_x = w->g[1];
  for (int i = n - 1; i >= 0; i--) {
    Block b = block_of(z, p, i), of = block_of(z, grad, i);
    backward_any(z, r, i, &b, &of, w, w->x + i * block, w->halves + 2 * i * block, g, g_x);
    if (z->norm) norm_backward(r, c, &b, &of, w->pre + i * block, w->mean + (size_t)i * c, w->scale + (size_t)i * c, g_x);
    float *swap = g;
    g = g_x, g_x = swap;
  }
  TILES(r, q, t)  // through the ELU of mix, whose output is the tower's input
    for (size_t at = ((size_t)r->start[q] + t) * c, end = at + (size_t)ROWS * c; at < end; at += VL)
      ST(g + at, LD(g + at) * choose((bits)(LD(w->pre + at) > 0.f), splat(1), LD(w->pre + at) + 1.f));
  dense_gradient(r, c, c, g, c, w->first, c, grad->mix, grad->mix_bias);
  dense(r, ELU_BACK, g, c, c, w->mix_out, NULL, c, g_x, w->first);
  memset(stem, 0, (size_t)stem_rows * c * 4);
  dense_gradient(r, stem_rows, c, w->signal, z->stride, g_x, c, stem, NULL);
  for (int q = 0; q < r->reads; q++) sum_rows(c, r->frames[q], g_x + (size_t)r->start[q] * c, grad->stem_bias);
  for (int j = 0; j < c; j++)
    for (int i = 0; i < width; i++) grad->stem[(size_t)j * width + i] += stem[(size_t)i * c + j];
}

EXPORT int32_t vector_length(void) { return VL; }
// The number that channels must be a multiple of for bfloat16 products; 0 if the processor has none, or if Linux refuses its tiles.
EXPORT int32_t half_width(void) {
#if defined(AMX)
  if (syscall(SYS_arch_prctl, 0x1023, 18)) return 0;  // ARCH_REQ_XCOMP_PERM, of XFEATURE_XTILEDATA: once for all threads
#endif
  return HALF_WIDTH;
}
EXPORT int64_t ctc_fallbacks(void) { return fallbacks; }
EXPORT int64_t ctc_workspace(int32_t frames, int32_t labels) { return (int64_t)ctc_floats(frames, labels); }
static Work room_for(const Size *z, const Batch *batch, int back, float *base, size_t *rows) {
  int64_t longest_frames = 0, longest_target = 0;
  *rows = GAP;
  for (int q = 0; q < batch->reads; q++) {
    *rows += batch->frames[q] + GAP;
    if (batch->frames[q] > longest_frames) longest_frames = batch->frames[q];
    if (batch->target_lengths && batch->target_lengths[q] > longest_target) longest_target = batch->target_lengths[q];
  }
  return layout(z, batch->reads, *rows, longest_frames, longest_target, back, base);
}
// Size of the workspace, in floats, that `step` needs for a batch; it must be aligned to 64 bytes.
EXPORT int64_t workspace(const Size *z, const Batch *batch, int32_t back) {
  size_t rows;
  return (int64_t)room_for(z, batch, back, NULL, &rows).floats;
}
// Returns the CTC loss in nats, summed over the batch; 0 without targets. `gradients`, if not NULL, receives the gradients of nats * share, in the
// order of the weights; batch normalisation then uses the batch's statistics, and updates mean and variance [blocks][c]. `scores`, if not NULL,
// receives [reads][longest][labels].
EXPORT double step(const Size *z, const Batch *batch, const float *weights, float *mean, float *variance, double share, float *gradients,
                   float *scores, int64_t longest, float *work) {
  int back = gradients != NULL;
  size_t rows;
  Weights p = weights_of(z, (float *)weights, mean, variance), grad = weights_of(z, gradients, NULL, NULL);
  Work w = room_for(z, batch, back, work, &rows);
  Rows r = rows_of(batch, &w, rows);
  const int64_t *targets = batch->targets;
  double nats = 0;
  if (back) memset(gradients, 0, (size_t)((grad.scores_bias - gradients) + z->labels) * 4);
  if (z->half) tiles_on();
  forward(z, batch, &r, &p, &w, back);
  for (int q = 0; q < r.reads; q++) {
    float *at = w.scores + (size_t)r.start[q] * LANES, *g = w.g_scores + (size_t)r.start[q] * LANES;
    for (int t = 0; scores && t < r.frames[q]; t++) memcpy(scores + ((size_t)q * longest + t) * z->labels, at + t * LANES, z->labels * 4);
    if (!batch->targets) continue;
    int scored = (int)batch->scored[q], count = (int)batch->target_lengths[q];
    nats += ctc(scored, count, z->labels, at, targets, back ? g : NULL, (float)share, w.ctc);
    targets += count;
    if (back) memset(g + (size_t)scored * LANES, 0, (size_t)(r.frames[q] - scored) * LANES * 4);
  }
  if (back && nats - nats == 0) backward(z, &r, &p, &grad, &w);  // a loss that is not finite has no useful gradient
  if (z->half) tiles_off();
  return nats;
}
