#include "transcription/label_prob.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"

namespace crnn {
namespace {

constexpr int64_t kLabelsPerChunk = 128;

// Plain doubles do where probabilities are at most 1, so many frames cannot overflow (a state adds
// up fewer than 3^T paths), and the sum is so large that what underflowed is far below its last
// bit.
constexpr int64_t kPlainFrames = 512;
constexpr double kPlainLeast = 0x1p-800;

}  // namespace

LabelScorer::LabelScorer(const FrameView& frames, int64_t blank)
    : probabilities_(frames), frames_(frames.frames()), blank_(blank) {}

double LabelScorer::log_prob(Units label) {
  const int64_t T = frames_, L = label.size;
  if (T == 0) return L == 0 ? 0 : -std::numeric_limits<double>::infinity();
  if (L > T) return -std::numeric_limits<double>::infinity();
  const Wide* blank = probabilities_.column(blank_);
  emissions_.clear();
  bool plain = T <= kPlainFrames && probabilities_.plain(blank_);
  for (int64_t i = 0; i < L; ++i) {
    emissions_.push_back(probabilities_.column(label.data[i]));
    plain = plain && probabilities_.plain(label.data[i]);
  }
  if (plain) {
    const auto at = [](const Wide* column, int64_t t) { return column[t].mantissa; };
    const double sum = forward(label, blank, plain_alpha_, at);
    if (sum >= kPlainLeast) return std::log(sum);
  }
  const auto at = [](const Wide* column, int64_t t) { return column[t]; };
  return forward(label, blank, alpha_, at).log();
}

template <class Number, class At>
Number LabelScorer::forward(Units label, const Wide* blank, std::vector<Number>& alpha_of,
                            At&& at) {
  const int64_t T = frames_, L = label.size, U = 2 * L + 1;
  alpha_of.assign(static_cast<size_t>(U), Number{});
  Number* alpha = alpha_of.data();
  alpha[0] = at(blank, 0);
  if (L > 0) alpha[1] = at(emissions_[0], 0);
  for (int64_t t = 1; t < T; ++t) {
    // Only states that the start reaches and that reach the end; downwards, so that alpha[u - 1]
    // and alpha[u - 2] are still those of frame t - 1.
    const int64_t lowest = std::max<int64_t>(0, U - 2 * (T - t));
    const int64_t highest = std::min(U - 1, 2 * t + 1);
    const Number nothing = at(blank, t);
    int64_t u = highest;
    if (u % 2 == 0) {  // the blank behind the last label
      alpha[u] = (u > 0 ? alpha[u] + alpha[u - 1] : alpha[0]) * nothing;
      --u;
    }
    for (; u >= lowest; u -= 2) {  // a label and the blank before it
      const int64_t i = u / 2;
      Number sum = alpha[u] + alpha[u - 1];
      if (i > 0 && label.data[i] != label.data[i - 1]) sum = sum + alpha[u - 2];
      alpha[u] = sum * at(emissions_[static_cast<size_t>(i)], t);
      if (u == lowest) break;
      alpha[u - 1] = (i > 0 ? alpha[u - 1] + alpha[u - 2] : alpha[0]) * nothing;
    }
  }
  return L > 0 ? alpha[U - 1] + alpha[U - 2] : alpha[0];
}

void label_log_probs(const FrameBatch& batch, const WordList& labels, int64_t blank,
                     int num_threads, double* out) {
  const int64_t K = labels.size();
  const int64_t chunks = (K + kLabelsPerChunk - 1) / kLabelsPerChunk;  // of one sample
  parallel_for(batch.N * chunks, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / chunks, first = item % chunks * kLabelsPerChunk;
      LabelScorer scorer(FrameView(batch, n), blank);
      for (int64_t k = first; k < std::min(K, first + kLabelsPerChunk); ++k) {
        out[n * K + k] = scorer.log_prob(labels[k]);
      }
    }
  });
}

}  // namespace crnn
