// CTC passes over whole rows x[t, n, :]: softmax statistics and gathered emissions (forward), and
// the gradient (backward). One row is read from memory once per pass; at C = 5000 both passes run
// at the speed of memory.
//
//   forward:  row_sum = sum_c exp(x - row_shift), row_shift = 0 or max_c x; emissions = x at the
//             label
//   backward: dx = w * (exp(x - row_shift) / row_sum - posterior), or w * (exp(x) - posterior) for
//             log-probabilities; w is the gradient of the final loss w.r.t. this sample's loss.
//
// Kept as (shift, sum) rather than as log-sum-exp: exp(x - lse) would lose 1e-3 at |lse| = 1e4.
#include "kernels/cpu/ctc_numbers.h"
#include "kernels/cpu/ctc_simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

// Rows, or vectors of a row, that go through exp together.
constexpr int kTogether = 4;
// Values from what is computed to what is asked for from memory: the processor's own prefetching
// does not keep up with the four rows.
constexpr int64_t kAhead = 512;

// The last C % W values of a row, and minus infinity in the other lanes.
template <class M>
static inline typename M::V load_tail(const typename M::Real* x, int64_t C) {
  constexpr int W = lanes<M>();
  const typename M::Real minus_inf = -__builtin_inf();
  const int64_t tail = C % W;
  if (C < W) {
    typename M::Real lane[W];
    for (int k = 0; k < W; ++k) lane[k] = k < tail ? x[k] : minus_inf;
    return load_real<M>(lane);
  }
  // One load that ends with the row; lanes that belong to the vector before it are blanked.
  const auto repeated = lane_numbers<M>() < splat_int<M>(static_cast<typename M::Int>(W - tail));
  return repeated ? splat_real<M>(minus_inf) : load_real<M>(x + C - W);
}

template <class M>
typename M::Real largest(const typename M::Real* x, int64_t C) {
  constexpr int W = lanes<M>();
  typename M::V top = load_tail<M>(x, C);
  for (int64_t c = 0; c + W <= C; c += W) top = max_lanes(top, load_real<M>(x + c));
  return max_across<M>(top)[0];
}

// sums[k] = sum_c exp(x[k][c] - shift) for K <= kTogether rows, the same for every K.
template <class M, int K>
void sum_exp(const typename M::Real* const* x, int64_t C, typename M::Real shift,
             typename M::Real* sums) {
  constexpr int W = lanes<M>();
  using V = typename M::V;
  V sum[kTogether] = {}, v[K];
  for (int64_t c = 0; c + W <= C; c += W) {
    for (int k = 0; k < K; ++k) {
      __builtin_prefetch(x[k] + c + kAhead);
      v[k] = load_real<M>(x[k] + c) - shift;
    }
    exp_each<M>(v);
    for (int k = 0; k < K; ++k) sum[k] += v[k];
  }
  if (C % W != 0) {
    for (int k = 0; k < K; ++k) v[k] = load_tail<M>(x[k], C) - shift;
    exp_each<M>(v);
    for (int k = 0; k < K; ++k) sum[k] += v[k];
  }
  if constexpr (W >= kTogether) {
    const V all = sum_across<M, 4>(
        sum_pairs<M, 2>(sum_pairs<M, 1>(sum[0], sum[1]), sum_pairs<M, 1>(sum[2], sum[3])));
    for (int k = 0; k < K; ++k) sums[k] = all[k];
  } else {
    for (int k = 0; k < K; ++k) sums[k] = sum_across<M>(sum[k])[0];
  }
}

// Most rows need no maximum: exp(x) itself neither overflows nor loses digits while its sum stays
// in this range. Otherwise, and for NaN, the usual sum of exp(x - max).
template <class M>
void row_statistics(const typename M::Real* const* x, int count, int64_t C, const int64_t* rows,
                    typename M::Real* row_shift, typename M::Real* row_sum) {
  typename M::Real sums[kTogether];
  switch (count) {
    case 4:
      sum_exp<M, 4>(x, C, 0, sums);
      break;
    case 3:
      sum_exp<M, 3>(x, C, 0, sums);
      break;
    case 2:
      sum_exp<M, 2>(x, C, 0, sums);
      break;
    default:
      sum_exp<M, 1>(x, C, 0, sums);
      break;
  }
  for (int k = 0; k < count; ++k) {
    typename M::Real shift = 0;
    if (!(sums[k] > 0x1p-60f && sums[k] < 0x1p100f)) {
      shift = largest<M>(x[k], C);
      sum_exp<M, 1>(x + k, C, shift, sums + k);
    }
    row_shift[rows[k]] = shift;
    row_sum[rows[k]] = sums[k];
  }
}

