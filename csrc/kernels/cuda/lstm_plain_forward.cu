// One frame of the LSTM recurrence, forward, for any H and any device.
//
//   a = gates_t + b_ih + b_hh + h_before w_hh^T;  c = f c_before + i g;  h = o tanh(c)
//
// Pointers: LstmCudaForward. h_before is h0 or the output of the frame before, so that no state but
// c lives outside the outputs. One launch per frame; the end of a launch is the barrier between
// frames. A block has 16 samples (blockIdx.x) and 8 units (y) of direction z; the four columns of a
// thread are the four gates of its unit. Cost per frame: N * 4H * H multiplications, w_hh read
// ceil(N/16) times from L2. Sums run over k in order: deterministic, and independent of the batch.
#include "kernels/cuda/lstm_launch.cuh"
#include "kernels/cuda/lstm_plain.cuh"

namespace crnn {
namespace {

constexpr int kUnits = kPlainStride;

template <class Scalar>
__global__ void __launch_bounds__(kPlainThreads)
    lstm_frame_forward(const LstmCudaForward a, int64_t step) {
  using State = typename StateOf<Scalar>::Type;
  const int64_t T = a.dims.T, N = a.dims.N, H = a.dims.H, D = a.dims.D;
  const int64_t d = blockIdx.z, t = d == 0 ? step : T - 1 - step;
  const int64_t before = d == 0 ? t - 1 : t + 1;  // the frame of h_before, unless t is the first
  const int64_t n0 = int64_t(blockIdx.x) * kPlainSamples, u0 = int64_t(blockIdx.y) * kUnits;
  const auto* h0 = static_cast<const Scalar*>(a.h0);
  const auto* w_hh = static_cast<const Scalar*>(a.w_hh[d]);
  auto* y = static_cast<Scalar*>(a.y);
  auto& tile = *shared_memory<PlainTile<Scalar>>();

  if (threadIdx.x < kPlainSamples) {
    const int64_t n = n0 + threadIdx.x;
    const int64_t length = n < N ? length_of(a.lengths, n, T) : 0;
    const Scalar* source = nullptr;
    if (t < length) {
      source = is_first_frame(t, length, d) ? h0 + (d * N + n) * H
                                            : y + (before * N + n) * D * H + d * H;
    }
    tile.source[threadIdx.x] = source;
  }
  State sum[4] = {};
  plain_product<false>(sum, tile, H, [&](int column, int64_t k) {
    const int64_t unit = u0 + column % kUnits, gate = column / kUnits;
    return unit < H ? to_state(w_hh[(gate * H + unit) * H + k]) : State(0);
  });

  const int64_t n = n0 + threadIdx.x / kUnits, unit = u0 + threadIdx.x % kUnits;
  if (n >= N || unit >= H) return;
  const int64_t state = (d * N + n) * H + unit, length = length_of(a.lengths, n, T);
  const auto* c0 = static_cast<const Scalar*>(a.c0);
  auto *h_n = static_cast<Scalar*>(a.h_n), *c_n = static_cast<Scalar*>(a.c_n);
  auto* cells = static_cast<State*>(a.cells) + (a.training ? d * T * N * H : d * N * H);
  const auto cell = [&](int64_t frame) {
    return cells + ((a.training ? frame * N : 0) + n) * H + unit;
  };
  Scalar* out = y + (t * N + n) * D * H + d * H + unit;
  if (length == 0 && step == 0) {
    h_n[state] = h0[state];
    c_n[state] = c0[state];
  }
  if (t >= length) {
    store(out, State(0));
    if (a.training) *cell(t) = 0;
    return;
  }
  Scalar* gates = static_cast<Scalar*>(a.gates) + ((d * T + t) * N + n) * 4 * H + unit;
#pragma unroll
  for (int gate = 0; gate < 4; ++gate) {
    sum[gate] += to_state(gates[gate * H]);
    if (a.b_ih[d] == nullptr) continue;
    sum[gate] += to_state(static_cast<const Scalar*>(a.b_ih[d])[gate * H + unit]) +
                 to_state(static_cast<const Scalar*>(a.b_hh[d])[gate * H + unit]);
  }
  const State i = sigmoid(sum[0]), f = sigmoid(sum[1]), g = std::tanh(sum[2]), o = sigmoid(sum[3]);
  const State c_before = is_first_frame(t, length, d) ? to_state(c0[state]) : *cell(before);
  const State c = f * c_before + i * g, h = o * std::tanh(c);
  *cell(t) = c;
  store(out, h);
  if (a.training) {
    store(gates, i);
    store(gates + H, f);
    store(gates + 2 * H, g);
    store(gates + 3 * H, o);
  }
  if (is_last_frame(t, length, d)) {
    store(h_n + state, h);
    store(c_n + state, c);
  }
}

template <class Scalar>
void run(const LstmCudaForward& args, CUstream_st* stream) {
  LaunchShape shape{plain_grid(args.dims, kUnits), dim3(kPlainThreads)};
  shape.shared_bytes = sizeof(PlainTile<Scalar>);
  shape.stream = stream;
  for (int64_t step = 0; step < args.dims.T; ++step) {
    launch("lstm_frame_forward", lstm_frame_forward<Scalar>, shape, args, step);
  }
}

}  // namespace

void lstm_plain_forward(const LstmCudaForward& args, CUstream_st* stream) {
  switch (args.precision) {
    case LstmPrecision::float64:
      return run<double>(args, stream);
    case LstmPrecision::float32:
    case LstmPrecision::tf32:  // a permission, not a promise
      return run<float>(args, stream);
    case LstmPrecision::float16:
      return run<Fp16>(args, stream);
    case LstmPrecision::bfloat16:
      return run<Bf16>(args, stream);
  }
}

}  // namespace crnn
