// CTC loss on CUDA: contract of the launchers in kernels/cuda/ctc_*.cu. The same loss and gradient
// as kernels/ctc.h, with lengths and labels read on the device: nothing here waits for the GPU.
//
// A sample is invalid if its input length is not in [0, T], its target length is negative or beyond
// the targets, or one of its labels is not in [0, C), or it has a path and more than
// kCtcCudaLongest symbols; with 1-D targets every sample is, unless all target lengths are >= 0 and
// add up to the size of the targets. Its loss is NaN, its gradient NaN in the frames below the
// input length (in all T frames if that is not in [0, T]). Nothing is read or written out of
// bounds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ctc.h"

struct CUstream_st;

namespace crnn {

enum class CtcType { f32 = 0, f64 = 1, f16 = 2, bf16 = 3 };  // Real is double for f64, else float

// Integers on the device, of 4 or 8 bytes each.
struct CtcIntegers {
  const void* data;
  int bytes;
};

constexpr int64_t kCtcCudaLongest = 1023;  // symbols of a label

struct CtcCudaBatch {
  CtcDims dims;
  int64_t targets_width;  // S of targets [N, S], or -1 for the 1-D concatenated form
  int64_t longest;        // no label that has a path is longer; at most kCtcCudaLongest
  CtcType type;
  const void* x;  // [T, N, C], strides x_t, x_n, 1 (elements)
  int64_t x_t, x_n;
  CtcIntegers targets, input_lengths, target_lengths;  // [dims.targets], [N], [N]
  CtcReduction reduction;
  bool zero_infinity;
};

// What the backward kernel needs from the forward one: one buffer of Real, its parts one after the
// other in this order. Every element is written.
//   losses      [N], before zero_infinity and the reduction
//   row_shift   [T, N] from logits: the maximum of x over c
//   row_sum     [T, N] from logits: sum over c of exp(x - row_shift); both 0 beyond the length
// and, where a gradient is wanted,
//   posteriors  [T * (2 targets + N)]. Sample n has [T, 2L+1] from T * (2 offset + n): the L+1
//               blanks, then the L symbols; posteriors of the states, which add up to some number
//               in [1, 16) per frame rather than to 1. 0 where the loss is not finite
//   samples     [3, N], integers as wide as Real: offset of the label in the targets, frames, L
//   links       [targets + N], such integers. For the blank and each symbol of sample n, from
//               offset + n: the next one of the same class (0: none), plus kCtcRepeated if there
//               is one before
struct CtcCudaSaved {
  void* buffer;
  bool for_gradient;
};
constexpr int kCtcRepeated = 1 << 30;

// Device memory that ctc_cuda_forward needs besides its results (bytes); often 0.
size_t ctc_cuda_scratch_bytes(const CtcCudaBatch& batch, bool for_gradient);

// loss: Real [N] for no reduction, else [1]. Two launches, three from logits of many classes.
void ctc_cuda_forward(const CtcCudaBatch& batch, const CtcCudaSaved& saved, void* loss,
                      void* scratch, CUstream_st* stream);

// dx: like x, strides dx_t, dx_n, 1; every element is written. grad: Real, stride grad_n (0: one
// value for all samples). One launch.
void ctc_cuda_backward(const CtcCudaBatch& batch, const CtcCudaSaved& saved, const void* grad,
                       int64_t grad_n, void* dx, int64_t dx_t, int64_t dx_n, CUstream_st* stream);

}  // namespace crnn
