// What all LSTM kernels share: numbers, activations and the order of the frames.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/ptx.cuh"
#include "kernels/lstm_cuda.h"

namespace crnn {

// Scalar: as stored; State: as added up.
template <class Scalar>
struct StateOf {
  using Type = float;
};
template <>
struct StateOf<double> {
  using Type = double;
};

__device__ __forceinline__ double to_state(double x) { return x; }
__device__ __forceinline__ float to_state(float x) { return x; }
__device__ __forceinline__ float to_state(Fp16 x) { return to_float(x); }
__device__ __forceinline__ float to_state(Bf16 x) { return to_float(x); }

__device__ __forceinline__ void store(double* to, double x) { *to = x; }
__device__ __forceinline__ void store(float* to, float x) { *to = x; }
__device__ __forceinline__ void store(Fp16* to, float x) { *to = to_fp16(x); }
__device__ __forceinline__ void store(Bf16* to, float x) { *to = to_bf16(x); }

template <class State>
__device__ __forceinline__ State sigmoid(State x) {
  return State(1) / (State(1) + std::exp(-x));
}

// Gradients of one cell before activation, from dh and dc; dc becomes that of c_{t-1}.
template <class State>
__device__ __forceinline__ void cell_gradient(State i, State f, State g, State o, State c_before,
                                              State tanh_c, State dh, State& dc,
                                              State (&dgates)[4]) {
  dc += dh * o * (1 - tanh_c * tanh_c);
  dgates[0] = dc * g * i * (1 - i);
  dgates[1] = dc * c_before * f * (1 - f);
  dgates[2] = dc * i * (1 - g * g);
  dgates[3] = dh * tanh_c * o * (1 - o);
  dc *= f;
}

// The length of sample n, within 0..T.
__device__ __forceinline__ int64_t length_of(const int64_t* lengths, int64_t n, int64_t T) {
  if (lengths == nullptr) return T;
  const int64_t length = lengths[n];
  return length < 0 ? 0 : length > T ? T : length;
}

// Direction d takes a sample's frames in the order 0, 1, .. (d = 0) or length - 1, .., 0 (d = 1).
__device__ __forceinline__ bool is_first_frame(int64_t t, int64_t length, int64_t d) {
  return t == (d == 0 ? 0 : length - 1);
}
__device__ __forceinline__ bool is_last_frame(int64_t t, int64_t length, int64_t d) {
  return t == (d == 0 ? length - 1 : 0);
}

}  // namespace crnn
