#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "text/edit_distance.h"
#include "text/shared_bk_tree.h"

using crnn::BkTree;
using crnn::SharedBkTree;
using crnn::Units;
using crnn::WordList;
using Word = std::vector<uint32_t>;

namespace {

Units view(const Word& word) { return {word.data(), static_cast<int64_t>(word.size())}; }

BkTree tree_of(const std::vector<std::u32string>& texts) {
  WordList list;
  for (const std::u32string& text : texts) list.append(view(Word(text.begin(), text.end())));
  BkTree tree;
  tree.extend(list);
  return tree;
}

int64_t reference_distance(const Word& a, const Word& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t substituted = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

Word random_word(std::mt19937& random, size_t longest, uint32_t step) {
  Word word(random() % (longest + 1));
  for (uint32_t& unit : word) unit = static_cast<uint32_t>(random() % 5) * step;
  return word;
}

void set_checksum(std::string& bytes) {
  uint64_t state = 0xcbf29ce484222325u;
  for (size_t i = 0; i + 8 < bytes.size(); i += 4) {
    uint32_t word = 0;
    for (int b = 3; b >= 0; --b) {
      word = word << 8 | static_cast<unsigned char>(bytes[i + static_cast<size_t>(b)]);
    }
    state = (state ^ word) * 0x100000001b3u;
  }
  for (size_t b = 0; b < 8; ++b) bytes[bytes.size() - 8 + b] = static_cast<char>(state >> (8 * b));
}

}  // namespace

TEST(text, distance_equals_reference) {
  std::mt19937 random(1);
  for (int round = 0; round < 1500; ++round) {
    const size_t longest = round % 3 == 0 ? 300 : 20;
    const uint32_t step =
        round % 2 == 0 ? 1 : 1u << 29;  // small units; units beyond any code point
    const Word a = random_word(random, longest, step);
    Word b = random_word(random, longest, step);
    if (round % 4 == 0) {  // near words: long ones stay within a narrow band
      b = a;
      if (!b.empty()) b.erase(b.begin() + static_cast<int64_t>(random() % b.size()));
    }
    const int64_t distance = reference_distance(a, b);
    CHECK_EQUAL(crnn::edit_distance(view(a), view(b)), distance);
    for (int64_t bound : {int64_t{0}, int64_t{3}, int64_t{70}, distance}) {
      const int64_t limited = std::min(distance, bound + 1);
      CHECK_EQUAL(crnn::edit_distance(view(a), view(b), bound), limited);
      CHECK_EQUAL(crnn::EditPattern(view(a)).distance(view(b), bound), limited);
    }
  }
}

// Patterns and texts around the ends of a lane (32 and 64 units) and of a block, side by side.
TEST(text, distances_of_many_texts_equal_reference) {
  std::mt19937 random(5);
  const size_t sizes[] = {0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200};
  for (const size_t size : sizes) {
    for (const uint32_t step : {1u, 255u, 1u << 29}) {  // in the table, on its edge, beyond it
      const auto word_of = [&](size_t length) {
        Word word(length);
        for (uint32_t& unit : word) unit = static_cast<uint32_t>(random() % 4) * step;
        return word;
      };
      const Word pattern = word_of(size);
      std::vector<Word> words(37, pattern);
      for (size_t i = 0; i < words.size(); ++i) {
        if (i % 3 == 0) words[i] = word_of(sizes[random() % 15]);
        if (i % 3 == 1 && size > 0) words[i][random() % size] = 9;
        if (i % 3 == 2 && size > 0) words[i].erase(words[i].begin() + random() % size);
      }
      std::vector<Units> texts;
      for (const Word& word : words) texts.push_back(view(word));
      for (const int64_t count : {0, 1, 15, 16, 17, 37}) {
        for (const int64_t bound :
             {int64_t{0}, int64_t{1}, int64_t{3}, int64_t{40}, crnn::kNoBound}) {
          std::vector<int64_t> found(static_cast<size_t>(count));
          crnn::EditPattern(view(pattern)).distances(texts.data(), count, bound, found.data());
          for (size_t i = 0; i < found.size(); ++i) {
            CHECK_EQUAL(found[i], std::min(reference_distance(pattern, words[i]), bound + 1));
          }
        }
      }
    }
  }
}

// Enough words that large subtrees are searched, small ones scanned, and the newest not yet copied.
TEST(text, tree_equals_scan) {
  std::mt19937 random(2);
  std::set<Word> words;
  BkTree tree;
  for (int part : {1, 30, 9000, 3000, 100}) {
    WordList list;
    int64_t is_new = 0;
    for (int i = 0; i < part; ++i) {
      const Word word = random_word(random, i % 50 == 0 ? 100 : 8, 1);
      list.append(view(word));
      is_new += words.insert(word).second ? 1 : 0;
    }
    CHECK_EQUAL(tree.extend(list), is_new);
    CHECK_EQUAL(tree.size(), static_cast<int64_t>(words.size()));
    for (int i = 0; i < 30; ++i) {
      const Word query = random_word(random, i % 10 == 0 ? 100 : 8, 1);
      const int64_t delta = i % 5;
      std::vector<std::pair<int64_t, Word>> expected;
      for (const Word& word : words) {
        const int64_t distance = reference_distance(word, query);
        if (distance <= delta) expected.emplace_back(distance, word);
      }
      std::sort(expected.begin(), expected.end());
      const std::vector<BkTree::Match> matches = tree.query(view(query), delta);
      CHECK_EQUAL(matches.size(), expected.size());
      for (size_t m = 0; m < matches.size(); ++m) {
        CHECK_EQUAL(matches[m].distance, expected[m].first);
        CHECK(tree.word(matches[m].index) == view(expected[m].second));
      }
      CHECK_EQUAL(tree.contains(view(query)), words.count(query) == 1);
    }
  }
}

TEST(text, outline_is_a_lower_bound) {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    const Word a = random_word(random, 12, 61), b = random_word(random, 12, 61);
    const int64_t distance = reference_distance(a, b);
    const crnn::Outline other = crnn::outline_of(view(b));
    uint32_t selected[1];
    CHECK_EQUAL(crnn::select_near(&other, 1, crnn::outline_of(view(a)), distance, selected), 1);
    CHECK_EQUAL(selected[0], 0u);
  }
}

