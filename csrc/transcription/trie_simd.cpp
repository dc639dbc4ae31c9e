#include "transcription/trie_simd.h"

#include "kernels/cpu/ctc_numbers.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

using M = Lanes<double>;
constexpr int W = lanes<M>();
static_assert(kFramePad % W == 0, "a column is whole vectors");

// ---- turning W rows of W frames, so that a vector holds one frame of each row ------------------

template <int distance, int... K>
inline M::V first_of(M::V a, M::V b, Indices<K...>) {
  return CRNN_SHUFFLE(a, b, ((K & distance) ? W + (K ^ distance) : K)...);
}
template <int distance, int... K>
inline M::V second_of(M::V a, M::V b, Indices<K...>) {
  return CRNN_SHUFFLE(a, b, ((K & distance) ? W + K : K ^ distance)...);
}
template <int distance = 1>
inline void transpose(M::V (&rows)[W]) {
  if constexpr (distance < W) {
    for (int i = 0; i < W; ++i) {
      if (i & distance) continue;
      const M::V a = rows[i], b = rows[i + distance];
      rows[i] = first_of<distance>(a, b, AllLanes<M>{});
      rows[i + distance] = second_of<distance>(a, b, AllLanes<M>{});
    }
    transpose<2 * distance>(rows);
  }
}

// trie_walk() of W lanes.
template <bool repeats>
inline void walk(double* states, const double* const* columns, M::I repeated,
                 const double* blank_column, int64_t first, int64_t frames, double* totals) {
  M::V label{}, after_blank{}, entering_blank{};
  const auto frame = [&](int64_t t, M::V column) {
    double* state = states + t * kTrieLanes;
    const M::V before = load_real<M>(state);
    const M::V source = repeats ? (repeated != 0 ? entering_blank : before) : before;
    const M::V all = label + after_blank;
    store_lanes(state, all);
    if (repeats) entering_blank = before * blank_column[t];
    after_blank = all * blank_column[t];
    label = (label + source) * column;
  };
  for (int64_t t = first; t < frames; t += W) {
    M::V column[W];
    for (int k = 0; k < W; ++k) column[k] = load_real<M>(columns[k] + t);
    transpose(column);
    if (t + W <= frames) {
      for (int i = 0; i < W; ++i) frame(t + i, column[i]);
    } else {
      for (int i = 0; t + i < frames; ++i) frame(t + i, column[i]);
    }
  }
  store_lanes(totals, label + after_blank);
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
  double label = 0, after_blank = 0;
  for (int64_t t = 0; t < first; ++t) all[t] = 0;
  for (int64_t t = first; t < frames; ++t) {
    all[t] = label + after_blank;
    after_blank = after_blank * blank_column[t] + label * blank_column[t];
    label = label * column[t] + source[t] * column[t];
  }
  for (int64_t t = frames; t < padded; ++t) all[t] = 0;
}

CRNN_TRIE_BLANK() {
  blank[0] = 0;
  for (int64_t t = 1; t < padded; ++t) blank[t] = all[t - 1] * blank_column[t - 1];
}

CRNN_TRIE_WALK() {
  for (int v = 0; v < kTrieLanes; v += W) {
    const uint32_t bits = repeated >> v & ((1u << W) - 1);
    if (bits == 0) {
      walk<false>(states + v, columns + v, M::I{}, blank_column, first, frames, totals + v);
      continue;
    }
    const M::I mask = splat_int<M>(bits) >> lane_numbers<M>() & 1;
    walk<true>(states + v, columns + v, mask, blank_column, first, frames, totals + v);
  }
}

CRNN_TRIE_PRODUCTS() {
  for (int64_t i = 0; i < count; ++i) {
    const double *a = products[i].source, *b = products[i].column;
    M::V sum{};
    for (int64_t t = 0; t < padded; t += W) sum += load_real<M>(a + t) * load_real<M>(b + t);
    sums[i] = sum_across<M>(sum)[0];
  }
}

CRNN_TRIE_ENDING() {
  double rest = 1;
  for (int64_t t = frames - 1; t >= 0; --t) {
    ending[t] = column[t] * rest;
    if (t > 0) rest = column[t] * rest + blanks[t - 1];
  }
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
