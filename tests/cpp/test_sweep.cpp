#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "batch.h"
#include "check.h"
#include "transcription/lexicon.h"
#include "transcription/lexicon_search.h"
#include "transcription/trie_frames.h"

using namespace crnn;

TEST(sweep, a_sweep_without_room_scores_every_word) {
  std::mt19937 random(9);
  std::vector<std::vector<uint32_t>> words;  // of 0 to 7 labels, many of them repeated
  for (int i = 0; i < 300; ++i) {
    words.emplace_back(random() % 8);
    for (uint32_t& unit : words.back()) unit = 1 + random() % 3;
  }
  Lexicon lexicon(4, 0);
  lexicon.add(list(words));
  const auto index = lexicon.index();
  for (int64_t frames : {1, 2, 5, 9, 26}) {
    Batch batch(frames, 8, 4, 4);
    for (int64_t n = 0; n < batch.N; ++n) {
      const FrameView view(batch.view(), n);
      SearchOptions roomy;
      roomy.n = 5;
      roomy.every_word = true;
      SearchOptions narrow = roomy;
      narrow.most_kept = 0;
      const SearchResult a = search_lexicon(*index, view, roomy);
      const SearchResult b = search_lexicon(*index, view, narrow);
      CHECK_EQUAL(a.best.size(), b.best.size());
      for (size_t i = 0; i < std::min(a.best.size(), b.best.size()); ++i) {
        CHECK_EQUAL(a.best[i].number, b.best[i].number);
        CHECK_EQUAL(a.best[i].log_prob, b.best[i].log_prob);
      }
      CHECK(std::abs(a.total_score - b.total_score) < 1e-9);
      CHECK(std::abs(a.total_probability - b.total_probability) < 1e-9);
    }
  }
}

// trie_walk() of every level against trie_advance(), one node at a time.
TEST(sweep, lanes_walk_as_single_nodes_do) {
  for (int64_t frames : {1, 2, 7, 8, 9, 17, 26}) {
    Batch batch(frames, 1, 5, 11);
    const TrieFrames trie(FrameView(batch.view(), 0), {0, 1, 2, 3, 4});
    const int64_t padded = trie.padded();
    for (int64_t depth : {int64_t{1}, std::min<int64_t>(3, frames)}) {
      std::vector<double> states(static_cast<size_t>(frames * kTrieLanes));
      const double* columns[kTrieLanes];
      std::vector<std::vector<double>> expected;
      double totals[kTrieLanes];
      uint32_t repeated = 0;
      const int64_t first = depth - 1;
      for (int64_t i = 0; i < kTrieLanes; ++i) {
        std::vector<double> all(static_cast<size_t>(padded)), blank(all), next(all);
        for (int64_t t = first; t < frames; ++t) {
          all[static_cast<size_t>(t)] = states[static_cast<size_t>(t * kTrieLanes + i)] =
              0.1 + 0.01 * static_cast<double>((7 * t + 3 * i) % 11);
        }
        columns[i] = trie.column(static_cast<uint32_t>(1 + i % 4));
        const bool again = depth == 3 && i % 5 == 0;
        repeated |= static_cast<uint32_t>(again) << i;
        trie_blank(all.data(), trie.column(0), padded, blank.data());
        trie_advance(again ? blank.data() : all.data(), columns[i], trie.column(0), first, frames,
                     padded, next.data());
        expected.push_back(next);
      }
      trie_walk(states.data(), columns, repeated, trie.column(0), first, frames, totals);
      for (int64_t i = 0; i < kTrieLanes; ++i) {
        const std::vector<double>& all = expected[static_cast<size_t>(i)];
        for (int64_t t = first; t < frames; ++t) {
          CHECK(std::abs(states[static_cast<size_t>(t * kTrieLanes + i)] -
                         all[static_cast<size_t>(t)]) < 1e-14);
        }
        CHECK(totals[i] > 0);
      }
    }
  }
}
