// The matrix product of the plain LSTM kernels: samples by columns, from rows that are anywhere.
//
// A block of 128 threads makes a tile of 16 samples and 32 columns. Thread (u, s) = (i % 8, i / 8)
// has sample s and the columns u, u + 8, u + 16, u + 24. Per 64 factors, both sides pass once
// through shared memory; 20 words are read from it for 16 multiplications, in vectors of 16 bytes
// that are free of bank conflicts (a row is 16 bytes longer than a multiple of 128).
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/lstm_numbers.cuh"

namespace crnn {

constexpr int kPlainSamples = 16;  // of a tile
constexpr int kPlainColumns = 32;
constexpr int kPlainStride = 8;  // between the four columns of a thread
constexpr int kPlainThreads = kPlainSamples * kPlainStride;
constexpr int kPlainFactors = 64;

template <class State>
struct alignas(16) PlainVector {
  static constexpr int kSize = 16 / sizeof(State);
  State x[kSize];
};

// Shared memory of a block.
template <class Scalar, class State = typename StateOf<Scalar>::Type>
struct PlainTile {
  static constexpr int kRow = kPlainFactors / PlainVector<State>::kSize + 1;  // vectors
  PlainVector<State> samples[kPlainSamples][kRow];
  PlainVector<State> columns[kPlainColumns][kRow];
  const Scalar* source[kPlainSamples];  // a row of K numbers each; null: zeros
};

// sum[j] += product over K of sample s and column u + 8j. weight(column, k): called with k < K.
// `source` of the tile must have been written, and this thread block waits before reading it.
template <bool kColumnsAdjacent, class Scalar, class State, class Weight>
__device__ __forceinline__ void plain_product(State (&sum)[4], PlainTile<Scalar>& tile, int64_t K,
                                              Weight weight) {
  using Vector = PlainVector<State>;
  const int u = threadIdx.x % kPlainStride, s = threadIdx.x / kPlainStride;
  for (int64_t k0 = 0; k0 < K; k0 += kPlainFactors) {
    __syncthreads();
    for (int i = threadIdx.x; i < kPlainSamples * kPlainFactors; i += kPlainThreads) {
      const int row = i / kPlainFactors, k = i % kPlainFactors;
      const Scalar* source = tile.source[row];
      const bool there = source != nullptr && k0 + k < K;
      tile.samples[row][k / Vector::kSize].x[k % Vector::kSize] =
          there ? to_state(source[k0 + k]) : State(0);
    }
    for (int i = threadIdx.x; i < kPlainColumns * kPlainFactors; i += kPlainThreads) {
      // Neighbouring threads read neighbouring weights.
      const int column = kColumnsAdjacent ? i % kPlainColumns : i / kPlainFactors;
      const int k = kColumnsAdjacent ? i / kPlainColumns : i % kPlainFactors;
      tile.columns[column][k / Vector::kSize].x[k % Vector::kSize] =
          k0 + k < K ? weight(column, k0 + k) : State(0);
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kPlainFactors / Vector::kSize; ++k) {
      const Vector x = tile.samples[s][k];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const Vector w = tile.columns[u + kPlainStride * j][k];
#pragma unroll
        for (int e = 0; e < Vector::kSize; ++e) sum[j] += x.x[e] * w.x[e];
      }
    }
  }
}

inline dim3 plain_grid(const LstmDims& dims, int64_t units) {
  return dim3(static_cast<unsigned>((dims.N + kPlainSamples - 1) / kPlainSamples),
              static_cast<unsigned>((dims.H + units - 1) / units), static_cast<unsigned>(dims.D));
}

}  // namespace crnn
