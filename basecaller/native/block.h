// Products of rows and weights, and a residual block forward and backward. Included once for each precision.
//
// A product multiplies *cells* of 32 bits. In float32 a cell is one number. In bfloat16 (`HALF`) it is a pair of neighbours along the
// summed axis, and one instruction adds the products of both to a float32 sum, so there are half as many steps. `E` is the number of
// values in a cell. Rows of activations are [frames][channels]; weights are packed into panels, see `pack_rows`.
#if defined(HALF)
#define E 2
#define F(name) name##16
#define cell uint32_t
#if !defined(AMX)
#define cells __m512bh
AI vec F(add)(vec sum, cell a, cells b) { return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)a), b); }
AI cells F(load)(const cell *p) { return (__m512bh)_mm512_loadu_si512(p); }
#endif
AI void F(store)(cell *p, vec x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(x)); }
// 2^x for gates whose sums are bfloat16 products: an error of 1e-4 is small enough.
AI vec F(power)(vec x) {
  vec f, exponent = split_60(x, &f);
  return scale(((f * 5.516967e-2f + 2.4260645e-1f) * f + 6.932609e-1f) * f + 9.9992838e-1f, exponent);
}
AI vec F(reciprocal)(vec x) { return _mm512_rcp14_ps(x); }
AI void F(store_pairs)(cell *p, vec a, vec b) {  // VL cells: a in the low halves, b in the high ones
  static const uint16_t zip[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  _mm512_storeu_si512(p, _mm512_permutexvar_epi16(_mm512_loadu_si512(zip), (__m512i)_mm512_cvtne2ps_pbh(b, a)));
}
#else
#define E 1
#define F(name) name
#define cell float
#define cells vec
AI vec F(add)(vec sum, cell a, cells b) { return sum + a * b; }
AI cells F(load)(const cell *p) { return LD(p); }
AI void F(store)(cell *p, vec x) { ST(p, x); }
AI vec F(power)(vec x) {  // 2^x, about 1 ulp
  vec f, exponent = split_60(x, &f), p = f * 1.535336188e-4f + 1.339887440e-3f;
  p = p * f + 9.618437357e-3f;
  p = p * f + 5.550332471e-2f;
  p = p * f + 2.402264791e-1f;
  p = p * f + 6.931472029e-1f;
  return scale(p * f + 1.f, exponent);
}
AI vec F(reciprocal)(vec x) { return 1.f / x; }
#endif

// The left operand of `outer`: cell p of channel m is at p * step + m * apart.
typedef struct {
  const cell *at;
  int step, apart;
} F(left);

#if defined(HALF) && defined(AMX)
// `product` and `outer` in tiles; the versions without tiles, below, are documented. One instruction adds the product of two tiles, rows of
// cells and DEEP rows of a panel, to a third. k and all widths are multiples of a tile's.
#define ALL_STORED __asm__ volatile("" ::: "memory")  // compilers do not know that a tile is loaded from memory
// The sums are in tiles between `begin` and `finish`, and in c otherwise.
AI void F(begin)(vec c[ROWS][2]) {
  ALL_STORED;
  _tile_loadd(0, c, 8 * VL); _tile_loadd(1, &c[0][1], 8 * VL);
}
AI void F(product)(vec c[ROWS][2], const cell *a, ptrdiff_t ld, int k, const cell *b) {
  (void)c;
  for (int p = 0; p < k; p += DEEP, b += 2 * VL * DEEP) {
    _tile_loadd(2, a + p, 4 * ld); _tile_loadd(6, b, 8 * VL); _tile_loadd(7, b + VL, 8 * VL);
    _tile_dpbf16ps(0, 2, 6); _tile_dpbf16ps(1, 2, 7);
  }
}
AI void F(finish)(vec c[ROWS][2]) { _tile_stored(0, c, 8 * VL); _tile_stored(1, &c[0][1], 8 * VL); }
static void F(outer)(int rows, int columns, int n, F(left) g, const cell *x, int ldx, float *out, int ldo) {
  for (int j = 0; j < columns; j += 2 * VL)
    for (int m = 0; m < rows; m += DEEP) {
      float *to = out + (size_t)m * ldo + j;
      ALL_STORED;
      _tile_loadd(3, to, 4 * (ptrdiff_t)ldo); _tile_loadd(4, to + VL, 4 * (ptrdiff_t)ldo);
      for (int t = 0; t < n; t += DEEP) {
        const cell *xs = x + (size_t)t * ldx + j;
        _tile_loadd(5, g.at + (size_t)m * g.apart + t, 4 * (ptrdiff_t)g.apart); _tile_loadd(6, xs, 4 * (ptrdiff_t)ldx); _tile_loadd(7, xs + VL, 4 * (ptrdiff_t)ldx);
        _tile_dpbf16ps(3, 5, 6); _tile_dpbf16ps(4, 5, 7);
      }
      _tile_stored(3, to, 4 * (ptrdiff_t)ldo); _tile_stored(4, to + VL, 4 * (ptrdiff_t)ldo);
    }
}
#else
// Without tiles, the sums are always in c.
AI void F(begin)(vec c[ROWS][2]) { (void)c; }
AI void F(finish)(vec c[ROWS][2]) { (void)c; }
// The microkernel: c[ROWS][2 vectors] += a[ROWS][k] b[k][2 vectors], a's rows `ld` cells apart, b a panel. All ROWS x 2 sums stay in
// registers; each step feeds 2 ROWS multiply-adds from 2 loads and ROWS broadcasts.
AI void F(product)(vec c[ROWS][2], const cell *a, ptrdiff_t ld, int k, const cell *b) {
  for (int p = 0; p < k; p++, b += 2 * VL) {
    cells left = F(load)(b), right = F(load)(b + VL);
    KEEP(left); KEEP(right);
    UNROLL for (int i = 0; i < ROWS; i++) {
      cell x = a[i * ld + p];
      c[i][0] = F(add)(c[i][0], x, left);
      c[i][1] = F(add)(c[i][1], x, right);
    }
  }
}

// The gradient of a weight: out[rows][columns] += sum over n cells of frames of g[n][rows] x[n][columns]. OUTER x 2 vectors of sums stay in
// registers over CHUNK cells, whose strips of g and x stay in the first cache while all of `out` is visited. Here, a tile of it: `rows` of them,
// and one vector of columns, or two; cells of g are `step` apart.
AI void F(outer_tile)(int rows, int two, int n, const cell *g, ptrdiff_t step, const cell *x, ptrdiff_t ldx, float *to, ptrdiff_t ldo) {
  vec c[OUTER][2];
  UNROLL for (int i = 0; i < rows; i++) c[i][0] = LD(to + i * ldo), c[i][1] = two ? LD(to + i * ldo + VL) : (vec){};
  for (int t = 0; t < n; t++, g += step, x += ldx) {
    cells left = F(load)(x), right = F(load)(x + VL);
    KEEP(left); KEEP(right);
    UNROLL for (int i = 0; i < rows; i++) c[i][0] = F(add)(c[i][0], g[i], left), c[i][1] = F(add)(c[i][1], g[i], right);
  }
  UNROLL for (int i = 0; i < rows; i++) {
    ST(to + i * ldo, c[i][0]);
    if (two) ST(to + i * ldo + VL, c[i][1]);
  }
}
static void F(outer)(int rows, int columns, int n, F(left) g, const cell *x, int ldx, float *out, int ldo) {
  for (int from = 0; from < n; from += CHUNK) {
    int until = n - from < CHUNK ? n - from : CHUNK;
    const cell *gs = g.at + (size_t)from * g.step, *xs = x + (size_t)from * ldx;
#if defined(SCARCE)
    cell packed[CHUNK * OUTER + VL];  // a strip of g, [frames][OUTER], which lies in few sets of the first cache where rows are long
    for (int m = 0; m < rows; m += OUTER) {
      int pack = columns >= WIDE;
      for (int t = 0; pack && t < until; t++) ST(packed + t * OUTER, LD(gs + (size_t)t * g.step + m));
      const cell *strip = pack ? packed : gs + m;
      ptrdiff_t step = pack ? OUTER : g.step;
      for (int j = 0; j < columns; j += 2 * VL) {
        float *to = out + (size_t)m * ldo + j;
        int two = j + VL < columns, of = rows - m;  // a last tile has 2 or 4 rows: all widths are even
        if (of >= OUTER) F(outer_tile)(OUTER, two, until, strip, step, xs + j, ldx, to, ldo);
        else if (of == 4) F(outer_tile)(4, two, until, strip, step, xs + j, ldx, to, ldo);
        else F(outer_tile)(2, two, until, strip, step, xs + j, ldx, to, ldo);
      }
    }
#else
    for (int j = 0; j < columns; j += 2 * VL)
      for (int m = 0; m < rows; m += OUTER)
        F(outer_tile)(OUTER, j + VL < columns, until, gs + m, g.step, xs + j, ldx, out + (size_t)m * ldo + j, ldo);
#endif
  }
}
#endif

// [rows][columns] as cells along the channels, [rows][columns / E]; in float32, x itself, whose rows are `ld` apart.
static const cell *F(along)(size_t rows, int columns, const float *x, int ld, cell *to) {
#if defined(HALF)
  for (size_t t = 0; t < rows; t++)
    for (int j = 0; j < columns; j += VL) F(store)(to + (t * columns + j) / E, LD(x + t * ld + j));
  return to;
#else
  return (void)rows, (void)columns, (void)ld, (void)to, x;
#endif
}
// [n][columns] as cells along time, beginning with frame `first`, 0 or -1: [(n - first + E - 1) / E][columns]. Frames outside are zero; tiles
// also need DEEP zero cells after the end.
static const cell *F(across)(int first, int n, int columns, const float *x, cell *to) {
#if defined(HALF)
  cell *at = to;
  for (int t = first; t < n; t += 2)
    for (int j = 0; j < columns; j += VL, at += VL) {
      const float *from = x + (ptrdiff_t)t * columns + j;
      F(store_pairs)(at, t < 0 ? (vec){} : LD(from), t + 1 < n ? LD(from + columns) : (vec){});
    }
#if defined(AMX)
  memset(at, 0, (size_t)DEEP * columns * sizeof(cell));
#endif
  return to;
#else
  return (void)n, (void)columns, (void)to, x + (ptrdiff_t)first * columns;
#endif
}
// The same from frame 0 on, as a left operand. Tiles need a row for each channel, [columns][apart], with zeros at its end. `made`: `to` holds the
// cells of x already.
static F(left) F(upright)(int n, int columns, const float *x, cell *to, int made) {
#if defined(HALF) && defined(AMX)
  int apart = ((n + 1) / 2 + DEEP - 1) / DEEP * DEEP + DEEP;
  for (int m = 0; m < columns && !made; m += VL)
    for (int p = 0; p < apart; p += DEEP) {
      cell square[DEEP][VL];
      for (int i = 0, t = 2 * p; i < DEEP; i++, t += 2) {
        const float *from = x + (size_t)t * columns + m;
        F(store_pairs)(square[i], t < n ? LD(from) : (vec){}, t + 1 < n ? LD(from + columns) : (vec){});
      }
      transpose(VL, (const float *)square, VL, (float *)to + (size_t)m * apart + p, apart);
    }
  return (F(left)){to, 1, apart};
#else
  return (F(left)){E == 2 && made ? to : F(across)(0, n, columns, x, to), columns, 1};
#endif
}

// Panels of a weight, [panel][k][2 vectors], which `product` reads in sequence whatever the width of the network.
// For the backward pass, which sums over outputs: w [k E][columns] as it is. If the last panel is only half full, its other half is zero.
static void F(pack_rows)(int k, int columns, const float *w, int ld, cell *to) {
  for (int j = 0; j < columns; j += 2 * VL)
    for (int p = 0; p < k; p++, to += 2 * VL)
      for (int h = 0; h < 2; h++) {
        const float *at = w + (size_t)p * E * ld + j + h * VL;
        int inside = j + h * VL < columns;
#if defined(HALF)
        F(store_pairs)(to + h * VL, inside ? LD(at) : (vec){}, inside ? LD(at + ld) : (vec){});
#else
        ST((float *)to + h * VL, inside ? LD(at) : (vec){});
#endif
      }
}
// For the forward pass, which sums over inputs: w [rows][k] transposed. Panels begin `step` rows apart. The right half of a panel holds the rows
// that follow the left half's by `apart`: the next vector of outputs, or the sigmoid's rows beside the tanh's.
static void F(pack_columns)(int panels, int step, int apart, int rows, int k, const cell *w, int ld, cell *to) {
  for (int p = 0, j = 0; p < panels; p++, j += step, to += (size_t)k * 2 * VL) {
    transpose(k, (const float *)w + (size_t)j * ld, ld, (float *)to, 2 * VL);
    if (j + apart < rows) transpose(k, (const float *)w + ((size_t)j + apart) * ld, ld, (float *)to + VL, 2 * VL);
    else for (int i = 0; i < k; i++) ST((float *)to + i * 2 * VL + VL, (vec){});
  }
}

// Computes a tile's units, tanh and sigmoid from its sums, as described at `forward_block`. With few registers, and on ARM, this is a function of
// its own: otherwise GCC keeps the constants in registers, and some of the sums in memory, throughout the products.
#if defined(SCARCE) || defined(__aarch64__)
static __attribute__((noinline))
#else
AI
#endif
void F(gates)(vec a[ROWS][2], int c, float *halves, cell *unit) {
  UNROLL for (int i = 0; i < ROWS; i++) {
    vec u = F(power)(a[i][0] * -2.88539008f), v = F(power)(a[i][1] * -1.44269504f) + 1.f;  // e^(-2 a), 1 + e^(-b)
    vec one = 1.f + u, inverse = F(reciprocal)(one * v);                                    // one division for both
    vec tanh = (1.f - u) * (v * inverse), sigmoid = one * inverse;
    if (halves) ST(halves + (size_t)i * 2 * c, tanh), ST(halves + (size_t)i * 2 * c + c, sigmoid);
    F(store)(unit + (size_t)i * c / E, tanh * sigmoid);
  }
}

#define CELLS(name) ((cell *)w->name)
// One block forward. x: [rows][c], its input. halves: [rows][2 c], receives tanh and sigmoid if not NULL. next: [rows][c], receives the next
// block's input; NULL for the last block. skip: [rows][s], is added to. Works in tiles of frames, so that units are used while they are in the
// first cache: taps of x in place -> tanh and sigmoid in registers -> units -> residual and skip products.
static void F(forward_block)(const Size *z, const Rows *r, int d, const Block *b, const Work *w, const float *x, float *halves, float *next, float *skip) {
  const int c = z->channels, s = z->skips, taps = z->kernel, ce = c / E;
  F(pack_columns)(c / VL, VL, c, 2 * c, taps * ce, F(along)(2 * c, taps * c, b->gate, taps * c, CELLS(cells_w)), taps * ce, CELLS(gate));
  F(pack_columns)(whole(s) / VL / 2, 2 * VL, VL, s, ce, F(along)(s, c, b->skip, z->blocks * c, CELLS(cells_w)), E == 1 ? z->blocks * c : ce, CELLS(skips));
  if (next) F(pack_columns)(whole(c) / VL / 2, 2 * VL, VL, c, ce, F(along)(c, c, b->residual, c, CELLS(cells_w)), ce, CELLS(residual));
  if (next && b->projection) F(pack_columns)(whole(c) / VL / 2, 2 * VL, VL, c, ce, F(along)(c, c, b->projection, c, CELLS(cells_w)), ce, CELLS(projection));
  const cell *xs = F(along)(r->rows, c, x, c, CELLS(cells_x));
  cell *unit = CELLS(unit_tile);
  TILES(r, q, t) {
    size_t row = r->start[q] + t;
    for (int j = 0; j < c; j += VL) {
      vec a[ROWS][2];
      UNROLL for (int i = 0; i < ROWS; i++) a[i][0] = LD(b->gate_bias + j), a[i][1] = LD(b->gate_bias + c + j);
      F(begin)(a);
      for (int k = 0; k < taps; k++) {
        int at = t + (k - taps / 2) * d;
        if (at + ROWS <= 0 || at >= r->frames[q]) continue;  // the whole tile would read zeros
        F(product)(a, xs + ((ptrdiff_t)r->start[q] + at) * ce, ce, ce, CELLS(gate) + ((size_t)j / VL * taps + k) * ce * 2 * VL);
      }
      F(finish)(a);
      F(gates)(a, c, halves ? halves + row * 2 * c + j : NULL, unit + j / E);
    }
    for (int j = 0; next && j < c; j += 2 * VL) {
      vec a[ROWS][2];
      UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++)
        a[i][h] = b->projection ? (vec){} : LD(x + (row + i) * c + j + h * VL);
      F(begin)(a);
      if (b->projection) F(product)(a, xs + row * ce, ce, ce, CELLS(projection) + (size_t)j * ce);
      F(product)(a, unit, ce, ce, CELLS(residual) + (size_t)j * ce);
      F(finish)(a);
      UNROLL for (int h = 0; h < 2; h++) if (j + h * VL < c)
        UNROLL for (int i = 0; i < ROWS; i++) ST(next + (row + i) * c + j + h * VL, a[i][h] + LD(b->residual_bias + j + h * VL));
    }
    for (int j = 0; j < s; j += 2 * VL) {
      vec a[ROWS][2];
      UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++) a[i][h] = LD(skip + (row + i) * s + j + h * VL);
      F(begin)(a);
      F(product)(a, unit, ce, ce, CELLS(skips) + (size_t)j * ce);
      F(finish)(a);
      UNROLL for (int h = 0; h < 2; h++) if (j + h * VL < s)
        UNROLL for (int i = 0; i < ROWS; i++) ST(skip + (row + i) * s + j + h * VL, a[i][h]);
    }
  }
  if (next) zero_gaps(r, next, c);
}

