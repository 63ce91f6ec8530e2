// CTC (Graves et al., ICML 2006). Blank and label states are two arrays, so that neighbours lie side by side: label j is between blanks j and j + 1,
//   blank'[j] = (blank[j] + label[j - 1]) y[0],   label'[j] = (label[j] + blank[j] + may[j] label[j - 1]) y[of j],
// and may[j] is 1 if labels j - 1 and j differ. Every frame is scaled to a sum of one. This is exact unless a path that matters underflows. Then
// the posteriors of some frame do not sum to one, and the read is computed again in log space.
static int64_t fallbacks = 0;

static double log_add(double a, double b) {
  double high = a > b ? a : b, low = a > b ? b : a;
  return low == -INFINITY ? high : high + log1p(exp(low - high));
}
// In log space and double precision: slow, but exact. logs: [frames][LANES] log-probabilities. Returns NaN if memory runs out.
static double ctc_in_logs(int frames, int labels, int count, const double *logs, const int64_t *label, float *grad, float share) {
  int n = 2 * count + 1;
  double *alpha = malloc(sizeof(double) * ((size_t)frames * n + 2 * (size_t)n)), *beta = alpha + (size_t)frames * n, *before = beta + n;
  if (!alpha) return NAN;
#define LABEL(s) ((s) & 1 ? (int)label[(s) / 2] : 0)
#define MAY(s) ((s) > 1 && ((s) & 1) && label[(s) / 2] != label[(s) / 2 - 1])
  for (int s = 0; s < n; s++) alpha[s] = s < 2 ? logs[LABEL(s)] : -INFINITY;
  for (int t = 1; t < frames; t++)
    for (int s = 0; s < n; s++) {
      const double *p = alpha + (size_t)(t - 1) * n;
      double v = s ? log_add(p[s], p[s - 1]) : p[s];
      if (MAY(s)) v = log_add(v, p[s - 2]);
      alpha[(size_t)t * n + s] = v + logs[(size_t)t * LANES + LABEL(s)];
    }
  const double *end = alpha + (size_t)(frames - 1) * n;
  double z = count ? log_add(end[n - 1], end[n - 2]) : end[0];
  if (grad && z > -INFINITY) {
    for (int s = 0; s < n; s++) beta[s] = s >= n - 2 ? 0 : -INFINITY;
    for (int t = frames - 1; t >= 0; t--) {
      const double *y = logs + (size_t)t * LANES;
      double posterior[LANES] = {};
      for (int s = 0; s < n; s++) posterior[LABEL(s)] += exp(alpha[(size_t)t * n + s] + beta[s] - z);
      for (int k = 0; k < labels; k++) grad[(size_t)t * LANES + k] = (float)((exp(y[k]) - posterior[k]) * share);
      for (int s = 0; s < n; s++) {
        double v = beta[s] + y[LABEL(s)];
        if (s + 1 < n) v = log_add(v, beta[s + 1] + y[LABEL(s + 1)]);
        if (s + 2 < n && MAY(s + 2)) v = log_add(v, beta[s + 2] + y[LABEL(s + 2)]);
        before[s] = v;
      }
      double *swap = beta;
      beta = before, before = swap;
    }
  }
  free(alpha);
  return -z;
#undef LABEL
#undef MAY
}
static double ctc_slowly(int frames, int labels, int count, const float *scores, const int64_t *label, float *grad, float share) {
  fallbacks++;
  double *logs = malloc(sizeof(double) * LANES * (size_t)frames);
  if (!logs) return NAN;
  for (int t = 0; t < frames; t++) {
    const float *at = scores + (size_t)t * LANES;
    double most = at[0], sum = 0;
    for (int k = 1; k < labels; k++) most = at[k] > most ? at[k] : most;
    for (int k = 0; k < labels; k++) sum += exp(at[k] - most);
    for (int k = 0; k < labels; k++) logs[(size_t)t * LANES + k] = at[k] - most - log(sum);
  }
  if (grad) memset(grad, 0, sizeof(float) * LANES * (size_t)frames);
  double nats = ctc_in_logs(frames, labels, count, logs, label, grad, share);
  free(logs);
  return nats;
}
// Every path advances by the same number of states, so a constant factor on every advance ("tilt") changes no posterior. Without it, reads with
// uninformative scores underflow: their mass runs ahead of the diagonal or lags behind, and scaling loses the paths that end in time. With this
// factor, a chain with the read's mean probabilities drifts from the first state to the last in the read's frames. Found by bisection of its logarithm.
static double tilt(double blank, double label, double may, double drift) {
  double low = -20, high = 30;
  for (int i = 0; i < 30; i++) {
    double x = (low + high) / 2, m = exp(x), trace = blank + label * (1 + may * m), det = blank * label * (1 - (1 - may) * m);
    double root = sqrt(fmax(trace * trace - 4 * det, 1e-300)), largest = (trace + root) / 2;
    if (2 * m * (label * may * largest + (1 - may) * blank * label) / (root * largest) < drift) low = x;
    else high = x;
  }
  return exp((low + high) / 4);
}
// scores: [frames][LANES], of which the first `labels` are used. grad: [frames][LANES], receives the gradient of nats * share if not NULL, zero
// after the labels. Returns NaN if a score is NaN or a label is invalid.
AI double ctc_of(int frames, int count, int labels, const float *scores, const int64_t *label, float *grad, float share, float *work) {
  int states = (count + 1 + LANES - 1) / LANES * LANES, width = states + 2 * PAD;
  float *y = work, *inverse = y + (size_t)frames * LANES, *alpha = inverse + (frames + 15) / 16 * 16, *beta = alpha + (size_t)frames * 2 * width,
        *hot = beta + 4 * width, *may = hot + (labels - 1) * width;
  double nats = 0, blank = 0, product = 1;
  int skips = 0, repeats = 0;
  for (int j = 0; j < count; j++) if (label[j] < 1 || label[j] >= labels) return NAN;  // the data set is damaged
  for (int j = 1; j < count; j++) repeats += label[j] == label[j - 1];
  if (frames < 1 || count + repeats > frames) return INFINITY;
  for (int t = 0; t < frames; t++) {  // softmax
    const float *at = scores + (size_t)t * LANES;
    float e[LANES], most = at[0], sum = 0;
    for (int k = 1; k < labels; k++) most = at[k] > most ? at[k] : most;
    for (int k = 0; k < LANES; k++) e[k] = k < labels ? at[k] - most : -100;
    for (int k = 0; k < LANES; k += VL) ST(e + k, vexp(LD(e + k)));
    for (int k = 0; k < labels; k++) sum += e[k];
    for (int k = 0; k < LANES; k++) y[(size_t)t * LANES + k] = k < labels ? e[k] / sum : 0;
    blank += y[(size_t)t * LANES];
  }
  if (!(blank == blank)) return NAN;
  blank = fmin(fmax(blank / frames, 1e-4), 1 - 1e-4);
  memset(hot, 0, sizeof(float) * labels * width);  // one-hot labels of the states, [label - 1][state], followed by `may`
  for (int j = 0; j < count; j++) {
    hot[(label[j] - 1) * width + PAD + j] = 1;
    may[PAD + j] = j && label[j] != label[j - 1];
    skips += j && label[j] != label[j - 1];
  }
  float lambda = count ? (float)tilt(blank, (1 - blank) / (labels - 1), count > 1 ? skips / (count - 1.0) : 0, 2.0 * count / frames) : 1;
  for (int j = 0; j < count; j++) may[PAD + j] *= lambda * lambda;
  memset(alpha, 0, sizeof(float) * 2 * width);  // a frame's row: blanks, then labels
  alpha[PAD] = y[0];
  if (count) alpha[width + PAD] = lambda * y[label[0]];
  float sum = alpha[PAD] + alpha[width + PAD];
  product = sum, inverse[0] = 1 / sum;
  alpha[PAD] *= inverse[0], alpha[width + PAD] *= inverse[0];
  for (int t = 1; t < frames; t++) {
    const float *b = alpha + (size_t)(t - 1) * 2 * width + PAD, *l = b + width, *yt = y + (size_t)t * LANES;
    float *nb = alpha + (size_t)t * 2 * width + PAD, *nl = nb + width;
    vec sums = {};
    for (int i = 0; i < PAD; i += VL) ST(nb - PAD + i, (vec){}), ST(nl - PAD + i, (vec){}), ST(nb + states + i, (vec){}), ST(nl + states + i, (vec){});
    for (int j = 0; j < states; j += VL) {
      vec blanks = LD(b + j), before = LD(l + j - 1), emitted = {};
      for (int k = 1; k < labels; k++) emitted += yt[k] * LD(hot + (k - 1) * width + PAD + j);
      vec to_blank = (blanks + lambda * before) * yt[0], to_label = (LD(l + j) + lambda * blanks + LD(may + PAD + j) * before) * emitted;
      ST(nb + j, to_blank);
      ST(nl + j, to_label);
      sums += to_blank + to_label;
    }
    for (int j = count + 1; j < states; j++) nb[j] = 0;
    sum = total(sums), inverse[t] = 1 / sum, product *= sum;
    if (product < 1e-200 || product > 1e200) nats -= log(product), product = 1;
    for (int j = 0; j < states; j += VL) {  // sets tiny values to zero: they would become denormal, which is slow on some processors
      vec blanks = LD(nb + j) * inverse[t], of = LD(nl + j) * inverse[t];
      ST(nb + j, choose((bits)(blanks > 1e-30f), blanks, (vec){}));
      ST(nl + j, choose((bits)(of > 1e-30f), of, (vec){}));
    }
  }
  const float *end = alpha + (size_t)(frames - 1) * 2 * width + PAD;
  float z = end[count] + (count ? lambda * end[width + count - 1] : 0), worst = 0;
  nats -= log(product) + log(z) - 2.0 * count * log(lambda);
  if (!(z > 0) || nats - nats != 0) return ctc_slowly(frames, labels, count, scores, label, grad, share);
  float *bb = beta + PAD, *bl = bb + width, *nb = bl + width, *nl = nb + width;
  memset(beta, 0, sizeof(float) * 4 * width);
  bb[count] = 1 / z;
  if (count) bl[count - 1] = lambda / z;
  for (int t = frames - 1; t >= 0; t--) {
    const float *ab = alpha + (size_t)t * 2 * width + PAD, *al = ab + width, *yt = y + (size_t)t * LANES;
    float posterior[LANES] = {};
    vec sums[LANES] = {};
    for (int j = 0; j < states; j += VL) {
      vec of = LD(al + j) * LD(bl + j);
      sums[0] += LD(ab + j) * LD(bb + j);
      for (int k = 1; k < labels; k++) sums[k] += of * LD(hot + (k - 1) * width + PAD + j);
    }
    sum = 0;
    for (int k = 0; k < labels; k++) sum += posterior[k] = total(sums[k]);
    float off = fabsf(sum - 1);
    worst = off <= worst ? worst : off;  // NaN counts
    for (int k = 0; grad && k < LANES; k += VL) ST(grad + (size_t)t * LANES + k, (LD(yt + k) - LD(posterior + k) / sum) * share);
    if (!t) break;
    for (int j = 0; j < states; j += VL) {
      vec emitted = {};
      for (int k = 1; k < labels; k++) emitted += yt[k] * LD(hot + (k - 1) * width + PAD + j);
      ST(bb + j, LD(bb + j) * (yt[0] * inverse[t]));
      ST(bl + j, LD(bl + j) * emitted * inverse[t]);
    }
    for (int j = 0; j < states; j += VL) {
      vec of = LD(bl + j);
      ST(nb + j, LD(bb + j) + lambda * of);
      ST(nl + j, of + lambda * LD(bb + j + 1) + LD(may + PAD + j + 1) * LD(bl + j + 1));
    }
    float *swap = bb;
    bb = nb, nb = swap, swap = bl, bl = nl, nl = swap;
  }
  return worst < 1e-3f ? nats : ctc_slowly(frames, labels, count, scores, label, grad, share);
}
// The usual alphabet has its own copy, in which loops over the five labels are unrolled.
EXPORT double ctc(int32_t frames, int32_t count, int32_t labels, const float *scores, const int64_t *label, float *grad, float share, float *work) {
  return labels == 5 ? ctc_of(frames, count, 5, scores, label, grad, share, work) : ctc_of(frames, count, labels, scores, label, grad, share, work);
}
