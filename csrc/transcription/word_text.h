// Texts of a lexicon's words with other symbols between: every longest run of symbols that are not
// free is a word. Free symbols are in no word; where a word holds one all the same, it cannot be
// read.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "text/word_list.h"
#include "transcription/lexicon_search.h"

namespace crnn {

class WordText {
 public:
  // How far a text has come: the node of the begun word in each trie, or kNone where no word begins
  // so; the roots between words.
  using State = std::array<uint32_t, 2>;

  // `classes` bounds those of the words and the free ones.
  WordText(std::shared_ptr<const LexiconIndex> index, const std::vector<int64_t>& free,
           int64_t classes);

  static constexpr State start() { return {0, 0}; }
  // Whether a text may end here, or a free symbol follow.
  bool complete(State state) const;
  // Calls visit(class, state) for every symbol that may follow, each once.
  template <class Visit>
  void for_each_next(State state, Visit&& visit) const;
  bool holds(Units text) const;

 private:
  static constexpr uint32_t kNone = Trie::kNone;
  size_t tries() const { return index_->tries.size(); }
  uint32_t child(size_t k, uint32_t node, uint32_t unit) const;

  std::shared_ptr<const LexiconIndex> index_;  // of at most two tries
  std::vector<uint32_t> free_;
  std::vector<bool> is_free_;  // [classes]
};

template <class Visit>
void WordText::for_each_next(State state, Visit&& visit) const {
  for (size_t k = 0; k < tries(); ++k) {
    if (state[k] == kNone) continue;
    const Trie& trie = *index_->tries[k];
    const uint32_t end = trie.first_child[state[k] + 1];
    for (uint32_t node = trie.first_child[state[k]]; node < end; ++node) {
      const uint32_t unit = trie.unit[node];
      if (is_free_[unit]) continue;
      State next{kNone, kNone};
      next[k] = node;
      if (k == 0) {
        next[1] = child(1, state[1], unit);
      } else if (child(0, state[0], unit) != kNone) {
        continue;  // visited with the first trie
      }
      visit(unit, next);
    }
  }
  if (!complete(state)) return;
  for (uint32_t unit : free_) visit(unit, start());
}

}  // namespace crnn
