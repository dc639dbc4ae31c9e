#include "transcription/alignment.h"

#include <algorithm>
#include <limits>

#include "common/parallel.h"
#include "transcription/wide.h"

namespace crnn {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();

// l', and which of its states can be entered from the symbol before.
class Extended {
 public:
  Extended(Units label, int64_t blank) : label_(label), blank_(blank) {}

  int64_t states() const { return 2 * label_.size + 1; }
  int64_t operator[](int64_t u) const { return u % 2 == 0 ? blank_ : label_.data[u / 2]; }
  bool may_skip(int64_t u) const {
    return u % 2 == 1 && u > 1 && label_.data[u / 2] != label_.data[u / 2 - 1];
  }

 private:
  Units label_;
  int64_t blank_;
};

// The sums over the beginnings and over the ends of all paths of one label.
class Lattice {
 public:
  Lattice(Emissions& emissions, int64_t frames, Units label, int64_t blank)
      : T_(frames), states_(label, blank), U_(states_.states()) {
    for (int64_t u = 0; u < U_; ++u) emissions_.push_back(emissions.column(states_[u]));
    alpha_.resize(static_cast<size_t>(T_ * U_));
    for (int64_t t = 0; t < T_; ++t) {
      for (int64_t u = 0; u < U_; ++u) alpha_[at(t, u)] = reached(t, u) * y(t, u);
      if (t % 64 == 63) poll_interrupt();
    }
  }

  // alpha[t, u]: of frames 0 .. t, the last of them in state u.
  Wide alpha(int64_t t, int64_t u) const { return alpha_[at(t, u)]; }

  // beta[t, u]: of the frames after t, where t is in state u.
  void sum_ends() {
    beta_.resize(alpha_.size());
    for (int64_t t = T_ - 1; t >= 0; --t) {
      for (int64_t u = 0; u < U_; ++u) beta_[at(t, u)] = left(t, u);
      if (t % 64 == 63) poll_interrupt();
    }
  }
  Wide beta(int64_t t, int64_t u) const { return beta_[at(t, u)]; }

  // Of frames t .. T - 1, the first of them in state u.
  Wide entered(int64_t t, int64_t u) const { return beta(t, u) * y(t, u); }

  // p(l | y)
  Wide total() const {
    if (T_ == 0) return {U_ == 1 ? 1.0 : 0.0, 0};
    return U_ == 1 ? alpha(T_ - 1, 0) : alpha(T_ - 1, U_ - 1) + alpha(T_ - 1, U_ - 2);
  }

 private:
  size_t at(int64_t t, int64_t u) const { return static_cast<size_t>(t * U_ + u); }
  Wide y(int64_t t, int64_t u) const { return emissions_[static_cast<size_t>(u)][t]; }

  Wide reached(int64_t t, int64_t u) const {
    if (t == 0) return {u < 2 ? 1.0 : 0.0, 0};
    Wide sum = alpha(t - 1, u);
    if (u > 0) sum = sum + alpha(t - 1, u - 1);
    return states_.may_skip(u) ? sum + alpha(t - 1, u - 2) : sum;
  }

  Wide left(int64_t t, int64_t u) const {
    if (t == T_ - 1) return {u + 2 >= U_ ? 1.0 : 0.0, 0};
    Wide sum = entered(t + 1, u);
    if (u + 1 < U_) sum = sum + entered(t + 1, u + 1);
    return u + 2 < U_ && states_.may_skip(u + 2) ? sum + entered(t + 1, u + 2) : sum;
  }

  int64_t T_;
  Extended states_;
  int64_t U_;
  std::vector<const Wide*> emissions_;  // [U][T]
  std::vector<Wide> alpha_, beta_;      // [T, U]
};

// The most probable path: best[t, u] = y[t, l'_u] max(best[t-1, u], best[t-1, u-1], best[t-1,
// u-2]), the last only where that symbol can be entered from the one before; in logarithms.
void best_path(const FrameView& frames, Units label, int64_t blank, LabelAlignment& result) {
  const Extended states(label, blank);
  const int64_t T = frames.frames(), U = states.states();
  std::vector<double> best(static_cast<size_t>(U), kImpossible), before(best);
  best[0] = 0;                 // before the first frame
  std::vector<uint8_t> steps;  // [T, U]: from how many states back
  steps.reserve(static_cast<size_t>(T * U));
  for (int64_t t = 0; t < T; ++t) {
    best.swap(before);
    for (int64_t u = 0; u < U; ++u) {
      const double* source = before.data() + u;
      const int64_t most = states.may_skip(u) ? 2 : std::min<int64_t>(u, 1);
      int64_t step = 0;
      for (int64_t k = 1; k <= most; ++k) step = source[-k] > source[-step] ? k : step;
      steps.push_back(static_cast<uint8_t>(step));
      const double y = frames(t, states[u]);
      best[static_cast<size_t>(u)] = y > -kLogLimit ? source[-step] + y : kImpossible;
    }
    if (t % 64 == 63) poll_interrupt();
  }
  int64_t u = U - 1;
  if (U > 1 && best[static_cast<size_t>(U - 2)] >= best[static_cast<size_t>(U - 1)]) --u;
  result.path_log_prob = best[static_cast<size_t>(u)];
  if (result.path_log_prob == kImpossible) return;
  result.spans.assign(static_cast<size_t>(label.size), {0, 0});
  for (int64_t t = T - 1; t >= 0; --t) {
    if (u % 2 == 1) {
      Span& span = result.spans[static_cast<size_t>(u / 2)];
      span.begin = t;
      if (span.end == 0) span.end = t + 1;
    }
    u -= steps[static_cast<size_t>(t * U + u)];
  }
}

// The replacements of symbol i of one label: `start[t]` is what reaches it with t as its first
// frame, `end[t]` what follows it with t as the first frame after it. A class that equals a
// neighbour needs a blank between.
class Gap {
 public:
  Gap(const Lattice& lattice, int64_t frames, Units label, int64_t i) : T_(frames) {
    const int64_t u = 2 * i + 1;
    first_ = i == 0, last_ = i + 1 == label.size;
    before_ = first_ ? -1 : label.data[i - 1];
    after_ = last_ ? -1 : label.data[i + 1];
    for (int64_t t = 0; t < T_; ++t) {
      start_blank_.push_back(t > 0 ? lattice.alpha(t - 1, u - 1) : Wide{first_ ? 1.0 : 0.0, 0});
      start_.push_back(first_ || t == 0 ? start_blank_.back()
                                        : start_blank_.back() + lattice.alpha(t - 1, u - 2));
    }
    for (int64_t t = 1; t < T_; ++t) {
      end_blank_.push_back(lattice.entered(t, u + 1));
      end_.push_back(last_ ? end_blank_.back() : end_blank_.back() + lattice.entered(t, u + 2));
    }
    end_blank_.push_back({last_ ? 1.0 : 0.0, 0});  // after the last frame
    end_.push_back(end_blank_.back());
  }

