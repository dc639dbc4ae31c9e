// CTC forward-backward recursion of one sample (Graves et al., 2006, equations 6-10), vectorised
// over states.
//
// The 2L+1 states are split into blanks b_0..b_L and symbols l_0..l_{L-1}. With emissions y_t:
//   alpha_t(b_i) = (alpha_{t-1}(b_i) + alpha_{t-1}(l_{i-1})) y_t(blank)
//   alpha_t(l_i) = (alpha_{t-1}(l_i) + alpha_{t-1}(b_i) + skip_i alpha_{t-1}(l_{i-1})) y_t(l_i)
// starting from b_0 = 1 before the first frame; skip_i = 0 where symbol i repeats symbol i-1.
// beta excludes the emission at t, so that posterior = alpha beta / Z needs no division by y:
//   u_t = beta_t y_t,  beta_t(b_i) = u_{t+1}(b_i) + u_{t+1}(l_i)
//   beta_t(l_i) = u_{t+1}(l_i) + u_{t+1}(b_{i+1}) + skip_{i+1} u_{t+1}(l_{i+1})
// starting from u(b_L) = 1 behind the last frame.
//
// Every value is m * 2^e (ctc_numbers.h). Emissions enter as y_t / 2^(exponent of the frame's
// largest one), so exponents stay at or below 1.6 per frame; the powers taken out are counted in
// 64 bits. Posteriors are normalised per frame, which cancels the rounding that alpha and beta have
// gathered in common factors.
//
// Scratch, P = ctc_padded_states(L) values per row: emission m and e [T, P] each, alpha
// b.m b.e l.m l.e [T+1, P] each (two rows without posteriors), u the same four [P], skip [P],
// skip of the next [P], labels and posteriors of one frame [P], blank emission m and e [T].
// Cost: about 36 vector operations per symbol lane and frame forward, 60 backward; no exp or log
// but the one of the emission.
#include <cmath>

#include "kernels/cpu/ctc_numbers.h"
#include "kernels/cpu/ctc_simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {
namespace {

constexpr double kLn2 = 0.69314718055994530942;
// Beyond this, x is taken relative to the frame's largest, to keep its exponent small.
constexpr double kShiftBeyond = 65536.0;
constexpr double kFarBelow = -2097152.0;  // -2^21: as good as zero

template <class M>
struct States {  // one row of all states
  typename M::Real *bm, *lm;
  typename M::Int *be, *le;
};

template <class M>
class Recursion {
  using Real = typename M::Real;
  using Int = typename M::Int;
  using V = typename M::V;
  using I = typename M::I;
  using S = Scaled<M>;
  static constexpr int W = lanes<M>();

 public:
  Recursion(const CtcBatch<Real>& b, int64_t n, Real* emissions, bool want_posteriors,
            void* scratch)
      : frames_(b.input_lengths[n]),
        L_(b.target_lengths[n]),
        P_(ctc_padded_states<Real>(L_)),
        used_((L_ + 1 + W - 1) / W * W),
        keep_rows_(want_posteriors),
        x_(emissions) {
    Real* next = static_cast<Real*>(scratch);
    auto reals = [&](int64_t count) {
      Real* p = next;
      next += count;
      return p;
    };
    auto ints = [&](int64_t count) { return reinterpret_cast<Int*>(reals(count)); };
    const int64_t rows = keep_rows_ ? frames_ : 1;
    ym_ = reals(rows * P_), ye_ = ints(rows * P_);
    const auto states = [&](int64_t count) {
      const int64_t size = count * P_;
      return States<M>{reals(size), reals(size), ints(size), ints(size)};
    };
    alpha_ = states(keep_rows_ ? frames_ + 1 : 2);
    u_ = states(1);
    skip_ = ints(P_), next_skip_ = ints(P_);
    row_ = reals(P_);
    blank_m_ = reals(rows), blank_e_ = ints(rows);
    const int64_t* label = b.targets + b.offsets[n];
    for (int64_t i = 0; i < P_; ++i) {
      skip_[i] = i > 0 && i < L_ && label[i] != label[i - 1] ? 0 : kImpossible;
    }
    for (int64_t i = 0; i < P_; ++i) next_skip_[i] = i + 1 < P_ ? skip_[i + 1] : kImpossible;
  }

