// Rows of x: the softmax statistics of one row by a group of threads, in one reading.
#pragma once

#include "kernels/cuda/ctc_numbers.cuh"

namespace crnn {

template <class Real>
struct RowStatistics {
  Real shift, sum;  // the maximum, and the sum over c of exp(x - shift); NaN if x has NaN or +inf
};

// Calls visit(values, c, count) for the parts x[c..c + count) that this thread of `threads` takes:
// two or four values each, in one load where the row lies on a boundary for that. Which thread
// takes what does not depend on the address, so sums over a row have the same bits wherever it
// lies.
template <class In, class Visit>
__device__ __forceinline__ void visit_row(const In* x, int C, int thread, int threads,
                                          const Visit& visit) {
  constexpr int size = Chunk<In>::kSize;
  const bool aligned = on_16_bytes(x);
  for (int c = thread * size; c < C; c += threads * size) {
    const int count = min(size, C - c);
    typename RealOf<In>::type values[size];
    if (aligned && count == size) {
      const Chunk<In> chunk = *reinterpret_cast<const Chunk<In>*>(x + c);
#pragma unroll
      for (int i = 0; i < size; ++i) values[i] = to_real(chunk.value[i]);
    } else {
#pragma unroll
      for (int i = 0; i < size; ++i) values[i] = i < count ? to_real(x[c + i]) : 0;
    }
    visit(values, c, count);
  }
}

// One thread's part of a row, relative to its own maximum.
template <class In>
__device__ __forceinline__ RowStatistics<typename RealOf<In>::type> part_of_row(const In* x, int C,
                                                                                int thread,
                                                                                int threads) {
  using Real = typename RealOf<In>::type;
  constexpr int size = Chunk<In>::kSize;
  Real top = Format<Real>::kLowest, sum = 0;
  visit_row(x, C, thread, threads, [&](const Real* values, int, int count) {
    Real highest = top;
#pragma unroll
    for (int i = 0; i < size; ++i) highest = i < count && values[i] > highest ? values[i] : highest;
    if (highest > top) {
      sum *= exp(top - highest);
      top = highest;
    }
#pragma unroll
    for (int i = 0; i < size; ++i) sum += i < count ? exp(values[i] - top) : Real(0);
  });
  return {top, sum};
}

// Of +inf, exp(x - shift) is NaN or says nothing: make it NaN in any case.
template <class Real>
__device__ __forceinline__ RowStatistics<Real> checked(RowStatistics<Real> row) {
  if (!(row.shift <= -Format<Real>::kLowest)) row.sum = row.shift - row.shift;
  return row;
}

template <class Real>
__device__ __forceinline__ RowStatistics<Real> over_warp(RowStatistics<Real> part) {
  const Real top = warp_max(part.shift);
  return {top, warp_sum(part.sum * exp(part.shift - top))};
}

}  // namespace crnn
