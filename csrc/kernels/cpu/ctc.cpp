// CTC on the CPU: checks of lengths and labels, the loops over rows and samples, the reduction.
//
// forward  = rows (in the order of memory, in parallel) -> recursion (samples in parallel)
// backward = rows
// Each row and each sample is computed by itself in a fixed order, so the result has the same bits
// for every number of threads and whatever else is in the batch.
#include "kernels/ctc.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/parallel.h"
#include "kernels/cpu/ctc_simd.h"

namespace crnn {
namespace {

constexpr int64_t kRowWork = 65536;   // elements per chunk of rows: long against taking a chunk
constexpr int64_t kStateWork = 4096;  // frames times states of the samples of one chunk, likewise

template <class Real>
void gather_rows_dispatch(const CtcBatch<Real>& batch, Real* row_shift, Real* row_sum,
                          Real* emissions, int64_t begin, int64_t end) {
  CRNN_DISPATCH(ctc_gather_rows, batch, row_shift, row_sum, emissions, begin, end);
}

template <class Real>
double recursion_dispatch(const CtcBatch<Real>& batch, int64_t n, const Real* row_shift,
                          const Real* row_sum, Real* emissions, bool posteriors, void* scratch) {
  CRNN_DISPATCH(ctc_recursion, batch, n, row_shift, row_sum, emissions, posteriors, scratch);
}

template <class Real>
void gradient_rows_dispatch(const CtcBatch<Real>& batch, const CtcSaved<Real>& saved,
                            const Real* weights, Real* dx, int64_t dx_t, int64_t dx_n,
                            int64_t begin, int64_t end) {
  CRNN_DISPATCH(ctc_gradient_rows, batch, saved, weights, dx, dx_t, dx_n, begin, end);
}

// Scratch that samples of one call hand on to each other: fresh memory costs page faults.
class ScratchPool {
 public:
  explicit ScratchPool(size_t bytes) : bytes_(bytes) {}

  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), memory_(pool.take()) {}
    ~Lease() { pool_.give(std::move(memory_)); }
    // On a 64-byte boundary, so that no vector crosses a cache line.
    void* get() const {
      const auto address = reinterpret_cast<uintptr_t>(memory_.get());
      return reinterpret_cast<void*>((address + 63) / 64 * 64);
    }

   private:
    ScratchPool& pool_;
    std::unique_ptr<double[]> memory_;
  };

 private:
  std::unique_ptr<double[]> take() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<double[]> memory = std::move(free_.back());
        free_.pop_back();
        return memory;
      }
    }
    return std::unique_ptr<double[]>(new double[bytes_ / sizeof(double) + 9]);
  }
  void give(std::unique_ptr<double[]> memory) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(memory));
  }

  size_t bytes_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<double[]>> free_;
};

double mean_weight(int64_t target_length, int64_t N) {
  return 1.0 / (static_cast<double>(std::max<int64_t>(target_length, 1)) * static_cast<double>(N));
}

}  // namespace

void ctc_check(const CtcDims& dims, int64_t targets_2d_width, const int64_t* targets,
               const int64_t* input_lengths, const int64_t* target_lengths, int64_t* offsets) {
  const char* op = "ctc_loss";
  int64_t total = 0;
  for (int64_t n = 0; n < dims.N; ++n) {
    const auto named = [n](const char* name) { return name + ("[" + std::to_string(n) + "]"); };
    const int64_t il = input_lengths != nullptr ? input_lengths[n] : 0;
    const int64_t tl = target_lengths != nullptr ? target_lengths[n] : 0;
    if (il < 0 || il > dims.T) {
      const std::string rule = "be in 0.." + std::to_string(dims.T) + " (T of log_probs)";
      fail(op, named("input_lengths").c_str(), rule.c_str(), il);
    }
    if (tl < 0) fail(op, named("target_lengths").c_str(), "be at least 0", tl);
    if (targets_2d_width >= 0 && tl > targets_2d_width) {
      const std::string rule = "be at most " + std::to_string(targets_2d_width) + " (S of targets)";
      fail(op, named("target_lengths").c_str(), rule.c_str(), tl);
    }
    offsets[n] = targets_2d_width >= 0 ? n * targets_2d_width : total;
    // Stops a sum of huge lengths from wrapping round.
    total = std::min(total, std::numeric_limits<int64_t>::max() - tl) + tl;
  }
  if (target_lengths == nullptr) return;
  if (targets_2d_width < 0 && total != dims.targets) {
    const std::string rule = "have sum(target_lengths) = " + std::to_string(total) + " elements";
    fail(op, "targets", rule.c_str(), dims.targets);
  }
  for (int64_t n = 0; n < dims.N && targets != nullptr; ++n) {
    for (int64_t i = 0; i < target_lengths[n]; ++i) {
      const int64_t label = targets[offsets[n] + i];
      if (label >= 0 && label < dims.C) continue;
      const std::string rule = "hold classes in 0.." + std::to_string(dims.C - 1);
      fail(op, "targets", rule.c_str(), std::to_string(label) + " in sample " + std::to_string(n));
    }
  }
}