TEST(text, file_round_trip) {
  const BkTree tree = tree_of({U"tree", U"", U"trees", U"\U0001F600", U"three"});
  const std::string bytes = tree.save();
  CHECK_EQUAL(BkTree::announced_size(bytes), bytes.size());
  const BkTree copy = BkTree::load(bytes);
  CHECK_EQUAL(copy.save(), bytes);
  CHECK_EQUAL(copy.query(view({U't', U'r', U'e', U'e'}), 1).size(), 3u);
  CHECK_EQUAL(BkTree::load(BkTree().save()).size(), 0);
}

TEST(text, damaged_files_are_refused) {
  const std::string bytes = tree_of({U"a", U"ab", U"b"}).save();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    THROWN(std::invalid_argument, BkTree::load(bad));
    THROWN(std::invalid_argument, BkTree::load(bytes.substr(0, i)));
  }
}

// Any contents under a right checksum: refused, or a tree that can be used.
TEST(text, forged_files_do_no_harm) {
  std::mt19937 random(3);
  WordList list;
  for (int i = 0; i < 12; ++i) list.append(view(random_word(random, 5, 1)));
  BkTree tree;
  tree.extend(list);
  const std::string bytes = tree.save();
  int accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string forged = bytes;
    for (uint64_t n = random() % 4 + 1; n > 0; --n) {
      const uint32_t values[] = {0, 1, 2, 5, 12, 0x10FFFF, 0x110000, 0x7FFFFFFF, 0xFFFFFFFF};
      const uint32_t value = values[random() % 9];
      std::memcpy(&forged[random() % (forged.size() / 4 - 2) * 4], &value, 4);
    }
    set_checksum(forged);
    try {
      BkTree copy = BkTree::load(forged);
      ++accepted;
      const Word word = random_word(random, 5, 1);
      copy.query(view(word), static_cast<int64_t>(random() % 6));
      copy.contains(view(word));
      WordList more;
      const int few_or_many = accepted % 50 == 0 ? 300 : 1;  // many: the tree is copied
      for (int i = 0; i < few_or_many; ++i) more.append(view(random_word(random, 5, 1)));
      copy.extend(more);
      copy.query(view(word), crnn::kNoBound);
    } catch (const std::invalid_argument&) {
    }
  }
  CHECK(accepted > 100);
}

TEST(text, readers_and_a_writer) {
  SharedBkTree tree;
  std::atomic<bool> done{false};
  const Word query{1, 2, 3};
  std::vector<std::thread> readers;
  for (int r = 0; r < 3; ++r) {
    readers.emplace_back([&] {
      WordList queries;
      for (int i = 0; i < 10; ++i) queries.append(view(query));
      while (!done) {
        for (const SharedBkTree::Found& found : tree.query(queries, 3, 2)) {
          CHECK_EQUAL(found.words.size(), static_cast<int64_t>(found.distances.size()));
        }
        tree.contains(view(query));
        tree.slice(0, tree.size());
        tree.save();
      }
    });
  }
  std::mt19937 random(4);
  for (int i = 0; i < 200; ++i) {
    WordList words;
    for (int w = 0; w < 5; ++w) words.append(view(random_word(random, 6, 1)));
    tree.extend(words);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(tree.size() > 100);
}
