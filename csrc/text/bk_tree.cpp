#include "text/bk_tree.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "common/parallel.h"
#include "text/bk_tree_builder.h"

namespace crnn {
namespace {

constexpr int64_t kScanned = 2048;  // words in a subtree that is scanned, not searched
constexpr size_t kFewNew = 256;     // new words that never make it worth to join them to the tree

template <class T>
int64_t bytes_of(const std::vector<T>& values) {
  return static_cast<int64_t>(values.capacity() * sizeof(T));
}

struct Keyed {
  uint64_t key;
  BkTree::Match match;
};

// Byte by byte, from the lowest: no branch depends on the order, and most bytes are all the same.
void sort_by_key(std::vector<Keyed>& entries) {
  std::vector<Keyed> sorted(entries.size());
  uint32_t counts[8][256] = {};
  for (const Keyed& entry : entries) {
    for (int byte = 0; byte < 8; ++byte) ++counts[byte][entry.key >> (8 * byte) & 255];
  }
  for (int byte = 0; byte < 8; ++byte) {
    uint32_t* next = counts[byte];
    if (entries.empty() || next[entries[0].key >> (8 * byte) & 255] == entries.size()) continue;
    for (uint32_t value = 0, begin = 0; value < 256; ++value) {
      begin += std::exchange(next[value], begin);
    }
    for (const Keyed& entry : entries) sorted[next[entry.key >> (8 * byte) & 255]++] = entry;
    entries.swap(sorted);
  }
}

}  // namespace

// Changes nothing if it throws.
void BkTree::append(Units word) {
  if (begins_.size() >= kNone || units_.size() + static_cast<size_t>(word.size) >= kNone) {
    throw std::length_error("BKTree: too many words, or too long");
  }
  new_outlines_.push_back(outline_of(word));
  try {
    begins_.push_back(begins_.back() + static_cast<uint32_t>(word.size));
    units_.insert(units_.end(), word.data, word.data + word.size);
  } catch (...) {
    new_outlines_.pop_back();
    begins_.resize(placed() + new_outlines_.size() + 1);
    throw;
  }
}

int64_t BkTree::extend(const WordList& words) {
  const int64_t before = size();
  const size_t few = std::max(kFewNew, placed() / 8);
  if (new_outlines_.size() + static_cast<size_t>(words.size()) <= few) {
    for (int64_t i = 0; i < words.size(); ++i) {
      if (!contains(words[i])) append(words[i]);
    }
    return size() - before;
  }
  Builder builder(*this);
  for (int64_t i = 0; i < words.size(); ++i) {
    if (builder.insert(words[i])) append(words[i]);
    if (i % 64 == 63) poll_interrupt();
  }
  place(builder.parents(), builder.edges());
  return size() - before;
}

// Gives every word a place.
void BkTree::place(const std::vector<uint32_t>& parents, const std::vector<uint32_t>& edges) {
  const size_t n = parents.size();
  // Children have higher numbers than their parents: sizes add up from the end, places follow from
  // the start. `first`: the child with the longest edge.
  std::vector<uint32_t> sizes(n, 1), first(n, kNone), places(n, 0), next(n, 1);
  for (size_t i = n; i-- > 1;) {
    const uint32_t parent = parents[i];
    sizes[parent] += sizes[i];
    if (first[parent] == kNone || edges[first[parent]] < edges[i]) {
      first[parent] = static_cast<uint32_t>(i);
    }
  }
  for (size_t i = 0; i < n; ++i) {
    const uint32_t parent = parents[i];
    if (i > 0 && first[parent] == i) {
      places[i] = places[parent] + 1;
    } else if (i > 0) {
      places[i] = next[parent];
      next[parent] += sizes[i];
    }
    next[i] = places[i] + 1 + (first[i] == kNone ? 0 : sizes[first[i]]);
  }
  const bool wide = std::any_of(edges.begin(), edges.end(), [](uint32_t e) { return e > 0xFFFF; });
  std::vector<uint32_t> word_at(n), end(n), wide_edges(wide ? n : 0);
  std::vector<uint16_t> narrow_edges(wide ? 0 : n);
  std::vector<Outline> outlines(n);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t at = places[i];
    word_at[at] = static_cast<uint32_t>(i);
    end[at] = at + sizes[i];
    if (wide) {
      wide_edges[at] = edges[i];
    } else {
      narrow_edges[at] = static_cast<uint16_t>(edges[i]);
    }
    outlines[at] = outline_of(word(static_cast<int64_t>(i)));
  }
  units_.shrink_to_fit();
  begins_.shrink_to_fit();
  word_at_ = std::move(word_at), end_ = std::move(end), outlines_ = std::move(outlines);
  edges_ = std::move(narrow_edges), wide_edges_ = std::move(wide_edges);
  std::vector<Outline>().swap(new_outlines_);  // gives its memory back
}

int64_t BkTree::bytes() const {
  return bytes_of(units_) + bytes_of(begins_) + bytes_of(word_at_) + bytes_of(end_) +
         bytes_of(edges_) + bytes_of(wide_edges_) + bytes_of(outlines_) + bytes_of(new_outlines_);
}

bool BkTree::is_new(Units word) const {
  uint32_t selected[kScanned];
  const Outline outline = outline_of(word);
  const auto count = static_cast<int64_t>(new_outlines_.size());
  for (int64_t begin = 0; begin < count; begin += kScanned) {
    const int64_t size = std::min(kScanned, count - begin);
    const int64_t found = select_near(new_outlines_.data() + begin, size, outline, 0, selected);
    for (int64_t i = 0; i < found; ++i) {
      if (this->word(static_cast<int64_t>(placed()) + begin + selected[i]) == word) return true;
    }
  }
  return false;
}

