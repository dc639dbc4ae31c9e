// The float LSTM on the CPU: scratch, the order of work and the threads. What runs on vectors is in
// lstm_forward.cpp and lstm_backward.cpp.
//
// Forward: pack the weights into panels (or, for few rows, x rather than w_ih), then take each item
// (a direction and some of the samples) through time. Backward: pack w_hh by rows, then the items
// in reverse.
#include "kernels/lstm.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>
#include <utility>
#include <vector>

#include "common/memory.h"
#include "common/parallel.h"
#include "kernels/cpu/lstm_simd.h"

namespace crnn {
namespace {

// Frames projected ahead of the recurrence, over all samples of an item: at H = 256 their gates
// are 768 KB, which the second-level cache of current processors holds.
constexpr int64_t kRowsAhead = 192;
// Units packed by one call, a multiple of the lanes of every level.
constexpr int64_t kPackUnits = 16;

void pack_gates(const float* w, int64_t H, int64_t K, int64_t begin, int64_t end, float* panels) {
  CRNN_DISPATCH(lstm_pack_gates, w, H, K, begin, end, panels);
}
void pack_transposed(const float* w, int64_t H, float* panels) {
  CRNN_DISPATCH(lstm_pack_transposed, w, H, panels);
}
void forward_item(const LstmForward<float>& args, const LstmItem& item, const float* panels_ih,
                  const float* panels_hh, const float* bias) {
  CRNN_DISPATCH(lstm_forward_item, args, item, panels_ih, panels_hh, bias);
}
void backward_item(const LstmBackward<float>& args, const LstmItem& item, const float* panels) {
  CRNN_DISPATCH(lstm_backward_item, args, item, panels);
}

// Uninitialised floats, aligned to cache lines so that no vector of weights straddles two.
//
// A thread keeps the last block that it used for its next call: mapping and zeroing 6 MB of new
// pages would take longer than packing the weights into them. A call within a call (a Python signal
// handler) finds none kept and allocates its own.
class Scratch {
 public:
  explicit Scratch(int64_t size) : block_(std::exchange(kept(), Block{})) {
    if (block_.size < size) block_ = Block(size);
  }
  ~Scratch() { kept() = std::move(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* get() const { return block_.data.get(); }

 private:
  struct Delete {
    void operator()(float* p) const { std::free(p); }
  };
  static void* allocate(size_t bytes) {
    // All panels are read at every step: in pages of 4 KB they would miss the page table's cache.
    if (bytes >= kLargeBuffer) return allocate_large(bytes);
    void* data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (data == nullptr) throw std::bad_alloc();
    return data;
  }
  struct Block {
    Block() = default;
    explicit Block(int64_t n)
        : size(n), data(static_cast<float*>(allocate(static_cast<size_t>(n) * sizeof(float)))) {}
    int64_t size = 0;
    std::unique_ptr<float, Delete> data;
  };
  static Block& kept() {
    thread_local Block block;
    return block;
  }
  Block block_;
};

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
    samples_.reserve(order.size());
    for (int64_t share = 0; share < shares; ++share) {
      const int64_t* begin = samples_.data() + samples_.size();
      for (int64_t j = share; j < dims.N; j += shares) {
        samples_.push_back(order[static_cast<size_t>(j)]);
      }
      const int64_t count = samples_.data() + samples_.size() - begin;
      for (int64_t d = 0; d < dims.D; ++d)
        items_.push_back({d, begin, count, 0, nullptr, nullptr, nullptr});
    }
  }

  // Gives every item its rows; its columns and gates, from the memory given unless that is null.
  void set_forward_scratch(const LstmDims& dims, float* columns, float* gates) {
    rows_.resize(static_cast<size_t>(dims.D * rows_ahead(dims)));
    int64_t* rows = rows_.data();
    for (LstmItem& item : items_) {
      item.steps = steps_ahead(dims, item.count);
      item.rows = std::exchange(rows, rows + item.steps * item.count);
      if (columns != nullptr) item.columns = columns + item.direction * columns_size(dims);
      if (gates == nullptr) continue;
      item.gates = std::exchange(gates, gates + item.steps * item.count * 4 * dims.H);
    }
  }

  // Rows that all items of one direction project ahead.
  int64_t rows_ahead(const LstmDims& dims) const {
    int64_t rows = 0;
    for (const LstmItem& item : items_) {
      if (item.direction == 0) rows += steps_ahead(dims, item.count) * item.count;
    }
    return rows;
  }

  // Floats of all rows of x packed as columns, at every level.
  static int64_t columns_size(const LstmDims& dims) {
    return (dims.T * dims.N + 15) / 16 * 16 * dims.I;
  }

