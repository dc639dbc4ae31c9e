#include "transcription/lexicon_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"

namespace crnn {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLeast = 1e-280;  // below it, search values may have lost their digits
constexpr int64_t kMostExpanded = 1024;
constexpr size_t kTogether = 32;                 // prefixes that depth-first expands side by side
constexpr int64_t kMostKept = int64_t{1} << 19;  // doubles of vectors that best-first keeps
constexpr int64_t kMostStacked = int64_t{1} << 22;  // doubles of vectors on the depth-first stack

// A prefix whose words are not looked at yet.
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

bool lower(const Prefix& a, const Prefix& b) { return a.bound < b.bound; }

class Search {
 public:
  Search(const LexiconIndex& index, const FrameView& frames, const SearchOptions& options)
      : index_(index),
        view_(frames),
        options_(options),
        frames_(frames, index.classes),
        stride_(2 * frames_.padded()),
        margin_(1e-12 * static_cast<double>(frames.frames() + 16)),
        wanted_(static_cast<size_t>(std::min<int64_t>(options.n, index.live))) {}

  SearchResult run() {
    if (wanted_ == 0 || frames_.log_scale() == -kInfinity) return {};
    best_first();
    if (gave_up_ || !(threshold_ >= kLeast)) {
      std::vector<uint32_t> all;
      for (uint32_t i = 0; i < index_.numbers(); ++i) {
        if (index_.counts(i)) all.push_back(i);
      }
      return score_words(index_, all, view_, options_);
    }
    return finish();
  }

 private:
  double* vectors(uint32_t slot) {
    const size_t end = (size_t{slot} + 1) * static_cast<size_t>(stride_);
    if (arena_.size() < end) arena_.resize(std::max(end, 2 * arena_.size()));
    return arena_.data() + end - static_cast<size_t>(stride_);
  }

  // ---- words found --------------------------------------------------------------------------

  bool counts(uint32_t number) const {
    return index_.counts(number) &&
           !(options_.prior && options_.prior->log_weight[number] == -kInfinity);
  }

  double weight_of(uint32_t number) const {
    return options_.prior ? std::exp(options_.prior->log_weight[number]) : 1;
  }

  void offer(uint32_t number, double probability) {
    ++looked_at_;
    probability_ += probability;
    const double value = probability * weight_of(number);
    sum_ += value;
    if (!(value > 0) || value < threshold_ * (1 - 2 * margin_)) return;
    found_.push_back({value, number});
    if (top_.size() == wanted_ && value <= top_.back()) return;
    top_.insert(std::upper_bound(top_.begin(), top_.end(), value, std::greater<double>()), value);
    if (top_.size() > wanted_) top_.pop_back();
    if (top_.size() == wanted_) threshold_ = top_.back();
  }

  // Whether to look at the words of a prefix. What is left out counts as dropped, which may take
  // up half of the tolerance.
  bool may_matter(double bound, double mass) {
    if (!(bound > 0)) return false;
    const double most = top_.empty() ? 0 : top_[0] * options_.tolerance / 2;
    if (options_.every_word || bound * (1 + 2 * margin_) >= threshold_ || bound > most / 512 ||
        mass > options_.tolerance / 1024 || dropped_ + bound > most ||
        dropped_mass_ + mass > options_.tolerance / 2) {
      return true;
    }
    dropped_ += bound;
    dropped_mass_ += mass;
    return false;
  }

  // Whether the words not looked at can change neither the result nor what it says of them.
  bool settled(double next_bound, double rest, double rest_mass) const {
    if (options_.every_word || !(threshold_ > 0)) return false;
    if (next_bound * (1 + 2 * margin_) >= threshold_) return false;
    rest += dropped_;
    rest_mass += dropped_mass_;
    return top_[0] / sum_ - top_[0] / (sum_ + rest) <= options_.tolerance &&
           rest_mass <= options_.tolerance;
  }

  // ---- prefixes -------------------------------------------------------------------------------

  TrieStep step(const Prefix& prefix, uint32_t slot) {
    double* all = vectors(slot);
    return {vectors(prefix.slot) + (prefix.repeated ? frames_.padded() : 0),
            frames_.column(index_.column_of[prefix.unit]), all, all + frames_.padded()};
  }

