// The words that a call to a Lexicon works on: they never change.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "text/bk_tree.h"
#include "transcription/lexicon.h"

namespace crnn {

struct Lexicon::Words {
  LexiconIndex index;
  std::vector<uint32_t> live;  // numbers of the words that count; empty where all do

  Words(std::vector<std::shared_ptr<const Trie>> tries, std::vector<bool> removed, int64_t blank);

  uint32_t number(int64_t place) const {
    return live.empty() ? static_cast<uint32_t>(place) : live[static_cast<size_t>(place)];
  }
  // The number of a word that counts, or Trie::kNone.
  uint32_t find(Units word) const;
  // Words [begin, end) of those that count.
  WordList slice(int64_t begin, int64_t end) const;
  // Over the words that count, in order; built when first asked for.
  const BkTree& bk_tree() const;

 private:
  mutable std::mutex building_;
  mutable std::unique_ptr<BkTree> bk_tree_;
};

}  // namespace crnn
