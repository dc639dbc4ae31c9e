// Forward pass of the float LSTM: packing, input projection, recurrence. Compiled per SIMD level.
//
// One panel of 4*lanes weight columns gives the four gates of `lanes` units in registers, to which
// the cell update applies at once. Work: 2*4H*(I + H) flop per frame and direction; for one sample
// the recurrence is bound by reading w_hh (16 H^2 bytes) from the cache at every step.
#include "common/parallel.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/lstm_panel.h"
#include "kernels/cpu/lstm_simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

// Gates of sample item.samples[j] at frame t.
float* gates_at(const LstmForward<float>& args, const LstmItem& item, int64_t t, int64_t j) {
  const LstmDims& dims = args.dims;
  if (item.gates != nullptr) {
    return item.gates + (t % item.steps * item.count + j) * 4 * dims.H;
  }
  return args.gates + ((item.direction * dims.T + t) * dims.N + item.samples[j]) * 4 * dims.H;
}

float* y_row(const LstmForward<float>& args, int64_t direction, int64_t t, int64_t n) {
  const LstmDims& dims = args.dims;
  return args.y + ((t * dims.N + n) * dims.D + direction) * dims.H;
}

struct ProjectStep {
  const LstmForward<float>& args;
  const LstmItem& item;
  const float* panel;  // [I][4][lanes]
  const float* bias;   // [4][lanes]
  int64_t unit, left;  // first unit of the panel, units from there on

  template <int S>
  void run(int64_t first) const {
    const LstmDims& dims = args.dims;
    const float* x[S];
    VecF sums[S][4];
    for (int s = 0; s < S; ++s) {
      const int64_t t = item.rows[first + s] / item.count, j = item.rows[first + s] % item.count;
      x[s] = args.x + t * args.x_stride_t + item.samples[j] * args.x_stride_n;
      for (int q = 0; q < 4; ++q) sums[s][q] = load(bias + q * kLanes);
    }
    multiply<S>(x, panel, dims.I, sums);
    for (int s = 0; s < S; ++s) {
      const int64_t t = item.rows[first + s] / item.count, j = item.rows[first + s] % item.count;
      float* out = gates_at(args, item, t, j) + unit;
      for (int q = 0; q < 4; ++q) store_first(out + q * dims.H, sums[s][q], left);
    }
  }
};

struct RecurStep {
  const LstmForward<float>& args;
  const LstmItem& item;
  const float* panel;  // [H][4][lanes]
  int64_t t, unit, left;

  // h of the step before t in this sample's own order.
  const float* previous_h(int64_t n) const {
    const LstmDims& dims = args.dims;
    const bool back = item.direction == 1;
    const bool is_first = back ? t == length_of(args.lengths, n, dims.T) - 1 : t == 0;
    if (is_first) return args.h0 + (item.direction * dims.N + n) * dims.H;
    return y_row(args, item.direction, back ? t + 1 : t - 1, n);
  }

  template <int S>
  void run(int64_t first) const {
    const LstmDims& dims = args.dims;
    const float* h[S];
    VecF sums[S][4];
    for (int s = 0; s < S; ++s) {
      const float* gates = gates_at(args, item, t, first + s) + unit;
      h[s] = previous_h(item.samples[first + s]);
      for (int q = 0; q < 4; ++q) sums[s][q] = load_first(gates + q * dims.H, left);
    }
    multiply<S>(h, panel, dims.H, sums);
    for (int s = 0; s < S; ++s) update(first + s, sums[s]);
  }

  void update(int64_t j, const VecF (&sums)[4]) const {
    const LstmDims& dims = args.dims;
    const int64_t n = item.samples[j];
    float* c_at = args.c_n + (item.direction * dims.N + n) * dims.H + unit;
    const VecF i = sigmoid(sums[0]), f = sigmoid(sums[1]), g = tanh(sums[2]), o = sigmoid(sums[3]);
    const VecF c = f * load_first(c_at, left) + i * g;
    store_first(c_at, c, left);
    store_first(y_row(args, item.direction, t, n) + unit, o * tanh(c), left);
    if (args.cells == nullptr) return;
    float* gates = gates_at(args, item, t, j) + unit;
    store_first(gates, i, left);
    store_first(gates + dims.H, f, left);
    store_first(gates + 2 * dims.H, g, left);
    store_first(gates + 3 * dims.H, o, left);
    store_first(args.cells + ((item.direction * dims.T + t) * dims.N + n) * dims.H + unit, c, left);
  }
};

