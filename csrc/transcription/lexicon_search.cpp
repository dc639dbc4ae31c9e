#include "transcription/lexicon_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"
#include "transcription/lexicon_findings.h"

namespace crnn {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLeast = 1e-280;  // below it, search values may have lost their digits
// A quarter of it would save 0.2 ms of 4 where frames are flat, and cost a search that settles
// later than that, of which there are more, a sweep instead.
constexpr int64_t kMostExpanded = 1024;
constexpr int64_t kMostKept = int64_t{1} << 18;  // doubles of vectors that best-first keeps
constexpr size_t kTogether = 32;  // prefixes of the queue that the sweep takes at first

// A prefix whose words are not looked at yet, but for the prefix itself.
struct Prefix {
  double bound;  // of the weight * probability of each of them, and of their sum
  double mass;   // of the sum of their probabilities
  uint32_t node;
  uint32_t slot;          // of its parent's vectors
  uint32_t unit;          // its last label
  uint32_t repeated : 1;  // whether that is its parent's too
  uint32_t trie : 1;
  uint32_t depth : 30;  // labels of the prefix
};

// What one lane of trie_walk() does next: the vectors of a prefix from those of its parent.
struct Lane {
  double bound, mass;  // as in Prefix
  uint32_t node, unit, trie, depth;
  bool repeated;
  bool busy;
  bool looked_at;  // the prefix itself

  void follow(const Prefix& prefix) {
    *this = {prefix.bound, prefix.mass,         prefix.node, prefix.unit, prefix.trie,
             prefix.depth, prefix.repeated > 0, true,        true};
  }
};

bool is_leaf(const Trie& trie, uint32_t node) {
  return trie.first_child[node] == trie.first_child[node + 1];
}

bool lower(const Prefix& a, const Prefix& b) { return a.bound < b.bound; }

class Search {
 public:
  Search(const LexiconIndex& index, const FrameView& frames, const SearchOptions& options)
      : index_(index),
        view_(frames),
        options_(options),
        frames_(frames, index.classes),
        findings_(index, options, frames.frames()) {
    for (size_t k = 0; k < index.tries.size(); ++k) tries_[k] = index.tries[k].get();
  }

  SearchResult run() {
    if (index_.live == 0 || frames_.log_scale() == -kInfinity) return {};
    best_first();
    if (gave_up_ || !(findings_.threshold() >= kLeast)) {
      std::vector<uint32_t> all;
      for (uint32_t i = 0; i < index_.numbers(); ++i) {
        if (index_.counts(i)) all.push_back(i);
      }
      return score_words(index_, all, view_, options_);
    }
    SearchResult result = findings_.result(view_, rest_, rest_mass_);
    result.total_score += frames_.log_scale();
    result.total_probability *= std::exp(frames_.log_scale());
    return result;
  }

 private:
  // all_t of the prefix that has the slot.
  double* vectors(uint32_t slot) {
    const auto padded = static_cast<size_t>(frames_.padded());
    const size_t end = (size_t{slot} + 1) * padded;
    if (arena_.size() < end) arena_.resize(std::max(end, 2 * arena_.size()));
    return arena_.data() + end - padded;
  }

  // ---- prefixes -------------------------------------------------------------------------------

  const double* column(uint32_t unit) const { return frames_.column(index_.column_of[unit]); }
  const double* ending(uint32_t unit) { return frames_.ending(index_.column_of[unit]); }

  // blank_t of a prefix, until the next call.
  const double* blank(const double* all) {
    blank_.resize(static_cast<size_t>(frames_.padded()));
    trie_blank(all, frames_.column(0), frames_.padded(), blank_.data());
    return blank_.data();
  }

  // Computes a prefix's vectors into a slot.
  void advance(const Prefix& prefix, uint32_t slot) {
    double* all = vectors(slot);  // the arena does not move from here on
    const double* source = vectors(prefix.slot);
    trie_advance(prefix.repeated ? blank(source) : source, column(prefix.unit), frames_.column(0),
                 prefix.depth - 1, frames_.frames(), frames_.padded(), all);
  }

  // The words that end at a node, which is one or none.
  bool offer_at(uint32_t number, uint32_t node, double probability) {
    const uint32_t word = tries_[number]->word_at[node];
    return word != Trie::kNone && findings_.offer(index_.first_number[number] + word, probability);
  }