  // Fills alpha; returns -ln of the sum over all paths of the product of exp(x).
  double forward() {
    clear(row(alpha_, 0), 0);
    if (used_ == W) {
      forward_one_vector();
    } else {
      for (int64_t t = 0; t < frames_; ++t) {
        emit(t);
        step_forward(row(alpha_, keep_rows_ ? t : t & 1), row(alpha_, keep_rows_ ? t + 1 : ~t & 1),
                     t);
      }
    }
    const States<M> last = row(alpha_, keep_rows_ ? frames_ : frames_ & 1);
    S total = at(last.bm, last.be, L_);
    if (L_ > 0) total = add<M>(total, at(last.lm, last.le, L_ - 1));
    total_e_ = total.e[0];
    for (int k = 0; k < W; ++k) {
      if (invalid_[k] != 0) return __builtin_nan("");
    }
    if (total_e_ < kLeast) return __builtin_inf();
    const double exponent = static_cast<double>(exponents_ + total_e_);
    return -(shifts_ + kLn2 * exponent + std::log(static_cast<double>(total.m[0])));
  }

  // Replaces the emissions by posteriors; after a forward() that returned a finite loss.
  void backward() {
    clear(u_, L_);
    for (int64_t t = frames_ - 1; t >= 0; --t) step_backward(row(alpha_, t + 1), t);
  }

 private:
  States<M> row(const States<M>& s, int64_t index) const {
    const int64_t k = index * P_;
    return {s.bm + k, s.lm + k, s.be + k, s.le + k};
  }
  static S at(const Real* m, const Int* e, int64_t i) {
    return {splat_real<M>(m[i]), splat_int<M>(e[i])};
  }
  static S get(const Real* m, const Int* e, int64_t i) {
    return {load_real<M>(m + i), load_int<M>(e + i)};
  }
  static void put(Real* m, Int* e, int64_t i, S value) {
    store_lanes(m + i, value.m);
    store_lanes(e + i, value.e);
  }

  // All states zero but blank `one`.
  void clear(States<M> s, int64_t one) {
    for (int64_t i = 0; i < P_; ++i) {
      s.bm[i] = s.lm[i] = 1;
      s.be[i] = i == one ? 0 : kZero;
      s.le[i] = kZero;
    }
  }

  // Emissions of frame t from x, whose rows hold the blank first, then the symbols: all go through
  // exp together, and the symbols then move down one lane.
  void emit(int64_t t) {
    const int64_t at_row = keep_rows_ ? t : 0;
    const Real* x = x_ + t * (L_ + 1);
    const Real minus_inf = -static_cast<Real>(__builtin_inf());
    V top = splat_real<M>(minus_inf);
    for (int64_t i = 0; i < used_; i += W) {
      const V v = values_of_row(x, i, (frames_ - t) * (L_ + 1));
      store_lanes(row_ + i, v);
      invalid_ |= v != v;
      top = max_lanes(top, v);
    }
    const Real largest = max_across<M>(top)[0];
    invalid_ |= top == -splat_real<M>(minus_inf);

    const bool far = !(largest < Real(kShiftBeyond) && largest > Real(-kShiftBeyond));
    const V shift = splat_real<M>(far && largest != minus_inf ? largest : Real(0));
    const V peak = max_lanes(splat_real<M>(largest) - shift, splat_real<M>(Real(kFarBelow)));
    const I reference = exp_scaled<M>(peak).e;
    shifts_ += shift[0];
    exponents_ += reference[0];
    S here = emission(load_real<M>(row_) - shift, reference);
    blank_m_[at_row] = here.m[0];
    blank_e_[at_row] = here.e[0];
    for (int64_t i = 0; i < used_; i += W) {
      S behind = {splat_real<M>(1), splat_int<M>(kImpossible)};
      if (i + W < used_) behind = emission(load_real<M>(row_ + i + W) - shift, reference);
      put(ym_ + at_row * P_, ye_ + at_row * P_, i,
          {next_lane<M>(here.m, behind.m), next_lane<M>(here.e, behind.e)});
      here = behind;
    }
  }

