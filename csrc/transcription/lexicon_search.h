// The most probable words of a lexicon for one sample: argmax_w p(w | y), exactly.
//
// Best first over the trie: the mass of a prefix (trie_frames.h) bounds the probability of every
// word that starts with it, and of all of them together. A queue holds the prefixes whose words
// are not looked at yet; the search may stop when no bound reaches the n-th best word found. It
// goes on until the words not looked at cannot change a posterior by more than `tolerance`. When
// it has expanded kMostExpanded prefixes, it sweeps what is left, so that the worst case is one
// pass over the trie: kTrieLanes prefixes at a time, each followed in place to where the trie
// branches or ends; only of branching nodes vectors are kept, on a stack. The sweep's bounds are
// those of branches: along the way between them nothing is left out.
//
// Cost of a sweep: a node takes 4 additions and multiplications a frame, which a vector unit of
// 16 of them a cycle would do in 0.35 ms at 2.7 GHz for 50k words (142,000 nodes) and 26 frames.
// There the sweep takes 4 ms: trie_walk() half as long again as that floor, the bounds of the
// branches' children about as long as it, and all the rest goes into finding one's way, that is,
// what a node is, whether a word ends there, and carrying vectors between lanes and the stack.
//
// Exactness. Search values are doubles with a relative error far below the margin of
// 1e-12 (T + 16), plus less than 1e-300. Whatever comes within the margin of the n-th best is
// scored again by LabelScorer, whose values alone decide, the lower index on a tie: the result is
// that of scoring every word so. Where the n-th best falls below kLeast, every word is scored.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/trie.h"
#include "transcription/label_prob.h"
#include "transcription/trie_frames.h"

namespace crnn {

// The words of up to two tries. Word i of trie k has the number first_number[k] + i; `removed`
// marks numbers that do not count, or is empty.
struct LexiconIndex {
  std::vector<std::shared_ptr<const Trie>> tries;
  std::vector<uint32_t> first_number;
  std::vector<bool> removed;
  int64_t live = 0;  // words that count
  int64_t blank = 0;
  std::vector<uint32_t> classes;    // that occur, the blank first
  std::vector<uint32_t> column_of;  // [C]: the place of a class in `classes`

  int64_t numbers() const { return tries.empty() ? 0 : first_number.back() + tries.back()->size(); }
  bool counts(uint32_t number) const { return removed.empty() || !removed[number]; }
  void append_word(uint32_t number, WordList& words) const;
};

// log p(w) of each word up to a constant, and the largest of each subtree.
struct WordPrior {
  std::vector<double> log_weight;          // [numbers], at most 0
  std::vector<std::vector<double>> below;  // [tries][nodes]: max exp(log_weight) below a node

  // `log_prior`: one value for each word that counts, in order; -inf keeps a word out.
  WordPrior(const LexiconIndex& index, const double* log_prior);
};

struct ScoredWord {
  uint32_t number;
  double log_prob;  // log p(w | y)
  double score;     // log_prob plus the log_weight of its prior
};

struct SearchResult {
  std::vector<ScoredWord> best;  // by falling score, then rising number; none of them -inf
  // The score of all words together, log sum exp, and their probability: both at most `tolerance`
  // (see above) too high, never too low.
  double total_score = 0, total_probability = 0;
  int64_t looked_at = 0;  // words whose probability was computed
};

struct SearchOptions {
  int64_t n = 1;            // words wanted, >= 1
  double tolerance = 0;     // see above; in [0, 1]
  bool every_word = false;  // skip nothing
  // Doubles of vectors that the sweep keeps, 32 MiB: more than words of 1000 labels in as many
  // frames need. Where it would take more, every word is scored by itself.
  int64_t most_kept = int64_t{1} << 22;
  const WordPrior* prior = nullptr;
};

SearchResult search_lexicon(const LexiconIndex& index, const FrameView& frames,
                            const SearchOptions& options);

// The best n of the given words, each scored by itself; the totals are theirs.
SearchResult score_words(const LexiconIndex& index, const std::vector<uint32_t>& numbers,
                         const FrameView& frames, const SearchOptions& options);

}  // namespace crnn
