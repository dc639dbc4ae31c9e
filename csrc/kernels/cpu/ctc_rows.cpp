// CTC passes over whole rows x[t, n, :]: softmax statistics and gathered emissions (forward), and
// the gradient (backward). One row is read from memory once per pass; at C = 5000 both passes run
// at the speed of memory.
//
//   forward:  row_max = max_c x,  row_sum = sum_c exp(x - row_max),  emissions = x at the label
//   backward: dx = w * (exp(x - row_max) / row_sum - posterior), or w * (exp(x) - posterior) for
//             log-probabilities; w is the gradient of the final loss w.r.t. this sample's loss.
//
// Kept as (max, sum) rather than as log-sum-exp: exp(x - lse) would lose 1e-3 at |lse| = 1e4.
#include "kernels/cpu/ctc_numbers.h"
#include "kernels/cpu/ctc_simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

// The last lanes of a row, `fill` beyond its end.
template <class M>
typename M::V load_tail(const typename M::Real* p, int64_t count, typename M::Real fill) {
  typename M::Real lane[lanes<M>()];
  for (int k = 0; k < lanes<M>(); ++k) lane[k] = k < count ? p[k] : fill;
  return load_real<M>(lane);
}

template <class M>
void row_statistics(const typename M::Real* x, int64_t C, typename M::Real* row_max,
                    typename M::Real* row_sum) {
  using V = typename M::V;
  constexpr int W = lanes<M>();
  const typename M::Real minus_inf = -__builtin_inf();
  const int64_t whole = C / W * W, tail = C - whole;
  const V last = load_tail<M>(x + whole, tail, minus_inf);

  V top0 = last, top1 = last, top2 = last, top3 = last;
  int64_t c = 0;
  for (; c + 4 * W <= whole; c += 4 * W) {
    top0 = max_lanes(top0, load_real<M>(x + c));
    top1 = max_lanes(top1, load_real<M>(x + c + W));
    top2 = max_lanes(top2, load_real<M>(x + c + 2 * W));
    top3 = max_lanes(top3, load_real<M>(x + c + 3 * W));
  }
  for (; c < whole; c += W) top0 = max_lanes(top0, load_real<M>(x + c));
  const V top = max_across<M>(max_lanes(max_lanes(top0, top1), max_lanes(top2, top3)));

  V sum0 = tail ? exp_real<M>(last - top) : V{}, sum1{};
  for (c = 0; c + 2 * W <= whole; c += 2 * W) {
    sum0 += exp_real<M>(load_real<M>(x + c) - top);
    sum1 += exp_real<M>(load_real<M>(x + c + W) - top);
  }
  if (c < whole) sum0 += exp_real<M>(load_real<M>(x + c) - top);
  *row_max = top[0];
  *row_sum = sum_across<M>(sum0 + sum1)[0];
}

template <class Real>
void gather_rows(const CtcBatch<Real>& b, Real* row_max, Real* row_sum, Real* emissions,
                 int64_t begin, int64_t end) {
  const CtcDims& d = b.dims;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t t = row / d.N, n = row - t * d.N;
    const int64_t L = b.target_lengths[n];
    Real* out = emissions + d.T * b.columns_before(n) + t * (L + 1);
    if (t >= b.input_lengths[n]) {
      if (d.from_logits) row_max[row] = row_sum[row] = 0;
      for (int64_t i = 0; i <= L; ++i) out[i] = 0;
      continue;
    }
    const Real* x = b.x + t * b.x_t + n * b.x_n;
    if (d.from_logits) row_statistics<Lanes<Real>>(x, d.C, row_max + row, row_sum + row);
    const int64_t* label = b.targets + b.offsets[n];
    out[0] = x[d.blank];
    for (int64_t i = 0; i < L; ++i) out[1 + i] = x[label[i]];
  }
}

// dx = scale * exp(x - shift) over one row.
template <class M>
void scaled_exp(const typename M::Real* x, int64_t C, typename M::Real shift,
                typename M::Real scale, typename M::Real* dx) {
  constexpr int W = lanes<M>();
  int64_t c = 0;
  for (; c + W <= C; c += W) {
    store_lanes(dx + c, exp_real<M>(load_real<M>(x + c) - shift) * scale);
  }
  if (c < C) {
    const auto last = exp_real<M>(load_tail<M>(x + c, C - c, 0) - shift) * scale;
    for (int k = 0; k < C - c; ++k) dx[c + k] = last[k];
  }
}

template <class Real>
void gradient_rows(const CtcBatch<Real>& b, const CtcSaved<Real>& saved, const Real* weights,
                   Real* dx, int64_t dx_t, int64_t dx_n, int64_t begin, int64_t end) {
  const CtcDims& d = b.dims;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t t = row / d.N, n = row - t * d.N;
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
    const Real shift = d.from_logits ? saved.row_max[row] : Real(0);
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

CRNN_CTC_GATHER_ROWS(float) { gather_rows(batch, row_max, row_sum, emissions, begin, end); }
CRNN_CTC_GATHER_ROWS(double) { gather_rows(batch, row_max, row_sum, emissions, begin, end); }
CRNN_CTC_GRADIENT_ROWS(float) { gradient_rows(batch, saved, weights, dx, dx_t, dx_n, begin, end); }
CRNN_CTC_GRADIENT_ROWS(double) { gradient_rows(batch, saved, weights, dx, dx_t, dx_n, begin, end); }

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
