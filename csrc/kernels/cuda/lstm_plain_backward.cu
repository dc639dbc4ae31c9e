// One frame of the LSTM recurrence, backward, for any H and any device.
//
//   dh = dy_t + dgates_after w_hh (or dh_n);  dgates_t and dc by cell_gradient
//
// Pointers: LstmCudaBackward. The frame "after" is the one that the forward pass took after t, so
// the one that the launch before this one finished. A last launch, step T, turns the gradients of
// each sample's first frame into dh0 and dc0. A block has 16 samples (blockIdx.x) and 32 units (y)
// of direction z. Cost per frame: N * 4H * H multiplications, w_hh read ceil(N/16) times from L2.
// Sums run over k in order: deterministic, and independent of the batch.
#include "kernels/cuda/lstm_launch.cuh"
#include "kernels/cuda/lstm_plain.cuh"

namespace crnn {
namespace {

constexpr int kUnits = kPlainColumns;

// Where dgates_after of sample n is; null if there is none.
template <class Scalar>
__device__ __forceinline__ const Scalar* gradient_after(const LstmCudaBackward& a, int64_t d,
                                                        int64_t n, int64_t step) {
  const int64_t T = a.dims.T, N = a.dims.N, H = a.dims.H;
  const int64_t length = length_of(a.lengths, n, T), t = d == 0 ? T - 1 - step : step;
  int64_t after = d == 0 ? t + 1 : t - 1;
  if (step == T) {
    if (length == 0) return nullptr;
    after = d == 0 ? 0 : length - 1;
  } else if (t >= length || is_last_frame(t, length, d)) {
    return nullptr;
  }
  return static_cast<const Scalar*>(a.dgates) + ((d * T + after) * N + n) * 4 * H;
}

// The cell (n, unit) of frame t, t < length; dh is complete but for dy.
template <class Scalar, class State>
__device__ __forceinline__ void frame_gradient(const LstmCudaBackward& a, int64_t d, int64_t t,
                                               int64_t n, int64_t unit, int64_t length, State dh) {
  const int64_t T = a.dims.T, N = a.dims.N, H = a.dims.H, D = a.dims.D;
  const int64_t state = (d * N + n) * H + unit;
  const auto* cells = static_cast<const State*>(a.cells) + d * T * N * H + n * H + unit;
  const auto* gates = static_cast<const Scalar*>(a.gates) + ((d * T + t) * N + n) * 4 * H + unit;
  auto* dgates = static_cast<Scalar*>(a.dgates) + ((d * T + t) * N + n) * 4 * H + unit;
  auto* dc_state = static_cast<State*>(a.dc) + state;
  State dc =
      is_last_frame(t, length, d) ? to_state(static_cast<const Scalar*>(a.dc_n)[state]) : *dc_state;
  const State c_before = is_first_frame(t, length, d)
                             ? to_state(static_cast<const Scalar*>(a.c0)[state])
                             : cells[(d == 0 ? t - 1 : t + 1) * N * H];
  dh += to_state(static_cast<const Scalar*>(a.dy)[(t * N + n) * D * H + d * H + unit]);
  State result[4];
  cell_gradient(to_state(gates[0]), to_state(gates[H]), to_state(gates[2 * H]),
                to_state(gates[3 * H]), c_before, std::tanh(cells[t * N * H]), dh, dc, result);
  for (int gate = 0; gate < 4; ++gate) store(dgates + gate * H, result[gate]);
  *dc_state = dc;
}

template <class Scalar>
__global__ void __launch_bounds__(kPlainThreads)
    lstm_frame_backward(const LstmCudaBackward a, int64_t step) {
  using State = typename StateOf<Scalar>::Type;
  const int64_t T = a.dims.T, N = a.dims.N, H = a.dims.H;
  const int64_t d = blockIdx.z, t = d == 0 ? T - 1 - step : step;
  const int64_t n0 = int64_t(blockIdx.x) * kPlainSamples, u0 = int64_t(blockIdx.y) * kUnits;
  const auto* w_hh = static_cast<const Scalar*>(a.w_hh[d]);
  auto& tile = *shared_memory<PlainTile<Scalar>>();
  if (threadIdx.x < kPlainSamples) {
    const int64_t n = n0 + threadIdx.x;
    tile.source[threadIdx.x] = n < N ? gradient_after<Scalar>(a, d, n, step) : nullptr;
  }
  State sum[4] = {};
  plain_product<true>(sum, tile, 4 * H, [&](int column, int64_t k) {
    return u0 + column < H ? to_state(w_hh[k * H + u0 + column]) : State(0);
  });

  const int64_t n = n0 + threadIdx.x / kPlainStride;
  if (n >= N) return;
  const int64_t length = length_of(a.lengths, n, T);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int64_t unit = u0 + threadIdx.x % kPlainStride + kPlainStride * j;
    if (unit >= H) continue;
    const int64_t state = (d * N + n) * H + unit;
    const auto *dh_n = static_cast<const Scalar*>(a.dh_n),
               *dc_n = static_cast<const Scalar*>(a.dc_n);
    auto *dh0 = static_cast<Scalar*>(a.dh0), *dc0 = static_cast<Scalar*>(a.dc0);
    if (step < T && t < length) {
      if (is_last_frame(t, length, d)) sum[j] = to_state(dh_n[state]);
      frame_gradient<Scalar>(a, d, t, n, unit, length, sum[j]);
    } else if (step < T) {
      auto* dgates = static_cast<Scalar*>(a.dgates) + ((d * T + t) * N + n) * 4 * H + unit;
      for (int gate = 0; gate < 4; ++gate) store(dgates + gate * H, State(0));
    } else if (length == 0) {
      dh0[state] = dh_n[state];
      dc0[state] = dc_n[state];
    } else {
      store(dh0 + state, sum[j]);
      store(dc0 + state, static_cast<const State*>(a.dc)[state]);
    }
  }
}

template <class Scalar>
void run(const LstmCudaBackward& args, CUstream_st* stream) {
  LaunchShape shape{plain_grid(args.dims, kUnits), dim3(kPlainThreads)};
  shape.shared_bytes = sizeof(PlainTile<Scalar>);
  shape.stream = stream;
  for (int64_t step = 0; step <= args.dims.T; ++step) {
    launch("lstm_frame_backward", lstm_frame_backward<Scalar>, shape, args, step);
  }
}

}  // namespace

void lstm_plain_backward(const LstmCudaBackward& args, CUstream_st* stream) {
  switch (args.precision) {
    case LstmPrecision::float64:
      return run<double>(args, stream);
    case LstmPrecision::float32:
    case LstmPrecision::tf32:
      return run<float>(args, stream);
    case LstmPrecision::float16:
      return run<Fp16>(args, stream);
    case LstmPrecision::bfloat16:
      return run<Bf16>(args, stream);
  }
}

}  // namespace crnn