  // Computes the vectors of prefixes into their slots.
  void advance(const Prefix* prefixes, const uint32_t* slots, size_t count) {
    TrieStep steps[kTogether];
    int64_t first = frames_.frames();
    vectors(*std::max_element(slots, slots + count));  // the arena does not move from here on
    for (size_t i = 0; i < count; ++i) {
      steps[i] = step(prefixes[i], slots[i]);
      first = std::min<int64_t>(first, prefixes[i].depth - 1);
    }
    trie_advance(steps, static_cast<int64_t>(count), frames_.column(0), first, frames_.frames(),
                 frames_.padded());
  }

  // Looks at the children of a prefix, whose vectors are in `slot`: words are offered, prefixes
  // go to `next`.
  template <class Next>
  void look_at_children(const Prefix& prefix, uint32_t slot, Next&& next) {
    const uint32_t number = prefix.trie, node = prefix.node;
    const Trie& trie = *index_.tries[number];
    const uint32_t begin = trie.first_child[node], end = trie.first_child[node + 1];
    const double* all = vectors(slot);
    const double* blank = all + frames_.padded();
    masses_.resize(std::max<size_t>(masses_.size(), end - begin));
    trie_masses(all, blank, prefix.unit, frames_.emissions(), frames_.padded(), trie.unit + begin,
                index_.column_of.data(), end - begin, masses_.data());
    for (uint32_t child = begin; child < end; ++child) {
      double mass = masses_[child - begin];
      const double weight = options_.prior ? options_.prior->below[number][child] : 1;
      if (!may_matter(mass * weight, mass)) continue;
      const uint32_t unit = trie.unit[child];
      const uint32_t word = trie.word_at[child];
      if (word != Trie::kNone && counts(index_.first_number[number] + word)) {
        const double* column = frames_.ending(index_.column_of[unit]);
        const double* source = unit == prefix.unit ? blank : all;
        const double probability = trie_dot(source, column, frames_.padded());
        offer(index_.first_number[number] + word, probability);
        mass = std::max(0.0, mass - probability) + mass * margin_;
      }
      if (trie.first_child[child] == trie.first_child[child + 1]) continue;
      if (!may_matter(mass * weight, mass)) continue;
      next(Prefix{mass * weight, mass, child, slot, unit, unit == prefix.unit, number,
                  static_cast<uint32_t>(prefix.depth + 1)});
    }
  }

  // Asks for what look_at_children() reads of the trie: a lexicon is larger than the nearer caches.
  void fetch_children(const Prefix& prefix) const {
    const Trie& trie = *index_.tries[prefix.trie];
    const uint32_t begin = trie.first_child[prefix.node];
    __builtin_prefetch(trie.unit + begin);
    __builtin_prefetch(trie.word_at + begin);
    __builtin_prefetch(trie.first_child + begin);
  }

  void look_at_roots() {
    double* root = vectors(0);
    std::copy(frames_.root(), frames_.root() + frames_.padded(), root);
    std::copy(frames_.root(), frames_.root() + frames_.padded(), root + frames_.padded());
    for (uint32_t k = 0; k < index_.tries.size(); ++k) {
      const uint32_t word = index_.tries[k]->word_at[0];
      if (word != Trie::kNone && counts(index_.first_number[k] + word)) {
        offer(index_.first_number[k] + word, frames_.root_total());
      }
      look_at_children({1, 1, 0, 0, Trie::kNone, 0, k, 0}, 0,
                       [&](const Prefix& prefix) { push(prefix); });
    }
  }

  void push(const Prefix& prefix) {
    queue_.push_back(prefix);
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
        options_.every_word ? 1
                            : std::min(kMostExpanded, kMostKept / std::max<int64_t>(1, stride_)));
    uint32_t slots = 1;
    rest_when_added_ = mass_when_added_ = kInfinity;
    while (!queue_.empty()) {
      refresh_rest();
      if (settled(queue_.front().bound, rest_, rest_mass_)) return;
      if (slots >= most) return depth_first(slots);
      std::pop_heap(queue_.begin(), queue_.end(), lower);
      const Prefix prefix = queue_.back();
      queue_.pop_back();
      rest_ -= prefix.bound;
      rest_mass_ -= prefix.mass;
      advance(&prefix, &slots, 1);
      look_at_children(prefix, slots++, [&](const Prefix& child) { push(child); });
      if (slots % 1024 == 0) poll_interrupt();
    }
    rest_ = rest_mass_ = 0;
  }