  // Values i .. i+W-1 of a row of L+1, -inf behind its end. A whole vector is loaded where this
  // sample's own emissions reach that far (`available` values), whatever lies behind the row.
  V values_of_row(const Real* x, int64_t i, int64_t available) const {
    const V minus_inf = splat_real<M>(-static_cast<Real>(__builtin_inf()));
    const I inside = lane_numbers<M>() < splat_int<M>(static_cast<Int>(L_ + 1 - i));
    if (i + W <= available) return inside ? load_real<M>(x + i) : minus_inf;
    Real lane[W];
    for (int k = 0; k < W; ++k) lane[k] = i + k <= L_ ? x[i + k] : Real(0);
    return inside ? load_real<M>(lane) : minus_inf;
  }

  static S emission(V x, I reference) {
    const V limit = splat_real<M>(Real(kFarBelow));
    const S y = exp_scaled<M>(max_lanes(x, limit));
    return {y.m, x > limit ? y.e - reference : splat_int<M>(kImpossible)};
  }

  // All steps of a label that fits one vector: the states stay in registers from frame to frame.
  void forward_one_vector() {
    const S zero = zero_scaled<M>();
    const I skip = load_int<M>(skip_);
    States<M> to = row(alpha_, 0);
    S b = get(to.bm, to.be, 0), l = get(to.lm, to.le, 0);
    for (int64_t t = 0; t < frames_; ++t) {
      emit(t);
      const int64_t at_row = keep_rows_ ? t : 0;
      const S blank = at(blank_m_, blank_e_, at_row);
      S left = {previous_lane<M>(zero.m, l.m), previous_lane<M>(zero.e, l.e)};
      const S stay = add<M>(b, left);
      left.e += skip;
      l = times<M>(add<M>(l, b, left), get(ym_ + at_row * P_, ye_ + at_row * P_, 0));
      b = times<M>(stay, blank);
      to = row(alpha_, keep_rows_ ? t + 1 : ~t & 1);
      put(to.bm, to.be, 0, b);
      put(to.lm, to.le, 0, l);
    }
  }

  void step_forward(States<M> from, States<M> to, int64_t t) {
    const int64_t at_row = keep_rows_ ? t : 0;
    const S blank = at(blank_m_, blank_e_, at_row);
    const Real* ym = ym_ + at_row * P_;
    const Int* ye = ye_ + at_row * P_;
    S before = zero_scaled<M>();
    for (int64_t i = 0; i < used_; i += W) {
      const S b = get(from.bm, from.be, i), l = get(from.lm, from.le, i);
      S left = {previous_lane<M>(before.m, l.m), previous_lane<M>(before.e, l.e)};
      before = l;
      put(to.bm, to.be, i, times<M>(add<M>(b, left), blank));
      left.e += load_int<M>(skip_ + i);
      put(to.lm, to.le, i, times<M>(add<M>(l, b, left), get(ym, ye, i)));
    }
  }