  // Looks at the children of a prefix, whose vectors are in `slot`: words are offered, prefixes
  // go to `next`. Of a leaf the sweep asks for no bound, which costs as much as its probability.
  template <class Next>
  void look_at_children(const Prefix& prefix, uint32_t slot, bool sweeping, Next&& next) {
    const uint32_t number = prefix.trie;
    const Trie& trie = *tries_[number];
    const uint32_t begin = trie.first_child[prefix.node], end = trie.first_child[prefix.node + 1];
    const double *all = vectors(slot), *own = nullptr;
    products_.resize(std::max<size_t>(products_.size(), end - begin));
    masses_.resize(products_.size());
    for (uint32_t child = begin; child < end; ++child) {
      const uint32_t unit = trie.unit[child];
      if (unit == prefix.unit) own = blank(all);
      products_[child - begin] = {unit == prefix.unit ? own : all,
                                  sweeping && is_leaf(trie, child) ? ending(unit) : column(unit)};
    }
    trie_products(products_.data(), end - begin, frames_.padded(), masses_.data());
    for (uint32_t child = begin; child < end; ++child) {
      double mass = masses_[child - begin];
      if (sweeping && is_leaf(trie, child)) {
        offer_at(number, child, mass);
        continue;
      }
      const double weight = options_.prior ? options_.prior->below[number][child] : 1;
      if (!findings_.may_matter(mass * weight, mass)) continue;
      const uint32_t unit = trie.unit[child];
      if (trie.word_at[child] != Trie::kNone) {
        const TrieProduct product{products_[child - begin].source, ending(unit)};
        double probability;
        trie_products(&product, 1, frames_.padded(), &probability);
        if (offer_at(number, child, probability)) {
          mass = findings_.without(mass, probability);
        }
      }
      if (is_leaf(trie, child) || !findings_.may_matter(mass * weight, mass)) continue;
      next(Prefix{mass * weight, mass, child, slot, unit, unit == prefix.unit, number,
                  static_cast<uint32_t>(prefix.depth + 1)});
    }
  }

  void look_at_roots() {
    double* root = vectors(0);
    std::copy(frames_.root(), frames_.root() + frames_.padded(), root);
    for (uint32_t k = 0; k < index_.tries.size(); ++k) {
      offer_at(k, 0, frames_.root_total());
      look_at_children({1, 1, 0, 0, Trie::kNone, 0, k, 0}, 0, false,
                       [&](Prefix prefix) { push(prefix); });
    }
  }

  void push(Prefix prefix) {
    queue_.emplace_back() = prefix;
    std::push_heap(queue_.begin(), queue_.end(), lower);
    rest_ += prefix.bound;
    rest_mass_ += prefix.mass;
  }

  // Sums are kept up to date by differences, which lose digits as they fall: add up anew in time.
  void refresh_rest() {
    if (rest_ > 1e-6 * rest_when_added_ && rest_mass_ > 1e-6 * mass_when_added_) return;
    rest_ = rest_mass_ = 0;
    for (const Prefix& prefix : queue_) rest_ += prefix.bound, rest_mass_ += prefix.mass;
    rest_when_added_ = rest_;
    mass_when_added_ = rest_mass_;
  }

  void best_first() {
    look_at_roots();
    const auto most = static_cast<uint32_t>(
        options_.every_word
            ? 1
            : std::min(kMostExpanded, kMostKept / std::max<int64_t>(1, frames_.padded())));
    uint32_t slots = 1;
    rest_when_added_ = mass_when_added_ = kInfinity;
    while (!queue_.empty()) {
      refresh_rest();
      if (findings_.settled(queue_.front().bound, rest_, rest_mass_)) return;
      if (slots >= most) return sweep(slots);
      std::pop_heap(queue_.begin(), queue_.end(), lower);
      const Prefix prefix = queue_.back();
      queue_.pop_back();
      rest_ -= prefix.bound;
      rest_mass_ -= prefix.mass;
      advance(prefix, slots);
      look_at_children(prefix, slots++, false, [&](Prefix child) { push(child); });
      if (slots % 1024 == 0) poll_interrupt();
    }
    rest_ = rest_mass_ = 0;
  }

  // Empties the queue, more prefixes at a time, the highest bounds first.
  void sweep(uint32_t first_slot) {
    first_slot_ = first_slot;
    states_.assign(static_cast<size_t>(frames_.frames() * kTrieLanes), 0);
    for (size_t together = kTogether; !queue_.empty() && !gave_up_; together *= 2) {
      refresh_rest();
      const double highest = std::max_element(queue_.begin(), queue_.end(), lower)->bound;
      if (findings_.settled(highest, rest_, rest_mass_)) return;
      const auto taken = queue_.end() - static_cast<int64_t>(std::min(together, queue_.size()));
      std::nth_element(queue_.begin(), taken, queue_.end(), lower);
      for (auto prefix = taken; prefix != queue_.end(); ++prefix) {
        rest_ -= prefix->bound;
        rest_mass_ -= prefix->mass;
      }
      stack_.assign(taken, queue_.end());
      queue_.erase(taken, queue_.end());
      empty_the_stack();
    }
    rest_ = rest_mass_ = 0;
  }

