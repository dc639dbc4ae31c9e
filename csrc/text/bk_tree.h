// BK-tree over sequences of 32-bit units (Burkhard and Keller 1973): the index of section 2.3.2 of
// the CRNN paper, for "all words within edit distance delta".
//
// Invariants:
//  - node i is the i-th word added; node 0 is the root; a child's number is above its parent's;
//  - `edge` is the distance to the parent, at least 1 and different from its siblings' edges;
//  - hence every word below the child at edge e has distance e to the parent;
//  - words lie in one arena in the order of their nodes.
// By the triangle inequality, a word within delta of the query hangs at an edge within delta of
// the distance between the query and the parent: the other edges need no visit.
//
// Queries read a copy of the tree in preorder, so that a subtree is one stretch of memory, and do
// not descend into a small subtree but scan it with the bound of outline.h: that costs 2 ns a
// word, a step down the tree 50. Words newer than the copy are scanned likewise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/edit_distance.h"
#include "text/outline.h"
#include "text/word_list.h"

namespace crnn {

class BkTree {
 public:
  struct Match {
    uint32_t index;  // of the word, in the order of addition
    uint32_t distance;
  };

  // Adds the words in order, leaving out those that are there, and returns how many were new.
  // Throws std::length_error beyond 2^32 - 2 words or 2^32 - 1 units in a word. Whatever it
  // throws, the words added before stay. Cost per word: one exact distance for each ancestor of
  // its node; words that all have the same distance to each other make the tree a list.
  int64_t extend(const WordList& words);

  bool contains(Units word) const;
  // Every word within `delta` (>= 0) of `word`, ordered by distance, then by word.
  std::vector<Match> query(Units word, int64_t delta) const;

  int64_t size() const { return static_cast<int64_t>(nodes_.size()); }
  Units word(int64_t index) const { return word(nodes_[static_cast<size_t>(index)]); }

  // The file format is described in bk_tree_file.cpp. load() takes any bytes: it throws
  // std::invalid_argument with the reason if they are not what save() wrote.
  std::string save() const;
  static BkTree load(const std::string& bytes);
  // The size in bytes that a file announces in its first kHeaderBytes bytes; throws like load().
  static constexpr int64_t kHeaderBytes = 32;
  static uint64_t announced_size(const std::string& header);

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Node {
    int64_t begin;  // in units_
    uint32_t length, parent, edge;
    uint32_t first_child = kNone, next_sibling = kNone;
    uint32_t longest_edge = 0;  // of its children; 0 for a leaf
  };

  // The first places.size() nodes in preorder.
  struct Place {
    int64_t begin;  // in Preorder::units
    uint32_t length, edge, longest_edge;
    uint32_t end;  // the place after the last of its subtree
    uint32_t node;
  };
  struct Preorder {
    std::vector<Place> places;
    std::vector<Outline> outlines;
    std::vector<uint32_t> units;
  };
  class Search;

  Units word(const Node& node) const { return {units_.data() + node.begin, node.length}; }
  uint32_t child_at(const Node& node, uint32_t edge) const;
  bool add(Units word);
  void append(Units word, uint32_t parent, uint32_t edge);
  Preorder preorder() const;
  void copy_if_many_are_new();

  std::vector<uint32_t> units_;
  std::vector<Node> nodes_;
  Preorder preorder_;
  std::vector<Outline> recent_;  // of the nodes that preorder_ lacks
};

}  // namespace crnn
