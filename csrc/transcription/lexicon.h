// Lexicon-based transcription (section 2.3.2 of the CRNN paper): the word of a lexicon with the
// highest p(word | y), over all words or, by equation 2, over those near the greedy reading.
#pragma once

#include <cstdint>
#include <vector>

#include "text/bk_tree.h"
#include "text/word_list.h"
#include "transcription/frames.h"

namespace crnn {

// Words as sequences of classes. Read-only once built, so any number of threads may decode.
class Lexicon {
 public:
  struct Reading {
    int64_t index = -1;            // of the word; -1 if no candidate has a probability above zero
    double log_prob = 0;           // log p(labels | y)
    std::vector<uint32_t> labels;  // of the word, or the greedy reading where there is none
    int64_t candidates = 0;        // words whose probability was computed
  };

  // All words, each once: index i in a Reading is words[i]. Throws std::invalid_argument if a word
  // is there twice.
  explicit Lexicon(const WordList& words);

  int64_t size() const { return tree_.size(); }

  // For each sample the most probable candidate, the first of the lexicon on a tie. Candidates are
  // the words within `delta` (>= 0) edits of the greedy reading, or all words if delta is kAll.
  // Every unit of the words is a class in [0, C) other than blank. Throws like greedy_decode.
  static constexpr int64_t kAll = -1;
  std::vector<Reading> decode(const char* op, const FrameBatch& batch, int64_t blank, int64_t delta,
                              int num_threads) const;

 private:
  Reading decode_one(const FrameView& frames, const std::vector<int64_t>& greedy, int64_t blank,
                     int64_t delta) const;

  BkTree tree_;
};

}  // namespace crnn
