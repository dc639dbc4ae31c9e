// Numbers of the CTC kernels: vectors of float or double, exp, and mantissa * 2^exponent.
//
// A Scaled value is m * 2^e with an integer exponent per lane. Probabilities of CTC states span
// thousands of binary orders of magnitude within one frame, which neither float with one scale per
// frame nor fp32 logarithms can hold accurately; here a sum costs a few integer operations and the
// relative rounding error of float, and no exp or log.
// Invariants: m of an emission is in [0.7, 1.42). A state's m is in [1, 2) every kLazySteps frames;
// a frame sums at most three states and multiplies by an emission, so in between it stays within
// (0.7^8, 2 * (3 * 1.42)^8). e >= kZero. Zero is any value with an exponent near kZero: m is never
// 0, so that normalising needs no special case.
// Only for files compiled per SIMD level (common/simd.h).
#pragma once

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "common/simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {

// Exponents, chosen so that no sum of two of them overflows 32 bits.
constexpr int32_t kZero = -(1 << 30);        // the exponent of zero
constexpr int32_t kImpossible = -(1 << 29);  // added to an exponent, makes the value count as zero
constexpr int32_t kLeast = -(1 << 28);       // results with an exponent below this are zero
constexpr int kLazySteps = 8;                // frames from one normalisation to the next
constexpr int kLazyBits = 6;                 // a state's m is at least 2^-5 then

template <class RealT>
struct Lanes;

template <>
struct Lanes<float> {
  using Real = float;
  using Int = int32_t;
  using V = VecF;
  using I = VecI;
  static constexpr int kMantissaBits = 23, kBias = 127;
  static constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float kLog2e = 1.44269504f;
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kExpLow = -87.33f, kExpHigh = 89.0f;  // exp is denormal below, inf above
  // exp(f) for |f| <= ln(2)/2 by rising power; minimax fit, relative error 3e-9.
  static constexpr int kTerms = 7;
  static constexpr float kExp[kTerms] = {1.0f,         1.0f,          0.49999994f,  0.16666521f,
                                         0.041668389f, 0.0083687168f, 0.0013814595f};
};

template <>
struct Lanes<double> {
  using Real = double;
  using Int = int64_t;
  typedef double V __attribute__((vector_size(kVectorBytes)));
  typedef int64_t I __attribute__((vector_size(kVectorBytes)));
  static constexpr int kMantissaBits = 52, kBias = 1023;
  static constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLog2e = 1.4426950408889634;
  static constexpr double kLn2High = 6.93147180369123816490e-01,
                          kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kExpLow = -708.39, kExpHigh = 710.0;
  // Taylor: the next term is 4e-18 at ln(2)/2.
  static constexpr int kTerms = 14;
  static constexpr double kExp[kTerms] = {1.0,
                                          1.0,
                                          1.0 / 2,
                                          1.0 / 6,
                                          1.0 / 24,
                                          1.0 / 120,
                                          1.0 / 720,
                                          1.0 / 5040,
                                          1.0 / 40320,
                                          1.0 / 362880,
                                          1.0 / 3628800,
                                          1.0 / 39916800,
                                          1.0 / 479001600,
                                          1.0 / 6227020800.0};
};

#ifdef __AVX512F__
static inline void masked_store(float* p, VecF v, uint32_t mask) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), v);
}
static inline void masked_store(double* p, Lanes<double>::V v, uint32_t mask) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), v);
}
#endif

template <class M>
constexpr int lanes() {
  return kVectorBytes / static_cast<int>(sizeof(typename M::Real));
}