bool BkTree::contains(Units word) const {
  const EditPattern pattern(word);
  for (uint32_t at = 0, end = static_cast<uint32_t>(placed()); at < end;) {
    const int64_t longest = at + 1 < end_[at] ? edge(at + 1) : 0;
    const int64_t distance = pattern.distance(word_of_place(at), longest);
    if (distance == 0) return true;
    if (distance > longest) break;
    end = end_[at];
    uint32_t child = at + 1;
    while (child < end && edge(child) != distance) child = end_[child];
    at = child;
  }
  return is_new(word);
}

// One query under way.
class BkTree::Search {
 public:
  Search(const BkTree& tree, Units word, int64_t delta)
      : tree_(tree),
        delta_(std::min<int64_t>(delta, UINT32_MAX)),
        pattern_(word),
        outline_(outline_of(word)) {}

  std::vector<Match> run() {
    const auto placed = static_cast<uint32_t>(tree_.placed());
    if (placed > 0) pending_.push_back(0);
    while (!pending_.empty()) {
      const uint32_t at = pending_.back();
      pending_.pop_back();
      const uint32_t size = tree_.end_[at] - at;
      if (size <= kScanned) {
        const uint32_t* words = tree_.word_at_.data() + at;
        scan(tree_.outlines_.data() + at, size, [&](uint32_t i) { offer(words[i]); });
      } else {
        descend(at);
      }
    }
    scan(tree_.new_outlines_.data(), static_cast<int64_t>(tree_.new_outlines_.size()),
         [&](uint32_t i) { offer(placed + i); });
    compare_offered();
    return in_order();
  }

 private:
  static constexpr int64_t kOffers = 64;  // compared together, once they are in the cache

  // The matches by distance, then by word. What decides is mostly the distance and the first units,
  // packed into one number; words are fetched again only where these are equal.
  std::vector<Match> in_order() const {
    constexpr uint64_t most = 0xFFFF;
    std::vector<Keyed> keyed;
    keyed.reserve(matches_.size());
    for (const Match& match : matches_) {
      const Units word = tree_.word(match.index);
      uint64_t key = std::min<uint64_t>(match.distance, most);
      bool fits = key < most;  // nothing behind a number that does not fit may decide
      for (int64_t i = 0; i < 3; ++i) {
        const uint64_t unit = i < word.size ? std::min<uint64_t>(word.data[i], most) : 0;
        key = key << 16 | (fits ? unit : 0);
        fits = fits && unit < most;
      }
      keyed.push_back({key, match});
    }
    sort_by_key(keyed);
    const auto words_in_order = [this](const Keyed& a, const Keyed& b) {
      if (a.match.distance != b.match.distance) return a.match.distance < b.match.distance;
      return tree_.word(a.match.index) < tree_.word(b.match.index);
    };
    for (auto run = keyed.begin(); run != keyed.end();) {
      auto end = run + 1;
      while (end != keyed.end() && end->key == run->key) ++end;
      std::sort(run, end, words_in_order);
      run = end;
    }
    std::vector<Match> ordered;
    ordered.reserve(keyed.size());
    for (const Keyed& entry : keyed) ordered.push_back(entry.match);
    return ordered;
  }

  void offer(uint32_t index) {
    offered_[offers_] = index;
    texts_[offers_] = tree_.word(index);
    __builtin_prefetch(texts_[offers_].data);
    if (++offers_ == kOffers) compare_offered();
  }

  void compare_offered() {
    int64_t distances[kOffers];
    pattern_.distances(texts_, offers_, delta_, distances);
    for (int64_t i = 0; i < offers_; ++i) {
      if (distances[i] <= delta_) {
        matches_.push_back({offered_[i], static_cast<uint32_t>(distances[i])});
      }
    }
    offers_ = 0;
    poll();
  }

  void poll() {
    if (++steps_ % 64 == 0) poll_interrupt();
  }

  // Calls take(i) for each of `count` words whose outline allows a match.
  template <class Take>
  void scan(const Outline* outlines, int64_t count, Take&& take) {
    uint32_t selected[kScanned];
    for (int64_t begin = 0; begin < count; begin += kScanned) {
      const int64_t size = std::min(kScanned, count - begin);
      const int64_t found = select_near(outlines + begin, size, outline_, delta_, selected);
      for (int64_t i = 0; i < found; ++i) take(static_cast<uint32_t>(begin) + selected[i]);
      poll();
    }
  }

  void descend(uint32_t at) {
    const uint32_t end = tree_.end_[at];
    // Beyond this bound neither the word itself nor any of its children can be near enough.
    const int64_t bound = delta_ + tree_.edge(at + 1);
    const int64_t distance = pattern_.distance(tree_.word_of_place(at), bound);
    poll();
    if (distance > bound) return;
    if (distance <= delta_) {
      matches_.push_back({tree_.word_at_[at], static_cast<uint32_t>(distance)});
    }
    for (uint32_t child = at + 1; child < end; child = tree_.end_[child]) {
      const int64_t edge = tree_.edge(child);
      if (distance - delta_ <= edge && edge <= distance + delta_) pending_.push_back(child);
    }
  }

  const BkTree& tree_;
  const int64_t delta_;
  const EditPattern pattern_;
  const Outline outline_;
  std::vector<uint32_t> pending_;  // places whose subtree may hold a match
  std::vector<Match> matches_;
  uint32_t offered_[kOffers];  // words to compare, together
  Units texts_[kOffers];
  int64_t offers_ = 0;
  int64_t steps_ = 0;
};

std::vector<BkTree::Match> BkTree::query(Units word, int64_t delta) const {
  return Search(*this, word, delta).run();
}

}  // namespace crnn
