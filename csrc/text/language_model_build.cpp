// Counts n-grams without a hash table: all places of the texts are sorted by the symbols that begin
// there; then equal n-grams are neighbours, and come in the order of the nodes.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "common/parallel.h"
#include "text/language_model.h"

namespace crnn {
namespace {

struct Place {
  uint32_t at;    // in the stream of units
  uint32_t text;  // the text it is in
};

class Builder {
 public:
  Builder(const WordList& texts, const uint64_t* counts, int64_t classes, int64_t blank,
          int64_t order)
      : counts_(counts),
        classes_(classes),
        begin_(static_cast<uint32_t>(classes)),
        end_(static_cast<uint32_t>(blank)),
        order_(static_cast<uint32_t>(order)) {
    lay_out(texts);
    sort_places();
  }

  NGrams make() {
    compare_neighbours();
    add_node(0, 0);
    contexts_ = 1;
    node_of_.assign(places_.size(), 0);
    for (uint32_t length = 1; length <= order_; ++length) {
      if (length == order_) contexts_ = unit_.size();
      add_level(length);
      poll_interrupt();
    }
    fill_first_child();
    estimate();
    return finished();
  }

 private:
  // One stream: beginning, symbols, end of each text.
  void lay_out(const WordList& texts) {
    const uint64_t size = texts.units.size() + 2 * static_cast<uint64_t>(texts.size());
    if (size >= std::numeric_limits<uint32_t>::max()) {
      throw std::length_error("LanguageModel: texts must have fewer than 2^32 symbols");
    }
    stream_.reserve(size);
    places_.reserve(size);
    for (int64_t i = 0; i < texts.size(); ++i) {
      const Units text = texts[i];
      const auto add = [&](uint32_t unit) {
        places_.push_back({static_cast<uint32_t>(stream_.size()), static_cast<uint32_t>(i)});
        stream_.push_back(unit);
      };
      add(begin_);
      for (int64_t k = 0; k < text.size; ++k) add(text.data[k]);
      add(end_);
    }
  }

