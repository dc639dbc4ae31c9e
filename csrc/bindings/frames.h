// log_probs as Python hands them over: address, whether double, shape [T, N, C], strides in
// elements, address of int64 lengths [N].
#pragma once

#include <array>
#include <cstdint>
#include <tuple>

#include "transcription/frames.h"

namespace crnn {

using Triple = std::array<int64_t, 3>;
using Frames = std::tuple<uintptr_t, bool, Triple, Triple, uintptr_t>;

inline FrameBatch frame_batch(const Frames& frames) {
  const auto& [data, is_double, shape, strides, lengths] = frames;
  FrameBatch batch;
  batch.f32 = is_double ? nullptr : reinterpret_cast<const float*>(data);
  batch.f64 = is_double ? reinterpret_cast<const double*>(data) : nullptr;
  batch.T = shape[0], batch.N = shape[1], batch.C = shape[2];
  batch.stride_t = strides[0], batch.stride_n = strides[1], batch.stride_c = strides[2];
  batch.lengths = reinterpret_cast<const int64_t*>(lengths);
  return batch;
}

}  // namespace crnn