  // Empties the queue, the highest bounds first, some subtrees at a time, each to its end.
  void depth_first(uint32_t first_slot) {
    std::sort(queue_.begin(), queue_.end(), lower);
    first_slot_ = first_slot;
    while (!queue_.empty() && !gave_up_) {
      refresh_rest();
      if (settled(queue_.back().bound, rest_, rest_mass_)) return;
      for (size_t i = 0; i < kTogether && !queue_.empty(); ++i) {
        rest_ -= queue_.back().bound;
        rest_mass_ -= queue_.back().mass;
        stack_.push_back(queue_.back());
        queue_.pop_back();
      }
      empty_the_stack();
    }
    rest_ = rest_mass_ = 0;
  }

  void empty_the_stack() {
    int64_t steps = 0;
    while (!stack_.empty() && !gave_up_) {
      Prefix group[kTogether];
      uint32_t slots[kTogether];
      size_t count = 0;
      while (count < kTogether && !stack_.empty()) {
        const Prefix prefix = stack_.back();
        stack_.pop_back();
        if (may_matter(prefix.bound, prefix.mass)) {
          fetch_children(prefix);
          slots[count] = take_slot();
          group[count++] = prefix;
        } else {
          release(prefix.slot);
        }
      }
      if (count == 0) continue;
      advance(group, slots, count);
      for (size_t i = 0; i < count; ++i) {
        uint32_t& users = users_[slots[i] - first_slot_];
        users = 1;
        look_at_children(group[i], slots[i], [&](const Prefix& child) {
          stack_.push_back(child);
          ++users;
        });
        release(slots[i]);
        release(group[i].slot);
      }
      if (++steps % 256 == 0) poll_interrupt();
    }
  }

  // Slots of depth-first, each in use until the last of its node's children is expanded.
  uint32_t take_slot() {
    if (free_.empty()) {
      free_.push_back(first_slot_ + static_cast<uint32_t>(users_.size()));
      users_.push_back(0);
      gave_up_ = static_cast<int64_t>(users_.size()) * stride_ > kMostStacked;
    }
    const uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void release(uint32_t slot) {
    if (slot < first_slot_) return;
    if (--users_[slot - first_slot_] == 0) free_.push_back(slot);
  }

  // Scores the words within the margin of the n-th best.
  SearchResult finish() {
    std::vector<uint32_t> close;
    for (const Found& found : found_) {
      if (found.value >= threshold_ * (1 - 2 * margin_)) close.push_back(found.number);
    }
    SearchResult result = score_words(index_, close, view_, options_);
    result.total_score = std::log(sum_ + rest_ + dropped_) + frames_.log_scale();
    result.total_probability =
        (probability_ + rest_mass_ + dropped_mass_) * std::exp(frames_.log_scale());
    result.looked_at = looked_at_;
    return result;
  }

  struct Found {
    double value;
    uint32_t number;
  };

  const LexiconIndex& index_;
  const FrameView view_;
  const SearchOptions& options_;
  TrieFrames frames_;
  const int64_t stride_;  // doubles of one slot: all [padded], blank [padded]
  const double margin_;
  const size_t wanted_;

  std::vector<double> arena_, masses_;
  std::vector<Prefix> queue_;              // a heap, while best-first
  std::vector<Prefix> stack_;              // while depth-first
  uint32_t first_slot_ = 0;                // of depth-first; those before are best-first's
  std::vector<uint32_t> users_, free_;     // of its slots: how many need it; which are free
  std::vector<Found> found_;               // may still be among the best
  std::vector<double> top_;                // the best values, falling, at most wanted_
  double threshold_ = 0;                   // the n-th best value; 0 while there are fewer
  double sum_ = 0, probability_ = 0;       // of the words looked at
  double rest_ = 0, rest_mass_ = 0;        // of the queue
  double dropped_ = 0, dropped_mass_ = 0;  // of subtrees that cannot matter
  double rest_when_added_ = 0, mass_when_added_ = 0;
  int64_t looked_at_ = 0;
  bool gave_up_ = false;
};

}  // namespace

SearchResult search_lexicon(const LexiconIndex& index, const FrameView& frames,
                            const SearchOptions& options) {
  return Search(index, frames, options).run();
}

}  // namespace crnn