  // By their first `order` units, or those up to the end of the text. First by one unit, so that
  // Ctrl-C finds a gap.
  void sort_places() {
    std::vector<uint64_t> start(static_cast<size_t>(classes_) + 2);
    for (uint32_t unit : stream_) ++start[unit + size_t{1}];
    for (size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
    std::vector<Place> sorted(places_.size());
    std::vector<uint64_t> next = start;
    for (const Place& place : places_) sorted[next[stream_[place.at]]++] = place;
    places_.swap(sorted);
    const auto before = [this](const Place& a, const Place& b) {
      for (uint32_t k = 1; k < order_; ++k) {
        if (stream_[a.at + k - 1] == end_) return false;
        const uint32_t x = stream_[a.at + k], y = stream_[b.at + k];
        if (x != y) return x < y;
      }
      return false;
    };
    for (size_t unit = 0; unit + 1 < start.size(); ++unit) {
      std::sort(places_.begin() + static_cast<int64_t>(start[unit]),
                places_.begin() + static_cast<int64_t>(start[unit + 1]), before);
      poll_interrupt();
    }
  }

  // The longest n-gram that begins at each place, and how much of it the place before shares.
  void compare_neighbours() {
    longest_.resize(places_.size());
    shared_.resize(places_.size());
    for (size_t i = 0; i < places_.size(); ++i) {
      const uint32_t* units = &stream_[places_[i].at];
      uint8_t length = 1;
      while (length < order_ && units[length - 1] != end_) ++length;
      longest_[i] = length;
      if (i == 0) continue;
      const uint32_t* before = &stream_[places_[i - 1].at];
      const uint8_t limit = std::min(length, longest_[i - 1]);
      uint8_t same = 0;
      while (same < limit && units[same] == before[same]) ++same;
      shared_[i] = same;
    }
  }

  void add_level(uint32_t length) {
    const size_t first = unit_.size();
    for (size_t i = 0; i < places_.size(); ++i) {
      if (longest_[i] < length) continue;
      // Places between two that share an n-gram share it too.
      if (unit_.size() == first || shared_[i] < length) {
        add_node(node_of_[i], stream_[places_[i].at + length - 1]);
      }
      node_of_[i] = static_cast<uint32_t>(unit_.size() - 1);
      count_.back() += counts_[places_[i].text];
    }
  }

  void add_node(uint32_t parent, uint32_t unit) {
    if (unit_.size() >= std::numeric_limits<uint32_t>::max() - 1) {
      throw std::length_error("LanguageModel: texts must have fewer than 2^32 - 2 n-grams");
    }
    parent_.push_back(parent);
    unit_.push_back(unit);
    count_.push_back(0);
  }

  // Parents rise with their children.
  void fill_first_child() {
    first_child_.assign(contexts_ + 1, static_cast<uint32_t>(unit_.size()));
    for (size_t v = unit_.size() - 1; v > 0; --v)
      first_child_[parent_[v]] = static_cast<uint32_t>(v);
    for (size_t v = contexts_; v-- > 0;) {
      first_child_[v] = std::min(first_child_[v], first_child_[v + 1]);
    }
  }

  // The formula of the header, from short n-grams to long ones.
  void estimate() {
    const size_t nodes = unit_.size();
    std::vector<double> total(contexts_), kinds(contexts_), prob(nodes, 1.0);
    for (size_t v = 1; v < nodes; ++v) {
      if (unit_[v] == begin_) continue;  // it is not predicted
      total[parent_[v]] += static_cast<double>(count_[v]);
      kinds[parent_[v]] += 1;
    }
    suffix_.resize(nodes);
    for (size_t v = 1; v < nodes; ++v) {
      const uint32_t context = parent_[v];
      double shorter = 1.0 / static_cast<double>(classes_);
      if (context != 0) {
        suffix_[v] = find_child(first_child_.data(), unit_.data(), suffix_[context], unit_[v]);
        shorter = prob[suffix_[v]];
      }
      if (unit_[v] == begin_) continue;
      prob[v] = (static_cast<double>(count_[v]) + kinds[context] * shorter) /
                (total[context] + kinds[context]);
    }
    for (double p : prob) log_prob_.push_back(static_cast<float>(std::log(p)));
    for (size_t v = 0; v < contexts_; ++v) {
      const double weight = kinds[v] > 0 ? kinds[v] / (total[v] + kinds[v]) : 1;
      backoff_.push_back(static_cast<float>(std::log(weight)));
    }
  }

  NGrams finished() {
    struct Arrays {
      std::vector<uint32_t> first_child, unit, suffix;
      std::vector<float> log_prob, backoff;
    };
    auto arrays = std::make_shared<const Arrays>(Arrays{std::move(first_child_), std::move(unit_),
                                                        std::move(suffix_), std::move(log_prob_),
                                                        std::move(backoff_)});
    return {static_cast<int64_t>(arrays->unit.size()),
            static_cast<int64_t>(contexts_),
            arrays->first_child.data(),
            arrays->unit.data(),
            arrays->suffix.data(),
            arrays->log_prob.data(),
            arrays->backoff.data(),
            arrays};
  }

  const uint64_t* counts_;
  const int64_t classes_;
  const uint32_t begin_, end_, order_;
  std::vector<uint32_t> stream_;
  std::vector<Place> places_;
  std::vector<uint8_t> longest_, shared_;  // of each place
  std::vector<uint32_t> node_of_;          // of each place, on the level before
  size_t contexts_ = 0;
  std::vector<uint32_t> parent_, unit_, first_child_, suffix_;
  std::vector<uint64_t> count_;
  std::vector<float> log_prob_, backoff_;
};

}  // namespace

std::unique_ptr<LanguageModel> LanguageModel::build(const WordList& texts, const uint64_t* counts,
                                                    int64_t classes, int64_t blank, int64_t order) {
  return std::make_unique<LanguageModel>(Builder(texts, counts, classes, blank, order).make(),
                                         classes, blank, order);
}

}  // namespace crnn
