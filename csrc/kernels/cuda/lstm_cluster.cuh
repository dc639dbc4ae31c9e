// What the two cluster kernels of the LSTM share: H = 256, 16 samples per cluster, w_hh in
// registers.
//
// A word of 4 bytes holds Element::kUnits numbers (2 of 16 bits, 1 of float32). The factors of
// every product lie in rows of whole 64-byte chunks, and a lane takes the 16 bytes at 16q of a
// chunk (q = lane % 4): words 0 and 1 for one mma, 2 and 3 for the next. That is not the order of k
// which mma.sync defines, but it is the same for both factors, and a sum does not mind. So no
// shuffle and no ldmatrix: fragments come by loads of 16 bytes. Rows in shared memory are 64 bytes
// longer than a multiple of 128, which keeps these loads free of bank conflicts.
#pragma once

#include <cstddef>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/lstm_launch.cuh"
#include "kernels/cuda/lstm_numbers.cuh"

namespace crnn {

constexpr int kClusterUnits = 256;   // H
constexpr int kClusterSamples = 16;  // rows of an mma
constexpr int kChunkBytes = 64;

struct alignas(16) Words {
  uint32_t word[4];
};

// ---- numbers in words ---------------------------------------------------------------------------

struct Fp16Element {
  using Scalar = Fp16;
  static constexpr int kUnits = 2;
  static __device__ __forceinline__ void unpack(uint32_t word, float (&x)[2]) {
    x[0] = to_float(Fp16{static_cast<uint16_t>(word)});
    x[1] = to_float(Fp16{static_cast<uint16_t>(word >> 16)});
  }
  static __device__ __forceinline__ uint32_t pack(const float (&x)[2]) {
    return pack_fp16(x[0], x[1]);
  }
  // The word as a factor of a product.
  static __device__ __forceinline__ uint32_t factor(uint32_t word) { return word; }
  static __device__ __forceinline__ uint32_t factor(const Fp16 (&x)[2]) {
    return x[0].bits | static_cast<uint32_t>(x[1].bits) << 16;
  }
  static __device__ __forceinline__ void mma(float (&d)[4], const FactorA& a, uint32_t b0,
                                             uint32_t b1) {
    mma_fp16(d, a, b0, b1);
  }
};

struct Bf16Element {
  using Scalar = Bf16;
  static constexpr int kUnits = 2;
  static __device__ __forceinline__ void unpack(uint32_t word, float (&x)[2]) {
    x[0] = to_float(Bf16{static_cast<uint16_t>(word)});
    x[1] = to_float(Bf16{static_cast<uint16_t>(word >> 16)});
  }
  static __device__ __forceinline__ uint32_t pack(const float (&x)[2]) {
    return pack_bf16(x[0], x[1]);
  }
  static __device__ __forceinline__ uint32_t factor(uint32_t word) { return word; }
  static __device__ __forceinline__ uint32_t factor(const Bf16 (&x)[2]) {
    return x[0].bits | static_cast<uint32_t>(x[1].bits) << 16;
  }
  static __device__ __forceinline__ void mma(float (&d)[4], const FactorA& a, uint32_t b0,
                                             uint32_t b1) {
    mma_bf16(d, a, b0, b1);
  }
};

struct Tf32Element {
  using Scalar = float;
  static constexpr int kUnits = 1;
  static __device__ __forceinline__ void unpack(uint32_t word, float (&x)[1]) {
    x[0] = __uint_as_float(word);
  }
  static __device__ __forceinline__ uint32_t pack(const float (&x)[1]) {
    return __float_as_uint(x[0]);
  }
  static __device__ __forceinline__ uint32_t factor(uint32_t word) {
    return to_tf32(__uint_as_float(word));
  }
  static __device__ __forceinline__ uint32_t factor(const float (&x)[1]) { return to_tf32(x[0]); }
  static __device__ __forceinline__ void mma(float (&d)[4], const FactorA& a, uint32_t b0,
                                             uint32_t b1) {
    mma_tf32(d, a, b0, b1);
  }
};

// ---- the shape of a block -----------------------------------------------------------------------

// A cluster of kBlocks blocks has 16 samples and one direction; each block has kUnits units of it.
// In the cell update a warp has 4 words of units, and a lane (r = lane / 4, q = lane % 4) has word
// q of samples r and r + 8.
template <class Element, int kBlocks>
struct ClusterShape {
  static constexpr int kUnits = kClusterUnits / kBlocks;
  static constexpr int kWarps = kUnits / (4 * Element::kUnits);
  static constexpr int kThreads = 32 * kWarps;
  static_assert(kThreads <= 256, "128 weights in registers leave room for 256 threads");
};

// tanh and sigmoid to 2^-11, the precision of the factors.
__device__ __forceinline__ float fast_sigmoid(float x) {
  return fmaf(0.5f, tanh_approx(0.5f * x), 0.5f);
}

template <class T>
__device__ __forceinline__ T load(const void* base, int64_t byte) {
  return *reinterpret_cast<const T*>(static_cast<const unsigned char*>(base) + byte);
}
template <class T>
__device__ __forceinline__ void put(void* base, int64_t byte, T value) {
  *reinterpret_cast<T*>(static_cast<unsigned char*>(base) + byte) = value;
}

// total = rows w, by a warp: 16 rows, kTiles of 8 columns, kSplit sums per tile at once.
template <class Element, class Shape>
__device__ __forceinline__ void multiply(
    const unsigned char (&rows)[kClusterSamples][Shape::kStride],
    const Words (&w)[Shape::kTiles][Shape::kChunks], float (&total)[Shape::kTiles][4]) {
  const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
  float d[Shape::kTiles][Shape::kSplit][4] = {};
#pragma unroll
  for (int j = 0; j < Shape::kChunks; ++j) {
    const auto low = load<Words>(rows[r], j * kChunkBytes + q * 16);
    const auto high = load<Words>(rows[r + 8], j * kChunkBytes + q * 16);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const FactorA a{
          {low.word[2 * e], high.word[2 * e], low.word[2 * e + 1], high.word[2 * e + 1]}};
#pragma unroll
      for (int p = 0; p < Shape::kTiles; ++p) {
        Element::mma(d[p][(2 * j + e) % Shape::kSplit], a, w[p][j].word[2 * e],
                     w[p][j].word[2 * e + 1]);
      }
    }
  }
#pragma unroll
  for (int p = 0; p < Shape::kTiles; ++p) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      total[p][k] = d[p][0][k];
#pragma unroll
      for (int s = 1; s < Shape::kSplit; ++s) total[p][k] += d[p][s][k];
    }
  }
}

