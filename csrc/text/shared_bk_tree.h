// A BK-tree that any number of threads may use at once: readers share it, a writer has it alone.
//
// Results hold copies of the words, since a later addition may move the arena. Locks are held
// while the interrupt check runs, which may wait for Python's lock: callers must not hold that
// one while they call anything here.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "text/bk_tree.h"
#include "text/word_list.h"

namespace crnn {

class SharedBkTree {
 public:
  struct Found {
    WordList words;
    std::vector<uint32_t> distances;
  };

  SharedBkTree() = default;
  explicit SharedBkTree(BkTree tree) : tree_(std::move(tree)) {}

  // Adds the words in order and returns how many were new. An exception leaves those before it in.
  int64_t extend(const WordList& words) {
    const auto lock = writing();
    return tree_.extend(words);
  }

  std::vector<Found> query(const WordList& words, int64_t delta, int num_threads) const {
    const auto lock = reading();
    std::vector<Found> results(static_cast<size_t>(words.size()));
    parallel_for(words.size(), 4, num_threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Found& found = results[static_cast<size_t>(i)];
        for (const BkTree::Match& match : tree_.query(words[i], delta)) {
          found.words.append(tree_.word(match.index));
          found.distances.push_back(match.distance);
        }
      }
    });
    return results;
  }

  bool contains(Units word) const {
    const auto lock = reading();
    return tree_.contains(word);
  }

  int64_t size() const {
    const auto lock = reading();
    return tree_.size();
  }

  int64_t bytes() const {
    const auto lock = reading();
    return tree_.bytes();
  }

  // Words [begin, end) in the order of addition, as far as there are any.
  WordList slice(int64_t begin, int64_t end) const {
    const auto lock = reading();
    WordList words;
    for (int64_t i = begin; i < end && i < tree_.size(); ++i) words.append(tree_.word(i));
    return words;
  }

  std::string save() const {
    const auto lock = reading();
    return tree_.save();
  }

 private:
  // Readers pass the gate one by one; a waiting writer holds it, so that a stream of readers
  // cannot keep the writer out.
  std::shared_lock<std::shared_mutex> reading() const {
    std::lock_guard<std::mutex> gate(gate_);
    return std::shared_lock<std::shared_mutex>(mutex_);
  }
  std::unique_lock<std::shared_mutex> writing() {
    std::lock_guard<std::mutex> gate(gate_);
    return std::unique_lock<std::shared_mutex>(mutex_);
  }

  BkTree tree_;
  mutable std::mutex gate_;
  mutable std::shared_mutex mutex_;
};

}  // namespace crnn
