// BK-tree over sequences of 32-bit units (Burkhard and Keller 1973): the index of section 2.3.2 of
// the CRNN paper, for "all words within edit distance delta".
//
// Each word hangs at the edge of its distance to its parent, at least 1 and different from its
// siblings' edges; hence every word below the child at edge e has distance e to the parent. By the
// triangle inequality, a word within delta of the query hangs at an edge within delta of the
// distance between the query and the parent: the other edges need no visit.
//
// Invariants:
//  - word i is the i-th word added; words lie in one arena in that order;
//  - the first placed() words are in the tree, in preorder, so that a subtree is one stretch of
//    memory; the child with the longest edge comes first among its siblings;
//  - a word's number is above its parent's;
//  - words beyond are new: they join the tree when they are many, until then they are scanned.
// Besides its units a word takes 22 bytes: where it begins, which word has a place, where its
// subtree ends, its edge, its outline.
//
// Queries do not descend into a small subtree but scan it with the bound of outline.h: that costs
// half a nanosecond a word, a step down the tree 50; words that pass are compared many at a time.
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
  // Throws std::length_error beyond 2^32 - 2 words or units. Whatever it throws, the words added
  // before stay. Cost per word: one exact distance for each ancestor; words that all have the same
  // distance to each other make the tree a list.
  int64_t extend(const WordList& words);

  bool contains(Units word) const;
  // Every word within `delta` (>= 0) of `word`, ordered by distance, then by word.
  std::vector<Match> query(Units word, int64_t delta) const;

  int64_t size() const { return static_cast<int64_t>(begins_.size()) - 1; }
  Units word(int64_t index) const {
    const auto i = static_cast<size_t>(index);
    return {units_.data() + begins_[i], int64_t{begins_[i + 1]} - begins_[i]};
  }
  int64_t bytes() const;  // in use, the words' units included

  // The file format is described in bk_tree_file.cpp. load() takes any bytes: it throws
  // std::invalid_argument with the reason if they are not what save() wrote.
  std::string save() const;
  static BkTree load(const std::string& bytes);
  // The size in bytes that a file announces in its first kHeaderBytes bytes; throws like load().
  static constexpr int64_t kHeaderBytes = 32;
  static uint64_t announced_size(const std::string& header);

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  class Search;
  class Builder;

  size_t placed() const { return word_at_.size(); }
  Units word_of_place(uint32_t place) const { return word(word_at_[place]); }
  uint32_t edge(uint32_t place) const {
    return wide_edges_.empty() ? edges_[place] : wide_edges_[place];
  }
  bool is_new(Units word) const;
  void append(Units word);
  void place(const std::vector<uint32_t>& parents, const std::vector<uint32_t>& edges);

  std::vector<uint32_t> units_;
  std::vector<uint32_t> begins_{0};  // [size + 1]: of each word in units_, and their end
  // Of each place: the word there, the place behind its subtree, its edge to its parent (0 for the
  // root), its outline. Edges are wide where one is above 65535.
  std::vector<uint32_t> word_at_, end_;
  std::vector<uint16_t> edges_;
  std::vector<uint32_t> wide_edges_;
  std::vector<Outline> outlines_;
  std::vector<Outline> new_outlines_;  // of the words that are not in the tree
};

}  // namespace crnn
