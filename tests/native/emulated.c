// Native code as a program: answers the calls of emulated.py, whose arguments it reads from standard input. Memory is not returned.
#include "step.c"

#include <stdio.h>

static void *room(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }
static void *take(size_t bytes) {
  void *to = room(bytes);
  if (fread(to, 1, bytes, stdin) != bytes) exit(!feof(stdin));
  return to;
}
static void give(const void *from, size_t bytes) { fwrite(from, 1, bytes, stdout); }

static void answer_ctc(void) {
  const int32_t *of = take(12), frames = of[0], count = of[1], labels = of[2];
  float *scores = take(4 * LANES * frames), *gradient = room(4 * LANES * frames), *work = room(4 * ctc_workspace(frames, count));
  const int64_t *label = take(8 * count);
  memset(gradient, 0, 4 * LANES * frames);
  double nats = ctc(frames, count, labels, scores, label, gradient, 1, work);
  give(&nats, 8), give(gradient, 4 * LANES * frames);
}
// The structs come as they are in the caller's memory: a pointer that is not NULL says that what it points to follows.
static void answer_step(void) {
  Size *z = take(sizeof *z);
  z->dilations = take(4 * z->blocks);
  Batch *batch = take(sizeof *batch);
  size_t reads = batch->reads, bases = 0;
  batch->signal = take(4 * reads * batch->samples), batch->frames = take(8 * reads);
  if (batch->scored) batch->scored = take(8 * reads);
  if (batch->targets) {
    batch->target_lengths = take(8 * reads);
    for (size_t q = 0; q < reads; q++) bases += batch->target_lengths[q];
    batch->targets = take(8 * bases);
  }
  int64_t weights = weights_of(z, NULL, NULL, NULL).scores_bias - (float *)NULL + z->labels, *longest = take(8);
  give(&weights, 8), fflush(stdout);
  float *p = take(4 * weights);
  size_t statistics = z->norm ? 4 * z->blocks * z->channels : 0, scored = 4 * reads * *longest * z->labels;
  float *mean = take(statistics), *variance = take(statistics);
  double *share = take(8);
  int32_t back = *(int32_t *)take(4);
  float *gradients = back ? room(4 * weights) : NULL, *scores = scored ? room(scored) : NULL;
  size_t bytes = 4 * workspace(z, batch, back);
  uint8_t *work = room(bytes + 256);
  memset(work, 0xff, bytes + 256);  // as floats, not numbers
  if (scores) memset(scores, 0, scored);
  double nats = step(z, batch, p, mean, variance, *share, gradients, scores, *longest, (float *)work);
  for (size_t i = 0; i < 256; i++) if (work[bytes + i] != 0xff) exit(2);  // written behind its end
  give(&nats, 8), give(mean, statistics), give(variance, statistics), give(gradients, back ? 4 * weights : 0), give(scores, scored);
}
int main(void) {
  int32_t widths[] = {vector_length(), half_width()};
  give(widths, sizeof widths), fflush(stdout);
  for (;; fflush(stdout)) *(char *)take(1) == 'c' ? answer_ctc() : answer_step();
}
