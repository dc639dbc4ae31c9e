// A character n-gram model: the probability of the next symbol of a text from the n - 1 before it.
//
// Witten-Bell smoothing in its interpolated form (Witten and Bell 1991; Chen and Goodman 1999,
// section 2.4). For a context h, c a symbol or the end of the text, and h' = h without its first
// symbol,
//
//   p(c | h) = (count(h c) + T(h) p(c | h')) / (count(h) + T(h)),
//
// T(h) being how many different c follow h. Below the empty context all classes are alike. It needs
// no counts of counts, which few symbols do not have: every n-gram of length 1 or 2 is frequent.
// A text is preceded by one mark of its beginning, which is never predicted, and followed by one of
// its end, which takes the class of the blank.
//
// Invariants of the nodes, which are the n-grams seen:
//  - node 0 is the empty n-gram; nodes are numbered by length, and children of a node are
//    neighbours in rising order of their last unit: children of v < contexts are
//    [first_child[v], first_child[v + 1]); those of the greatest length, [contexts, nodes), have
//    none;
//  - suffix[v] is the node without the first unit; it is seen wherever v is, and suffix[v] < v.
// log_prob[v] is that of v's last unit after the others. A context's backoff is
// log(T / (count + T)): where c was never seen after h, log p(c | h) = backoff(h) + log p(c | h').
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/word_list.h"

namespace crnn {

// The arrays of the invariants above; `owner` keeps them alive.
struct NGrams {
  int64_t nodes, contexts;      // 1 <= contexts <= nodes
  const uint32_t* first_child;  // [contexts + 1]
  const uint32_t* unit;         // [nodes]; the root's is 0
  const uint32_t* suffix;       // [nodes]; the root's is 0
  const float* log_prob;        // [nodes]; of the root and the beginning 0
  const float* backoff;         // [contexts]
  std::shared_ptr<const void> owner;
};

class LanguageModel {
 public:
  static constexpr int64_t kHighestOrder = 8;
  using State = uint32_t;  // the longest context that was seen
  struct Step {
    double log_prob;
    State next;  // of no meaning after the end
  };

  // Takes any arrays that fit their sizes, of units in [0, classes] (classes: the beginning).
  // Throws std::invalid_argument with the reason unless the invariants hold.
  LanguageModel(NGrams ngrams, int64_t classes, int64_t blank, int64_t order);

  // From texts of classes other than the blank, each counted so many times (at least once).
  // Sorts every place of the texts, some 20 bytes a symbol.
  static std::unique_ptr<LanguageModel> build(const WordList& texts, const uint64_t* counts,
                                              int64_t classes, int64_t blank, int64_t order);

  int64_t classes() const { return classes_; }
  int64_t blank() const { return blank_; }
  int64_t order() const { return order_; }
  int64_t size() const { return ngrams_.nodes - 1; }  // n-grams
  int64_t bytes() const { return 4 * (3 * ngrams_.nodes + 2 * ngrams_.contexts + 1); }

  // Before the first symbol.
  State start() const { return start_; }
  // log p(unit | state), `unit` being a class or, for the end, the blank. A text of n symbols looks
  // for at most 2n + order children, each by bisection.
  Step step(State state, uint32_t unit) const;
  // log P of a whole text, its end included: natural logarithm, finite for every text.
  double log_prob(Units text) const;

  // The file is described in language_model_file.cpp; both work as in transcription/lexicon.h.
  void save(int descriptor, const std::string& header) const;
  static std::unique_ptr<LanguageModel> load(int descriptor, std::string& header);

 private:
  uint32_t child(State state, uint32_t unit) const;
  void check() const;

  NGrams ngrams_;
  int64_t classes_, blank_, order_;
  State start_;
  double log_uniform_;
};

// The child of context `node` with that unit, or UINT32_MAX.
uint32_t find_child(const uint32_t* first_child, const uint32_t* units, uint32_t node,
                    uint32_t unit);

}  // namespace crnn
