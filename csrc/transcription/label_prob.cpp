#include "transcription/label_prob.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"

namespace crnn {
namespace {

constexpr double kUp = 0x1p512, kDown = 0x1p-512, kHigh = 0x1p256, kLow = 0x1p-256;
constexpr double kLogUp = 512 * 0.693147180559945309417232121458;  // ln 2^512
constexpr int64_t kLabelsPerChunk = 128;

}  // namespace

LabelScorer::Wide LabelScorer::from_log(double x) {
  if (x > -kLogUp / 4 && x < kLogUp / 4) return {std::exp(x), 0};  // as below, sooner
  if (x <= -kLogLimit) return {};
  const double exponent = std::floor(x / kLogUp + 0.5);
  return {std::exp(x - exponent * kLogUp), static_cast<int64_t>(exponent)};
}

double LabelScorer::to_log(Wide x) {
  if (x.mantissa == 0) return -std::numeric_limits<double>::infinity();
  return std::log(x.mantissa) + static_cast<double>(x.exponent) * kLogUp;
}

LabelScorer::Wide LabelScorer::add(Wide a, Wide b) {
  if (a.exponent == b.exponent) return {a.mantissa + b.mantissa, a.exponent};
  if (a.mantissa == 0) return b;
  if (b.mantissa == 0) return a;
  if (a.exponent < b.exponent) std::swap(a, b);
  // Two exponents apart, the smaller is below 2^-512 of the larger.
  if (a.exponent == b.exponent + 1) a.mantissa += b.mantissa * kDown;
  return a;
}

LabelScorer::Wide LabelScorer::multiply(Wide a, Wide b) {
  Wide product{a.mantissa * b.mantissa, a.exponent + b.exponent};
  if (product.mantissa < kLow && product.mantissa != 0) {
    product.mantissa *= kUp;
    --product.exponent;
  } else if (product.mantissa >= kHigh) {
    product.mantissa *= kDown;
    ++product.exponent;
  }
  return product;
}

LabelScorer::LabelScorer(const FrameView& frames, int64_t blank)
    : frames_(frames),
      blank_(static_cast<uint32_t>(blank)),
      columns_(static_cast<size_t>(frames.classes())) {}

const LabelScorer::Wide* LabelScorer::column(uint32_t label) {
  std::vector<Wide>& column = columns_[label];
  if (column.empty()) {
    column.reserve(static_cast<size_t>(frames_.frames()));
    for (int64_t t = 0; t < frames_.frames(); ++t) column.push_back(from_log(frames_(t, label)));
  }
  return column.data();
}

double LabelScorer::log_prob(Units label) {
  const int64_t T = frames_.frames(), L = label.size, U = 2 * L + 1;
  if (T == 0) return L == 0 ? 0 : -std::numeric_limits<double>::infinity();
  if (L > T) return -std::numeric_limits<double>::infinity();
  const Wide* blank = column(blank_);
  emissions_.clear();
  for (int64_t i = 0; i < L; ++i) emissions_.push_back(column(label.data[i]));
  alpha_.assign(static_cast<size_t>(U), Wide{});
  Wide* alpha = alpha_.data();
  alpha[0] = blank[0];
  if (L > 0) alpha[1] = emissions_[0][0];
  for (int64_t t = 1; t < T; ++t) {
    // Only states that the start reaches and that reach the end; downwards, so that alpha[u - 1]
    // and alpha[u - 2] are still those of frame t - 1.
    const int64_t lowest = std::max<int64_t>(0, U - 2 * (T - t));
    for (int64_t u = std::min(U - 1, 2 * t + 1); u >= lowest; --u) {
      Wide sum = u > 0 ? add(alpha[u], alpha[u - 1]) : alpha[0];
      const int64_t i = u / 2;
      if (u % 2 == 0) {
        alpha[u] = multiply(sum, blank[t]);
      } else {
        if (i > 0 && label.data[i] != label.data[i - 1]) sum = add(sum, alpha[u - 2]);
        alpha[u] = multiply(sum, emissions_[static_cast<size_t>(i)][t]);
      }
    }
  }
  return to_log(L > 0 ? add(alpha[U - 1], alpha[U - 2]) : alpha[0]);
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
