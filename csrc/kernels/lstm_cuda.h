// One LSTM layer on a GPU: the recurrence of lstm.h, without the matrix products over all frames.
//
//   forward:  a_t = gates_t (= x_t w_ih^T, given) + b_ih + b_hh + h_{t-1} w_hh^T, then as in lstm.h
//   backward: dgates_t, dh0, dc0; dx = dgates w_ih, dw_ih = dgates^T x, dw_hh = dgates^T h_{t-1}
//   and
//             db = sum dgates are left to the caller
//
// All pointers are to memory of the current device, contiguous, and on a boundary of 16 bytes.
// Nothing overlaps an output. The result is the same to the bit for the same kernel and sizes; a
// sample's result does not depend on the others in its batch. T, N, H >= 1.
#pragma once

#include <cstdint>

#include "kernels/lstm.h"

struct CUstream_st;

namespace crnn {

// How numbers are stored ("S" below) and multiplied. Sums, c and all gates are computed in float64
// for float64, else in float32.
enum class LstmPrecision {
  float64,
  float32,
  tf32,  // stored as float32; products of h w_hh (dgates w_hh) have factors of 11 bits
  float16,
  bfloat16,
};

enum class LstmKernel {
  automatic,
  plain,     // any H, any device: one launch per frame
  cluster4,  // H = 256, sm_90, float16 or bfloat16: clusters of 4 blocks, one launch in all
  cluster8,  // H = 256, sm_90, tf32, float16 or bfloat16: clusters of 8 blocks
};

struct LstmCudaForward {
  LstmDims dims;  // I is not read
  LstmPrecision precision;
  LstmKernel kernel;
  bool training;           // keep gates and cells
  const int64_t* lengths;  // [N], values beyond 0..T count as the nearer bound; null: all are T
  const void* w_hh[2];     // S [4H, H] per direction
  const void* b_ih[2];     // S [4H], or null: no bias
  const void* b_hh[2];     // S [4H], null where b_ih is
  const void *h0, *c0;     // S [D, N, H]
  void* gates;             // S [D, T, N, 4H], in: x w_ih^T; out: activated gates if training
  void* cells;             // out [D, T, N, H] float (float64: double): c_t; [D, N, H] scratch
                           // unless training
  void* y;                 // out S [T, N, D*H]; zero where t >= length
  void *h_n, *c_n;         // out S [D, N, H]
  // Where t >= length, gates are left as they are and not used, and cells are zero.
};

struct LstmCudaBackward {
  LstmDims dims;
  LstmPrecision precision;
  LstmKernel kernel;
  const int64_t* lengths;
  const void* w_hh[2];      // S [4H, H]
  const void* c0;           // S [D, N, H]
  const void* gates;        // S [D, T, N, 4H], as the forward pass left them
  const void* cells;        // [D, T, N, H]
  const void* dy;           // S [T, N, D*H]; not used where t >= length
  const void *dh_n, *dc_n;  // S [D, N, H]
  void* dgates;             // out S [D, T, N, 4H]: gradient before activation; 0 if t >= length
  void *dh0, *dc0;          // out S [D, N, H]
  void* dc;                 // scratch [D, N, H] float (float64: double)
};

// The kernel for these sizes on the current device where args.kernel is automatic; otherwise
// checks that args.kernel can run: throws std::invalid_argument if not.
LstmKernel lstm_cuda_kernel(const LstmDims& dims, LstmPrecision precision, LstmKernel wanted);

// Put the work on the stream and return. Throw CudaError.
void lstm_cuda_forward(const LstmCudaForward& args, CUstream_st* stream);
void lstm_cuda_backward(const LstmCudaBackward& args, CUstream_st* stream);

}  // namespace crnn