// The first `length` floats of each of the first `count` of 4 rows.
void prefetch_four(const float* rows, int64_t count, int64_t K, int64_t length) {
  for (int64_t j = 0; j < 4 && j < count; ++j) {
    for (int64_t k = 0; k < length; k += 16) __builtin_prefetch(rows + j * K + k);
  }
}

// packed[k * 4 * kLanes + r] = rows[r][k] for the first `count` of 4 rows, 0 for the others.
void pack_four(const float* rows, int64_t count, int64_t K, int64_t k0, int64_t k1, float* packed) {
  int64_t k = k0;
  for (; count >= 4 && k + 4 <= k1; k += 4) {
    Vec4 r[4];
    for (int j = 0; j < 4; ++j) std::memcpy(&r[j], rows + j * K + k, sizeof r[j]);
    transpose(r);
    for (int j = 0; j < 4; ++j) std::memcpy(packed + (k + j) * 4 * kLanes, &r[j], sizeof r[j]);
  }
  for (; k < k1; ++k) {
    for (int j = 0; j < 4; ++j) packed[k * 4 * kLanes + j] = j < count ? rows[j * K + k] : 0.0f;
  }
}

// The gates of units [unit, unit + lanes).
void pack_panel(const float* w, int64_t H, int64_t K, int64_t unit, float* panel) {
  // 64 columns of 64 k are 16 KB: what is read and written stays in the first-level cache.
  constexpr int64_t kBlock = 64;
  for (int64_t k0 = 0; k0 < K; k0 += kBlock) {
    const int64_t k1 = k0 + kBlock < K ? k0 + kBlock : K;
    for (int64_t q = 0; q < 4; ++q) {
      for (int64_t l = 0; l < kLanes; l += 4) {
        const int64_t u = unit + l;
        const float* rows = w + (q * H + u) * K;
        // Processors do not foresee so many short runs: ask for the block read next.
        if (k1 < K) {
          prefetch_four(rows + k1, H - u, K, kBlock);
        } else {
          prefetch_four(rows + kLanes * K, H - u - kLanes, K, kBlock);
        }
        pack_four(rows, H - u, K, k0, k1, panel + q * kLanes + l);
      }
    }
  }
}

// ---- few rows: x packed rather than w_ih -------------------------------------------------------

// Columns of gates computed together: 2 * kColumns sums and their operands fill the registers.
#if defined(__AVX512F__)
constexpr int64_t kColumns = 12;
#else
constexpr int64_t kColumns = 4;
#endif

// Frame and sample of a row of the item.
struct RowOf {
  int64_t t, j;
  RowOf(const LstmItem& item, int64_t row)
      : t(item.rows[row] / item.count), j(item.rows[row] % item.count) {}
};

// `lanes` rows of x from `first` on as columns: packed[k * lanes + r] = x of row first + r, 0
// beyond the last row.
void pack_columns(const LstmForward<float>& args, const LstmItem& item, int64_t first, int64_t rows,
                  int64_t lanes, float* packed) {
  const int64_t I = args.dims.I;
  for (int64_t r = 0; r < lanes; r += 4) {
    const int64_t count = rows - first - r;
    const float* x[4];
    for (int64_t j = 0; j < 4 && j < count; ++j) {
      const RowOf row(item, first + r + j);
      x[j] = args.x + row.t * args.x_stride_t + item.samples[row.j] * args.x_stride_n;
    }
    int64_t k = 0;
    for (; count >= 4 && k + 4 <= I; k += 4) {
      Vec4 block[4];
      for (int j = 0; j < 4; ++j) std::memcpy(&block[j], x[j] + k, sizeof block[j]);
      transpose(block);
      for (int j = 0; j < 4; ++j) {
        std::memcpy(packed + (k + j) * lanes + r, &block[j], sizeof block[j]);
      }
    }
    for (; k < I; ++k) {
      for (int64_t j = 0; j < 4; ++j) packed[k * lanes + r + j] = j < count ? x[j][k] : 0.0f;
    }
  }
}

