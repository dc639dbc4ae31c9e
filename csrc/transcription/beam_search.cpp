#include "transcription/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"

namespace crnn {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr double kFarLess = 1.0 / 16;  // the beam loses little of a prefix's mass on its way
constexpr int64_t kFramesBetweenPolls = 64;

}  // namespace

BeamSearch::BeamSearch(int64_t classes, int64_t blank, const BeamOptions& options)
    : classes_(classes),
      blank_(blank),
      options_(options),
      log_cutoff_(std::log(options.cutoff)),
      bonus_factor_(std::exp(options.symbol_bonus)),
      text_probability_(options),
      value_(static_cast<size_t>(classes)),
      value_frame_(static_cast<size_t>(classes)) {
  const auto some = static_cast<size_t>(std::min<int64_t>(options.beam, 8));
  nodes_.reserve(32);
  for (std::vector<Prefix>* prefixes : {&beam_, &before_, &new_}) prefixes->reserve(some);
  ranks_.reserve(2 * some);
  emissions_.reserve(some + 1);
}

std::vector<std::vector<uint32_t>> BeamSearch::run(const FrameView& frames,
                                                   const std::vector<int64_t>& path) {
  start();
  for (int64_t t = 0; t < frames.frames() && !beam_.empty(); ++t) {
    read_frame(frames, t, path[static_cast<size_t>(t)]);
    if (only_best_ && follow()) continue;
    step(frames, t);
    keep_the_best();
    if (t % kFramesBetweenPolls == 0) poll_interrupt();
  }
  return finish();
}

void BeamSearch::start() {
  nodes_.assign(1, {kNone, kNone, kNone, kNone, 0});
  beam_.assign(1, Prefix());
  beam_[0].blank_mass = 1;
  if (options_.lm) beam_[0].lm = options_.lm->start();
  beam_[0].words = WordText::start();
  std::fill(value_frame_.begin(), value_frame_.end(), -1);
}

// Classes below the cutoff count as impossible in the frame. Not so where words say which labels
// may come: of those even the best may be far below the frame's largest.
void BeamSearch::read_frame(const FrameView& frames, int64_t t, int64_t best) {
  best_ = best;
  largest_ = frames(t, best);
  emissions_.clear();
  least_ = options_.words ? -kLogLimit : std::max(largest_ + log_cutoff_, -kLogLimit);
  only_best_ = !options_.words && largest_ > -kLogLimit && frames.count_from(t, least_) <= 1;
  if (options_.words || !(largest_ > -kLogLimit)) return;
  if (!only_best_) return list_emissions(frames, t, least_);
  if (best != blank_) emissions_.push_back({static_cast<uint32_t>(best), 1});
}

// The usual frames, of one class only: a blank changes no rank, and a label leads the only prefix
// of a beam to one other. False where there is more to do.
bool BeamSearch::follow() {
  if (best_ == blank_) {
    for (Prefix& prefix : beam_) prefix.blank_mass = prefix.mass(), prefix.label_mass = 0;
    return true;
  }
  if (beam_.size() > 1) return false;
  Prefix& only = beam_[0];
  const auto label = static_cast<uint32_t>(best_);
  if (only.node != 0 && only.label == label && only.label_mass > 0) return only.blank_mass == 0;
  only = extended(only, label);
  only.node = node_of(only.node, label);
  only.label_mass = 1;  // masses add up to 1
  return true;
}

// At most one more than the beam holds.
void BeamSearch::list_emissions(const FrameView& frames, int64_t t, double least) {
  for (int64_t c = 0; c < classes_; ++c) {
    const double x = frames(t, c);
    if (c == blank_ || x < least || !(x > -kLogLimit)) continue;
    emissions_.push_back({static_cast<uint32_t>(c), x});
  }
  const auto more = [](const Emission& a, const Emission& b) {
    return a.value != b.value ? a.value > b.value : a.label < b.label;
  };
  const int64_t most = options_.beam < classes_ ? options_.beam + 1 : classes_;
  if (static_cast<int64_t>(emissions_.size()) > most) {
    std::nth_element(emissions_.begin(), emissions_.begin() + most, emissions_.end(), more);
    emissions_.resize(static_cast<size_t>(most));
  }
  std::sort(emissions_.begin(), emissions_.end(), more);
  for (Emission& emission : emissions_) {
    emission.value = std::exp(emission.value - largest_);
    value_[emission.label] = emission.value;
    value_frame_[emission.label] = t;
  }
}