template <class Real>
void ctc_forward(const CtcBatch<Real>& batch, Real* losses, const CtcSaved<Real>& saved,
                 int num_threads) {
  const CtcDims& d = batch.dims;
  const bool want_posteriors = saved.posteriors != nullptr;
  std::unique_ptr<Real[]> own;
  Real* emissions = saved.posteriors;
  if (!want_posteriors) {
    own.reset(new Real[static_cast<size_t>(d.T * (d.targets + d.N))]);
    emissions = own.get();
  }
  const int64_t grain = std::max<int64_t>(1, kRowWork / d.C);
  parallel_for(d.T * d.N, grain, num_threads, [&](int64_t begin, int64_t end) {
    gather_rows_dispatch(batch, saved.row_shift, saved.row_sum, emissions, begin, end);
  });

  int64_t bytes = 0;
  for (int64_t n = 0; n < d.N; ++n) {
    bytes = std::max(bytes, ctc_scratch_bytes<Real>(batch.input_lengths[n], batch.target_lengths[n],
                                                    want_posteriors));
  }
  ScratchPool pool(static_cast<size_t>(bytes));
  const int64_t sample_work = d.N > 0 ? d.T * (d.targets / d.N + 1) : 0;
  const int64_t samples = std::max<int64_t>(1, kStateWork / std::max<int64_t>(1, sample_work));
  parallel_for(d.N, samples, num_threads, [&](int64_t begin, int64_t end) {
    const ScratchPool::Lease scratch(pool);
    for (int64_t n = begin; n < end; ++n) {
      if (want_posteriors) {  // the columns of padding in targets [N, S]
        const int64_t used = batch.columns_before(n) + batch.target_lengths[n] + 1;
        const int64_t next = n + 1 < d.N ? batch.columns_before(n + 1) : d.targets + d.N;
        std::fill(emissions + d.T * used, emissions + d.T * next, Real(0));
      }
      losses[n] = static_cast<Real>(recursion_dispatch(batch, n, saved.row_shift, saved.row_sum,
                                                       emissions, want_posteriors, scratch.get()));
    }
  });
}

template <class Real>
void ctc_reduce(const CtcBatch<Real>& batch, const Real* losses, CtcReduction reduction,
                bool zero_infinity, Real* reduced) {
  const int64_t N = batch.dims.N;
  double sum = reduction == CtcReduction::mean && N == 0 ? std::nan("") : 0.0;
  for (int64_t n = 0; n < N; ++n) {
    Real loss = losses[n];
    if (zero_infinity && std::isinf(loss)) loss = 0;
    if (reduction == CtcReduction::none) {
      reduced[n] = loss;
    } else if (reduction == CtcReduction::sum) {
      sum += loss;
    } else {
      sum += static_cast<double>(loss) * mean_weight(batch.target_lengths[n], N);
    }
  }
  if (reduction != CtcReduction::none) *reduced = static_cast<Real>(sum);
}

template <class Real>
void ctc_backward(const CtcBatch<Real>& batch, const Real* losses, const CtcSaved<Real>& saved,
                  const Real* grad, int64_t grad_n, CtcReduction reduction, bool zero_infinity,
                  Real* dx, int64_t dx_t, int64_t dx_n, int num_threads) {
  const CtcDims& d = batch.dims;
  std::vector<Real> weights(static_cast<size_t>(d.N));
  for (int64_t n = 0; n < d.N; ++n) {
    double w = static_cast<double>(grad[n * grad_n]);
    if (reduction == CtcReduction::mean) w *= mean_weight(batch.target_lengths[n], d.N);
    if (!std::isfinite(losses[n])) w = zero_infinity && std::isinf(losses[n]) ? 0 : std::nan("");
    weights[static_cast<size_t>(n)] = static_cast<Real>(w);
  }
  const int64_t grain = std::max<int64_t>(1, kRowWork / d.C), rows = d.T * d.N;
  // Last rows first: of x the forward pass read them last, and some are still in the cache.
  parallel_for(rows, grain, num_threads, [&](int64_t begin, int64_t end) {
    gradient_rows_dispatch(batch, saved, weights.data(), dx, dx_t, dx_n, rows - end, rows - begin);
  });
}

#define CRNN_CTC_INSTANTIATE(Real)                                                              \
  template void ctc_forward(const CtcBatch<Real>&, Real*, const CtcSaved<Real>&, int);          \
  template void ctc_reduce(const CtcBatch<Real>&, const Real*, CtcReduction, bool, Real*);      \
  template void ctc_backward(const CtcBatch<Real>&, const Real*, const CtcSaved<Real>&,         \
                             const Real*, int64_t, CtcReduction, bool, Real*, int64_t, int64_t, \
                             int);
CRNN_CTC_INSTANTIATE(float)
CRNN_CTC_INSTANTIATE(double)

}  // namespace crnn
