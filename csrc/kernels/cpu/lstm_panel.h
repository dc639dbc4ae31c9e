// Rows times packed panels: the inner loop of every float LSTM kernel (lstm_simd.h has the layout).
#pragma once

#include "common/simd.h"
#include "kernels/cpu/lstm_simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {

// Rows multiplied together, so that each vector of weights loaded is used as often: 4 * kGroup sums
// and the operands fill the 32 registers of AVX-512 and the 16 of AVX2 and SSE.
#if defined(__AVX512F__)
constexpr int kGroup = 6;
#elif defined(__AVX2__)
constexpr int kGroup = 3;
#else
constexpr int kGroup = 2;
#endif

// sums[s][q] += sum over k of rows[s][k] * panel[k][q]. Each sum is one chain in the order of k, so
// a row's result does not depend on the rows beside it.
template <int S>
static inline void multiply(const float* const* rows, const float* panel, int64_t K,
                            VecF (&sums)[S][4]) {
  const float* row[S];
  VecF acc[S][4];
  for (int s = 0; s < S; ++s) {
    row[s] = rows[s];
    for (int q = 0; q < 4; ++q) acc[s][q] = sums[s][q];
  }
  for (int64_t k = 0; k < K; ++k, panel += 4 * kLanes) {
    VecF a[S];
    for (int s = 0; s < S; ++s) a[s] = splat(row[s][k]);
    for (int q = 0; q < 4; ++q) {
      const VecF w = load(panel + q * kLanes);
      for (int s = 0; s < S; ++s) acc[s][q] += w * a[s];
    }
  }
  for (int s = 0; s < S; ++s) {
    for (int q = 0; q < 4; ++q) sums[s][q] = acc[s][q];
  }
}

// The first `count` lanes from or to memory that may end there; other lanes load as 0.
static inline VecF load_first(const float* p, int64_t count) {
  if (count >= kLanes) return load(p);
  VecF v{};
  if (count > 0) std::memcpy(&v, p, static_cast<size_t>(count) * sizeof(float));
  return v;
}

static inline void store_first(float* p, VecF v, int64_t count) {
  if (count >= kLanes) {
    store(p, v);
  } else if (count > 0) {
    std::memcpy(p, &v, static_cast<size_t>(count) * sizeof(float));
  }
}

typedef float Vec4 __attribute__((vector_size(16)));

#ifdef __clang__
#define CRNN_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t Index4 __attribute__((vector_size(16)));
#define CRNN_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Index4){__VA_ARGS__})
#endif

// The rows of a 4x4 matrix become its columns.
static inline void transpose(Vec4 (&r)[4]) {
  const Vec4 a = CRNN_SHUFFLE(r[0], r[1], 0, 4, 1, 5), b = CRNN_SHUFFLE(r[2], r[3], 0, 4, 1, 5);
  const Vec4 c = CRNN_SHUFFLE(r[0], r[1], 2, 6, 3, 7), d = CRNN_SHUFFLE(r[2], r[3], 2, 6, 3, 7);
  r[0] = CRNN_SHUFFLE(a, b, 0, 1, 4, 5);
  r[1] = CRNN_SHUFFLE(a, b, 2, 3, 6, 7);
  r[2] = CRNN_SHUFFLE(c, d, 0, 1, 4, 5);
  r[3] = CRNN_SHUFFLE(c, d, 2, 3, 6, 7);
}
#undef CRNN_SHUFFLE

// Calls step.template run<S>(first) for consecutive groups of S <= kGroup of `count` rows, as even
// as they come: a group of one or two would wait for its weights.
template <class Step>
static inline void for_groups(int64_t count, const Step& step) {
  const int64_t groups = (count + kGroup - 1) / kGroup;
  for (int64_t k = 0, first = 0; k < groups; ++k) {
    const int64_t size = count / groups + (k < count % groups ? 1 : 0);
    switch (size) {
#if defined(__AVX512F__)
      case 6:
        step.template run<6>(first);
        break;
      case 5:
        step.template run<5>(first);
        break;
      case 4:
        step.template run<4>(first);
        break;
#endif
#if defined(__AVX2__)
      case 3:
        step.template run<3>(first);
        break;
#endif
      case 2:
        step.template run<2>(first);
        break;
      default:
        step.template run<1>(first);
        break;
    }
    first += size;
  }
}

static inline int64_t length_of(const int64_t* lengths, int64_t n, int64_t T) {
  return lengths == nullptr ? T : lengths[n];
}

// How many samples of the item, which are its first ones, have a frame t; `active` is the number at
// a neighbouring t.
static inline int64_t active_at(const LstmItem& item, const int64_t* lengths, int64_t T, int64_t t,
                                int64_t active) {
  while (active > 0 && length_of(lengths, item.samples[active - 1], T) <= t) --active;
  while (active < item.count && length_of(lengths, item.samples[active], T) > t) ++active;
  return active;
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
