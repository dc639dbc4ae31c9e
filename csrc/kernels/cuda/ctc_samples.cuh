// What a block does with one sample before and after the recursion of CTC: reads its lengths and
// label, prepares the emissions of its frames, clears what the recursion leaves, writes the loss.
#pragma once

#include "kernels/ctc_cuda.h"
#include "kernels/cuda/ctc_recursion.cuh"
#include "kernels/cuda/ctc_rows.cuh"
#include "kernels/cuda/launch.cuh"

namespace crnn {
namespace {

constexpr int kRowWarps = 8;  // warps that prepare frames: always as many, for the sums
constexpr size_t kSharedLimit = 100 << 10;  // two blocks per multiprocessor
// Beyond this, x is taken relative to the frame's largest, to keep its exponent small.
constexpr float kShiftBeyond = 65536.0f;
constexpr float kFarBelow = -2097152.0f;  // -2^21: as good as zero

// Sums over the frames of one warp.
struct FrameSums {
  double log_scale;     // of e: shifts taken out of emissions, minus ln of the softmax's sums
  long long exponents;  // of 2: taken out of emissions
};

struct Header {  // of a block's shared memory
  FrameSums sums[kRowWarps];
  long long offset;
  int valid;
};

template <class Real>
size_t slots_bytes(int64_t slots) {
  return static_cast<size_t>(slots) * sizeof(Scaled<Real>);
}

// Where the parts of the recursion lie, in slots behind the header.
struct Plan {
  int stride;
  int64_t fixed, emissions, rows;  // numbers of slots
  bool in_shared;
};

template <class Real>
Plan make_plan(const CtcCudaBatch& batch, bool save) {
  Plan plan;
  plan.stride = static_cast<int>(batch.longest) + 1;
  plan.fixed = 64 + plan.stride + 1;  // boundary, joint, total
  plan.emissions = batch.dims.T * plan.stride;
  plan.rows = (save ? batch.dims.T : 1) * plan.stride;
  const int64_t all = plan.fixed + plan.emissions + 2 * plan.rows;
  plan.in_shared = sizeof(Header) + slots_bytes<Real>(all) <= kSharedLimit;
  return plan;
}

template <class In>
struct Arguments {
  using Real = typename RealOf<In>::type;
  CtcCudaBatch batch;
  const In* x;
  Saved<Real> saved;
  Real* loss;  // null where a reduction follows
  bool statistics_done;
  Plan plan;
  Scaled<Real>* scratch;
};

struct Sample {
  int n;
  int64_t offset;  // of its label in the targets
  int frames, L;   // both 0 where invalid
  bool valid;
};

// Lengths and offset of sample n; the same for all threads of the block.
template <class In>
__device__ Sample read_sample(const Arguments<In>& a, Header* header) {
  const CtcCudaBatch& batch = a.batch;
  const int n = blockIdx.x, lane = threadIdx.x;
  const int64_t size = batch.dims.targets;
  if (batch.targets_width < 0 && lane < 32) {
    long long before = 0, total = 0;
    int valid = 1;
    for (int64_t m = lane; m < batch.dims.N; m += 32) {
      const int64_t L = load_integer(batch.target_lengths, m);
      if (L < 0 || L > size) {
        valid = 0;
        continue;
      }
      total += L;
      if (m < n) before += L;
    }
    before = warp_sum(before);
    total = warp_sum(total);
    valid = __all_sync(kAllLanes, valid);
    if (lane == 0) {
      header->offset = before;
      header->valid = valid && total == size;
    }
  }
  __syncthreads();
  const int64_t frames = load_integer(batch.input_lengths, n);
  const int64_t L = load_integer(batch.target_lengths, n);
  const bool flat = batch.targets_width < 0;
  const int64_t offset = flat ? header->offset : n * batch.targets_width;
  bool valid = frames >= 0 && frames <= batch.dims.T;
  valid = valid && (flat ? header->valid != 0 : L >= 0 && L <= batch.targets_width);
  int wrong = 0;
  if (valid) {
    for (int64_t i = threadIdx.x; i < L; i += blockDim.x) {
      const int64_t label = load_integer(batch.targets, offset + i);
      wrong |= label < 0 || label >= batch.dims.C;
    }
  }
  const bool in_range = frames >= 0 && frames <= batch.dims.T;
  valid = __syncthreads_or(wrong || !valid) == 0;
  return {n, offset, in_range ? static_cast<int>(frames) : static_cast<int>(batch.dims.T),
          valid ? static_cast<int>(L) : 0, valid};
}

// Emissions of one frame by one warp: exp of x at the label, relative to the frame's largest.
template <class In>
__device__ FrameSums emit(const In* x, const CtcCudaBatch& batch, const Sample& s,
                          Scaled<typename RealOf<In>::type>* out, int lane) {
  using Real = typename RealOf<In>::type;
  const auto value = [&](int slot) {
    const int64_t c =
        slot == 0 ? batch.dims.blank : load_integer(batch.targets, s.offset + slot - 1);
    return to_real(x[c]);
  };
  Real top = -Real(INFINITY);
  bool wrong = false;
  for (int slot = lane; slot <= s.L; slot += 32) {
    const Real v = value(slot);
    wrong |= !(v < Real(INFINITY));
    top = v > top ? v : top;
  }
  top = warp_max(top);
  const bool nothing = !(top > -Real(INFINITY) && top < Real(INFINITY));
  const bool far = !(top < Real(kShiftBeyond) && top > -Real(kShiftBeyond));
  const Real shift = far && !nothing ? top : Real(0);
  const int reference = nothing ? 0 : exp_scaled(top - shift).e;
  for (int slot = lane; slot <= s.L; slot += 32) {
    const Real v = value(slot) - shift;
    Scaled<Real> y{Real(1), kImpossible};
    if (v > Real(kFarBelow)) {
      y = exp_scaled(v);
      y.e -= reference;
    }
    out[slot] = y;
  }
  if (__any_sync(kAllLanes, wrong)) return {NAN, 0};
  return {static_cast<double>(shift), reference};
}

// Statistics and emissions of all frames; leaves the sums of each warp in the header.
template <class In>
__device__ void prepare_frames(const Arguments<In>& a, const Sample& s, Header* header,
                               Scaled<typename RealOf<In>::type>* emissions) {
  using Real = typename RealOf<In>::type;
  const CtcDims& d = a.batch.dims;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp >= kRowWarps) return;
  FrameSums sums{0, 0};
  for (int64_t t = warp; t < s.frames; t += kRowWarps) {
    const int64_t row = t * d.N + s.n;
    const In* x = a.x + t * a.batch.x_t + s.n * a.batch.x_n;
    if (d.from_logits) {
      RowStatistics<Real> statistics;
      if (a.statistics_done) {
        statistics = {a.saved.row_shift[row], a.saved.row_sum[row]};
      } else {
        statistics = checked(over_warp(part_of_row(x, static_cast<int>(d.C), lane, 32)));
        if (lane == 0) {
          a.saved.row_shift[row] = statistics.shift;
          a.saved.row_sum[row] = statistics.sum;
        }
      }
      sums.log_scale -= statistics.shift + log(static_cast<double>(statistics.sum));
    }
    const FrameSums frame = emit(x, a.batch, s, emissions + t * a.plan.stride, lane);
    sums.log_scale += frame.log_scale;
    sums.exponents += frame.exponents;
  }
  if (lane == 0) header->sums[warp] = sums;
}

// For the blank and each symbol: the next of the same class, and whether there is one before.
template <class In>
__device__ void link_repeats(const Arguments<In>& a, const Sample& s) {
  const auto label = [&](int slot) {
    return slot == 0 ? a.batch.dims.blank : load_integer(a.batch.targets, s.offset + slot - 1);
  };
  auto* links = a.saved.links + s.offset + s.n;
  for (int slot = threadIdx.x; slot <= s.L; slot += blockDim.x) {
    const int64_t c = label(slot);
    int next = slot + 1, previous = slot - 1;
    while (next <= s.L && label(next) != c) ++next;
    while (previous >= 0 && label(previous) != c) --previous;
    links[slot] = (next <= s.L ? next : 0) + (previous >= 0 ? kCtcRepeated : 0);
  }
}

template <class T>
__device__ void fill(T* out, int64_t begin, int64_t end) {
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) out[i] = 0;
}

