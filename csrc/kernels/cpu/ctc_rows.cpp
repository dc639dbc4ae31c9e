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

// The last C % W values of a row, and minus infinity in the other lanes.
template <class M>
typename M::V load_tail(const typename M::Real* x, int64_t C) {
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

// sum_c exp(x - shift)
template <class M>
typename M::Real sum_exp(const typename M::Real* x, int64_t C, typename M::Real shift) {
  constexpr int W = lanes<M>();
  typename M::V sum0{}, sum1{};
  int64_t c = 0;
  for (; c + 2 * W <= C; c += 2 * W) {
    sum0 += exp_real<M>(load_real<M>(x + c) - shift);
    sum1 += exp_real<M>(load_real<M>(x + c + W) - shift);
  }
  if (c + W <= C) sum0 += exp_real<M>(load_real<M>(x + c) - shift);
  if (C % W != 0) sum1 += exp_real<M>(load_tail<M>(x, C) - shift);
  return sum_across<M>(sum0 + sum1)[0];
}

// Most rows need no maximum: exp(x) itself neither overflows nor loses digits while its sum stays
// in this range. Otherwise, and for NaN, the usual sum of exp(x - max).
template <class M>
void row_statistics(const typename M::Real* x, int64_t C, typename M::Real* row_shift,
                    typename M::Real* row_sum) {
  *row_shift = 0;
  *row_sum = sum_exp<M>(x, C, 0);
  if (*row_sum > 0x1p-60f && *row_sum < 0x1p100f) return;
  *row_shift = largest<M>(x, C);
  *row_sum = sum_exp<M>(x, C, *row_shift);
}

template <class Real>
void gather_rows(const CtcBatch<Real>& b, Real* row_shift, Real* row_sum, Real* emissions,
                 int64_t begin, int64_t end) {
  const CtcDims& d = b.dims;
  int64_t t = begin / d.N, n = begin % d.N - 1;
  for (int64_t row = begin; row < end; ++row) {
    if (++n == d.N) ++t, n = 0;
    const int64_t L = b.target_lengths[n];
    Real* out = emissions + d.T * b.columns_before(n) + t * (L + 1);
    if (t >= b.input_lengths[n]) {
      if (d.from_logits) row_shift[row] = row_sum[row] = 0;
      for (int64_t i = 0; i <= L; ++i) out[i] = 0;
      continue;
    }
    const Real* x = b.x + t * b.x_t + n * b.x_n;
    if (d.from_logits) row_statistics<Lanes<Real>>(x, d.C, row_shift + row, row_sum + row);
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
  const auto values = [&](int64_t c) { return exp_real<M>(load_real<M>(x + c) - shift) * scale; };
  for (int64_t c = 0; c + W <= C; c += W) store_lanes(dx + c, values(c));
  if (C % W == 0) return;
  if (C > W) {
    store_lanes(dx + C - W, values(C - W));  // some of it again, with the same result
    return;
  }
  const typename M::V last = exp_real<M>(load_tail<M>(x, C) - shift) * scale;
  for (int64_t k = 0; k < C; ++k) dx[k] = last[k];
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
