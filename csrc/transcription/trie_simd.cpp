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
      const M::V value = load_real<M>(x + c * padded + t) - top;
      // exp_real gives the least normal number or so for anything below its range.
      const M::V y = value > splat_real<M>(-700) ? exp_real<M>(value) : M::V{};
      store_lanes(x + c * padded + t, y);
      sum += y;
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
  double label = 0, after_blank = 0;
  for (int64_t t = 0; t < frames; ++t) {
    all[t] = label + after_blank;
    blank[t] = after_blank;
    after_blank = after_blank * blank_column[t] + label * blank_column[t];
    label = label * column[t] + source[t] * column[t];
  }
  for (int64_t t = frames; t < padded; ++t) all[t] = blank[t] = 0;
}

CRNN_TRIE_MASSES() {
  for (int64_t i = 0; i < count; ++i) {
    const double* column = columns + static_cast<int64_t>(column_of[units[i]]) * padded;
    sums[i] = dot(units[i] == own ? blank : all, column, padded);
  }
}

CRNN_TRIE_DOT() { return dot(a, b, padded); }

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