// Zeros into all that the sample has in the saved tensors and that its recursion does not write:
// frames beyond the input length (all frames, if `frames` is 0) and the columns of padding.
template <class In>
__device__ void clear_rest(const Arguments<In>& a, const Sample& s, int frames) {
  const CtcDims& d = a.batch.dims;
  if (a.saved.posteriors != nullptr) {
    const int64_t width = a.batch.targets_width;
    int64_t begin = 2 * s.offset + s.n, links = s.offset + s.n;
    int64_t end = begin + 2 * (width < 0 ? s.L : width) + 1;
    int64_t links_end = links + (width < 0 ? s.L : width) + 1, links_used = s.valid ? s.L + 1 : 0;
    if (width < 0 && !s.valid) {  // offsets may mean nothing: an even share
      const int64_t all = 2 * d.targets + d.N, slots = d.targets + d.N;
      begin = all * s.n / d.N;
      end = all * (s.n + 1) / d.N;
      links = slots * s.n / d.N;
      links_end = slots * (s.n + 1) / d.N;
    }
    const int64_t used = static_cast<int64_t>(frames) * (2 * s.L + 1);
    fill(a.saved.posteriors, d.T * begin + used, d.T * end);
    fill(a.saved.links, links + links_used, links_end);
  }
  if (!d.from_logits) return;
  const int first = s.valid || a.statistics_done ? s.frames : 0;
  for (int64_t t = first + threadIdx.x; t < d.T; t += blockDim.x) {
    a.saved.row_shift[t * d.N + s.n] = 0;
    a.saved.row_sum[t * d.N + s.n] = 0;
  }
}

template <class In>
__device__ void write_loss(const Arguments<In>& a, int n, double loss) {
  using Real = typename RealOf<In>::type;
  const Real value = static_cast<Real>(loss);
  a.saved.losses[n] = value;
  if (a.loss == nullptr) return;
  a.loss[n] = a.batch.zero_infinity && isinf(value) ? Real(0) : value;
}

}  // namespace
}  // namespace crnn
