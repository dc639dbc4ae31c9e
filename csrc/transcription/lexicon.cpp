#include "transcription/lexicon.h"

#include <algorithm>

#include "common/error.h"
#include "common/parallel.h"
#include "transcription/greedy.h"
#include "transcription/lexicon_words.h"

namespace crnn {
namespace {

// So many words may be new or removed before one trie is built of all.
int64_t few(int64_t words) { return std::max<int64_t>(1024, words / 8); }

}  // namespace

Lexicon::Lexicon(int64_t classes, int64_t blank)
    : classes_(classes),
      blank_(blank),
      words_(std::make_shared<Words>(std::vector<std::shared_ptr<const Trie>>(),
                                     std::vector<bool>(), blank)) {}

Lexicon::~Lexicon() = default;

std::shared_ptr<const Lexicon::Words> Lexicon::words() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return words_;
}

std::shared_ptr<const LexiconIndex> Lexicon::index() const {
  const std::shared_ptr<const Words> words = this->words();
  return {words, &words->index};
}

void Lexicon::publish(std::shared_ptr<const Words> words) {
  std::lock_guard<std::mutex> lock(mutex_);
  words_.swap(words);
}

// The same words in one trie.
std::shared_ptr<const Lexicon::Words> Lexicon::merged(const Words& words) {
  std::vector<std::shared_ptr<const Trie>> tries;
  if (words.index.live > 0) {
    tries.push_back(std::make_shared<Trie>(words.slice(0, words.index.live)));
  }
  return std::make_shared<Words>(std::move(tries), std::vector<bool>(), words.index.blank);
}

int64_t Lexicon::add(const WordList& words) {
  std::lock_guard<std::mutex> lock(writing_);
  const std::shared_ptr<const Words> old = this->words();
  const LexiconIndex& index = old->index;
  std::vector<std::shared_ptr<const Trie>> tries(index.tries);
  std::vector<bool> removed(index.removed);
  if (tries.empty()) {
    tries.push_back(std::make_shared<Trie>(words));
  } else {
    WordList recent;
    if (tries.size() > 1) {
      for (uint32_t number = index.first_number[1]; number < index.numbers(); ++number) {
        if (index.counts(number)) index.append_word(number, recent);
      }
      tries.pop_back();
    }
    for (int64_t i = 0; i < words.size(); ++i) {
      if (old->find(words[i]) == Trie::kNone) recent.append(words[i]);
    }
    if (recent.size() > 0) tries.push_back(std::make_shared<Trie>(recent));
    if (!removed.empty()) removed.resize(static_cast<size_t>(tries[0]->size()));
  }
  auto made = std::make_shared<const Words>(tries, std::move(removed), blank_);
  const int64_t added = made->index.live - index.live;
  if (tries.size() > 1 && tries[1]->size() > few(tries[0]->size())) made = merged(*made);
  publish(std::move(made));
  return added;
}

int64_t Lexicon::remove(const WordList& words) {
  std::lock_guard<std::mutex> lock(writing_);
  const std::shared_ptr<const Words> old = this->words();
  std::vector<bool> removed(old->index.removed);
  removed.resize(static_cast<size_t>(old->index.numbers()));
  for (int64_t i = 0; i < words.size(); ++i) {
    const uint32_t number = old->find(words[i]);
    if (number != Trie::kNone) removed[number] = true;
  }
  auto made = std::make_shared<const Words>(old->index.tries, std::move(removed), blank_);
  const int64_t gone = old->index.live - made->index.live;
  const int64_t numbers = made->index.numbers();
  if (numbers - made->index.live > few(numbers) || made->index.live == 0) made = merged(*made);
  publish(std::move(made));
  return gone;
}

bool Lexicon::contains(Units word) const { return words()->find(word) != Trie::kNone; }

int64_t Lexicon::size() const { return words()->index.live; }

int64_t Lexicon::bytes() const {
  int64_t bytes = 0;
  for (const auto& trie : words()->index.tries) {
    bytes += 4 * Trie::buffer_size(trie->nodes(), trie->size());
  }
  return bytes;
}

WordList Lexicon::slice(int64_t begin, int64_t end) const { return words()->slice(begin, end); }

namespace {

LexiconReading reading_of(const LexiconIndex& index, const SearchResult& result) {
  LexiconReading reading;
  for (const ScoredWord& scored : result.best) {
    index.append_word(scored.number, reading.words);
    reading.log_probs.push_back(scored.log_prob);
    reading.scores.push_back(scored.score);
  }
  reading.found = static_cast<int64_t>(result.best.size());
  reading.total_score = result.total_score;
  reading.total_probability = result.total_probability;
  reading.looked_at = result.looked_at;
  return reading;
}

}  // namespace

std::vector<LexiconReading> Lexicon::decode(const char* op, const FrameBatch& batch,
                                            const LexiconOptions& options, int num_threads) const {
  const std::shared_ptr<const Words> words = this->words();
  const LexiconIndex& index = words->index;
  if (options.log_prior && options.prior_size != index.live) {
    const std::string rule = "have shape [" + std::to_string(index.live) + "], one value a word";
    fail(op, "word_log_prior", rule.c_str(), "[" + std::to_string(options.prior_size) + "]");
  }
  const std::vector<GreedyReading> greedy = greedy_decode(op, batch, blank_, num_threads);
  std::unique_ptr<const WordPrior> prior;
  if (options.log_prior) prior = std::make_unique<WordPrior>(index, options.log_prior);
  SearchOptions search;
  search.n = options.n_best;
  search.tolerance = options.tolerance;
  search.every_word = options.method == LexiconMethod::exhaustive;
  search.prior = prior.get();
  const BkTree* tree = options.method == LexiconMethod::bk_tree ? &words->bk_tree() : nullptr;

  const auto decode_one = [&](const FrameView& frames, const std::vector<uint32_t>& reading) {
    if (tree == nullptr) return search_lexicon(index, frames, search);
    std::vector<uint32_t> near;
    const Units units{reading.data(), static_cast<int64_t>(reading.size())};
    for (const BkTree::Match& match : tree->query(units, options.delta)) {
      near.push_back(words->number(match.index));
    }
    return score_words(index, near, frames, search);
  };
  std::vector<LexiconReading> readings(greedy.size());
  parallel_for(batch.N, 1, num_threads, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<size_t>(n);
      const FrameView frames(batch, n);
      const std::vector<uint32_t> labels(greedy[i].labels.begin(), greedy[i].labels.end());
      readings[i] = reading_of(index, decode_one(frames, labels));
      if (search.every_word) readings[i].looked_at = index.live;
      if (readings[i].found > 0) continue;
      const Units units{labels.data(), static_cast<int64_t>(labels.size())};
      readings[i].words.append(units);
      readings[i].log_probs.push_back(LabelScorer(frames, blank_).log_prob(units));
    }
  });
  return readings;
}

}  // namespace crnn