  void step_backward(States<M> alpha, int64_t t) {
    const S blank = at(blank_m_, blank_e_, t);
    const Real* ym = ym_ + t * P_;
    const Int* ye = ye_ + t * P_;
    V blanks{}, symbols{};
    S b = get(u_.bm, u_.be, 0), l = get(u_.lm, u_.le, 0);
    for (int64_t i = 0; i < used_; i += W) {
      const bool last = i + W >= used_;
      const S b_behind = last ? zero_scaled<M>() : get(u_.bm, u_.be, i + W);
      const S l_behind = last ? zero_scaled<M>() : get(u_.lm, u_.le, i + W);
      const S right_b = {next_lane<M>(b.m, b_behind.m), next_lane<M>(b.e, b_behind.e)};
      const S right_l = {next_lane<M>(l.m, l_behind.m),
                         next_lane<M>(l.e, l_behind.e) + load_int<M>(next_skip_ + i)};
      const S beta_b = add<M>(b, l);
      const S beta_l = add<M>(l, right_b, right_l);
      blanks += joint(get(alpha.bm, alpha.be, i), beta_b);
      const V p = joint(get(alpha.lm, alpha.le, i), beta_l);
      symbols += p;
      store_lanes(row_ + i, p);
      put(u_.bm, u_.be, i, times<M>(beta_b, blank));
      put(u_.lm, u_.le, i, times<M>(beta_l, get(ym, ye, i)));
      b = b_behind;
      l = l_behind;
    }
    const Real blank_mass = sum_across<M>(blanks)[0];
    const Real scale = Real(1) / (blank_mass + sum_across<M>(symbols)[0]);
    Real* out = x_ + t * (L_ + 1);
    out[0] = blank_mass * scale;
    for (int64_t i = 0; i < L_; ++i) out[1 + i] = row_[i] * scale;
  }

  // alpha * beta / 2^(exponent of Z); 0 where that is below the range of Real.
  V joint(S alpha, S beta) const {
    // The limit keeps the sum of two exponents of zero from overflowing.
    const I e = max_lanes(alpha.e, splat_int<M>(kImpossible)) + (beta.e - total_e_);
    const I k = max_lanes(e, splat_int<M>(-M::kBias)) + M::kBias;
    return alpha.m * beta.m * (V)(k << M::kMantissaBits);
  }

  int64_t frames_, L_, P_;
  int64_t used_;  // states that are computed: L + 1 rounded up to whole vectors
  bool keep_rows_;
  I invalid_{};  // lanes that met a NaN or +inf among the label's x
  Real* x_;
  Real* ym_;
  Int* ye_;
  States<M> alpha_, u_;
  Int *skip_, *next_skip_;
  Real* row_;
  Real* blank_m_;
  Int* blank_e_;
  Int total_e_ = 0;
  int64_t exponents_ = 0;  // powers of two taken out of all emissions
  double shifts_ = 0;      // and powers of e
};

// sum_t ln(sum_c exp(x)): one logarithm in all, of a product kept in range by its exponent.
template <class Real>
double log_normaliser(const CtcBatch<Real>& b, int64_t n, const Real* row_shift,
                      const Real* row_sum) {
  double tops = 0, product = 1;
  int64_t exponents = 0;
  for (int64_t t = 0; t < b.input_lengths[n]; ++t) {
    const int64_t row = t * b.dims.N + n;
    tops += row_shift[row];
    product *= row_sum[row];
    if (product > 0x1p500) {
      product *= 0x1p-500;
      exponents += 500;
    } else if (product < 0x1p-500) {
      product *= 0x1p500;
      exponents -= 500;
    }
  }
  return tops + std::log(product) + kLn2 * static_cast<double>(exponents);
}

template <class Real>
double recursion(const CtcBatch<Real>& b, int64_t n, const Real* row_shift, const Real* row_sum,
                 Real* emissions, bool want_posteriors, void* scratch) {
  Real* x = emissions + b.dims.T * b.columns_before(n);
  Recursion<Lanes<Real>> states(b, n, x, want_posteriors, scratch);
  double loss = states.forward();
  if (b.dims.from_logits) loss += log_normaliser(b, n, row_shift, row_sum);
  if (want_posteriors && loss - loss == 0) states.backward();
  return loss;
}

}  // namespace

CRNN_CTC_RECURSION(float) {
  return recursion(batch, n, row_shift, row_sum, emissions, want_posteriors, scratch);
}
CRNN_CTC_RECURSION(double) {
  return recursion(batch, n, row_shift, row_sum, emissions, want_posteriors, scratch);
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
