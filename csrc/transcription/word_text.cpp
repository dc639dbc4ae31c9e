#include "transcription/word_text.h"

#include <algorithm>

namespace crnn {

WordText::WordText(std::shared_ptr<const LexiconIndex> index, const std::vector<int64_t>& free,
                   int64_t classes)
    : index_(std::move(index)),
      free_(free.begin(), free.end()),
      is_free_(static_cast<size_t>(classes)) {
  for (uint32_t unit : free_) is_free_[unit] = true;
}

bool WordText::complete(State state) const {
  if (state == start()) return true;
  for (size_t k = 0; k < tries(); ++k) {
    if (state[k] == kNone) continue;
    const uint32_t word = index_->tries[k]->word_at[state[k]];
    if (word != kNone && index_->counts(index_->first_number[k] + word)) return true;
  }
  return false;
}

uint32_t WordText::child(size_t k, uint32_t node, uint32_t unit) const {
  if (k >= tries() || node == kNone) return kNone;
  const Trie& trie = *index_->tries[k];
  const uint32_t* begin = trie.unit + trie.first_child[node];
  const uint32_t* end = trie.unit + trie.first_child[node + 1];
  const uint32_t* found = std::lower_bound(begin, end, unit);
  return found != end && *found == unit ? static_cast<uint32_t>(found - trie.unit) : kNone;
}

bool WordText::holds(Units text) const {
  State state = start();
  for (int64_t i = 0; i < text.size; ++i) {
    const uint32_t unit = text.data[i];
    if (is_free_[unit]) {
      if (!complete(state)) return false;
      state = start();
      continue;
    }
    state = {child(0, state[0], unit), child(1, state[1], unit)};
    if (state == State{kNone, kNone}) return false;
  }
  return complete(state);
}

}  // namespace crnn
