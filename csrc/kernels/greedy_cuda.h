// Greedy reading on CUDA (csrc/transcription/greedy.h on the CPU): contract of the launcher in
// kernels/cuda/greedy.cu.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace crnn {

enum class GreedyType { f32 = 0, f64 = 1, f16 = 2, bf16 = 3 };

struct GreedyCudaBatch {
  int64_t T, N, C;
  int64_t blank;  // in [0, C)
  GreedyType type;
  const void* x;  // [T, N, C], strides in elements
  int64_t x_t, x_n, x_c;
  const int64_t* lengths;  // [N] on the device, or null: all T
};

struct GreedyHeader {
  int32_t count;
  int32_t wrong_length;   // 1 if the length is not in [0, T]: nothing is read then
  int32_t damaged_frame;  // the first with NaN or a value of 1e9 or more (count is 0 then), or -1
  int32_t unused;
  double damage;    // its value
  double log_prob;  // the sum of each frame's highest value
};

// readings: GreedyHeader [N], then int32 [N, 3, T]: labels, first frames, frames behind the last,
// of which `count` count each; the rest is 0. best (scratch): double [T, N], then int32 [T, N]. Two
// launches.
void greedy_cuda(const GreedyCudaBatch& batch, void* readings, void* best, CUstream_st* stream);

}  // namespace crnn
