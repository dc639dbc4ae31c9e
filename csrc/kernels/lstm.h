// One LSTM layer over a padded batch, in one or two directions.
//
//   [i f g o] = x_t w_ih^T + b_ih + h_{t-1} w_hh^T + b_hh
//   c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),   h_t = sigmoid(o) tanh(c_t)
//
// (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; gates in torch's order.)
// Sample n has lengths[n] frames: steps t >= lengths[n] are skipped, leave the state as it is and
// are never read; direction 1 starts at t = lengths[n] - 1. T, N >= 0; I, H >= 1; D is 1 or 2.
//
// The result for a sample is the same to the bit whatever else is in the batch and for every
// thread count; it depends on the SIMD level in use.
#pragma once

#include <cstdint>

namespace crnn {

struct LstmDims {
  int64_t T, N;  // frames, samples
  int64_t I, H;  // features per frame, units
  int64_t D;     // directions; index 1 runs backwards in time
};

// All tensors are contiguous unless strides are given; nothing overlaps an output.
template <class Scalar>
struct LstmForward {
  LstmDims dims;
  const Scalar* x;  // [T, N, I], unit stride over I
  int64_t x_stride_t, x_stride_n;
  const int64_t* lengths;  // [N], each in 0..T; null: all are T
  const Scalar* w_ih[2];   // [4H, I] per direction
  const Scalar* w_hh[2];   // [4H, H]
  const Scalar* b_ih[2];   // [4H], or null: no bias
  const Scalar* b_hh[2];   // [4H], null where b_ih is
  const Scalar *h0, *c0;   // [D, N, H]
  Scalar* y;               // out [T, N, D*H]; zero where t >= length
  Scalar *h_n, *c_n;       // out [D, N, H]: the state after the last frame, h0 and c0 if none
  Scalar* gates;  // out [D, T, N, 4H]: activated gates for the backward pass; null: not kept
  Scalar* cells;  // out [D, T, N, H]: c_t for the backward pass; null where gates is
  // gates and cells are not written where t >= length.
};

template <class Scalar>
struct LstmBackward {
  LstmDims dims;
  const int64_t* lengths;       // as in LstmForward
  const Scalar* w_hh[2];        // [4H, H]
  const Scalar* c0;             // [D, N, H]
  const Scalar *gates, *cells;  // as LstmForward left them
  const Scalar* dy;             // [T, N, D*H]; not read where t >= length
  const Scalar *dh_n, *dc_n;    // [D, N, H]
  Scalar* dgates;               // out [D, T, N, 4H]: gradient before activation; 0 if t >= length
  Scalar *dh0, *dc0;            // out [D, N, H]
};

// The loops run on up to num_threads threads. Defined for float (SIMD) and double.
void lstm_forward(const LstmForward<float>& args, int num_threads);
void lstm_forward(const LstmForward<double>& args, int num_threads);

// Only the recurrence: dx = dgates w_ih, dw_ih = dgates^T x, dw_hh = dgates^T h_{t-1} and
// db = sum dgates are single matrix products over all frames, left to the caller.
void lstm_backward(const LstmBackward<float>& args, int num_threads);
void lstm_backward(const LstmBackward<double>& args, int num_threads);

}  // namespace crnn
