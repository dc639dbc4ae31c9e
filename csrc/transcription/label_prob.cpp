#include "transcription/label_prob.h"

#include <algorithm>
#include <limits>

#include "common/parallel.h"

namespace crnn {
namespace {

constexpr int64_t kLabelsPerChunk = 128;

}  // namespace

LabelScorer::LabelScorer(const FrameView& frames, int64_t blank)
    : probabilities_(frames), frames_(frames.frames()), blank_(blank) {}

double LabelScorer::log_prob(Units label) {
  const int64_t T = frames_, L = label.size, U = 2 * L + 1;
  if (T == 0) return L == 0 ? 0 : -std::numeric_limits<double>::infinity();
  if (L > T) return -std::numeric_limits<double>::infinity();
  const Wide* blank = probabilities_.column(blank_);
  emissions_.clear();
  for (int64_t i = 0; i < L; ++i) emissions_.push_back(probabilities_.column(label.data[i]));
  alpha_.assign(static_cast<size_t>(U), Wide{});
  Wide* alpha = alpha_.data();
  alpha[0] = blank[0];
  if (L > 0) alpha[1] = emissions_[0][0];
  for (int64_t t = 1; t < T; ++t) {
    // Only states that the start reaches and that reach the end; downwards, so that alpha[u - 1]
    // and alpha[u - 2] are still those of frame t - 1.
    const int64_t lowest = std::max<int64_t>(0, U - 2 * (T - t));
    for (int64_t u = std::min(U - 1, 2 * t + 1); u >= lowest; --u) {
      Wide sum = u > 0 ? alpha[u] + alpha[u - 1] : alpha[0];
      const int64_t i = u / 2;
      if (u % 2 == 0) {
        alpha[u] = sum * blank[t];
      } else {
        if (i > 0 && label.data[i] != label.data[i - 1]) sum = sum + alpha[u - 2];
        alpha[u] = sum * emissions_[static_cast<size_t>(i)][t];
      }
    }
  }
  return (L > 0 ? alpha[U - 1] + alpha[U - 2] : alpha[0]).log();
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
