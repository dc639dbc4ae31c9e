// The float LSTM on the CPU: scratch, the order of work and the threads. What runs on vectors is in
// lstm_forward.cpp and lstm_backward.cpp.
//
// Forward: pack the weights into panels, project all frames, then take each item (a direction and
// some of the samples) through time. Backward: pack w_hh by rows, then the items in reverse.
#include "kernels/lstm.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "common/parallel.h"
#include "kernels/cpu/lstm_simd.h"

namespace crnn {
namespace {

// Frames projected together: with one panel of w_ih they fit the second-level cache at I = 512.
constexpr int64_t kProjectRows = 192;
// Units packed together, a multiple of the lanes of every level.
constexpr int64_t kPackUnits = 16;

void pack_gates(const float* w, int64_t H, int64_t K, int64_t begin, int64_t end, float* panels) {
  CRNN_DISPATCH(lstm_pack_gates, w, H, K, begin, end, panels);
}
void pack_transposed(const float* w, int64_t H, float* panels) {
  CRNN_DISPATCH(lstm_pack_transposed, w, H, panels);
}
void project(const LstmForward<float>& args, const LstmRows& rows, const float* panels,
             const float* bias) {
  CRNN_DISPATCH(lstm_project, args, rows, panels, bias);
}
void recur(const LstmForward<float>& args, const LstmItem& item, const float* panels) {
  CRNN_DISPATCH(lstm_recur, args, item, panels);
}
void recur_back(const LstmBackward<float>& args, const LstmItem& item, const float* panels) {
  CRNN_DISPATCH(lstm_recur_back, args, item, panels);
}

// Memory that is not initialised: every float is written before it is read.
std::unique_ptr<float[]> scratch(int64_t size) {
  return std::unique_ptr<float[]>(new float[static_cast<size_t>(size)]);
}

// The samples by descending length, dealt in turn to as many items per direction as threads want.
class Items {
 public:
  Items(const LstmDims& dims, const int64_t* lengths, int num_threads) {
    std::vector<int64_t> order(static_cast<size_t>(dims.N));
    std::iota(order.begin(), order.end(), int64_t{0});
    if (lengths != nullptr) {
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    }
    const int64_t shares = std::clamp<int64_t>((num_threads + dims.D - 1) / dims.D, 1, dims.N);
    for (int64_t share = 0; share < shares; ++share) {
      for (int64_t j = share; j < dims.N; j += shares) samples_.push_back(order[j]);
    }
    int64_t begin = 0;
    for (int64_t share = 0; share < shares; ++share) {
      const int64_t count = (dims.N - share + shares - 1) / shares;
      for (int64_t d = 0; d < dims.D; ++d) items_.push_back({d, samples_.data() + begin, count});
      begin += count;
    }
  }

  int64_t size() const { return static_cast<int64_t>(items_.size()); }
  const LstmItem& operator[](int64_t k) const { return items_[static_cast<size_t>(k)]; }

 private:
  std::vector<int64_t> samples_;
  std::vector<LstmItem> items_;
};

// All frames below their sample's length, as t * N + n.
std::vector<int64_t> valid_rows(const LstmDims& dims, const int64_t* lengths) {
  std::vector<int64_t> rows;
  rows.reserve(static_cast<size_t>(dims.T * dims.N));
  for (int64_t t = 0; t < dims.T; ++t) {
    for (int64_t n = 0; n < dims.N; ++n) {
      if (lengths == nullptr || t < lengths[n]) rows.push_back(t * dims.N + n);
    }
  }
  return rows;
}

// Weights of all directions as gate panels.
class GatePanels {
 public:
  GatePanels(const LstmDims& dims, const float* const* weights, int64_t K, int num_threads)
      : size_(lstm_gate_panels_size(dims.H, K)), panels_(scratch(dims.D * size_)) {
    const int64_t blocks = (dims.H + kPackUnits - 1) / kPackUnits;
    parallel_for(dims.D * blocks, 1, num_threads, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t d = k / blocks, unit = k % blocks * kPackUnits;
        pack_gates(weights[d], dims.H, K, unit, std::min(dims.H, unit + kPackUnits),
                   panels_.get() + d * size_);
      }
    });
  }

  const float* direction(int64_t d) const { return panels_.get() + d * size_; }

 private:
  int64_t size_;
  std::unique_ptr<float[]> panels_;
};

// b_ih + b_hh (zeros if null) of each direction, as a matrix with K = 1.
std::vector<float> summed_bias(const LstmForward<float>& args) {
  const int64_t gates = 4 * args.dims.H;
  std::vector<float> bias(static_cast<size_t>(args.dims.D * gates), 0.0f);
  for (int64_t d = 0; d < args.dims.D && args.b_ih[0] != nullptr; ++d) {
    for (int64_t j = 0; j < gates; ++j) {
      bias[static_cast<size_t>(d * gates + j)] = args.b_ih[d][j] + args.b_hh[d][j];
    }
  }
  return bias;
}

}  // namespace

void lstm_forward(const LstmForward<float>& args, int num_threads) {
  const LstmDims& dims = args.dims;
  if (dims.N == 0) return;
  const std::vector<float> bias = summed_bias(args);
  const float* bias_of[2] = {bias.data(), bias.data() + (dims.D - 1) * 4 * dims.H};
  const GatePanels bias_panels(dims, bias_of, 1, 1);
  const std::vector<int64_t> rows = valid_rows(dims, args.lengths);
  const int64_t count = static_cast<int64_t>(rows.size());
  if (count > 0) {
    const GatePanels panels(dims, args.w_ih, dims.I, num_threads);
    const int64_t blocks = (count + kProjectRows - 1) / kProjectRows;
    parallel_for(dims.D * blocks, 1, num_threads, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t d = k / blocks, first = k % blocks * kProjectRows;
        project(args, {d, rows.data() + first, std::min(kProjectRows, count - first)},
                panels.direction(d), bias_panels.direction(d));
      }
    });
  }
  const GatePanels panels(dims, args.w_hh, dims.H, num_threads);
  const Items items(dims, args.lengths, num_threads);
  parallel_for(items.size(), 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      recur(args, items[k], panels.direction(items[k].direction));
    }
  });
}

void lstm_backward(const LstmBackward<float>& args, int num_threads) {
  const LstmDims& dims = args.dims;
  if (dims.N == 0) return;
  const int64_t size = lstm_transposed_panels_size(dims.H);
  const std::unique_ptr<float[]> panels = scratch(dims.D * size);
  parallel_for(dims.D, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) {
      pack_transposed(args.w_hh[d], dims.H, panels.get() + d * size);
    }
  });
  const Items items(dims, args.lengths, num_threads);
  parallel_for(items.size(), 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      recur_back(args, items[k], panels.get() + items[k].direction * size);
    }
  });
}

}  // namespace crnn
