#include "transcription/trie_simd.h"

#include "kernels/cpu/ctc_numbers.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

using M = Lanes<double>;
constexpr int W = lanes<M>();
static_assert(kFramePad % W == 0, "a column is whole vectors");

double dot(const double* a, const double* b, int64_t padded) {
  M::V sum{};
  for (int64_t t = 0; t < padded; t += W) sum += load_real<M>(a + t) * load_real<M>(b + t);
  return sum_across<M>(sum)[0];
}

template <int K>
void advance(const TrieStep* steps, const double* blank_column, int64_t first, int64_t frames,
             int64_t padded) {
  double label[K] = {}, after_blank[K] = {};
  for (int64_t t = first; t < frames; ++t) {
    for (int k = 0; k < K; ++k) {
      const TrieStep& step = steps[k];
      step.all[t] = label[k] + after_blank[k];
      step.blank[t] = after_blank[k];
      after_blank[k] = after_blank[k] * blank_column[t] + label[k] * blank_column[t];
      label[k] = label[k] * step.column[t] + step.source[t] * step.column[t];
    }
  }
  for (int k = 0; k < K; ++k) {
    for (int64_t t = 0; t < first; ++t) steps[k].all[t] = steps[k].blank[t] = 0;
    for (int64_t t = frames; t < padded; ++t) steps[k].all[t] = steps[k].blank[t] = 0;
  }
}

}  // namespace

CRNN_TRIE_EXP() {
  const M::V least = splat_real<M>(-__builtin_inf());
  for (int64_t t = 0; t < padded; t += W) {
    M::V top = least;
    for (int64_t c = 0; c < columns; ++c) top = max_lanes(top, load_real<M>(x + c * padded + t));
    store_lanes(maxima + t, top);
    top = top > least ? top : M::V{};
    M::V sum{};
    for (int64_t c = 0; c < columns; ++c) {
      M::V y[1] = {load_real<M>(x + c * padded + t) - top};
      exp_each<M>(y);
      store_lanes(x + c * padded + t, y[0]);
      sum += y[0];
    }
    store_lanes(sums + t, sum);
  }
}

CRNN_TRIE_SCALE() {
  for (int64_t t = 0; t < padded; t += W) {
    const M::V factor = 1.0 / load_real<M>(sums + t);
    for (int64_t c = 0; c < columns; ++c) {
      store_lanes(x + c * padded + t, load_real<M>(x + c * padded + t) * factor);
    }
  }
}

CRNN_TRIE_ADVANCE() {
  for (; count >= 4; count -= 4, steps += 4) {
    advance<4>(steps, blank_column, first, frames, padded);
  }
  if (count >= 2) {
    advance<2>(steps, blank_column, first, frames, padded);
    count -= 2, steps += 2;
  }
  if (count == 1) advance<1>(steps, blank_column, first, frames, padded);
}

CRNN_TRIE_MASSES() {
  for (int64_t i = 0; i < count; ++i) {
    const double* column = columns + static_cast<int64_t>(column_of[units[i]]) * padded;
    sums[i] = dot(units[i] == own ? blank : all, column, padded);
  }
}

CRNN_TRIE_ENDING() {
  double rest = 1;
  for (int64_t t = frames - 1; t >= 0; --t) {
    ending[t] = column[t] * rest;
    if (t > 0) rest = column[t] * rest + blanks[t - 1];
  }
}

CRNN_TRIE_DOT() { return dot(a, b, padded); }

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