  // Whether a direction is one item that projects all its frames at once. There are then fewer
  // rows of x than of w_ih, and packing those takes less time; and w_hh is best packed by the item
  // itself, which will find it in its own cache.
  bool packs_itself(const LstmDims& dims) const {
    return size() == dims.D && dims.T * dims.N <= kRowsAhead;
  }

  int64_t size() const { return static_cast<int64_t>(items_.size()); }
  const LstmItem& operator[](int64_t k) const { return items_[static_cast<size_t>(k)]; }

 private:
  static int64_t steps_ahead(const LstmDims& dims, int64_t count) {
    return std::max<int64_t>(1, std::min(dims.T, kRowsAhead / count));
  }

  std::vector<int64_t> samples_, rows_;
  std::vector<LstmItem> items_;
};

// Packs the weights [4H, K] of all directions, lstm_gate_panels_size(H, K) apart.
void pack_all_gates(const LstmDims& dims, const float* const* weights, int64_t K, int num_threads,
                    float* panels) {
  const int64_t blocks = (dims.H + kPackUnits - 1) / kPackUnits;
  const int64_t size = lstm_gate_panels_size(dims.H, K);
  parallel_for(dims.D * blocks, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t d = k / blocks, unit = k % blocks * kPackUnits;
      pack_gates(weights[d], dims.H, K, unit, std::min(dims.H, unit + kPackUnits),
                 panels + d * size);
    }
  });
}

// Packs b_ih + b_hh (zeros if null) of all directions as matrices with K = 1.
void pack_all_biases(const LstmForward<float>& args, float* panels) {
  const int64_t gates = 4 * args.dims.H;
  std::vector<float> sum(static_cast<size_t>(args.dims.D * gates), 0.0f);
  for (int64_t d = 0; d < args.dims.D && args.b_ih[0] != nullptr; ++d) {
    for (int64_t j = 0; j < gates; ++j) {
      sum[static_cast<size_t>(d * gates + j)] = args.b_ih[d][j] + args.b_hh[d][j];
    }
  }
  const float* sum_of[2] = {sum.data(), sum.data() + (args.dims.D - 1) * gates};
  pack_all_gates(args.dims, sum_of, 1, 1, panels);
}

}  // namespace

void lstm_forward(const LstmForward<float>& args, int num_threads) {
  const LstmDims& dims = args.dims;
  if (dims.N == 0) return;
  Items items(dims, args.lengths, num_threads);
  const bool late = items.packs_itself(dims);
  const int64_t size_ih = late ? Items::columns_size(dims) : lstm_gate_panels_size(dims.H, dims.I);
  const int64_t size_hh = lstm_gate_panels_size(dims.H, dims.H);
  const int64_t size_bias = lstm_gate_panels_size(dims.H, 1);
  const int64_t size_gates = args.gates == nullptr ? items.rows_ahead(dims) * 4 * dims.H : 0;
  const Scratch scratch(dims.D * (size_ih + size_hh + size_bias + size_gates));
  float* ih = scratch.get();
  float* hh = ih + dims.D * size_ih;
  float* bias = hh + dims.D * size_hh;
  float* gates = args.gates == nullptr ? bias + dims.D * size_bias : nullptr;
  pack_all_biases(args, bias);
  if (!late) {
    pack_all_gates(dims, args.w_ih, dims.I, num_threads, ih);
    pack_all_gates(dims, args.w_hh, dims.H, num_threads, hh);
  }
  items.set_forward_scratch(dims, late ? ih : nullptr, gates);
  parallel_for(items.size(), 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t d = items[k].direction;
      if (late) pack_gates(args.w_hh[d], dims.H, dims.H, 0, dims.H, hh + d * size_hh);
      forward_item(args, items[k], ih + d * size_ih, hh + d * size_hh, bias + d * size_bias);
    }
  });
}

void lstm_backward(const LstmBackward<float>& args, int num_threads) {
  const LstmDims& dims = args.dims;
  if (dims.N == 0) return;
  const int64_t size = lstm_transposed_panels_size(dims.H);
  const Scratch scratch(dims.D * size);
  const auto pack = [&](int64_t d) {
    pack_transposed(args.w_hh[d], dims.H, scratch.get() + d * size);
  };
  const Items items(dims, args.lengths, num_threads);
  const bool late = items.size() == dims.D;
  if (!late) {
    parallel_for(dims.D, 1, num_threads, [&](int64_t begin, int64_t end) {
      for (int64_t d = begin; d < end; ++d) pack(d);
    });
  }
  parallel_for(items.size(), 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t d = items[k].direction;
      if (late) pack(d);
      backward_item(args, items[k], scratch.get() + d * size);
    }
  });
}

}  // namespace crnn
