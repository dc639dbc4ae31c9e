#include <algorithm>
#include <cstdio>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "batch.h"
#include "check.h"
#include "text/trie.h"
#include "transcription/greedy.h"
#include "transcription/lexicon.h"

using namespace crnn;

namespace {

// Words of 0 to 7 letters out of 1 ... letters, many of them repeated or beginnings of others.
WordList random_words(int64_t count, uint32_t letters, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<uint32_t>> words;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<uint32_t> word(random() % 8);
    for (uint32_t& unit : word) unit = 1 + random() % letters;
    words.push_back(word);
    if (i % 5 == 0) words.push_back(word);
    if (i % 3 == 0 && !word.empty()) words.push_back({word.begin(), word.end() - 1});
  }
  return list(words);
}

std::vector<uint32_t> copy(Units word) { return {word.data, word.data + word.size}; }

LexiconOptions options(LexiconMethod method, double tolerance = 0.01) {
  LexiconOptions result;
  result.method = method;
  result.tolerance = tolerance;
  result.n_best = 2;
  return result;
}

}  // namespace

TEST(lexicon, trie_holds_each_word_once_in_order) {
  for (int64_t count : {0, 1, 7, 500}) {
    const WordList words = random_words(count, 3, 1);
    const Trie trie(words);
    std::vector<std::vector<uint32_t>> different;
    for (int64_t i = 0; i < words.size(); ++i) {
      const std::vector<uint32_t> word = copy(words[i]);
      if (std::find(different.begin(), different.end(), word) == different.end()) {
        CHECK_EQUAL(trie.find(words[i]), different.size());
        different.push_back(word);
      }
    }
    CHECK_EQUAL(trie.size(), static_cast<int64_t>(different.size()));
    WordList back;
    for (int64_t i = 0; i < trie.size(); ++i) {
      trie.append_word(i, back);
      CHECK(copy(back[i]) == different[static_cast<size_t>(i)]);
    }
    const uint32_t absent[] = {9, 9};
    CHECK_EQUAL(trie.find({absent, 2}), Trie::kNone);
    // Its own buffer passes the check of a file.
    const Trie again(trie.buffer(), trie.nodes(), trie.size(), 4, nullptr);
    CHECK(again.units() == trie.units());
  }
}

TEST(lexicon, every_method_finds_the_most_probable_word) {
  const WordList words = random_words(60, 3, 5);
  Lexicon lexicon(4, 0);
  lexicon.add(words);
  const WordList kept = lexicon.slice(0, lexicon.size());
  for (unsigned seed = 0; seed < 20; ++seed) {
    Batch batch(6, 100, 4, seed);
    for (double& value : batch.values) value *= seed % 4;  // flat to peaked
    std::vector<double> scores(static_cast<size_t>(batch.N * kept.size()));
    label_log_probs(batch.view(), kept, 0, 1, scores.data());
    auto wide = options(LexiconMethod::bk_tree);
    wide.delta = 100;
    for (const auto& method : {options(LexiconMethod::exact), options(LexiconMethod::exact, 0),
                               options(LexiconMethod::exhaustive), wide}) {
      const auto readings = lexicon.decode("op", batch.view(), method, 3);
      for (int64_t n = 0; n < batch.N; ++n) {
        const double* first = &scores[static_cast<size_t>(n * kept.size())];
        const int64_t best = std::max_element(first, first + kept.size()) - first;
        const LexiconReading& reading = readings[static_cast<size_t>(n)];
        CHECK(reading.found >= 1);
        CHECK(reading.words[0] == kept[best]);
        CHECK_EQUAL(reading.log_probs[0], first[best]);
        CHECK(reading.looked_at <= kept.size());
      }
    }
  }
}

TEST(lexicon, without_a_candidate_the_greedy_reading_stays) {
  Batch batch(4, 3, 3, 6);
  Lexicon lexicon(3, 0);
  lexicon.add(list({std::vector<uint32_t>(30, 1)}));
  const auto greedy = greedy_decode("op", batch.view(), 0, 1);
  for (auto method : {LexiconMethod::exact, LexiconMethod::exhaustive, LexiconMethod::bk_tree}) {
    const auto readings = lexicon.decode("op", batch.view(), options(method), 1);
    for (size_t n = 0; n < readings.size(); ++n) {
      CHECK_EQUAL(readings[n].found, 0);
      const Units word = readings[n].words[0];
      CHECK(std::equal(word.data, word.data + word.size, greedy[n].labels.begin(),
                       greedy[n].labels.end()));
      CHECK(std::isfinite(readings[n].log_probs[0]));
    }
  }
}

TEST(lexicon, words_come_and_go_while_others_decode) {
  const WordList words = random_words(400, 3, 8);
  Lexicon lexicon(4, 0);
  lexicon.add(list({{1, 2}}));
  Batch batch(6, 8, 4, 2);
  std::vector<std::thread> threads;
  for (int k = 0; k < 2; ++k) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        for (auto method : {LexiconMethod::exact, LexiconMethod::bk_tree}) {
          lexicon.decode("op", batch.view(), options(method), 2);
        }
      }
    });
  }
  for (int64_t i = 0; i + 20 <= words.size(); i += 20) {
    WordList some;
    for (int64_t k = i; k < i + 20; ++k) some.append(words[k]);
    lexicon.add(some);
    if (i % 40 == 0) lexicon.remove(some);
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(lexicon.size() > 1);
}

TEST(lexicon, file) {
  Lexicon lexicon(4, 0);
  lexicon.add(random_words(100, 3, 3));
  std::FILE* file = std::tmpfile();
  lexicon.save(fileno(file), "a header");
  std::string header;
  const auto loaded = Lexicon::load(fileno(file), header);
  std::fclose(file);
  CHECK_EQUAL(header, "a header");
  CHECK_EQUAL(loaded->size(), lexicon.size());
  for (int64_t i = 0; i < lexicon.size(); ++i) {
    const WordList word = lexicon.slice(i, i + 1);
    CHECK(loaded->contains(word[0]));
  }
}
