#include "transcription/beam.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"
#include "transcription/greedy.h"
#include "transcription/label_prob.h"

namespace crnn {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr double kFarLess = 1.0 / 16;  // the beam loses little of a prefix's mass on its way

// A prefix, linked to the one it extends.
struct Node {
  uint32_t parent, label;
  uint32_t first_child = kNone, next_sibling = kNone;
  int64_t frame = -1;                     // of which the next two are masses
  double blank_mass = 0, label_mass = 0;  // of its paths that end in a blank, or in its label
};

struct Beam {
  uint32_t node;
  double blank_mass, label_mass;
  double mass() const { return blank_mass + label_mass; }
};

class BeamSearch {
 public:
  BeamSearch(const FrameView& frames, int64_t blank, const BeamOptions& options)
      : frames_(frames), blank_(blank), options_(options) {
    nodes_.push_back({kNone, kNone});
  }

  std::vector<std::vector<uint32_t>> run() {
    std::vector<Beam> beam{{0, 1, 0}};
    for (int64_t t = 0; t < frames_.frames() && !beam.empty(); ++t) {
      read_frame(t);
      step(t, beam);
      keep_the_best(beam);
      if (t % 64 == 63) poll_interrupt();
    }
    // What has far less mass than the n-th cannot come before it.
    const auto n = std::min<size_t>(beam.size(), static_cast<size_t>(options_.n_best));
    const double least = beam.empty() ? 0 : beam[n - 1].mass() * kFarLess;
    std::vector<std::vector<uint32_t>> labels;
    for (const Beam& entry : beam) {
      if (entry.mass() < least) break;
      labels.emplace_back();
      for (uint32_t node = entry.node; node != 0; node = nodes_[node].parent) {
        labels.back().push_back(nodes_[node].label);
      }
      std::reverse(labels.back().begin(), labels.back().end());
    }
    return labels;
  }

 private:
  struct Emission {
    uint32_t label;
    double value;
  };

  // Probabilities are taken over the frame's largest. `extending_`: the labels that extend
  // prefixes, at most one more than the beam holds.
  void read_frame(int64_t t) {
    largest_ = frames_.best(t).value;
    extending_.clear();
    if (!(largest_ > -kLogLimit)) return;
    const double least = largest_ + std::log(options_.cutoff);
    for (int64_t c = 0; c < frames_.classes(); ++c) {
      const double x = frames_(t, c);
      if (c == blank_ || x < least || !(x > -kLogLimit)) continue;
      extending_.push_back({static_cast<uint32_t>(c), x});
    }
    const auto more = [](const Emission& a, const Emission& b) {
      return a.value != b.value ? a.value > b.value : a.label < b.label;
    };
    const int64_t most = options_.beam < frames_.classes() ? options_.beam + 1 : frames_.classes();
    if (static_cast<int64_t>(extending_.size()) > most) {
      std::nth_element(extending_.begin(), extending_.begin() + most, extending_.end(), more);
      extending_.resize(static_cast<size_t>(most));
    }
    std::sort(extending_.begin(), extending_.end(), more);
    for (Emission& emission : extending_) emission.value = std::exp(emission.value - largest_);
  }

  double probability(int64_t t, int64_t label) const {
    const double x = frames_(t, label);
    return x > -kLogLimit ? std::exp(x - largest_) : 0;
  }

  void step(int64_t t, const std::vector<Beam>& beam) {
    touched_.clear();
    const double blank = probability(t, blank_);
    for (const Beam& entry : beam) {
      Node& own = touch(entry.node, t);
      own.blank_mass += entry.mass() * blank;
      const uint32_t last = own.label;
      if (entry.node != 0) own.label_mass += entry.label_mass * probability(t, last);
      for (const Emission& emission : extending_) {
        const bool repeated = entry.node != 0 && emission.label == last;
        const double mass = (repeated ? entry.blank_mass : entry.mass()) * emission.value;
        if (mass > 0) touch(child(entry.node, emission.label), t).label_mass += mass;
      }
    }
  }

