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
// Every value is m * 2^e (ctc_numbers.h). Emissions are exp(x) as it is, or where x is extreme
// relative to 2^(exponent of the frame's largest), so that exponents stay far from overflow; the
// powers taken out are counted in 64 bits. Posteriors are normalised per frame, which cancels the
// rounding that alpha and beta have gathered in common factors.
//
// Scratch, P = ctc_padded_states(L) values per row: alpha b.m l.m b.e l.e [T+1, P] each (two rows
// without posteriors), u the same four [P], skip [P], skip of the next [P], symbols' part of one
// frame's posterior [P], emissions m and e, [T, L+1] each with the blank first.
// Lanes behind the last state hold numbers without meaning in alpha, which never move down, and
// zero in u.
// Cost: about 35 vector operations per symbol lane and frame forward, 50 backward; no exp or log
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
// Up to these |x|, and sum over frames of the largest |x|, exponents stay far from kLeast.
constexpr double kModerate = 1048576.0, kModerateSum = 67108864.0;  // 2^20, 2^26

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
    const auto states = [&](int64_t count) {
      const int64_t size = count * P_;
      return States<M>{reals(size), reals(size), ints(size), ints(size)};
    };
    alpha_ = states(keep_rows_ ? frames_ + 1 : 2);
    u_ = states(1);
    skip_ = ints(P_), next_skip_ = ints(P_);
    row_ = reals(P_);
    const int64_t count = ctc_padded_emissions<Real>(frames_, L_, keep_rows_);
    ym_ = reals(count), ye_ = ints(count);
    for (int64_t i = 0; i < P_; i += W) {
      store_lanes(skip_ + i, splat_int<M>(kImpossible));
      store_lanes(next_skip_ + i, splat_int<M>(kImpossible));
    }
    const int64_t* label = b.targets + b.offsets[n];
    for (int64_t i = 1; i < L_; ++i) {
      skip_[i] = next_skip_[i - 1] = label[i] != label[i - 1] ? 0 : kImpossible;
    }
  }

  // Fills alpha. The sum over all paths of the product of exp(x) is
  // mantissa * 2^exponent * exp(shift); its mantissa is 0 if there is no path, NaN if x has one.
  struct Total {
    double mantissa, exponent, shift;
  };
  Total forward() {
    clear(row(alpha_, 0), 0);
    if (used_ == W) {
      forward_one_vector();
    } else {
      for (int64_t t = 0; t < frames_; ++t) {
        if (t % kCtcEmitFrames == 0) emit(t);
        step_forward(row(alpha_, keep_rows_ ? t : t & 1), row(alpha_, keep_rows_ ? t + 1 : ~t & 1),
                     t);
      }
    }
    const States<M> last = row(alpha_, keep_rows_ ? frames_ : frames_ & 1);
    S total = at(last.bm, last.be, L_);
    if (L_ > 0) total = add<M>(total, at(last.lm, last.le, L_ - 1));
    total_e_ = total.e[0];
    double mantissa = total_e_ < kLeast ? 0.0 : static_cast<double>(total.m[0]);
    if (max_across<M>(-invalid_)[0] != 0) mantissa = __builtin_nan("");
    return {mantissa, static_cast<double>(exponents_ + total_e_), shifts_};
  }

  // Replaces the emissions by posteriors; after a forward() that returned a finite loss.
  void backward() {
    clear(u_, L_);
    if (used_ == W) return backward_one_vector();
    for (int64_t t = frames_ - 1; t >= 0; --t) step_backward(t);
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
  static S state(const Real* m, const Int* e, int64_t i, bool normalise) {
    const S s = get(m, e, i);
    return normalise ? normalised<M>(s) : s;
  }
  static void put(Real* m, Int* e, int64_t i, S value) {
    store_lanes(m + i, value.m);
    store_lanes(e + i, value.e);
  }

  // All states zero but blank `one`.
  void clear(States<M> s, int64_t one) {
    for (int64_t i = 0; i < P_; i += W) {
      put(s.bm, s.be, i, zero_scaled<M>());
      put(s.lm, s.le, i, zero_scaled<M>());
    }
    s.be[one] = 0;
  }

  // Where the emissions of frame t stand: the blank's, then the symbols'.
  int64_t emission(int64_t t) const { return (keep_rows_ ? t : t % kCtcEmitFrames) * (L_ + 1); }

  // Emissions of kCtcEmitFrames frames from t on; returns the frame behind them. Almost always x is
  // moderate and goes through exp as it is, a vector at a time whatever frame it belongs to.
  // Otherwise each frame by itself, relative to the power of two next to its largest emission.
  int64_t emit(int64_t t) {
    const int64_t end = t + kCtcEmitFrames < frames_ ? t + kCtcEmitFrames : frames_;
    const int64_t count = (end - t) * (L_ + 1);
    // What lanes behind the last symbol load must be a number.
    put(ym_, ye_, emission(t) + count, zero_scaled<M>());
    const double largest = emit_range(t, count, 0, 0);
    if (largest <= kModerate && largest * static_cast<double>(frames_) <= kModerateSum) return end;
    for (; t < end; ++t) emit_frame(t);
    return end;
  }

  void emit_frame(int64_t t) {
    const Real minus_inf = -static_cast<Real>(__builtin_inf());
    const Real* x = x_ + t * (L_ + 1);
    Real largest = minus_inf;
    for (int64_t i = 0; i <= L_; ++i) largest = x[i] > largest ? x[i] : largest;
    const bool far = !(largest < Real(kShiftBeyond) && largest > Real(-kShiftBeyond));
    const Real shift = far && largest != minus_inf ? largest : Real(0);
    const Real peak = largest - shift > Real(kFarBelow) ? largest - shift : Real(kFarBelow);
    const Int reference = exp_scaled<M>(splat_real<M>(peak)).e[0];
    shifts_ += shift;
    exponents_ += reference;
    emit_range(t, L_ + 1, shift, reference);
  }

  // exp(x - shift) / 2^reference for `count` values from frame t on, and some of later frames.
  // Returns the largest |x - shift|.
  double emit_range(int64_t t, int64_t count, Real shift, Int reference) {
    const V limit = splat_real<M>(Real(kFarBelow));
    const Real* from = x_ + t * (L_ + 1);
    const int64_t available = (frames_ - t) * (L_ + 1), to = emission(t);
    V largest{};
    for (int64_t i = 0; i < count; i += W) {
      V x = splat_real<M>(shift);
      if (i + W <= available) {
        x = load_real<M>(from + i);
      } else {
        for (int k = 0; i + k < available; ++k) x[k] = from[i + k];
      }
      x -= shift;
      const V above = limit > x ? limit : x;  // NaN stays
      invalid_ |= (above - above) != V{};     // NaN and +inf
      largest = max_lanes(largest, above < V{} ? -above : above);
      S y = exp_scaled<M>(above);
      y.e = x > limit ? y.e - reference : splat_int<M>(kImpossible);
      put(ym_, ye_, to + i, y);
    }
    return static_cast<double>(max_across<M>(largest)[0]);
  }

  // One frame for the states of one vector; `left`: symbols one lane up.
  static void advance(S& b, S& l, S left, S blank, S symbols, I skip) {
    const S stay = add<M>(b, left);
    left.e += skip;
    l = times<M>(add<M>(l, b, left), symbols);
    b = times<M>(stay, blank);
  }

  // All steps of a label that fits one vector: the states stay in registers from frame to frame.
  void forward_one_vector() {
    const S zero = zero_scaled<M>();
    const I skip = load_int<M>(skip_);
    States<M> to = row(alpha_, 0);
    S b = get(to.bm, to.be, 0), l = get(to.lm, to.le, 0);
    for (int64_t begin = 0; begin < frames_; begin += kCtcEmitFrames) {
      const int64_t end = emit(begin);
      for (int64_t t = begin; t < end; ++t) {
        if (t % kLazySteps == 0) {
          b = normalised<M>(b);
          l = normalised<M>(l);
        }
        const int64_t y = emission(t);
        const S left = {previous_lane<M>(zero.m, l.m), previous_lane<M>(zero.e, l.e)};
        advance(b, l, left, at(ym_, ye_, y), get(ym_, ye_, y + 1), skip);
        to = row(alpha_, keep_rows_ ? t + 1 : ~t & 1);
        put(to.bm, to.be, 0, b);
        put(to.lm, to.le, 0, l);
      }
    }
  }

  void step_forward(States<M> from, States<M> to, int64_t t) {
    const int64_t y = emission(t);
    const S blank = at(ym_, ye_, y);
    const bool due = t % kLazySteps == 0;
    S before = zero_scaled<M>();
    for (int64_t i = 0; i < used_; i += W) {
      S b = state(from.bm, from.be, i, due), l = state(from.lm, from.le, i, due);
      const S left = {previous_lane<M>(before.m, l.m), previous_lane<M>(before.e, l.e)};
      before = l;
      advance(b, l, left, blank, get(ym_, ye_, y + 1 + i), load_int<M>(skip_ + i));
      put(to.bm, to.be, i, b);
      put(to.lm, to.le, i, l);
    }
  }

  // One frame back for states i .. i+W-1 of one vector: u of the frame behind becomes u of frame t.
  // Adds the blanks' part of the posterior to `blanks` and returns the symbols'.
  V retreat(S& b, S& l, S b_behind, S l_behind, int64_t t, int64_t i, S blank, V& blanks) const {
    const States<M> alpha = row(alpha_, t + 1);
    const S right_b = {next_lane<M>(b.m, b_behind.m), next_lane<M>(b.e, b_behind.e)};
    const S right_l = {next_lane<M>(l.m, l_behind.m),
                       next_lane<M>(l.e, l_behind.e) + load_int<M>(next_skip_ + i)};
    const S beta_b = add<M>(b, l);
    const S beta_l = add<M>(l, right_b, right_l);
    b = times<M>(beta_b, blank);
    l = times<M>(beta_l, get(ym_, ye_, emission(t) + 1 + i));
    blanks += joint(get(alpha.bm, alpha.be, i), beta_b);
    return joint(get(alpha.lm, alpha.le, i), beta_l);
  }

  void backward_one_vector() {
    const S zero = zero_scaled<M>();
    S b = get(u_.bm, u_.be, 0), l = get(u_.lm, u_.le, 0);
    for (int64_t t = frames_ - 1; t >= 0; --t) {
      if (t % kLazySteps == 0) {
        b = normalised<M>(b);
        l = normalised<M>(l);
      }
      V blanks{};
      const V symbols = retreat(b, l, zero, zero, t, 0, at(ym_, ye_, emission(t)), blanks);
      const Real scale = put_blank(t, blanks, symbols);
      store_first<M>(x_ + t * (L_ + 1) + 1, symbols * scale, L_);
    }
  }

  void step_backward(int64_t t) {
    const S blank = at(ym_, ye_, emission(t));
    const bool due = t % kLazySteps == 0;
    V blanks{}, symbols{};
    S b = state(u_.bm, u_.be, 0, due), l = state(u_.lm, u_.le, 0, due);
    for (int64_t i = 0; i < used_; i += W) {
      const bool last = i + W >= used_;
      const S b_behind = last ? zero_scaled<M>() : state(u_.bm, u_.be, i + W, due);
      const S l_behind = last ? zero_scaled<M>() : state(u_.lm, u_.le, i + W, due);
      const V p = retreat(b, l, b_behind, l_behind, t, i, blank, blanks);
      symbols += p;
      store_lanes(row_ + i, p);
      put(u_.bm, u_.be, i, b);
      put(u_.lm, u_.le, i, l);
      b = b_behind;
      l = l_behind;
    }
    const Real scale = put_blank(t, blanks, symbols);
    for (int64_t i = 0; i < used_; i += W) {
      store_first<M>(x_ + t * (L_ + 1) + 1 + i, load_real<M>(row_ + i) * scale, L_ - i);
    }
  }

  // Writes the posterior of the blanks together; returns 1 / (sum over all states).
  Real put_blank(int64_t t, V blanks, V symbols) {
    const V masses = sum_across<M>(blanks, symbols);
    const Real scale = Real(1) / (masses[0] + masses[1]);
    x_[t * (L_ + 1)] = masses[0] * scale;
    return scale;
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
  Int total_e_ = 0;
  int64_t exponents_ = 0;  // powers of two taken out of all emissions
  double shifts_ = 0;      // and powers of e
};

// ln of the product over frames of sum_c exp(x) as ln(mantissa) + rest: one logarithm in all. Sums
// are in 2^-60 .. 2^100 or, of exp(x - max), in 1 .. C: four of them do not overflow 2^900.
template <class Real>
void log_normaliser(const CtcBatch<Real>& b, int64_t n, const Real* row_shift, const Real* row_sum,
                    double* mantissa, double* rest) {
  const int64_t N = b.dims.N, end = b.input_lengths[n];
  double tops = 0, product = 1;
  int64_t exponents = 0;
  for (int64_t t = 0; t < end; t += 4) {
    double sum[4] = {1, 1, 1, 1};
    for (int64_t k = 0; k < 4 && t + k < end; ++k) {
      tops += row_shift[(t + k) * N + n];
      sum[k] = row_sum[(t + k) * N + n];
    }
    product *= (sum[0] * sum[1]) * (sum[2] * sum[3]);
    if (product > 0x1p500) {
      product *= 0x1p-500;
      exponents += 500;
    } else if (product < 0x1p-500) {
      product *= 0x1p500;
      exponents -= 500;
    }
  }
  *mantissa = product;
  *rest = tops + kLn2 * static_cast<double>(exponents);
}

template <class Real>
double recursion(const CtcBatch<Real>& b, int64_t n, const Real* row_shift, const Real* row_sum,
                 Real* emissions, bool want_posteriors, void* scratch) {
  Real* x = emissions + b.dims.T * b.columns_before(n);
  Recursion<Lanes<Real>> states(b, n, x, want_posteriors, scratch);
  const auto total = states.forward();
  double mantissa = 1, rest = 0;
  if (b.dims.from_logits) log_normaliser(b, n, row_shift, row_sum, &mantissa, &rest);
  const double loss =
      std::log(mantissa / total.mantissa) - kLn2 * total.exponent + (rest - total.shift);
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