// kUnits numbers of float32.
template <int kUnits>
struct alignas(4 * kUnits) FloatsOf {
  float x[kUnits];
  __device__ __forceinline__ void set(const float (&from)[kUnits]) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) x[u] = from[u];
  }
};

// What a cluster works on.
struct ClusterTile {
  int64_t d, n0;  // direction, first sample
  int64_t rows;   // samples, 1..16
  int64_t steps;  // frames of the longest of them

  __device__ __forceinline__ ClusterTile(const LstmDims& dims, const int64_t* lengths, int blocks) {
    const int64_t tiles = (dims.N + kClusterSamples - 1) / kClusterSamples;
    const int64_t cluster = blockIdx.x / blocks;
    d = cluster / tiles;
    n0 = cluster % tiles * kClusterSamples;
    rows = dims.N - n0 < kClusterSamples ? dims.N - n0 : kClusterSamples;
    steps = 0;
    for (int64_t n = n0; n < n0 + rows; ++n) {
      const int64_t length = length_of(lengths, n, dims.T);
      steps = length > steps ? length : steps;
    }
  }
};

inline dim3 cluster_grid(const LstmDims& dims, int blocks) {
  const int64_t tiles = (dims.N + kClusterSamples - 1) / kClusterSamples;
  return dim3(static_cast<unsigned>(dims.D * tiles * blocks));
}

// Two mbarriers in turns, one per buffer: exchange s = 1, 2, .. goes through buffer s % 2.
// Buffer s % 2 is free for exchange s + 2 once this block waited for exchange s + 1's predecessor:
// see the kernels.
struct Exchange {
  Mbarrier* barriers;  // [2]
  uint32_t bytes;      // that a block receives per exchange
  int64_t last;        // number of exchanges

  // By one thread, before the cluster's first barrier.
  __device__ __forceinline__ void init() const {
    for (int b = 0; b < 2; ++b) mbarrier_init(barriers + b, 1);
    mbarrier_init_fence();
    for (int64_t s = 1; s <= 2 && s <= last; ++s) mbarrier_arrive_expect(barriers + s % 2, bytes);
  }
  // All that belongs to exchange s is in shared memory; by all threads.
  __device__ __forceinline__ void wait(int64_t s) const {
    mbarrier_wait(barriers + s % 2, static_cast<uint32_t>((s - 1) / 2 % 2));
    if (threadIdx.x == 0 && s + 2 <= last) mbarrier_arrive_expect(barriers + s % 2, bytes);
  }
};

}  // namespace crnn