// out[c][.] = bias[c] + sum over k of w[c][k] * packed[k][.] for C columns and V vectors of rows.
// Each sum is one chain in the order of k, as in multiply(): the results are the same to the bit.
template <int V, int C>
void multiply_columns(const float* packed, const float* w, int64_t K, const float* bias,
                      float (&out)[C][V * kLanes]) {
  constexpr int64_t kRun = 16;  // values of a cache line
  VecF acc[C][V];
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V; ++v) acc[c][v] = splat(bias[c]);
  }
  for (int64_t begin = 0; begin < K; begin += kRun) {
    // Ask for the columns that come next, in the order of memory: the processor then reads ahead.
    for (int c = 0; c < C; ++c) __builtin_prefetch(w + C * K + begin * C + c * kRun);
    const int64_t end = begin + kRun < K ? begin + kRun : K;
    for (int64_t k = begin; k < end; ++k) {
      VecF x[V];
      for (int v = 0; v < V; ++v) x[v] = load(packed + (k * V + v) * kLanes);
      for (int c = 0; c < C; ++c) {
        const VecF weight = splat(w[c * K + k]);
        for (int v = 0; v < V; ++v) acc[c][v] += weight * x[v];
      }
    }
  }
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V; ++v) store(out[c] + v * kLanes, acc[c][v]);
  }
}

// Columns [column, column + C) of the gates for `count` rows, up to V vectors of them, which stand
// at gates + offsets[r].
template <int V, int C>
void project_block(const LstmForward<float>& args, const LstmItem& item, const float* packed,
                   const float* bias, int64_t column, float* gates, const int64_t* offsets,
                   int64_t count) {
  const LstmDims& dims = args.dims;
  float own_bias[C], out[C][V * kLanes];
  for (int64_t c = 0; c < C; ++c) {
    const int64_t q = (column + c) / dims.H, unit = (column + c) % dims.H;
    own_bias[c] = bias[unit / kLanes * 4 * kLanes + q * kLanes + unit % kLanes];
  }
  const float* w = args.w_ih[item.direction] + column * dims.I;
  multiply_columns<V, C>(packed, w, dims.I, own_bias, out);
  for (int64_t r = 0; r < V * kLanes && r < count; ++r) {
    float* to = gates + offsets[r] + column;
    for (int64_t c = 0; c < C; ++c) to[c] = out[c][r];
  }
}

// gates = x w_ih^T + bias for the item's first `rows` rows.
void project_columns(const LstmForward<float>& args, const LstmItem& item, int64_t rows,
                     const float* bias) {
  const int64_t I = args.dims.I, columns = 4 * args.dims.H;
  constexpr int64_t kPair = 2 * kLanes;
  const auto lanes_at = [&](int64_t first) { return rows - first > kLanes ? kPair : kLanes; };
  for (int64_t first = 0; first < rows; first += kPair) {
    pack_columns(args, item, first, rows, lanes_at(first), item.columns + first * I);
  }
  // From here on the list of rows says where the gates of each stand.
  float* gates = item.gates != nullptr ? item.gates : args.gates;
  for (int64_t r = 0; r < rows; ++r) {
    const RowOf row(item, r);
    item.rows[r] = gates_at(args, item, row.t, row.j) - gates;
  }
  for (int64_t column = 0; column < columns;) {
    const bool whole = column + kColumns <= columns;  // else 4 are left: there are 4 gates
    for (int64_t first = 0; first < rows; first += kPair) {
      const auto run = lanes_at(first) == kPair
                           ? (whole ? project_block<2, kColumns> : project_block<2, 4>)
                           : (whole ? project_block<1, kColumns> : project_block<1, 4>);
      run(args, item, item.columns + first * I, bias, column, gates, item.rows + first,
          rows - first);
    }
    column += whole ? kColumns : 4;
  }
}