  // With class c, of the given probabilities, in the gap.
  Wide replaced(int64_t c, const Wide* y) const {
    const Wide* start = (c == before_ ? start_blank_ : start_).data();
    const Wide* end = (c == after_ ? end_blank_ : end_).data();
    Wide run, total;
    for (int64_t t = 0; t < T_; ++t) {
      run = (run + start[t]) * y[t];  // of all paths that are in the gap at t
      total = total + run * end[t];   // end_ begins with frame 1
    }
    return total;
  }

  // Without a symbol: the next one is entered straight from what is before.
  Wide closed(const Lattice& lattice, int64_t i) const {
    const std::vector<Wide>& start = !first_ && before_ == after_ ? start_blank_ : start_;
    if (T_ == 0) return {first_ && last_ ? 1.0 : 0.0, 0};
    if (last_) {
      const Wide all = lattice.alpha(T_ - 1, 2 * i);
      return first_ ? all : all + lattice.alpha(T_ - 1, 2 * i - 1);
    }
    Wide total;
    for (int64_t t = 0; t < T_; ++t) {
      total = total + start[static_cast<size_t>(t)] * lattice.entered(t, 2 * i + 3);
    }
    return total;
  }

 private:
  int64_t T_, before_, after_;
  bool first_, last_;
  std::vector<Wide> start_, start_blank_, end_, end_blank_;  // [T]; _blank_: by way of a blank
};

// Offsets of samples of `rows(n)` values in one array.
template <class Rows>
std::vector<int64_t> offsets(int64_t N, Rows rows) {
  std::vector<int64_t> result(1, 0);
  for (int64_t n = 0; n < N; ++n) result.push_back(result.back() + rows(n));
  return result;
}

LabelAlignment align_one(const FrameView& frames, Units label, int64_t blank, double* occupancy) {
  const int64_t T = frames.frames(), U = 2 * label.size + 1;
  LabelAlignment result{kImpossible, kImpossible, {}};
  std::fill_n(occupancy, U * T, 0.0);
  if (label.size > T) return result;  // before anything of the size of a hostile label is taken
  best_path(frames, label, blank, result);
  Emissions emissions(frames);
  Lattice lattice(emissions, T, label, blank);
  const Wide total = lattice.total();
  result.log_prob = total.log();
  if (total.mantissa == 0) return result;
  lattice.sum_ends();
  for (int64_t u = 0; u < U; ++u) {
    for (int64_t t = 0; t < T; ++t) {
      const double gamma = lattice.alpha(t, u) * lattice.beta(t, u) / total;
      *occupancy++ = std::min(1.0, gamma);
    }
  }
  return result;
}

}  // namespace

std::vector<LabelAlignment> align(const FrameBatch& batch, const WordList& labels, int64_t blank,
                                  int num_threads, double* occupancy) {
  std::vector<LabelAlignment> results(static_cast<size_t>(batch.N));
  const std::vector<int64_t> begins =
      offsets(batch.N, [&](int64_t n) { return (2 * labels[n].size + 1) * batch.length(n); });
  parallel_for(batch.N, 1, num_threads, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const auto i = static_cast<size_t>(n);
      results[i] = align_one(FrameView(batch, n), labels[n], blank, occupancy + begins[i]);
    }
  });
  return results;
}

void replacement_log_probs(const FrameBatch& batch, const WordList& labels, int64_t blank,
                           int num_threads, double* out) {
  const std::vector<int64_t> begins =
      offsets(batch.N, [&](int64_t n) { return labels[n].size * batch.C; });
  parallel_for(batch.N, 1, num_threads, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const FrameView frames(batch, n);
      double* row = out + begins[static_cast<size_t>(n)];
      if (labels[n].size > frames.frames() + 1) {  // no path even without one symbol
        std::fill_n(row, labels[n].size * batch.C, kImpossible);
        continue;
      }
      Emissions emissions(frames);
      Lattice lattice(emissions, frames.frames(), labels[n], blank);
      lattice.sum_ends();
      for (int64_t i = 0; i < labels[n].size; ++i, row += batch.C) {
        const Gap gap(lattice, frames.frames(), labels[n], i);
        for (int64_t c = 0; c < batch.C; ++c) {
          const Wide p = c == blank ? gap.closed(lattice, i) : gap.replaced(c, emissions.column(c));
          row[c] = p.log();
          if (c % 64 == 63) poll_interrupt();
        }
      }
    }
  });
}

}  // namespace crnn
