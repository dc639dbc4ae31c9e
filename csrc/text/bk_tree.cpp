#include "text/bk_tree.h"

#include <algorithm>
#include <stdexcept>

#include "common/parallel.h"

namespace crnn {
namespace {

uint64_t symbol_set(Units word) {
  uint64_t set = 0;
  for (int64_t i = 0; i < word.size; ++i) set |= uint64_t{1} << (word.data[i] % 64);
  return set;
}

// Whether more than `limit` bits are set.
bool more_bits_than(uint64_t bits, int64_t limit) {
  for (int64_t i = 0; i < limit && bits != 0; ++i) bits &= bits - 1;
  return bits != 0;
}

// A lower bound on the distance: every unit that one word has and the other lacks costs one edit.
bool farther_by_symbols(uint64_t a, uint64_t b, int64_t delta) {
  return more_bits_than(a & ~b, delta) || more_bits_than(b & ~a, delta);
}

}  // namespace

uint32_t BkTree::child_at(const Node& node, uint32_t edge) const {
  if (edge > node.longest_edge) return kNone;
  uint32_t child = node.first_child;
  while (child != kNone && nodes_[child].edge != edge) child = nodes_[child].next_sibling;
  return child;
}

void BkTree::append(Units word, uint32_t parent, uint32_t edge) {
  Node node;
  node.begin = static_cast<int64_t>(units_.size());
  node.symbols = symbol_set(word);
  node.length = static_cast<uint32_t>(word.size);
  node.edge = edge;
  const auto index = static_cast<uint32_t>(nodes_.size());
  if (index > 0) node.next_sibling = nodes_[parent].first_child;
  nodes_.push_back(node);
  try {
    units_.insert(units_.end(), word.data, word.data + word.size);
  } catch (...) {
    nodes_.pop_back();
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

std::vector<BkTree::Match> BkTree::query(Units word, int64_t delta) const {
  std::vector<Match> matches;
  if (nodes_.empty()) return matches;
  delta = std::min<int64_t>(delta, UINT32_MAX);
  const EditPattern pattern(word);
  const uint64_t symbols = symbol_set(word);
  std::vector<uint32_t> pending{0};
  int64_t visited = 0;
  while (!pending.empty()) {
    const uint32_t index = pending.back();
    pending.pop_back();
    const Node& node = nodes_[index];
    if (++visited % 1024 == 0) poll_interrupt();
    if (node.longest_edge == 0 && farther_by_symbols(symbols, node.symbols, delta)) continue;
    // Beyond this bound neither the word itself nor any of its children can be near enough.
    const int64_t bound = delta + node.longest_edge;
    const int64_t distance = pattern.distance(this->word(node), bound);
    if (distance <= delta) matches.push_back({index, static_cast<uint32_t>(distance)});
    if (distance > bound) continue;
    for (uint32_t c = node.first_child; c != kNone; c = nodes_[c].next_sibling) {
      const int64_t edge = nodes_[c].edge;
      if (distance - delta <= edge && edge <= distance + delta) pending.push_back(c);
    }
  }
  std::sort(matches.begin(), matches.end(), [this](const Match& a, const Match& b) {
    if (a.distance != b.distance) return a.distance < b.distance;
    return this->word(nodes_[a.index]) < this->word(nodes_[b.index]);
  });
  return matches;
}

}  // namespace crnn