// Over the frame's largest.
double BeamSearch::probability(const FrameView& frames, int64_t t, int64_t label) {
  const auto c = static_cast<size_t>(label);
  if (value_frame_[c] != t) {
    const double x = frames(t, label);
    const bool counts = x > -kLogLimit && x >= least_;
    value_[c] = counts ? std::exp(x - largest_) : 0;
    value_frame_[c] = t;
  }
  return value_[c];
}

void BeamSearch::link_children() {
  for (size_t i = 0; i < beam_.size(); ++i) {
    nodes_[beam_[i].node].place = static_cast<uint32_t>(i);
    beam_[i].first_child = kNone;
  }
  for (size_t i = 0; i < beam_.size(); ++i) {
    if (beam_[i].node == 0) continue;
    const uint32_t parent = nodes_[beam_[i].node].parent, place = nodes_[parent].place;
    if (place >= beam_.size() || beam_[place].node != parent) continue;
    beam_[i].next_sibling = beam_[place].first_child;
    beam_[place].first_child = static_cast<uint32_t>(i);
  }
}

void BeamSearch::step(const FrameView& frames, int64_t t) {
  link_children();
  before_ = beam_;
  new_.clear();
  if (!(largest_ > -kLogLimit)) return beam_.clear();
  const double blank = probability(frames, t, blank_);
  double least = std::numeric_limits<double>::infinity();
  for (Prefix& prefix : beam_) {
    prefix.blank_mass = prefix.mass() * blank;
    if (prefix.label_mass > 0) prefix.label_mass *= probability(frames, t, prefix.label);
    least = std::min(least, prefix.mass());
  }
  // A new prefix with less mass than all of a full beam would not stay in it. A factor of the
  // language model is at most 1.
  if (static_cast<int64_t>(beam_.size()) < options_.beam) least = 0;
  for (size_t i = 0; i < before_.size(); ++i) {
    const Prefix& old = before_[i];
    const auto place = static_cast<uint32_t>(i);
    const double most = old.mass() * bonus_factor_;
    if (options_.words) {
      options_.words->for_each_next(old.words, [&](uint32_t label, WordText::State words) {
        const double value = probability(frames, t, label);
        if (most * value >= least) extend(place, old, label, value, words);
      });
      continue;
    }
    for (const Emission& emission : emissions_) {
      if (most * emission.value < least) break;
      extend(place, old, emission.label, emission.value, {});
    }
  }
}

void BeamSearch::extend(uint32_t place, const Prefix& old, uint32_t label, double value,
                        WordText::State words) {
  const bool repeated = old.node != 0 && label == old.label;
  const double mass = (repeated ? old.blank_mass : old.mass()) * value;
  if (!(mass > 0)) return;
  for (uint32_t i = before_[place].first_child; i != kNone; i = before_[i].next_sibling) {
    if (beam_[i].label != label) continue;
    beam_[i].label_mass += mass * beam_[i].factor;
    return;
  }
  new_.push_back(extended(old, label));
  new_.back().label_mass = mass * new_.back().factor;
  new_.back().words = words;
}

// A prefix without mass, and without a node of its own.
BeamSearch::Prefix BeamSearch::extended(const Prefix& old, uint32_t label) const {
  Prefix prefix;
  prefix.factor = bonus_factor_;
  if (options_.lm) {
    const LanguageModel::Step step = options_.lm->step(old.lm, label);
    prefix.lm = step.next;
    prefix.length = old.length + 1;
    prefix.lm_log_prob = old.lm_log_prob + step.log_prob;
    prefix.text_log_prob = text_probability_(prefix.lm_log_prob, prefix.length);
    prefix.factor *= std::exp(options_.lm_weight * (prefix.text_log_prob - old.text_log_prob));
  }
  prefix.node = old.node;
  prefix.label = label;
  return prefix;
}

