// The LSTM in double precision: plain loops in the order of the equations in kernels/lstm.h, for
// gradient checks and references. Samples are independent, so items are (direction, sample).
#include <cmath>
#include <cstring>
#include <vector>

#include "common/parallel.h"
#include "kernels/lstm.h"

namespace crnn {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double dot(const double* a, const double* b, int64_t K) {
  double sum = 0.0;
  for (int64_t k = 0; k < K; ++k) sum += a[k] * b[k];
  return sum;
}

template <class Args>
int64_t length_of(const Args& args, int64_t n) {
  return args.lengths == nullptr ? args.dims.T : args.lengths[n];
}

// scratch [4H] takes the gates where they are not kept.
void forward_step(const LstmForward<double>& args, int64_t d, int64_t t, int64_t n,
                  const double* h_before, double* scratch) {
  const LstmDims& dims = args.dims;
  const int64_t H = dims.H, row = (d * dims.T + t) * dims.N + n;
  const double* x = args.x + t * args.x_stride_t + n * args.x_stride_n;
  double* gates = args.gates == nullptr ? scratch : args.gates + row * 4 * H;
  double* c = args.c_n + (d * dims.N + n) * H;
  double* y = args.y + ((t * dims.N + n) * dims.D + d) * H;
  for (int64_t j = 0; j < 4 * H; ++j) {
    double sum = args.b_ih[d] == nullptr ? 0.0 : args.b_ih[d][j] + args.b_hh[d][j];
    sum += dot(x, args.w_ih[d] + j * dims.I, dims.I) + dot(h_before, args.w_hh[d] + j * H, H);
    gates[j] = j / H == 2 ? std::tanh(sum) : sigmoid(sum);
  }
  for (int64_t u = 0; u < H; ++u) {
    c[u] = gates[H + u] * c[u] + gates[u] * gates[2 * H + u];
    y[u] = gates[3 * H + u] * std::tanh(c[u]);
  }
  if (args.cells == nullptr) return;
  std::memcpy(args.cells + row * H, c, static_cast<size_t>(H) * sizeof(double));
}

void forward_sample(const LstmForward<double>& args, int64_t d, int64_t n) {
  const LstmDims& dims = args.dims;
  const int64_t state = (d * dims.N + n) * dims.H, length = length_of(args, n);
  const size_t bytes = static_cast<size_t>(dims.H) * sizeof(double);
  const double* h = args.h0 + state;
  std::vector<double> scratch(static_cast<size_t>(4 * dims.H));
  double* y = args.y + (n * dims.D + d) * dims.H;
  const int64_t y_stride_t = dims.N * dims.D * dims.H;
  std::memcpy(args.c_n + state, args.c0 + state, bytes);
  for (int64_t step = 0; step < length; ++step) {
    const int64_t t = d == 1 ? length - 1 - step : step;
    forward_step(args, d, t, n, h, scratch.data());
    h = y + t * y_stride_t;
  }
  std::memcpy(args.h_n + state, h, bytes);
  for (int64_t t = length; t < dims.T; ++t) std::memset(y + t * y_stride_t, 0, bytes);
}

// Turns carried dh, dc (in dh0, dc0) of step t into those of the step before; writes dgates.
void backward_step(const LstmBackward<double>& args, int64_t d, int64_t t, int64_t n,
                   const double* c_before) {
  const LstmDims& dims = args.dims;
  const int64_t H = dims.H, row = (d * dims.T + t) * dims.N + n, state = (d * dims.N + n) * H;
  const double *gates = args.gates + row * 4 * H, *cells = args.cells + row * H;
  const double* dy = args.dy + ((t * dims.N + n) * dims.D + d) * H;
  double *dgates = args.dgates + row * 4 * H, *dh = args.dh0 + state, *dc = args.dc0 + state;
  for (int64_t u = 0; u < H; ++u) {
    const double i = gates[u], f = gates[H + u], g = gates[2 * H + u], o = gates[3 * H + u];
    const double tanh_c = std::tanh(cells[u]), dh_u = dy[u] + dh[u];
    const double dc_u = dc[u] + dh_u * o * (1.0 - tanh_c * tanh_c);
    dgates[u] = dc_u * g * i * (1.0 - i);
    dgates[H + u] = dc_u * c_before[u] * f * (1.0 - f);
    dgates[2 * H + u] = dc_u * i * (1.0 - g * g);
    dgates[3 * H + u] = dh_u * tanh_c * o * (1.0 - o);
    dc[u] = dc_u * f;
    dh[u] = 0.0;
  }
  for (int64_t j = 0; j < 4 * H; ++j) {
    const double* w = args.w_hh[d] + j * H;
    for (int64_t u = 0; u < H; ++u) dh[u] += dgates[j] * w[u];
  }
}

void backward_sample(const LstmBackward<double>& args, int64_t d, int64_t n) {
  const LstmDims& dims = args.dims;
  const int64_t H = dims.H, state = (d * dims.N + n) * H, length = length_of(args, n);
  const size_t bytes = static_cast<size_t>(H) * sizeof(double);
  std::memcpy(args.dh0 + state, args.dh_n + state, bytes);
  std::memcpy(args.dc0 + state, args.dc_n + state, bytes);
  const auto row = [&](int64_t t) { return (d * dims.T + t) * dims.N + n; };
  for (int64_t step = length - 1; step >= 0; --step) {
    const int64_t t = d == 1 ? length - 1 - step : step, before = d == 1 ? t + 1 : t - 1;
    backward_step(args, d, t, n, step == 0 ? args.c0 + state : args.cells + row(before) * H);
  }
  for (int64_t t = length; t < dims.T; ++t) {
    std::memset(args.dgates + row(t) * 4 * H, 0, 4 * bytes);
  }
}

}  // namespace

void lstm_forward(const LstmForward<double>& args, int num_threads) {
  const int64_t N = args.dims.N;
  parallel_for(args.dims.D * N, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) forward_sample(args, k / N, k % N);
  });
}

void lstm_backward(const LstmBackward<double>& args, int num_threads) {
  const int64_t N = args.dims.N;
  parallel_for(args.dims.D * N, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) backward_sample(args, k / N, k % N);
  });
}

}  // namespace crnn
