#include "transcription/beam.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"
#include "transcription/beam_search.h"
#include "transcription/greedy.h"
#include "transcription/label_prob.h"

namespace crnn {
namespace {

constexpr int64_t kValuesPerChunk = 1 << 12;  // about 50 us of work for a thread

double score_of(const Units& labels, double log_prob, const BeamOptions& options) {
  const double score = log_prob + options.symbol_bonus * static_cast<double>(labels.size);
  if (!options.lm) return score;
  const double text = TextProbability(options)(options.lm->log_prob(labels), labels.size + 1);
  return score + options.lm_weight * text;
}

std::vector<BeamReading> decode_one(const FrameView& frames, int64_t blank,
                                    const BeamOptions& options, const GreedyReading& greedy,
                                    BeamSearch& search) {
  std::vector<std::vector<uint32_t>> found = search.run(frames, greedy.path);
  const std::vector<uint32_t> reading(greedy.labels.begin(), greedy.labels.end());
  const bool allowed = !options.words ||
                       options.words->holds({reading.data(), static_cast<int64_t>(reading.size())});
  if (allowed && std::find(found.begin(), found.end(), reading) == found.end()) {
    found.push_back(reading);
  }
  LabelScorer scorer(frames, blank);
  std::vector<BeamReading> readings;
  for (const std::vector<uint32_t>& labels : found) {
    const Units units{labels.data(), static_cast<int64_t>(labels.size())};
    const double log_prob = scorer.log_prob(units);
    if (std::isinf(log_prob)) continue;
    readings.push_back(
        {{labels.begin(), labels.end()}, log_prob, score_of(units, log_prob, options)});
  }
  if (readings.empty()) {
    const Units units{reading.data(), static_cast<int64_t>(reading.size())};
    constexpr double kImpossible = -std::numeric_limits<double>::infinity();
    return {{greedy.labels, scorer.log_prob(units), kImpossible}};
  }
  std::stable_sort(readings.begin(), readings.end(),
                   [](const auto& a, const auto& b) { return a.score > b.score; });
  const auto n = std::min<int64_t>(static_cast<int64_t>(readings.size()), options.n_best);
  readings.resize(static_cast<size_t>(n));
  return readings;
}

}  // namespace

TextProbability::TextProbability(const BeamOptions& options)
    : log_known_(std::log1p(-options.lm_unknown)),
      log_unknown_(std::log(options.lm_unknown)),
      log_classes_(options.lm ? std::log(static_cast<double>(options.lm->classes())) : 0) {}

double TextProbability::operator()(double lm_log_prob, int64_t drawn) const {
  const double known = log_known_ + lm_log_prob;
  const double unknown = log_unknown_ - static_cast<double>(drawn) * log_classes_;
  return std::max(known, unknown) + std::log1p(std::exp(-std::abs(known - unknown)));
}

std::vector<std::vector<BeamReading>> beam_decode(const char* op, const FrameBatch& batch,
                                                  int64_t blank, const BeamOptions& options,
                                                  int num_threads) {
  const std::vector<GreedyReading> greedy = greedy_decode(op, batch, blank, num_threads);
  std::vector<std::vector<BeamReading>> readings(greedy.size());
  const int64_t grain =
      std::max<int64_t>(1, kValuesPerChunk / std::max<int64_t>(1, batch.T * batch.C));
  parallel_for(batch.N, grain, num_threads, [&](int64_t begin, int64_t end) {
    BeamSearch search(batch.C, blank, options);
    for (int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<size_t>(n);
      readings[i] = decode_one(FrameView(batch, n), blank, options, greedy[i], search);
    }
  });
  return readings;
}

}  // namespace crnn