// ---- the passes ---------------------------------------------------------------------------------

int64_t frame(const LstmForward<float>& args, const LstmItem& item, int64_t step) {
  return item.direction == 1 ? args.dims.T - 1 - step : step;
}

// gates = x w_ih^T + bias for steps [begin, end) of the samples that have those frames; `active`:
// how many did before.
void project(const LstmForward<float>& args, const LstmItem& item, int64_t begin, int64_t end,
             int64_t active, const float* panels_ih, const float* bias) {
  const LstmDims& dims = args.dims;
  int64_t rows = 0;
  for (int64_t step = begin; step < end; ++step) {
    const int64_t t = frame(args, item, step);
    active = active_at(item, args.lengths, dims.T, t, active);
    for (int64_t j = 0; j < active; ++j) item.rows[rows++] = t * item.count + j;
  }
  if (item.columns != nullptr) return project_columns(args, item, rows, bias);
  for (int64_t unit = 0; unit < dims.H; unit += kLanes) {
    const float* panel = panels_ih + unit * 4 * dims.I;
    for_groups(rows, ProjectStep{args, item, panel, bias + unit * 4, unit, dims.H - unit});
  }
}

// Steps [begin, end) of the recurrence; returns how many samples had the last of them.
int64_t recur(const LstmForward<float>& args, const LstmItem& item, int64_t begin, int64_t end,
              int64_t active, const float* panels_hh) {
  const LstmDims& dims = args.dims;
  const int64_t panels = (dims.H + kLanes - 1) / kLanes;
  for (int64_t step = begin; step < end; ++step) {
    poll_interrupt();
    const int64_t t = frame(args, item, step);
    active = active_at(item, args.lengths, dims.T, t, active);
    // Every other step goes through the panels backwards: those used last are still in the cache.
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t unit = (step % 2 == 0 ? p : panels - 1 - p) * kLanes;
      for_groups(active,
                 RecurStep{args, item, panels_hh + unit * 4 * dims.H, t, unit, dims.H - unit});
    }
  }
  return active;
}

void finish_sample(const LstmForward<float>& args, int64_t direction, int64_t n) {
  const LstmDims& dims = args.dims;
  const int64_t length = length_of(args.lengths, n, dims.T);
  const int64_t state = (direction * dims.N + n) * dims.H;
  const size_t bytes = static_cast<size_t>(dims.H) * sizeof(float);
  const float* last = args.h0 + state;
  if (length > 0) last = y_row(args, direction, direction == 1 ? 0 : length - 1, n);
  std::memcpy(args.h_n + state, last, bytes);
  for (int64_t t = length; t < dims.T; ++t) {
    std::memset(y_row(args, direction, t, n), 0, bytes);
  }
}

}  // namespace

void lstm_pack_gates(const float* w, int64_t H, int64_t K, int64_t unit_begin, int64_t unit_end,
                     float* panels) {
  for (int64_t unit = unit_begin; unit < unit_end; unit += kLanes) {
    pack_panel(w, H, K, unit, panels + unit * 4 * K);
  }
}

void lstm_forward_item(const LstmForward<float>& args, const LstmItem& item, const float* panels_ih,
                       const float* panels_hh, const float* bias) {
  const LstmDims& dims = args.dims;
  for (int64_t j = 0; j < item.count; ++j) {
    const int64_t state = (item.direction * dims.N + item.samples[j]) * dims.H;
    std::memcpy(args.c_n + state, args.c0 + state, static_cast<size_t>(dims.H) * sizeof(float));
  }
  int64_t active = item.direction == 1 ? 0 : item.count;
  for (int64_t begin = 0; begin < dims.T; begin += item.steps) {
    const int64_t end = begin + item.steps < dims.T ? begin + item.steps : dims.T;
    project(args, item, begin, end, active, panels_ih, bias);
    active = recur(args, item, begin, end, active, panels_hh);
  }
  for (int64_t j = 0; j < item.count; ++j) finish_sample(args, item.direction, item.samples[j]);
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