template <class M>
static inline typename M::V load_real(const typename M::Real* p) {
  typename M::V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class M>
static inline typename M::I load_int(const typename M::Int* p) {
  typename M::I v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T, class Vector>
static inline void store_lanes(T* p, Vector v) {
  std::memcpy(p, &v, sizeof v);
}
template <class M>
static inline typename M::V splat_real(typename M::Real x) {
  return x - typename M::V{};
}
template <class M>
static inline typename M::I splat_int(typename M::Int x) {
  return x - typename M::I{};
}
// The first `count` lanes, none if it is negative.
template <class M>
static inline void store_first(typename M::Real* p, typename M::V v, int64_t count) {
  if (count >= lanes<M>()) return store_lanes(p, v);
#ifdef __AVX512F__
  masked_store(p, v, count > 0 ? (1u << count) - 1 : 0);
#else
  for (int64_t k = 0; k < count; ++k) p[k] = v[k];
#endif
}
template <class Vector>
static inline Vector max_lanes(Vector a, Vector b) {
  return a > b ? a : b;
}

// ---- moving lanes -----------------------------------------------------------------------------

template <int... K>
struct Indices {};
template <int n, int... K>
struct Counting : Counting<n - 1, n - 1, K...> {};
template <int... K>
struct Counting<0, K...> {
  using type = Indices<K...>;
};
template <class M>
using AllLanes = typename Counting<lanes<M>()>::type;

template <class M, int... K>
static inline typename M::I count_up(Indices<K...>) {
  return typename M::I{K...};
}
// 0, 1, 2, ...
template <class M>
static inline typename M::I lane_numbers() {
  return count_up<M>(AllLanes<M>{});
}

#if defined(__clang__)
#define CRNN_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CRNN_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, typename M::I{__VA_ARGS__})
#endif

template <class M, class Vector, int... K>
static inline Vector after(Vector before, Vector v, Indices<K...>) {
  return CRNN_SHUFFLE(before, v, (lanes<M>() - 1 + K)...);
}
template <class M, class Vector, int... K>
static inline Vector ahead(Vector v, Vector behind, Indices<K...>) {
  return CRNN_SHUFFLE(v, behind, (1 + K)...);
}
template <class M, int distance, class Vector, int... K>
static inline Vector swap_lanes(Vector v, Indices<K...>) {
  return CRNN_SHUFFLE(v, v, (K ^ distance)...);
}
// Lane k of the result is lane k-1 of v; lane 0 is the last lane of `before`.
template <class M, class Vector>
static inline Vector previous_lane(Vector before, Vector v) {
  return after<M>(before, v, AllLanes<M>{});
}
// Lane k of the result is lane k+1 of v; the last lane is lane 0 of `behind`.
template <class M, class Vector>
static inline Vector next_lane(Vector v, Vector behind) {
  return ahead<M>(v, behind, AllLanes<M>{});
}

// Sum (or maximum) of all lanes, in every lane: a fixed tree, the same for each call.
template <class M, int distance = 1, class Vector>
static inline Vector sum_across(Vector v) {
  if constexpr (distance < lanes<M>()) {
    return sum_across<M, 2 * distance>(v + swap_lanes<M, distance>(v, AllLanes<M>{}));
  } else {
    return v;
  }
}
// Half of the lanes from each, chosen by bit `distance` of the lane's number, neighbours added.
template <class M, int distance, class Vector>
static inline Vector sum_pairs(Vector a, Vector b) {
  a += swap_lanes<M, distance>(a, AllLanes<M>{});
  b += swap_lanes<M, distance>(b, AllLanes<M>{});
  return (lane_numbers<M>() & distance) != 0 ? b : a;
}
// Lane 0: sum of all lanes of a; lane 1: of b.
template <class M, class Vector>
static inline Vector sum_across(Vector a, Vector b) {
  return sum_across<M, 2>(sum_pairs<M, 1>(a, b));
}
template <class M, int distance = 1, class Vector>
static inline Vector max_across(Vector v) {
  if constexpr (distance < lanes<M>()) {
    return max_across<M, 2 * distance>(max_lanes(v, swap_lanes<M, distance>(v, AllLanes<M>{})));
  } else {
    return v;
  }
}

// ---- exp --------------------------------------------------------------------------------------

template <class M>
struct Scaled {
  typename M::V m;
  typename M::I e;
};

// exp(x) = m * 2^n with m in [0.7, 1.42), for |x| <= 2^21, for each of K vectors step by step: the
// processor then finds independent operations next to each other.
template <class M, int K>
struct SplitExp {
  typename M::V m[K];
  typename M::V n[K];
  typename M::V rounded[K];  // n in the lowest bits
};
template <class M, int K>
static inline SplitExp<M, K> split_exp(const typename M::V (&x)[K]) {
  using V = typename M::V;
  const V magic = splat_real<M>(M::kMagic);
  SplitExp<M, K> y;
  V f[K];
  for (int i = 0; i < K; ++i) y.rounded[i] = x[i] * M::kLog2e + magic;
  for (int i = 0; i < K; ++i) y.n[i] = y.rounded[i] - magic;
  for (int i = 0; i < K; ++i) f[i] = x[i] - y.n[i] * M::kLn2High;
  for (int i = 0; i < K; ++i) f[i] = f[i] - y.n[i] * M::kLn2Low;
  for (int i = 0; i < K; ++i) y.m[i] = splat_real<M>(M::kExp[M::kTerms - 1]);
  for (int k = M::kTerms - 2; k >= 0; --k) {
    for (int i = 0; i < K; ++i) y.m[i] = y.m[i] * f[i] + M::kExp[k];
  }
  return y;
}
template <class M>
static inline Scaled<M> exp_scaled(typename M::V x) {
  const typename M::V one[1] = {x};
  const SplitExp<M, 1> y = split_exp<M>(one);
  return {y.m[0], (typename M::I)y.rounded[0] - (typename M::I)splat_real<M>(M::kMagic)};
}

#ifdef __AVX512F__
// m * 2^n where x >= low or x is NaN, else 0.
static inline VecF times_power_from(VecF low, VecF x, VecF m, VecF n) {
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, low, _CMP_NLT_UQ), m, n);
}
static inline Lanes<double>::V times_power_from(Lanes<double>::V low, Lanes<double>::V x,
                                                Lanes<double>::V m, Lanes<double>::V n) {
  return _mm512_maskz_scalef_pd(_mm512_cmp_pd_mask(x, low, _CMP_NLT_UQ), m, n);
}
#endif

