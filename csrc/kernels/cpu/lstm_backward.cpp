// Backward pass through time of the float LSTM. Compiled per SIMD level.
//
// Per step, with dh = dy_t + (dgates_{t+1} w_hh) and dc carried over from t+1:
//   do = dh tanh(c) o(1-o);  dc += dh o (1 - tanh(c)^2)
//   di = dc g i(1-i);  df = dc c_{t-1} f(1-f);  dg = dc i (1-g^2);  dc = dc f
// dh0 and dc0 hold the carried dh and dc while the loop runs, so a skipped step just leaves them.
#include "common/parallel.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/lstm_panel.h"
#include "kernels/cpu/lstm_simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

// dgates of sample n at step t; carried dc.
void cell_step(const LstmBackward<float>& args, int64_t direction, int64_t t, int64_t n) {
  const LstmDims& dims = args.dims;
  const int64_t H = dims.H;
  const bool back = direction == 1;
  const bool is_first = back ? t == length_of(args.lengths, n, dims.T) - 1 : t == 0;
  const int64_t row = (direction * dims.T + t) * dims.N + n;
  const int64_t state = (direction * dims.N + n) * H;
  const float* c_before =
      is_first ? args.c0 + state : args.cells + (row + (back ? dims.N : -dims.N)) * H;
  const float* gates = args.gates + row * 4 * H;
  const float* dy = args.dy + ((t * dims.N + n) * dims.D + direction) * H;
  float* dgates = args.dgates + row * 4 * H;
  const VecF one = splat(1.0f);
  for (int64_t unit = 0; unit < H; unit += kLanes) {
    const int64_t left = H - unit;
    const VecF i = load_first(gates + unit, left), f = load_first(gates + H + unit, left);
    const VecF g = load_first(gates + 2 * H + unit, left);
    const VecF o = load_first(gates + 3 * H + unit, left);
    const VecF tanh_c = tanh(load_first(args.cells + row * H + unit, left));
    const VecF dh = load_first(dy + unit, left) + load_first(args.dh0 + state + unit, left);
    const VecF dc = load_first(args.dc0 + state + unit, left) + dh * o * (one - tanh_c * tanh_c);
    store_first(dgates + unit, dc * g * i * (one - i), left);
    store_first(dgates + H + unit, dc * load_first(c_before + unit, left) * f * (one - f), left);
    store_first(dgates + 2 * H + unit, dc * i * (one - g * g), left);
    store_first(dgates + 3 * H + unit, dh * tanh_c * o * (one - o), left);
    store_first(args.dc0 + state + unit, dc * f, left);
  }
}

// Carried dh = dgates_t w_hh for the units of one panel.
struct CarryStep {
  const LstmBackward<float>& args;
  const LstmItem& item;
  const float* panel;  // [4H][4][lanes]
  int64_t t, unit;

  template <int S>
  void run(int64_t first) const {
    const LstmDims& dims = args.dims;
    const float* dgates[S];
    VecF sums[S][4];
    for (int s = 0; s < S; ++s) {
      const int64_t row = (item.direction * dims.T + t) * dims.N + item.samples[first + s];
      dgates[s] = args.dgates + row * 4 * dims.H;
      for (int q = 0; q < 4; ++q) sums[s][q] = VecF{};
    }
    multiply<S>(dgates, panel, 4 * dims.H, sums);
    for (int s = 0; s < S; ++s) {
      const int64_t state = (item.direction * dims.N + item.samples[first + s]) * dims.H;
      for (int q = 0; q < 4; ++q) {
        const int64_t u = unit + q * kLanes;
        store_first(args.dh0 + state + u, sums[s][q], dims.H - u);
      }
    }
  }
};

}  // namespace

void lstm_pack_transposed(const float* w_hh, int64_t H, float* panels) {
  for (int64_t unit = 0; unit < H; unit += 4 * kLanes) {
    for (int64_t k = 0; k < 4 * H; ++k) {
      for (int64_t u = unit; u < unit + 4 * kLanes; u += kLanes) {
        store(panels, load_first(w_hh + k * H + u, H - u));
        panels += kLanes;
      }
    }
  }
}

void lstm_backward_item(const LstmBackward<float>& args, const LstmItem& item,
                        const float* panels_transposed) {
  const LstmDims& dims = args.dims;
  const bool back = item.direction == 1;
  const size_t bytes = static_cast<size_t>(dims.H) * sizeof(float);
  for (int64_t j = 0; j < item.count; ++j) {
    const int64_t state = (item.direction * dims.N + item.samples[j]) * dims.H;
    std::memcpy(args.dh0 + state, args.dh_n + state, bytes);
    std::memcpy(args.dc0 + state, args.dc_n + state, bytes);
  }
  int64_t active = back ? item.count : 0;
  for (int64_t step = 0; step < dims.T; ++step) {
    const int64_t t = back ? step : dims.T - 1 - step;
    poll_interrupt();
    active = active_at(item, args.lengths, dims.T, t, active);
    for (int64_t j = 0; j < active; ++j) cell_step(args, item.direction, t, item.samples[j]);
    for (int64_t j = active; j < item.count; ++j) {
      const int64_t row = (item.direction * dims.T + t) * dims.N + item.samples[j];
      std::memset(args.dgates + row * 4 * dims.H, 0, 4 * bytes);
    }
    for (int64_t unit = 0; unit < dims.H; unit += 4 * kLanes) {
      for_groups(active, CarryStep{args, item, panels_transposed + unit * 4 * dims.H, t, unit});
    }
  }
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
