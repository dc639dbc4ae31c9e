// Lexicon-based transcription (section 2.3.2 of the CRNN paper): the words of a lexicon with the
// highest p(word | y), over all words, or, by equation 2, over those near the greedy reading.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "text/word_list.h"
#include "transcription/frames.h"
#include "transcription/lexicon_search.h"

namespace crnn {

enum class LexiconMethod { exact, bk_tree, exhaustive };

struct LexiconOptions {
  LexiconMethod method = LexiconMethod::exact;
  int64_t delta = 3;                  // of bk_tree
  int64_t n_best = 1;                 // >= 1
  double tolerance = 0;               // of exact: see lexicon_search.h
  const double* log_prior = nullptr;  // [prior_size], of each word; or null: all alike
  int64_t prior_size = 0;
};

struct LexiconReading {
  // The n_best most probable words, best first. Where no word has a probability above zero, the
  // greedy reading alone.
  WordList words;
  std::vector<double> log_probs, scores;          // of each: log p(word | y), and with the prior
  int64_t found = 0;                              // how many of `words` are words of the lexicon
  double total_score = 0, total_probability = 0;  // see SearchResult
  int64_t looked_at = 0;
};

// A set of words as sequences of classes, in the order of addition. Any number of threads may use
// it at once, also while words come and go: each call works on the words of its beginning.
//
// Words lie in a trie that does not change. Those added later have a second, small one, and those
// removed are marked; when either grows past an eighth of the first, one trie is built of all.
class Lexicon {
 public:
  // Classes are in [0, classes), of which `blank` is none of a word's.
  Lexicon(int64_t classes, int64_t blank);
  ~Lexicon();

  int64_t classes() const { return classes_; }
  int64_t blank() const { return blank_; }

  // Both return how many words are new, or were there. Every unit is a class but the blank.
  int64_t add(const WordList& words);
  int64_t remove(const WordList& words);
  bool contains(Units word) const;
  int64_t size() const;
  int64_t bytes() const;  // of the tries
  // Words [begin, end) in the order of addition, as far as there are any.
  WordList slice(int64_t begin, int64_t end) const;

  // The words as they are now.
  std::shared_ptr<const LexiconIndex> index() const;

  // Every sample's words. Throws like greedy_decode, and unless there is a prior for each word.
  std::vector<LexiconReading> decode(const char* op, const FrameBatch& batch,
                                     const LexiconOptions& options, int num_threads) const;

  // The file is described in lexicon_file.cpp; `header` is anything that Python wants back. load()
  // takes any bytes: it throws std::invalid_argument with the reason if they are not what save()
  // wrote. Both throw std::system_error.
  void save(int descriptor, const std::string& header) const;
  static std::unique_ptr<Lexicon> load(int descriptor, std::string& header);

 private:
  struct Words;  // what a call works on

  std::shared_ptr<const Words> words() const;
  static std::shared_ptr<const Words> merged(const Words& words);
  void publish(std::shared_ptr<const Words> words);

  const int64_t classes_, blank_;
  mutable std::mutex mutex_;  // of words_
  std::mutex writing_;        // one writer at a time
  std::shared_ptr<const Words> words_;
};

}  // namespace crnn