// The prefixes with the most mass, the older first on a tie; masses add up to 1.
void BeamSearch::keep_the_best() {
  ranks_.clear();
  const size_t old = beam_.size();
  const auto at = [&](uint32_t place) -> Prefix& {
    return place < old ? beam_[place] : new_[place - old];
  };
  for (uint32_t place = 0; place < old + new_.size(); ++place) {
    const double mass = at(place).mass();
    if (mass > 0) ranks_.push_back({mass, place});
  }
  const auto more = [](const Rank& a, const Rank& b) {
    return a.mass != b.mass ? a.mass > b.mass : a.place < b.place;
  };
  if (static_cast<int64_t>(ranks_.size()) > options_.beam) {
    std::nth_element(ranks_.begin(), ranks_.begin() + options_.beam, ranks_.end(), more);
    ranks_.resize(static_cast<size_t>(options_.beam));
  }
  std::sort(ranks_.begin(), ranks_.end(), more);
  const double least = ranks_.empty() ? 0 : ranks_[0].mass * options_.cutoff * options_.cutoff;
  while (!ranks_.empty() && ranks_.back().mass < least) ranks_.pop_back();
  double sum = 0;
  for (const Rank& rank : ranks_) sum += rank.mass;
  before_.clear();
  for (const Rank& rank : ranks_) {
    before_.push_back(at(rank.place));
    Prefix& prefix = before_.back();
    if (rank.place >= old) prefix.node = node_of(prefix.node, prefix.label);
    prefix.blank_mass /= sum;
    prefix.label_mass /= sum;
  }
  beam_.swap(before_);
}

// The node of a prefix that comes into the beam. It may have been there before, and others that
// extend it may still be.
uint32_t BeamSearch::node_of(uint32_t parent, uint32_t label) {
  uint32_t found = nodes_[parent].first_child;
  while (found != kNone && nodes_[found].label != label) found = nodes_[found].next_sibling;
  if (found != kNone) return found;
  found = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({parent, label, kNone, nodes_[parent].first_child, kNone});
  nodes_[parent].first_child = found;
  return found;
}

std::vector<std::vector<uint32_t>> BeamSearch::finish() {
  ranks_.clear();
  for (uint32_t place = 0; place < beam_.size(); ++place) {
    const Prefix& prefix = beam_[place];
    if (options_.words && !options_.words->complete(prefix.words)) continue;
    double mass = prefix.mass();
    if (options_.lm) {
      const auto end = options_.lm->step(prefix.lm, static_cast<uint32_t>(blank_));
      const double text = text_probability_(prefix.lm_log_prob + end.log_prob, prefix.length + 1);
      mass *= std::exp(options_.lm_weight * (text - prefix.text_log_prob));
    }
    ranks_.push_back({mass, place});
  }
  std::stable_sort(ranks_.begin(), ranks_.end(),
                   [](const Rank& a, const Rank& b) { return a.mass > b.mass; });
  // What has far less mass than the n-th cannot come before it.
  const auto n = std::min<size_t>(ranks_.size(), static_cast<size_t>(options_.n_best));
  const double least = ranks_.empty() ? 0 : ranks_[n - 1].mass * kFarLess;
  std::vector<std::vector<uint32_t>> labels;
  for (const Rank& rank : ranks_) {
    if (rank.mass < least) break;
    labels.emplace_back();
    for (uint32_t node = beam_[rank.place].node; node != 0; node = nodes_[node].parent) {
      labels.back().push_back(nodes_[node].label);
    }
    std::reverse(labels.back().begin(), labels.back().end());
  }
  return labels;
}

}  // namespace crnn
