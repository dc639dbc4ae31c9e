#include "text/bk_tree.h"

#include <algorithm>
#include <stdexcept>

#include "common/parallel.h"

namespace crnn {
namespace {

constexpr int64_t kScanned = 256;    // words in a subtree that is scanned, not searched
constexpr int64_t kFewRecent = 256;  // new words that never cause a copy of the tree

}  // namespace

uint32_t BkTree::child_at(const Node& node, uint32_t edge) const {
  if (edge > node.longest_edge) return kNone;
  uint32_t child = node.first_child;
  while (child != kNone && nodes_[child].edge != edge) child = nodes_[child].next_sibling;
  return child;
}

// Changes nothing if it throws.
void BkTree::append(Units word, uint32_t parent, uint32_t edge) {
  Node node;
  node.begin = static_cast<int64_t>(units_.size());
  node.length = static_cast<uint32_t>(word.size);
  node.parent = parent;
  node.edge = edge;
  const auto index = static_cast<uint32_t>(nodes_.size());
  if (index > 0) node.next_sibling = nodes_[parent].first_child;
  recent_.push_back(outline_of(word));
  try {
    nodes_.push_back(node);
    units_.insert(units_.end(), word.data, word.data + word.size);
  } catch (...) {
    recent_.pop_back();
    nodes_.resize(index);
    throw;
  }
  if (index > 0) {
    nodes_[parent].first_child = index;
    nodes_[parent].longest_edge = std::max(nodes_[parent].longest_edge, edge);
  }
}

bool BkTree::add(Units word) {
  if (word.size > UINT32_MAX) throw std::length_error("BKTree: a word is too long");
  if (nodes_.size() >= kNone - 1) throw std::length_error("BKTree: too many words");
  uint32_t node = 0, edge = 0;
  if (!nodes_.empty()) {
    const EditPattern pattern(word);
    for (int64_t depth = 1;; ++depth) {
      edge = static_cast<uint32_t>(pattern.distance(this->word(nodes_[node]), kNoBound));
      if (edge == 0) return false;
      const uint32_t child = child_at(nodes_[node], edge);
      if (child == kNone) break;
      node = child;
      if (depth % 1024 == 0) poll_interrupt();
    }
  }
  append(word, node, edge);
  return true;
}

int64_t BkTree::extend(const WordList& words) {
  int64_t added = 0;
  for (int64_t i = 0; i < words.size(); ++i) {
    added += add(words[i]) ? 1 : 0;
    if (i % 64 == 63) poll_interrupt();
  }
  copy_if_many_are_new();
  return added;
}

void BkTree::copy_if_many_are_new() {
  const size_t few = std::max<size_t>(kFewRecent, preorder_.places.size() / 8);
  if (recent_.size() <= few) return;
  preorder_ = preorder();
  recent_.clear();
}

BkTree::Preorder BkTree::preorder() const {
  const size_t n = nodes_.size();
  // Children have higher numbers than their parents: sizes add up from the end, places follow
  // from the start.
  std::vector<uint32_t> sizes(n, 1), places(n, 0), next(n, 1);
  for (size_t i = n; i-- > 1;) sizes[nodes_[i].parent] += sizes[i];
  for (size_t i = 1; i < n; ++i) {
    places[i] = next[nodes_[i].parent];
    next[nodes_[i].parent] += sizes[i];
    next[i] = places[i] + 1;
  }
  Preorder result;
  result.places.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const Node& node = nodes_[i];
    result.places[places[i]] = {0,
                                node.length,
                                node.edge,
                                node.longest_edge,
                                places[i] + sizes[i],
                                static_cast<uint32_t>(i)};
  }
  result.units.reserve(units_.size());
  result.outlines.reserve(n);
  for (Place& place : result.places) {
    const Units word = this->word(nodes_[place.node]);
    place.begin = static_cast<int64_t>(result.units.size());
    result.units.insert(result.units.end(), word.data, word.data + word.size);
    result.outlines.push_back(outline_of(word));
  }
  return result;
}

bool BkTree::contains(Units word) const {
  if (nodes_.empty()) return false;
  const EditPattern pattern(word);
  uint32_t node = 0;
  while (node != kNone) {
    const int64_t bound = nodes_[node].longest_edge;
    const int64_t distance = pattern.distance(this->word(nodes_[node]), bound);
    if (distance == 0) return true;
    if (distance > bound) return false;
    node = child_at(nodes_[node], static_cast<uint32_t>(distance));
  }
  return false;
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
    const Preorder& preorder = tree_.preorder_;
    const auto copied = static_cast<int64_t>(preorder.places.size());
    if (copied > 0) pending_.push_back(0);
    while (!pending_.empty()) {
      const uint32_t at = pending_.back();
      pending_.pop_back();
      const uint32_t end = preorder.places[at].end;
      if (end - at <= kScanned) {
        scan(preorder.outlines.data() + at, end - at, [&](uint32_t i) {
          const Place& place = preorder.places[at + i];
          offer(place.node, word(place));
        });
      } else {
        descend(at);
      }
    }
    scan(tree_.recent_.data(), static_cast<int64_t>(tree_.recent_.size()), [&](uint32_t i) {
      const auto node = static_cast<uint32_t>(copied) + i;
      offer(node, tree_.word(node));
    });
    std::sort(matches_.begin(), matches_.end(), [this](const Match& a, const Match& b) {
      if (a.distance != b.distance) return a.distance < b.distance;
      return tree_.word(a.index) < tree_.word(b.index);
    });
    return std::move(matches_);
  }

 private:
  Units word(const Place& place) const {
    return {tree_.preorder_.units.data() + place.begin, place.length};
  }

  void offer(uint32_t node, Units word) {
    const int64_t distance = pattern_.distance(word, delta_);
    if (distance <= delta_) matches_.push_back({node, static_cast<uint32_t>(distance)});
  }

  // Calls take(i) for each of `count` words whose outline allows a match.
  template <class Take>
  void scan(const Outline* outlines, int64_t count, Take&& take) {
    uint32_t selected[kScanned];
    for (int64_t begin = 0; begin < count; begin += kScanned) {
      const int64_t size = std::min(kScanned, count - begin);
      const int64_t found = select_near(outlines + begin, size, outline_, delta_, selected);
      for (int64_t i = 0; i < found; ++i) take(static_cast<uint32_t>(begin) + selected[i]);
      if (++steps_ % 64 == 0) poll_interrupt();
    }
  }

  void descend(uint32_t at) {
    const std::vector<Place>& places = tree_.preorder_.places;
    const Place& place = places[at];
    // Beyond this bound neither the word itself nor any of its children can be near enough.
    const int64_t bound = delta_ + place.longest_edge;
    const int64_t distance = pattern_.distance(word(place), bound);
    if (++steps_ % 64 == 0) poll_interrupt();
    if (distance > bound) return;
    if (distance <= delta_) matches_.push_back({place.node, static_cast<uint32_t>(distance)});
    for (uint32_t child = at + 1; child < place.end; child = places[child].end) {
      const int64_t edge = places[child].edge;
      if (distance - delta_ <= edge && edge <= distance + delta_) pending_.push_back(child);
    }
  }

  const BkTree& tree_;
  const int64_t delta_;
  const EditPattern pattern_;
  const Outline outline_;
  std::vector<uint32_t> pending_;  // places whose subtree may hold a match
  std::vector<Match> matches_;
  int64_t steps_ = 0;
};

std::vector<BkTree::Match> BkTree::query(Units word, int64_t delta) const {
  return Search(*this, word, delta).run();
}

}  // namespace crnn
