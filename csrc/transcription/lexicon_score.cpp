// What of lexicon_search.h is no search: words by number, their prior, and each scored by itself.
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"
#include "transcription/lexicon_search.h"

namespace crnn {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

void LexiconIndex::append_word(uint32_t number, WordList& words) const {
  const size_t trie = tries.size() > 1 && number >= first_number[1] ? 1 : 0;
  tries[trie]->append_word(number - first_number[trie], words);
}

WordPrior::WordPrior(const LexiconIndex& index, const double* log_prior)
    : log_weight(static_cast<size_t>(index.numbers()), -kInfinity) {
  double largest = -kInfinity;
  for (uint32_t i = 0, word = 0; i < log_weight.size(); ++i) {
    if (index.counts(i)) largest = std::max(largest, log_weight[i] = log_prior[word++]);
  }
  for (double& value : log_weight) {
    if (value > -kInfinity) value -= largest;
  }
  for (size_t k = 0; k < index.tries.size(); ++k) {
    const Trie& trie = *index.tries[k];
    std::vector<double> most(static_cast<size_t>(trie.nodes()));
    for (int64_t v = trie.nodes(); v-- > 0;) {
      const uint32_t word = trie.word_at[v];
      double value = word == Trie::kNone ? 0 : std::exp(log_weight[index.first_number[k] + word]);
      for (uint32_t c = trie.first_child[v]; c < trie.first_child[v + 1]; ++c) {
        value = std::max(value, most[c]);
      }
      most[static_cast<size_t>(v)] = value;
    }
    below.push_back(std::move(most));
  }
}

SearchResult score_words(const LexiconIndex& index, const std::vector<uint32_t>& numbers,
                         const FrameView& frames, const SearchOptions& options) {
  LabelScorer scorer(frames, index.blank);
  SearchResult result;
  result.looked_at = static_cast<int64_t>(numbers.size());
  std::vector<ScoredWord>& best = result.best;
  WordList word;
  for (uint32_t number : numbers) {
    word.units.clear();
    word.ends.clear();
    index.append_word(number, word);
    const double log_prob = scorer.log_prob(word[0]);
    const double weight = options.prior ? options.prior->log_weight[number] : 0;
    if (log_prob + weight > -kInfinity) best.push_back({number, log_prob, log_prob + weight});
    if (best.size() % 64 == 0) poll_interrupt();
  }
  double highest = -kInfinity;
  for (const ScoredWord& scored : best) highest = std::max(highest, scored.score);
  double total = 0;
  for (const ScoredWord& scored : best) {
    total += std::exp(scored.score - highest);
    result.total_probability += std::exp(scored.log_prob);
  }
  result.total_score = highest + std::log(total);
  const size_t n = std::min(best.size(), static_cast<size_t>(options.n));
  const auto order = [](const ScoredWord& a, const ScoredWord& b) {
    return a.score != b.score ? a.score > b.score : a.number < b.number;
  };
  std::partial_sort(best.begin(), best.begin() + static_cast<int64_t>(n), best.end(), order);
  best.resize(n);
  return result;
}

}  // namespace crnn