// One block backward. g: [rows][c], the gradient of its output; not read for the last block. g_x: [rows][c], receives the gradient of its input.
// grad: the gradients of its weights, which are added to. The gradient of the skips is in w->g_skip, and as cells in w->cells_skip, the same for all
// blocks.
static void F(backward_block)(const Size *z, const Rows *r, int d, int last, const Block *b, const Block *grad, const Work *w, const float *x,
                              const float *halves, const float *g, float *g_x) {
  const int c = z->channels, s = z->skips, taps = z->kernel, ce = c / E, se = s / E;
  for (int k = 0; k < taps; k++) F(pack_rows)(2 * ce, c, b->gate + k * c, taps * c, CELLS(gate) + (size_t)k * 2 * ce * w->padded);
  F(pack_rows)(se, c, b->skip, z->blocks * c, CELLS(skips));
  if (!last) F(pack_rows)(ce, c, b->residual, c, CELLS(residual));
  if (!last && b->projection) F(pack_rows)(ce, c, b->projection, c, CELLS(projection));
  const cell *gs = last ? NULL : F(along)(r->rows, c, g, c, CELLS(cells_x));
  const cell *skips = E == 1 ? (const cell *)w->g_skip : CELLS(cells_skip);
  float *unit = w->unit, *both = w->both;
  TILES(r, q, t) {  // recomputes the units; the gradient of the gates' sums
    size_t row = r->start[q] + t;
    for (int i = 0; i < ROWS * 2 * c; i += 16) __builtin_prefetch(halves + (row + ROWS) * 2 * c + i, 0, 2);
    for (int i = 0; i < ROWS * c; i += 16) __builtin_prefetch(x + (row + ROWS) * c + i, 0, 2);
    for (int j = 0; j < c; j += 2 * VL) {
      vec a[ROWS][2];
      UNROLL for (int i = 0; i < ROWS; i++) a[i][0] = a[i][1] = (vec){};
      F(begin)(a);
      if (!last) F(product)(a, gs + row * ce, ce, ce, CELLS(residual) + (size_t)j * ce);
      F(product)(a, skips + row * se, se, se, CELLS(skips) + (size_t)j * se);
      F(finish)(a);
      UNROLL for (int h = 0; h < 2; h++) if (j + h * VL < c)
        UNROLL for (int i = 0; i < ROWS; i++) {
          size_t at = (row + i) * 2 * c + j + h * VL;
          vec tanh = LD(halves + at), sigmoid = LD(halves + at + c), scaled = a[i][h] * sigmoid;
          ST(unit + (row + i) * c + j + h * VL, tanh * sigmoid);
          ST(both + at, scaled - scaled * tanh * tanh);
          ST(both + at + c, scaled * tanh * (1.f - sigmoid));
        }
    }
  }
  zero_gaps(r, both, 2 * c);
  const cell *boths = F(along)(r->rows, 2 * c, both, 2 * c, CELLS(cells_both));
  for (int q = 0; q < r->reads; q++) {  // the gradients of the weights and of x
    size_t row = r->start[q];
    int n = r->frames[q], pairs = (n + E - 1) / E;
    const cell *units = F(across)(0, n, c, unit + row * c, CELLS(across_unit)), *inputs[2] = {F(across)(0, n, c, x + row * c, CELLS(across_x)), NULL};
    F(left) gates = F(upright)(n, 2 * c, both + row * 2 * c, CELLS(across_both), 0);
    sum_rows(2 * c, n, both + row * 2 * c, grad->gate_bias);
    if (!last) {
      F(left) outputs = F(upright)(n, c, g + row * c, CELLS(across_g), 0);
      sum_rows(c, n, g + row * c, grad->residual_bias);
      F(outer)(c, c, pairs, outputs, units, c, grad->residual, c);
      if (b->projection) F(outer)(c, c, pairs, outputs, inputs[0], c, grad->projection, c);
    }
    F(left) skipped = F(upright)(n, s, w->g_skip + row * s, CELLS(across_skip) + (row + (size_t)q * SPARE) * s, !last);  // the last block comes first
    F(outer)(s, c, pairs, skipped, units, c, grad->skip, z->blocks * c);
    for (int k = 0; k < taps; k++) {
      // frame t of the gate saw frame t + shift: cell p of one meets cell p + off of the other, paired from an odd frame on for an odd shift
      int shift = (k - taps / 2) * d, odd = E == 2 && (shift & 1), off = (shift + odd) / E;
      if (odd && !inputs[1]) inputs[1] = F(across)(-1, n, c, x + row * c, CELLS(across_odd));
      int from = off < 0 ? -off : 0, to = (n + odd + E - 1) / E - off;
      if (to > pairs) to = pairs;
      F(left) seen = {gates.at + (size_t)from * gates.step, gates.step, gates.apart};
      if (to > from) F(outer)(2 * c, c, to - from, seen, inputs[odd] + ((size_t)from + off) * c, c, grad->gate + k * c, taps * c);
    }
    for (int t = 0; t < n; t += ROWS)
      for (int j = 0; j < c; j += 2 * VL) {
        vec a[ROWS][2];
        UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int h = 0; h < 2; h++)
          a[i][h] = last || b->projection ? (vec){} : LD(g + (row + t + i) * c + j + h * VL);
        F(begin)(a);
        if (!last && b->projection) F(product)(a, gs + (row + t) * ce, ce, ce, CELLS(projection) + (size_t)j * ce);
        for (int k = 0; k < taps; k++) {
          int at = t - (k - taps / 2) * d;
          if (at + ROWS <= 0 || at >= n) continue;
          F(product)(a, boths + ((ptrdiff_t)row + at) * 2 * ce, 2 * ce, 2 * ce, CELLS(gate) + ((size_t)k * w->padded + j) * 2 * ce);
        }
        F(finish)(a);
        UNROLL for (int h = 0; h < 2; h++) if (j + h * VL < c)
          UNROLL for (int i = 0; i < ROWS; i++) ST(g_x + (row + t + i) * c + j + h * VL, a[i][h]);
      }
  }
}
#undef CELLS
#undef E
#undef F
#undef cell
#undef cells