template <class Real>
void gather_rows(const CtcBatch<Real>& b, Real* row_shift, Real* row_sum, Real* emissions,
                 int64_t begin, int64_t end) {
  const CtcDims& d = b.dims;
  int64_t t = begin / d.N, n = begin % d.N - 1;
  const Real* together[kTogether];
  int64_t rows[kTogether];
  int count = 0;
  for (int64_t row = begin; row < end; ++row) {
    if (++n == d.N) ++t, n = 0;
    const int64_t L = b.target_lengths[n];
    Real* out = emissions + d.T * b.columns_before(n) + t * (L + 1);
    if (t >= b.input_lengths[n]) {
      if (d.from_logits) row_shift[row] = row_sum[row] = 0;
      for (int64_t i = 0; i <= L; ++i) out[i] = 0;
    } else {
      const Real* x = b.x + t * b.x_t + n * b.x_n;
      const int64_t* label = b.targets + b.offsets[n];
      out[0] = x[d.blank];
      for (int64_t i = 0; i < L; ++i) out[1 + i] = x[label[i]];
      if (!d.from_logits) continue;
      rows[count] = row;
      together[count++] = x;
    }
    if (count == kTogether) {
      row_statistics<Lanes<Real>>(together, count, d.C, rows, row_shift, row_sum);
      count = 0;
    }
  }
  if (count > 0) row_statistics<Lanes<Real>>(together, count, d.C, rows, row_shift, row_sum);
}

// dx = scale * exp(x - shift) for K vectors of a row, from class c on.
template <class M, int K>
static inline void scaled_exp_at(const typename M::Real* x, int64_t c, typename M::Real shift,
                                 typename M::Real scale, typename M::Real* dx) {
  constexpr int W = lanes<M>();
  typename M::V v[K];
  for (int k = 0; k < K; ++k) {
    __builtin_prefetch(x + c + k * W + kAhead);
    v[k] = load_real<M>(x + c + k * W) - shift;
  }
  exp_each<M>(v);
  for (int k = 0; k < K; ++k) store_lanes(dx + c + k * W, v[k] * scale);
}

template <class M>
void scaled_exp(const typename M::Real* x, int64_t C, typename M::Real shift,
                typename M::Real scale, typename M::Real* dx) {
  constexpr int W = lanes<M>();
  int64_t c = 0;
  for (; c + kTogether * W <= C; c += kTogether * W) {
    scaled_exp_at<M, kTogether>(x, c, shift, scale, dx);
  }
  for (; c + W <= C; c += W) scaled_exp_at<M, 1>(x, c, shift, scale, dx);
  if (C % W == 0) return;
  if (C > W) {  // some of it again, with the same result
    scaled_exp_at<M, 1>(x, C - W, shift, scale, dx);
    return;
  }
  typename M::V v[1] = {load_tail<M>(x, C) - shift};
  exp_each<M>(v);
  for (int64_t k = 0; k < C; ++k) dx[k] = v[0][k] * scale;
}

template <class Real>
void gradient_rows(const CtcBatch<Real>& b, const CtcSaved<Real>& saved, const Real* weights,
                   Real* dx, int64_t dx_t, int64_t dx_n, int64_t begin, int64_t end) {
  const CtcDims& d = b.dims;
  int64_t t = begin / d.N, n = begin % d.N - 1;
  for (int64_t row = begin; row < end; ++row) {
    if (++n == d.N) ++t, n = 0;
    Real* out = dx + t * dx_t + n * dx_n;
    const Real w = weights[n];
    // A zero weight also stands for a loss that zero_infinity removed, a NaN one for a loss that
    // is not finite: neither may touch x or posteriors, which can hold anything then.
    if (t >= b.input_lengths[n] || w == 0 || w != w) {
      const Real fill = t >= b.input_lengths[n] ? Real(0) : w;
      for (int64_t c = 0; c < d.C; ++c) out[c] = fill;
      continue;
    }
    const Real* x = b.x + t * b.x_t + n * b.x_n;
    const Real shift = d.from_logits ? saved.row_shift[row] : Real(0);
    const Real scale = d.from_logits ? w / saved.row_sum[row] : w;
    scaled_exp<Lanes<Real>>(x, d.C, shift, scale, out);
    const int64_t L = b.target_lengths[n];
    const int64_t* label = b.targets + b.offsets[n];
    const Real* posterior = saved.posteriors + d.T * b.columns_before(n) + t * (L + 1);
    out[d.blank] -= w * posterior[0];
    for (int64_t i = 0; i < L; ++i) out[label[i]] -= w * posterior[1 + i];
  }
}

}  // namespace

CRNN_CTC_GATHER_ROWS(float) { gather_rows(batch, row_shift, row_sum, emissions, begin, end); }
CRNN_CTC_GATHER_ROWS(double) { gather_rows(batch, row_shift, row_sum, emissions, begin, end); }
CRNN_CTC_GRADIENT_ROWS(float) { gradient_rows(batch, saved, weights, dx, dx_t, dx_n, begin, end); }
CRNN_CTC_GRADIENT_ROWS(double) { gradient_rows(batch, saved, weights, dx, dx_t, dx_n, begin, end); }

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
