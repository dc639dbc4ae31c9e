#include "transcription/lexicon.h"

#include <cmath>
#include <limits>
#include <string>

#include "common/error.h"
#include "common/parallel.h"
#include "transcription/greedy.h"
#include "transcription/label_prob.h"

namespace crnn {
namespace {

// The most probable of the words offered so far; the lowest index on a tie.
struct BestWord {
  int64_t index = -1;
  double log_prob = -std::numeric_limits<double>::infinity();

  void offer(int64_t other, double value) {
    if (value > log_prob || (value == log_prob && index >= 0 && other < index)) {
      index = other;
      log_prob = value;
    }
  }
};

}  // namespace

Lexicon::Lexicon(const WordList& words) {
  const int64_t added = tree_.extend(words);
  if (added != words.size()) {
    fail("Lexicon", "words", "differ from each other",
         std::to_string(words.size() - added) + " repeated");
  }
}

Lexicon::Reading Lexicon::decode_one(const FrameView& frames, const std::vector<int64_t>& greedy,
                                     int64_t blank, int64_t delta) const {
  LabelScorer scorer(frames, blank);
  Reading reading;
  reading.labels.assign(greedy.begin(), greedy.end());
  const Units greedy_units{reading.labels.data(), static_cast<int64_t>(reading.labels.size())};
  BestWord best;
  if (delta == kAll) {
    reading.candidates = tree_.size();
    for (int64_t i = 0; i < tree_.size(); ++i) {
      best.offer(i, scorer.log_prob(tree_.word(i)));
      if (i % 64 == 0) poll_interrupt();
    }
  } else {
    const std::vector<BkTree::Match> near = tree_.query(greedy_units, delta);
    reading.candidates = static_cast<int64_t>(near.size());
    for (const BkTree::Match& match : near) {
      best.offer(match.index, scorer.log_prob(tree_.word(match.index)));
    }
  }
  reading.index = best.index;
  if (best.index < 0) {
    reading.log_prob = scorer.log_prob(greedy_units);
  } else {
    const Units word = tree_.word(best.index);
    reading.labels.assign(word.data, word.data + word.size);
    reading.log_prob = best.log_prob;
  }
  return reading;
}

std::vector<Lexicon::Reading> Lexicon::decode(const char* op, const FrameBatch& batch,
                                              int64_t blank, int64_t delta, int num_threads) const {
  const std::vector<GreedyReading> greedy = greedy_decode(op, batch, blank, num_threads);
  std::vector<Reading> readings(greedy.size());
  parallel_for(batch.N, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<size_t>(n);
      readings[i] = decode_one(FrameView(batch, n), greedy[i].labels, blank, delta);
    }
  });
  return readings;
}

}  // namespace crnn
