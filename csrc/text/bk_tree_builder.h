// A BK-tree while words join it: nodes linked to their parents and siblings. Node i is word i.
#pragma once

#include <vector>

#include "text/bk_tree.h"

namespace crnn {

class BkTree::Builder {
 public:
  // The words in the tree, and those that are new to it.
  explicit Builder(const BkTree& tree);

  // Finds the place of a word: false if the word is there; else it becomes the next node, and the
  // tree must append it next.
  bool insert(Units word);

  const std::vector<uint32_t>& parents() const { return parents_; }  // 0 for the root
  const std::vector<uint32_t>& edges() const { return edges_; }      // 0 for the root

 private:
  void link(uint32_t parent, uint32_t edge);
  uint32_t child_at(uint32_t node, uint32_t edge) const;

  const BkTree& tree_;
  std::vector<uint32_t> parents_, edges_, first_child_, next_sibling_;
};

}  // namespace crnn