  // Each lane follows a prefix down to where the trie branches.
  void empty_the_stack() {
    const double* columns[kTrieLanes];
    double totals[kTrieLanes];
    for (int64_t steps = 1; !gave_up_; ++steps) {
      uint32_t repeated = 0;
      int64_t first = frames_.frames();
      bool busy = false;
      for (int64_t i = 0; i < kTrieLanes; ++i) {
        columns[i] = frames_.column(0);
        if (!lanes_[i].busy && !fill(i)) continue;
        busy = true;
        const Lane& next = lanes_[i];
        // Ask for what arrive() will read: a lexicon is larger than the nearer caches. (A function
        // that did nothing else would be dropped as one without effect.)
        const Trie& trie = *tries_[next.trie];
        const uint32_t child = trie.first_child[next.node];
        __builtin_prefetch(trie.unit + child);
        __builtin_prefetch(trie.word_at + child);
        __builtin_prefetch(trie.first_child + child);
        columns[i] = column(next.unit);
        repeated |= static_cast<uint32_t>(next.repeated) << i;
        first = std::min<int64_t>(first, next.depth - 1);
      }
      if (!busy) return;
      trie_walk(states_.data(), columns, repeated, frames_.column(0), first, frames_.frames(),
                totals);
      for (int64_t i = 0; i < kTrieLanes; ++i) {
        if (lanes_[i].busy) arrive(i, totals[i]);
      }
      if (steps % 256 == 0) poll_interrupt();
    }
  }

  // Gives a lane a prefix of the stack, if there is one, and its parent's vectors.
  bool fill(int64_t lane) {
    while (!stack_.empty()) {
      const Prefix& prefix = stack_.back();
      const uint32_t slot = prefix.slot;
      const bool wanted = findings_.may_matter(prefix.bound, prefix.mass);
      if (wanted) {
        const double* source = vectors(prefix.slot);
        if (prefix.repeated) source = blank(source);
        double* state = states_.data() + lane;
        for (int64_t t = 0; t < frames_.frames(); ++t) state[t * kTrieLanes] = source[t];
        lanes_[lane].follow(prefix);
        lanes_[lane].repeated = false;  // blank is in the place of all
      }
      stack_.pop_back();
      release(slot);
      if (wanted) return true;
    }
    return false;
  }

  // A lane has reached its prefix, of this probability.
  void arrive(int64_t i, double probability) {
    Lane& at = lanes_[i];
    const Trie& trie = *tries_[at.trie];
    const uint32_t begin = trie.first_child[at.node], end = trie.first_child[at.node + 1];
    at.busy = begin != end && at.depth < frames_.frames();  // a label needs a frame
    if (!at.looked_at && offer_at(at.trie, at.node, probability) && at.busy) {
      at.mass = findings_.without(at.mass, probability);
      at.bound = at.mass * (options_.prior ? options_.prior->below[at.trie][at.node] : 1);
      at.busy = findings_.may_matter(at.bound, at.mass);
    }
    if (!at.busy) return;
    if (end - begin > 1) return branch(i);
    at.node = begin;
    at.repeated = trie.unit[begin] == at.unit;
    at.unit = trie.unit[begin];
    ++at.depth;
    at.looked_at = false;
  }

  // A lane's prefix has several children: the lane takes one, the others go to the stack.
  void branch(int64_t i) {
    Lane& at = lanes_[i];
    const uint32_t slot = take_slot();
    double* all = vectors(slot);
    for (int64_t t = 0; t < frames_.frames(); ++t) {
      all[t] = states_[static_cast<size_t>(t * kTrieLanes + i)];
    }
    const size_t others = stack_.size();
    const Prefix prefix{at.bound, at.mass, at.node, slot, at.unit, 0, at.trie, at.depth};
    look_at_children(prefix, slot, true, [&](Prefix child) { stack_.emplace_back() = child; });
    uint32_t& users = users_[slot - first_slot_];
    users = static_cast<uint32_t>(stack_.size() - others);
    at.busy = users > 0;
    if (at.busy) {
      at.follow(stack_.back());
      stack_.pop_back();
      --users;
    }
    if (users == 0) free_.push_back(slot);
  }

  // Slots of the sweep, each in use until the last of its prefix's children has a lane.
  uint32_t take_slot() {
    if (free_.empty()) {
      free_.push_back(first_slot_ + static_cast<uint32_t>(users_.size()));
      users_.push_back(0);
      gave_up_ = static_cast<int64_t>(users_.size()) * frames_.padded() > options_.most_kept;
    }
    const uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void release(uint32_t slot) {
    if (slot < first_slot_) return;
    if (--users_[slot - first_slot_] == 0) free_.push_back(slot);
  }

  const LexiconIndex& index_;
  const FrameView view_;
  const SearchOptions& options_;
  TrieFrames frames_;
  const Trie* tries_[2] = {};
  Findings findings_;

  std::vector<double> arena_, blank_, masses_;
  std::vector<TrieProduct> products_;
  std::vector<Prefix> queue_;           // a heap, while best-first
  std::vector<Prefix> stack_;           // of the sweep
  Lane lanes_[kTrieLanes] = {};         // of the sweep
  std::vector<double> states_;          // all_t of their parents, [frames][kTrieLanes]
  uint32_t first_slot_ = 0;             // of the sweep; those before are best-first's
  std::vector<uint32_t> users_, free_;  // of its slots: how many need it; which are free
  double rest_ = 0, rest_mass_ = 0;     // of the queue
  double rest_when_added_ = 0, mass_when_added_ = 0;
  bool gave_up_ = false;
};

}  // namespace

SearchResult search_lexicon(const LexiconIndex& index, const FrameView& frames,
                            const SearchOptions& options) {
  return Search(index, frames, options).run();
}

}  // namespace crnn
