// A trie over sequences of 32-bit units: the prefixes of many words, each once.
//
// Invariants:
//  - node 0 is the root; nodes are numbered level by level, so that the children of a node are
//    neighbours and the children of node v+1 follow those of node v:
//    children of v = [first_child[v], first_child[v + 1]), in rising order of their units;
//  - hence first_child[v] > v and parent[v] < v (but for the root);
//  - word i ends at node nodes[i]; words[v] is the word that ends at v, or kNone.
// A node takes 16 bytes, a word 4 more. One stretch of memory holds it all, so that a file can be
// mapped in its place.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/word_list.h"

namespace crnn {

class Trie {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Word i of the trie is the i-th different word of `words`. Throws std::length_error beyond
  // 2^32 - 2 nodes. Takes about a microsecond a word.
  explicit Trie(const WordList& words);

  // A trie of `nodes` nodes and `words` words in 32-bit numbers as buffer() gives them; `owner`
  // keeps them alive. Throws std::invalid_argument with the reason unless every invariant holds
  // and all units are below `limit`.
  Trie(const uint32_t* data, int64_t nodes, int64_t words, uint32_t limit,
       std::shared_ptr<const void> owner);
  Trie(const Trie&) = delete;
  Trie& operator=(const Trie&) = delete;

  int64_t size() const { return words_; }
  int64_t nodes() const { return nodes_; }
  // Number of units in the buffer of a trie of that size.
  static int64_t buffer_size(int64_t nodes, int64_t words) { return 4 * nodes + 1 + words; }
  const uint32_t* buffer() const { return first_child; }

  // The word's number, or kNone.
  uint32_t find(Units word) const;
  // Appends the units of word i, which takes a step for each.
  void append_word(int64_t i, WordList& words) const;
  // The different units that occur, in rising order.
  const std::vector<uint32_t>& units() const { return units_; }

  const uint32_t* first_child;  // [nodes + 1]
  const uint32_t* unit;         // [nodes]; the root's is kNone
  const uint32_t* parent;       // [nodes]; the root's is 0
  const uint32_t* word_at;      // [nodes]
  const uint32_t* node_of;      // [words]

 private:
  void point_into(const uint32_t* data);
  void collect_units();
  void check(uint32_t limit) const;

  int64_t nodes_ = 0, words_ = 0;
  std::vector<uint32_t> units_;
  std::shared_ptr<const void> owner_;
};

}  // namespace crnn
