#include "text/trie.h"

#include <algorithm>
#include <stdexcept>

#include "common/parallel.h"

namespace crnn {
namespace {

constexpr int64_t kPoll = 1 << 14;  // nodes or words between two looks at the interrupt

// The first four units in rising order of significance, so that most comparisons of a sort need
// not follow a pointer.
uint64_t sort_key(Units word) {
  uint64_t key = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const uint64_t unit = i < word.size ? std::min<uint64_t>(word.data[i], 0xFFFE) + 1 : 0;
    key = key << 16 | unit;
  }
  return key;
}

// The numbers of the words in the order of their units, each different word once: its first one.
std::vector<uint32_t> sorted(const WordList& words) {
  struct Entry {
    uint64_t key;
    uint32_t number;
  };
  std::vector<Entry> entries(static_cast<size_t>(words.size()));
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i] = {sort_key(words[static_cast<int64_t>(i)]), static_cast<uint32_t>(i)};
  }
  std::sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    if (a.key != b.key) return a.key < b.key;
    const Units x = words[a.number], y = words[b.number];
    if (x < y) return true;
    return !(y < x) && a.number < b.number;
  });
  std::vector<uint32_t> numbers;
  numbers.reserve(entries.size());
  for (const Entry& entry : entries) {
    if (numbers.empty() || !(words[numbers.back()] == words[entry.number])) {
      numbers.push_back(entry.number);
    }
  }
  return numbers;
}

[[noreturn]] void reject(const char* reason) { throw std::invalid_argument(reason); }

}  // namespace

Trie::Trie(const WordList& words) {
  if (words.size() >= kNone) throw std::length_error("Trie: too many words");
  const std::vector<uint32_t> order = sorted(words);
  std::vector<uint32_t> index(static_cast<size_t>(words.size()), kNone);  // of words that count
  for (uint32_t number : order) index[number] = 0;
  for (uint32_t& i : index) {
    if (i != kNone) i = static_cast<uint32_t>(words_++);
  }
  struct Range {
    uint32_t begin, end;  // of `order`: the words that pass through a node
  };
  std::vector<Range> ranges{{0, static_cast<uint32_t>(order.size())}};
  std::vector<uint32_t> first, unit{kNone}, parent{0}, word, node(order.size());
  size_t level_end = 1;
  int64_t depth = 0;
  for (size_t v = 0; v < ranges.size(); ++v) {
    if (v == level_end) {
      ++depth;
      level_end = ranges.size();
    }
    if (v % kPoll == 0) poll_interrupt();
    first.push_back(static_cast<uint32_t>(ranges.size()));
    word.push_back(kNone);
    auto [begin, end] = ranges[v];
    if (begin < end && words[order[begin]].size == depth) {
      word.back() = index[order[begin]];
      node[word.back()] = static_cast<uint32_t>(v);
      ++begin;
    }
    while (begin < end) {
      const uint32_t next = words[order[begin]].data[depth];
      uint32_t last = begin + 1;
      while (last < end && words[order[last]].data[depth] == next) ++last;
      if (ranges.size() >= kNone - 1) throw std::length_error("Trie: too many nodes");
      ranges.push_back({begin, last});
      unit.push_back(next);
      parent.push_back(static_cast<uint32_t>(v));
      begin = last;
    }
  }
  nodes_ = static_cast<int64_t>(ranges.size());
  first.push_back(static_cast<uint32_t>(nodes_));
  auto data = std::make_shared<std::vector<uint32_t>>();
  data->reserve(static_cast<size_t>(buffer_size(nodes_, words_)));
  for (const auto* part : {&first, &unit, &parent, &word, &node}) {
    data->insert(data->end(), part->begin(), part->end());
  }
  point_into(data->data());
  owner_ = data;
  collect_units();
}

Trie::Trie(const uint32_t* data, int64_t nodes, int64_t words, uint32_t limit,
           std::shared_ptr<const void> owner)
    : nodes_(nodes), words_(words), owner_(std::move(owner)) {
  point_into(data);
  check(limit);
  collect_units();
}

void Trie::point_into(const uint32_t* data) {
  first_child = data;
  unit = first_child + nodes_ + 1;
  parent = unit + nodes_;
  word_at = parent + nodes_;
  node_of = word_at + nodes_;
}

void Trie::collect_units() {
  std::vector<uint32_t> seen;
  for (int64_t v = 1; v < nodes_; ++v) {
    if (unit[v] >= seen.size()) seen.resize(unit[v] + size_t{1});
    seen[unit[v]] = 1;
  }
  for (uint32_t u = 0; u < seen.size(); ++u) {
    if (seen[u]) units_.push_back(u);
  }
}

void Trie::check(uint32_t limit) const {
  if (nodes_ < 1) reject("its trie has no root");
  if (first_child[0] != 1 || first_child[nodes_] != nodes_) reject("its trie is malformed");
  int64_t ends = 0;
  for (int64_t v = 0; v < nodes_; ++v) {
    if (v % kPoll == 0) poll_interrupt();
    const uint32_t begin = first_child[v], end = first_child[v + 1];
    if (begin <= v || end < begin || end > nodes_) reject("its trie is malformed");
    for (uint32_t child = begin; child < end; ++child) {
      if (parent[child] != v) reject("its trie is malformed");
      if (unit[child] >= limit) reject("its words hold an unknown symbol");
      if (child > begin && unit[child] <= unit[child - 1]) reject("its trie is not in order");
    }
    if (word_at[v] == kNone) {
      if (begin == end && v > 0) reject("its trie has an end without a word");
    } else {
      if (word_at[v] >= words_ || node_of[word_at[v]] != v) reject("its words are malformed");
      ++ends;
    }
  }
  if (ends != words_) reject("its words are malformed");
}

uint32_t Trie::find(Units word) const {
  uint32_t node = 0;
  for (int64_t i = 0; i < word.size; ++i) {
    const uint32_t* end = unit + first_child[node + 1];
    const uint32_t* at = std::lower_bound(unit + first_child[node], end, word.data[i]);
    if (at == end || *at != word.data[i]) return kNone;
    node = static_cast<uint32_t>(at - unit);
  }
  return word_at[node];
}

void Trie::append_word(int64_t i, WordList& words) const {
  const size_t begin = words.units.size();
  for (uint32_t node = node_of[i]; node != 0; node = parent[node]) {
    words.units.push_back(unit[node]);
  }
  std::reverse(words.units.begin() + static_cast<int64_t>(begin), words.units.end());
  words.ends.push_back(static_cast<int64_t>(words.units.size()));
}

}  // namespace crnn
