// Numbers of the CTC kernels on the GPU: the same mantissa * 2^exponent as on the CPU
// (kernels/cpu/ctc_numbers.h says why), one scalar per lane.
// Invariants: m is in [1, 2), in sums in [1, 16); e >= kZero. Zero is any value with an exponent
// near kZero; m is never 0.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cfloat>
#include <cstdint>

#include "kernels/ctc_cuda.h"

namespace crnn {

constexpr unsigned kAllLanes = 0xffffffffU;

// Exponents, chosen so that no sum of two of them overflows 32 bits.
constexpr int kZero = -(1 << 30);        // the exponent of zero
constexpr int kImpossible = -(1 << 29);  // added to an exponent, makes the value count as zero
constexpr int kLeast = -(1 << 28);       // results with an exponent below this are zero

template <class Real>
struct Format;
template <>
struct Format<float> {
  using Bits = int;
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kLowest = -FLT_MAX;
  static __device__ Bits bits(float x) { return __float_as_int(x); }
  static __device__ float real(Bits b) { return __int_as_float(b); }
};
template <>
struct Format<double> {
  using Bits = long long;
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kLowest = -DBL_MAX;
  static __device__ Bits bits(double x) { return __double_as_longlong(x); }
  static __device__ double real(Bits b) { return __longlong_as_double(b); }
};

template <class Real>
struct alignas(2 * sizeof(Real)) Scaled {  // one load or store of 8 or 16 bytes
  Real m;
  int e;
};

template <>
struct alignas(16) Scaled<double> {
  double m;
  int e;
  int unused = 0;  // so that copies read nothing unwritten
};

template <class Real>
__device__ __forceinline__ Scaled<Real> zero_scaled() {
  return {Real(1), kZero};
}

// 2^k for k <= kBias; 0 for k <= -kBias.
template <class Real>
__device__ __forceinline__ Real power_of_two(int k) {
  using F = Format<Real>;
  return F::real(typename F::Bits(max(k, -F::kBias) + F::kBias) << F::kMantissa);
}

// m * 2^k for m >= 1 and k <= 0; below 2^-126 (2^-1022) it stays there, which is as good as zero
// beside a value of 1 or more. The exponent goes straight into the bits of m.
template <class Real>
__device__ __forceinline__ Real scale_down(Real m, int k) {
  using F = Format<Real>;
  using Bits = typename F::Bits;
  return F::real(F::bits(m) + Bits(max(k, 1 - F::kBias)) * (Bits(1) << F::kMantissa));
}

// Sums are left unnormalised.
template <class Real>
__device__ __forceinline__ Scaled<Real> add(Scaled<Real> a, Scaled<Real> b) {
  const int e = max(a.e, b.e);
  return {scale_down(a.m, a.e - e) + scale_down(b.m, b.e - e), e};
}
template <class Real>
__device__ __forceinline__ Scaled<Real> add(Scaled<Real> a, Scaled<Real> b, Scaled<Real> c) {
  const int e = max(max(a.e, b.e), c.e);
  return {(scale_down(a.m, a.e - e) + scale_down(b.m, b.e - e)) + scale_down(c.m, c.e - e), e};
}

// m * 2^e with m brought into [1, 2).
template <class Real>
__device__ __forceinline__ Scaled<Real> normalised(Real m, int e) {
  using F = Format<Real>;
  using Bits = typename F::Bits;
  constexpr Bits one = Bits(F::kBias) << F::kMantissa;
  constexpr Bits fraction = (Bits(1) << F::kMantissa) - 1;
  const Bits product = F::bits(m);
  return {F::real((product & fraction) | one),
          max(e + static_cast<int>(product >> F::kMantissa) - F::kBias, kZero)};
}

// sum * y, normalised, for an unnormalised sum and an emission y.
template <class Real>
__device__ __forceinline__ Scaled<Real> times(Scaled<Real> sum, Scaled<Real> y) {
  return normalised(sum.m * y.m, sum.e + y.e);
}

// exp(x) = m * 2^e with m in [0.7, 1.42), for |x| <= 2^21.
template <class Real>
__device__ __forceinline__ Scaled<Real> exp_scaled(Real x) {
  constexpr bool single = sizeof(Real) == 4;
  // ln 2 in two parts: the product of n and the first is exact, or nearly so with fma.
  constexpr Real high = single ? Real(0.693359375) : Real(6.93147180369123816490e-01);
  constexpr Real low = single ? Real(-2.12194440e-4) : Real(1.90821492927058770002e-10);
  const Real n = rint(x * Real(1.4426950408889634));
  const Real f = fma(-n, low, fma(-n, high, x));
  return {exp(f), static_cast<int>(n)};
}

// ---- elements of x -----------------------------------------------------------------------------

template <class In>
struct RealOf {
  using type = float;
};
template <>
struct RealOf<double> {
  using type = double;
};

__device__ __forceinline__ float to_real(float x) { return x; }
__device__ __forceinline__ double to_real(double x) { return x; }
__device__ __forceinline__ float to_real(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_real(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class Out>
__device__ __forceinline__ Out from_real(typename RealOf<Out>::type x) {
  return x;
}
template <>
__device__ __forceinline__ __half from_real<__half>(float x) {
  return __float2half(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_real<__nv_bfloat16>(float x) {
  return __float2bfloat16(x);
}

// What one thread reads of a row at a time: as many values of half precision as of float, so that
// the results have the same bits.
template <class T>
struct alignas(sizeof(T) == 2 ? 8 : 16) Chunk {
  static constexpr int kSize = sizeof(T) == 8 ? 2 : 4;
  T value[kSize];
};

template <class T>
__device__ __forceinline__ bool on_16_bytes(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

// ---- reductions over a warp: a fixed tree ------------------------------------------------------

template <class T>
__device__ __forceinline__ T warp_sum(T v) {
  for (int distance = 16; distance > 0; distance /= 2) {
    v += __shfl_xor_sync(kAllLanes, v, distance);
  }
  return v;
}
template <class T>
__device__ __forceinline__ T warp_max(T v) {
  for (int distance = 16; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, v, distance);
    v = other > v ? other : v;
  }
  return v;
}

// ---- integers of 4 or 8 bytes ------------------------------------------------------------------

__device__ __forceinline__ int64_t load_integer(const CtcIntegers& a, int64_t i) {
  return a.bytes == 8 ? static_cast<const int64_t*>(a.data)[i]
                      : static_cast<const int32_t*>(a.data)[i];
}

// ---- the saved buffer --------------------------------------------------------------------------

template <class Real>
struct Saved {
  using Integer = typename Format<Real>::Bits;
  Real *losses, *row_shift, *row_sum;
  Real* posteriors;          // null, as are the others, unless a gradient is wanted
  Integer *samples, *links;  // samples: [3, N]
};

template <class Real>
Saved<Real> parts_of(const CtcCudaSaved& saved, const CtcDims& d) {
  Saved<Real> parts{};
  const int64_t rows = d.from_logits ? d.T * d.N : 0;
  parts.losses = static_cast<Real*>(saved.buffer);
  parts.row_shift = parts.losses + d.N;
  parts.row_sum = parts.row_shift + rows;
  if (!saved.for_gradient) return parts;
  parts.posteriors = parts.row_sum + rows;
  Real* const end = parts.posteriors + d.T * (2 * d.targets + d.N);
  parts.samples = reinterpret_cast<typename Saved<Real>::Integer*>(end);
  parts.links = parts.samples + 3 * d.N;
  return parts;
}

}  // namespace crnn