  Node& touch(uint32_t index, int64_t t) {
    Node& node = nodes_[index];
    if (node.frame != t) {
      node.frame = t;
      node.blank_mass = node.label_mass = 0;
      touched_.push_back(index);
    }
    return node;
  }

  uint32_t child(uint32_t parent, uint32_t label) {
    uint32_t found = nodes_[parent].first_child;
    while (found != kNone && nodes_[found].label != label) found = nodes_[found].next_sibling;
    if (found != kNone) return found;
    found = static_cast<uint32_t>(nodes_.size());
    Node node{parent, label};
    node.next_sibling = nodes_[parent].first_child;
    nodes_.push_back(node);
    nodes_[parent].first_child = found;
    return found;
  }

  // The prefixes with the most mass, the older first on a tie; masses add up to 1.
  void keep_the_best(std::vector<Beam>& beam) {
    beam.clear();
    for (uint32_t index : touched_) {
      const Node& node = nodes_[index];
      const Beam entry{index, node.blank_mass, node.label_mass};
      if (entry.mass() > 0) beam.push_back(entry);
    }
    const auto more = [](const Beam& a, const Beam& b) {
      return a.mass() != b.mass() ? a.mass() > b.mass() : a.node < b.node;
    };
    if (static_cast<int64_t>(beam.size()) > options_.beam) {
      std::nth_element(beam.begin(), beam.begin() + options_.beam, beam.end(), more);
      beam.resize(static_cast<size_t>(options_.beam));
    }
    std::sort(beam.begin(), beam.end(), more);
    const double least = beam.empty() ? 0 : beam[0].mass() * options_.cutoff * options_.cutoff;
    while (!beam.empty() && beam.back().mass() < least) beam.pop_back();
    double sum = 0;
    for (const Beam& entry : beam) sum += entry.mass();
    for (Beam& entry : beam) entry.blank_mass /= sum, entry.label_mass /= sum;
  }

  const FrameView& frames_;
  const int64_t blank_;
  const BeamOptions& options_;
  std::vector<Node> nodes_;  // node 0: the empty prefix
  std::vector<uint32_t> touched_;
  double largest_ = 0;  // log-probability of the frame
  std::vector<Emission> extending_;
};

std::vector<BeamReading> decode_one(const FrameView& frames, int64_t blank,
                                    const BeamOptions& options,
                                    const std::vector<int64_t>& greedy) {
  std::vector<std::vector<uint32_t>> found = BeamSearch(frames, blank, options).run();
  const std::vector<uint32_t> reading(greedy.begin(), greedy.end());
  if (std::find(found.begin(), found.end(), reading) == found.end()) found.push_back(reading);
  LabelScorer scorer(frames, blank);
  std::vector<BeamReading> readings;
  for (const std::vector<uint32_t>& labels : found) {
    const double log_prob = scorer.log_prob({labels.data(), static_cast<int64_t>(labels.size())});
    readings.push_back({{labels.begin(), labels.end()}, log_prob});
  }
  std::stable_sort(readings.begin(), readings.end(),
                   [](const auto& a, const auto& b) { return a.log_prob > b.log_prob; });
  const auto impossible = [](const BeamReading& reading) { return std::isinf(reading.log_prob); };
  const auto end = std::find_if(readings.begin(), readings.end(), impossible);
  if (end == readings.begin()) return {{greedy, -std::numeric_limits<double>::infinity()}};
  const auto possible = static_cast<int64_t>(end - readings.begin());
  readings.resize(static_cast<size_t>(std::min(possible, options.n_best)));
  return readings;
}

}  // namespace

std::vector<std::vector<BeamReading>> beam_decode(const char* op, const FrameBatch& batch,
                                                  int64_t blank, const BeamOptions& options,
                                                  int num_threads) {
  const std::vector<GreedyReading> greedy = greedy_decode(op, batch, blank, num_threads);
  std::vector<std::vector<BeamReading>> readings(greedy.size());
  parallel_for(batch.N, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<size_t>(n);
      readings[i] = decode_one(FrameView(batch, n), blank, options, greedy[i].labels);
    }
  });
  return readings;
}

}  // namespace crnn
