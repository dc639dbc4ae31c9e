// l* = B(argmax_pi p(pi | y)) (section 2.3.1 of the CRNN paper), so that labels, not frames, go to
// the host. Contract in kernels/greedy_cuda.h.
//
//   best      [a warp per row]: highest value of each frame and its class, the lowest on a tie
//   collapse  [a warp per sample]: 32 frames at a time; a frame begins a label where its class is
//             not that of the frame before and no blank, and ends the label before it where the
//             class changes. A vote gives each lane the number of labels begun before its frame
#include <cstdint>

#include "kernels/cuda/ctc_numbers.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/greedy_cuda.h"

namespace crnn {
namespace {

constexpr double kLogLimit = 1e9;  // as in transcription/frames.h
constexpr int kThreads = 256;

__device__ bool length_of(const GreedyCudaBatch& b, int64_t n, int64_t* length) {
  *length = b.lengths == nullptr ? b.T : b.lengths[n];
  return *length >= 0 && *length <= b.T;
}

template <class In>
__global__ void __launch_bounds__(kThreads)
    best_kernel(GreedyCudaBatch b, double* values, int32_t* classes) {
  using Real = typename RealOf<In>::type;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= b.T * b.N) return;
  const int64_t t = row / b.N, n = row % b.N;
  int64_t length;
  if (!length_of(b, n, &length) || t >= length) return;
  const In* x = static_cast<const In*>(b.x) + t * b.x_t + n * b.x_n;
  Real highest = -Real(INFINITY), damage = 0;  // damage becomes NaN with the first NaN
  int best = lane;
  for (int64_t c = lane; c < b.C; c += 32) {
    const Real value = to_real(x[c * b.x_c]);
    damage = value == value ? damage : value;
    if (value > highest) {
      highest = value;
      best = static_cast<int>(c);
    }
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const Real other = __shfl_xor_sync(kAllLanes, highest, distance);
    const int at = __shfl_xor_sync(kAllLanes, best, distance);
    if (other > highest || (other == highest && at < best)) {
      highest = other;
      best = at;
    }
  }
  const bool damaged = __any_sync(kAllLanes, damage != damage);
  if (lane == 0) {
    values[row] = damaged ? NAN : static_cast<double>(highest);
    classes[row] = best;
  }
}

// The end of the label that runs up to frame `end`, and zeros behind all labels.
__device__ void finish(int32_t* labels, int64_t T, int count, int last, int64_t blank, int64_t end,
                       int lane) {
  if (lane == 0 && count > 0 && last != blank) {
    labels[2 * T + count - 1] = static_cast<int32_t>(end);
  }
  for (int64_t i = count + lane; i < T; i += 32) {
    labels[i] = labels[T + i] = labels[2 * T + i] = 0;
  }
}

__global__ void __launch_bounds__(32)
    collapse_kernel(GreedyCudaBatch b, const double* values, const int32_t* classes,
                    GreedyHeader* headers) {
  const int64_t n = blockIdx.x;
  const int lane = threadIdx.x;
  int32_t* labels = reinterpret_cast<int32_t*>(headers + b.N) + n * 3 * b.T;
  int64_t length;
  const bool valid = length_of(b, n, &length);
  if (!valid) length = 0;

  GreedyHeader result{0, !valid, -1, 0, 0.0, 0.0};
  int before = -1;  // class of the frame before these 32
  for (int64_t first = 0; first < length; first += 32) {
    const int64_t t = first + lane;
    const bool inside = t < length;
    const double value = inside ? values[t * b.N + n] : 0.0;
    const int c = inside ? classes[t * b.N + n] : -1;
    const unsigned damaged = __ballot_sync(kAllLanes, inside && !(value < kLogLimit));
    if (damaged != 0) {
      const int lowest = __ffs(static_cast<int>(damaged)) - 1;
      result = {
          0,  0, static_cast<int32_t>(first + lowest), 0, __shfl_sync(kAllLanes, value, lowest),
          0.0};
      before = static_cast<int>(b.blank);
      break;
    }
    result.log_prob += warp_sum(value);
    int previous = __shfl_up_sync(kAllLanes, c, 1);
    if (lane == 0) previous = before;
    const bool change = inside && c != previous;
    const unsigned begins = __ballot_sync(kAllLanes, change && c != b.blank);
    const int index = result.count + __popc(begins & ((1U << lane) - 1));
    if (change && previous >= 0 && previous != b.blank) {
      labels[2 * b.T + index - 1] = static_cast<int32_t>(t);
    }
    if (change && c != b.blank) {
      labels[index] = c;
      labels[b.T + index] = static_cast<int32_t>(t);
    }
    result.count += __popc(begins);
    const int in_these = length - first < 32 ? static_cast<int>(length - first) : 32;
    before = __shfl_sync(kAllLanes, c, in_these - 1);
  }
  finish(labels, b.T, result.count, before, b.blank, length, lane);
  if (lane == 0) headers[n] = result;
}

}  // namespace

void greedy_cuda(const GreedyCudaBatch& batch, void* readings, void* best, CUstream_st* stream) {
  constexpr const char* name = "greedy_decode";
  const int64_t rows = batch.T * batch.N;
  if (batch.N == 0) return;
  if (rows > INT32_MAX || batch.C > INT32_MAX) {
    fail(name, "log_probs", "have fewer than 2^31 rows and classes", rows);
  }
  auto* values = static_cast<double*>(best);
  auto* classes = reinterpret_cast<int32_t*>(values + rows);
  if (rows > 0) {
    const auto blocks = static_cast<unsigned>((rows + kThreads / 32 - 1) / (kThreads / 32));
    const LaunchShape shape{{blocks}, {kThreads}, 0, 1, stream};
    const auto kernel = batch.type == GreedyType::f32   ? best_kernel<float>
                        : batch.type == GreedyType::f64 ? best_kernel<double>
                        : batch.type == GreedyType::f16 ? best_kernel<__half>
                                                        : best_kernel<__nv_bfloat16>;
    launch(name, kernel, shape, batch, values, classes);
  }
  const LaunchShape samples{{static_cast<unsigned>(batch.N)}, {32}, 0, 1, stream};
  launch(name, collapse_kernel, samples, batch, static_cast<const double*>(values),
         static_cast<const int32_t*>(classes), static_cast<GreedyHeader*>(readings));
}

}  // namespace crnn
