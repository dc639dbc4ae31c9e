#include "text/language_model.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace crnn {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

}  // namespace

uint32_t find_child(const uint32_t* first_child, const uint32_t* units, uint32_t node,
                    uint32_t unit) {
  const uint32_t *begin = units + first_child[node], *end = units + first_child[node + 1];
  const uint32_t* found = std::lower_bound(begin, end, unit);
  return found != end && *found == unit ? static_cast<uint32_t>(found - units) : kNone;
}

LanguageModel::LanguageModel(NGrams ngrams, int64_t classes, int64_t blank, int64_t order)
    : ngrams_(std::move(ngrams)),
      classes_(classes),
      blank_(blank),
      order_(order),
      log_uniform_(-std::log(static_cast<double>(classes))) {
  check();
  const uint32_t begin = child(0, static_cast<uint32_t>(classes));
  start_ = begin < ngrams_.contexts ? begin : 0;
}

uint32_t LanguageModel::child(State state, uint32_t unit) const {
  return find_child(ngrams_.first_child, ngrams_.unit, state, unit);
}

LanguageModel::Step LanguageModel::step(State state, uint32_t unit) const {
  double log_prob = 0;
  for (;;) {
    const uint32_t found = child(state, unit);
    if (found != kNone) {
      log_prob += static_cast<double>(ngrams_.log_prob[found]);
      return {log_prob, found < ngrams_.contexts ? found : ngrams_.suffix[found]};
    }
    log_prob += static_cast<double>(ngrams_.backoff[state]);
    if (state == 0) return {log_prob + log_uniform_, 0};
    state = ngrams_.suffix[state];
  }
}

double LanguageModel::log_prob(Units text) const {
  double sum = 0;
  State state = start_;
  for (int64_t i = 0; i < text.size; ++i) {
    const Step taken = step(state, text.data[i]);
    sum += taken.log_prob;
    state = taken.next;
  }
  return sum + step(state, static_cast<uint32_t>(blank_)).log_prob;
}

void LanguageModel::check() const {
  const auto require = [](bool holds, const char* reason) {
    if (!holds) throw std::invalid_argument(reason);
  };
  const NGrams& g = ngrams_;
  require(g.first_child[0] == 1 && g.first_child[g.contexts] == g.nodes,
          "its n-grams do not fit together");
  for (int64_t v = 0; v < g.contexts; ++v) {
    const uint32_t begin = g.first_child[v], end = g.first_child[v + 1];
    require(v < begin && begin <= end && end <= g.nodes, "its n-grams do not fit together");
    for (uint32_t child = begin + 1; child < end; ++child) {
      require(g.unit[child - 1] < g.unit[child], "its n-grams are out of order");
    }
    require(std::isfinite(g.backoff[v]), "its numbers are not finite");
  }
  for (int64_t v = 1; v < g.nodes; ++v) {
    require(g.unit[v] <= classes_, "its n-grams have symbols beyond its classes");
    require(g.suffix[v] < v && g.suffix[v] < g.contexts, "its n-grams do not fit together");
    require(std::isfinite(g.log_prob[v]), "its numbers are not finite");
  }
}

}  // namespace crnn
