#include "text/bk_tree_builder.h"

#include "common/parallel.h"

namespace crnn {

BkTree::Builder::Builder(const BkTree& tree) : tree_(tree) {
  // Nodes are numbered by word, places are in preorder: collect each place's parent first.
  const size_t placed = tree.placed();
  std::vector<uint32_t> parents(placed, 0), edges(placed, 0), above;  // of a word; places above
  for (uint32_t place = 0; place < placed; ++place) {
    while (!above.empty() && tree.end_[above.back()] <= place) above.pop_back();
    const uint32_t word = tree.word_at_[place];
    if (!above.empty()) parents[word] = tree.word_at_[above.back()];
    edges[word] = tree.edge(place);
    above.push_back(place);
  }
  for (uint32_t word = 0; word < placed; ++word) link(parents[word], edges[word]);
  for (int64_t i = static_cast<int64_t>(placed); i < tree.size(); ++i) insert(tree.word(i));
}

void BkTree::Builder::link(uint32_t parent, uint32_t edge) {
  const auto node = static_cast<uint32_t>(parents_.size());
  edges_.push_back(edge);
  first_child_.push_back(kNone);
  next_sibling_.push_back(node == 0 ? kNone : first_child_[parent]);
  parents_.push_back(parent);
  if (node > 0) first_child_[parent] = node;
}

uint32_t BkTree::Builder::child_at(uint32_t node, uint32_t edge) const {
  uint32_t child = first_child_[node];
  while (child != kNone && edges_[child] != edge) child = next_sibling_[child];
  return child;
}

bool BkTree::Builder::insert(Units word) {
  uint32_t node = 0, edge = 0;
  if (!parents_.empty()) {
    const EditPattern pattern(word);
    for (int64_t depth = 1;; ++depth) {
      edge = static_cast<uint32_t>(pattern.distance(tree_.word(node), kNoBound));
      if (edge == 0) return false;
      const uint32_t child = child_at(node, edge);
      if (child == kNone) break;
      node = child;
      if (depth % 1024 == 0) poll_interrupt();
    }
  }
  link(node, edge);
  return true;
}

}  // namespace crnn
