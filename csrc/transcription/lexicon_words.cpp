#include "transcription/lexicon_words.h"

#include <algorithm>

#include "common/parallel.h"

namespace crnn {

Lexicon::Words::Words(std::vector<std::shared_ptr<const Trie>> tries, std::vector<bool> removed,
                      int64_t blank) {
  index.blank = blank;
  index.classes.push_back(static_cast<uint32_t>(blank));
  uint32_t numbers = 0;
  for (const auto& trie : tries) {
    index.first_number.push_back(numbers);
    numbers += static_cast<uint32_t>(trie->size());
    for (uint32_t unit : trie->units()) {
      if (index.column_of.size() <= unit) index.column_of.resize(unit + size_t{1});
      if (index.column_of[unit] != 0) continue;
      index.column_of[unit] = static_cast<uint32_t>(index.classes.size());
      index.classes.push_back(unit);
    }
  }
  index.tries = std::move(tries);
  index.removed = std::move(removed);
  if (std::find(index.removed.begin(), index.removed.end(), true) == index.removed.end()) {
    index.removed.clear();
  }
  index.live = numbers;
  if (index.removed.empty()) return;
  index.removed.resize(numbers);
  for (uint32_t i = 0; i < numbers; ++i) {
    if (index.counts(i)) live.push_back(i);
  }
  index.live = static_cast<int64_t>(live.size());
}

uint32_t Lexicon::Words::find(Units word) const {
  for (size_t k = 0; k < index.tries.size(); ++k) {
    const uint32_t found = index.tries[k]->find(word);
    if (found != Trie::kNone && index.counts(index.first_number[k] + found)) {
      return index.first_number[k] + found;
    }
  }
  return Trie::kNone;
}

WordList Lexicon::Words::slice(int64_t begin, int64_t end) const {
  WordList list;
  end = std::min(end, index.live);
  for (int64_t place = begin; place < end; ++place) {
    index.append_word(number(place), list);
    if (place % 1024 == 0) poll_interrupt();
  }
  return list;
}

const BkTree& Lexicon::Words::bk_tree() const {
  std::lock_guard<std::mutex> lock(building_);
  if (!bk_tree_) {
    auto tree = std::make_unique<BkTree>();
    tree->extend(slice(0, index.live));
    bk_tree_ = std::move(tree);
  }
  return *bk_tree_;
}

}  // namespace crnn