// x = exp(x) for any x: 0 where it would be denormal, inf beyond the largest number, NaN for NaN.
template <class M, int K>
static inline void exp_each(typename M::V (&x)[K]) {
  using V = typename M::V;
  const V low = splat_real<M>(M::kExpLow);
#ifdef __AVX512F__
  // Beyond 2^21 m is garbage; of even degree it is positive, and n takes it to inf.
  if constexpr (M::kTerms % 2 == 0) {
    for (int i = 0; i < K; ++i)
      x[i] = splat_real<M>(M::kExpHigh) < x[i] ? splat_real<M>(M::kExpHigh) : x[i];
  }
  const SplitExp<M, K> y = split_exp<M>(x);
  for (int i = 0; i < K; ++i) x[i] = times_power_from(low, x[i], y.m[i], y.n[i]);
#else
  using I = typename M::I;
  const V high = splat_real<M>(M::kExpHigh);
  for (int i = 0; i < K; ++i) x[i] = high < x[i] ? high : x[i];  // NaN stays
  const SplitExp<M, K> y = split_exp<M>(x);
  const I bias = splat_int<M>(M::kBias) - (I)splat_real<M>(M::kMagic);
  for (int i = 0; i < K; ++i) {
    const V result = y.m[i] * (V)(((I)y.rounded[i] + bias) << M::kMantissaBits);
    x[i] = x[i] < low ? V{} : result;
  }
#endif
}

template <class M>
static inline typename M::V exp_real(typename M::V x) {
  typename M::V v[1] = {x};
  exp_each<M>(v);
  return v[0];
}

// ---- mantissa * 2^exponent --------------------------------------------------------------------

template <class M>
static inline Scaled<M> zero_scaled() {
  return {splat_real<M>(1), splat_int<M>(kZero)};
}

// m * 2^k for a state's m and k <= 0; below about 2^-100 it stays there, which is as good as zero
// beside another state's m. The exponent goes straight into the bits of m.
template <class M>
static inline typename M::V scale_down(typename M::V m, typename M::I k) {
  k = max_lanes(k, splat_int<M>(kLazyBits - M::kBias));
  return (typename M::V)((typename M::I)m + (k << M::kMantissaBits));
}

template <class M>
static inline Scaled<M> add(Scaled<M> a, Scaled<M> b) {
  const typename M::I e = max_lanes(a.e, b.e);
  return {scale_down<M>(a.m, a.e - e) + scale_down<M>(b.m, b.e - e), e};
}
template <class M>
static inline Scaled<M> add(Scaled<M> a, Scaled<M> b, Scaled<M> c) {
  const typename M::I e = max_lanes(max_lanes(a.e, b.e), c.e);
  return {(scale_down<M>(a.m, a.e - e) + scale_down<M>(b.m, b.e - e)) + scale_down<M>(c.m, c.e - e),
          e};
}
// A state times an emission.
template <class M>
static inline Scaled<M> times(Scaled<M> a, Scaled<M> y) {
  return {a.m * y.m, max_lanes(a.e + y.e, splat_int<M>(kZero))};
}

// The same value with m in [1, 2).
template <class M>
static inline Scaled<M> normalised(Scaled<M> a) {
  using I = typename M::I;
  constexpr typename M::Int one = typename M::Int(M::kBias) << M::kMantissaBits;
  constexpr typename M::Int fraction = (typename M::Int(1) << M::kMantissaBits) - 1;
  const I bits = (I)a.m;
  return {(typename M::V)((bits & fraction) | one), a.e + ((bits >> M::kMantissaBits) - M::kBias)};
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
