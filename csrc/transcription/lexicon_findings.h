// What a search of a lexicon has found so far, and what of the rest may still matter to it.
// Probabilities here are those of TrieFrames, scaled.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "transcription/lexicon_search.h"

namespace crnn {

class Findings {
 public:
  Findings(const LexiconIndex& index, const SearchOptions& options, int64_t frames)
      : index_(index),
        options_(options),
        margin_(1e-12 * static_cast<double>(frames + 16)),
        wanted_(static_cast<size_t>(std::min<int64_t>(options.n, index.live))) {}

  // The n-th best value; 0 while there are fewer.
  double threshold() const { return threshold_; }

  // Takes note of a word's probability, unless the word does not count.
  bool offer(uint32_t number, double probability) {
    if (!index_.counts(number)) return false;
    const double log_weight = options_.prior ? options_.prior->log_weight[number] : 0;
    if (log_weight == -std::numeric_limits<double>::infinity()) return false;
    ++looked_at_;
    probability_ += probability;
    const double value = options_.prior ? probability * std::exp(log_weight) : probability;
    sum_ += value;
    if (!(value > 0) || value < threshold_ * (1 - 2 * margin_)) return true;
    found_.push_back({value, number});
    if (top_.size() == wanted_ && value <= top_.back()) return true;
    top_.insert(std::upper_bound(top_.begin(), top_.end(), value, std::greater<double>()), value);
    if (top_.size() > wanted_) top_.pop_back();
    if (top_.size() == wanted_) threshold_ = top_.back();
    return true;
  }

  // What is left of the mass of a prefix beside the prefix itself.
  double without(double mass, double probability) const {
    return std::max(0.0, mass - probability) + mass * margin_;
  }

  // Whether to look at the words of a prefix. What is left out counts as dropped, which may take
  // up half of the tolerance.
  bool may_matter(double bound, double mass) {
    if (!(bound > 0)) return false;
    const double most = top_.empty() ? 0 : top_[0] * options_.tolerance / 2;
    if (options_.every_word || bound * (1 + 2 * margin_) >= threshold_ || bound > most / 512 ||
        mass > options_.tolerance / 1024 || dropped_ + bound > most ||
        dropped_mass_ + mass > options_.tolerance / 2) {
      return true;
    }
    dropped_ += bound;
    dropped_mass_ += mass;
    return false;
  }

  // Whether the words not looked at can change neither the result nor what it says of them.
  bool settled(double next_bound, double rest, double rest_mass) const {
    if (options_.every_word || !(threshold_ > 0)) return false;
    if (next_bound * (1 + 2 * margin_) >= threshold_) return false;
    rest += dropped_;
    rest_mass += dropped_mass_;
    return top_[0] / sum_ - top_[0] / (sum_ + rest) <= options_.tolerance &&
           rest_mass <= options_.tolerance;
  }

  // Scores the words within the margin of the n-th best. Totals are scaled.
  SearchResult result(const FrameView& frames, double rest, double rest_mass) const {
    std::vector<uint32_t> close;
    for (const Found& found : found_) {
      if (found.value >= threshold_ * (1 - 2 * margin_)) close.push_back(found.number);
    }
    SearchResult result = score_words(index_, close, frames, options_);
    result.total_score = std::log(sum_ + rest + dropped_);
    result.total_probability = probability_ + rest_mass + dropped_mass_;
    result.looked_at = looked_at_;
    return result;
  }

 private:
  struct Found {
    double value;
    uint32_t number;
  };

  const LexiconIndex& index_;
  const SearchOptions& options_;
  const double margin_;
  const size_t wanted_;
  std::vector<Found> found_;               // may still be among the best
  std::vector<double> top_;                // the best values, falling, at most wanted_
  double threshold_ = 0;                   // the n-th best value; 0 while there are fewer
  double sum_ = 0, probability_ = 0;       // of the words looked at
  double dropped_ = 0, dropped_mass_ = 0;  // of subtrees that cannot matter
  int64_t looked_at_ = 0;
};

}  // namespace crnn
