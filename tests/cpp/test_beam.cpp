#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "batch.h"
#include "check.h"
#include "text/language_model.h"
#include "transcription/beam.h"
#include "transcription/label_prob.h"
#include "transcription/lexicon.h"

using namespace crnn;

namespace {

constexpr int64_t kClasses = 6;  // the blank 0, letters 1..4, 5 between words

WordList random_words(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<uint32_t>> words;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<uint32_t> word(random() % 7);
    for (uint32_t& unit : word) unit = 1 + random() % 4;
    words.push_back(word);
  }
  return list(words);
}

std::unique_ptr<LanguageModel> random_model(int64_t order) {
  const WordList words = random_words(200, 7);
  const std::vector<uint64_t> counts(200, 3);
  return LanguageModel::build(words, counts.data(), kClasses, 0, order);
}

void check_readings(Batch& batch, const BeamOptions& options) {
  const auto readings = beam_decode("op", batch.view(), 0, options, 2);
  for (int64_t n = 0; n < batch.N; ++n) {
    double last = std::numeric_limits<double>::infinity();
    LabelScorer scorer(FrameView(batch.view(), n), 0);
    for (const BeamReading& reading : readings[static_cast<size_t>(n)]) {
      const std::vector<uint32_t> labels(reading.labels.begin(), reading.labels.end());
      const Units units{labels.data(), static_cast<int64_t>(labels.size())};
      CHECK(reading.score <= last);
      last = reading.score;
      if (std::isinf(reading.score)) continue;
      CHECK(reading.log_prob == scorer.log_prob(units));
      double score = reading.log_prob + options.symbol_bonus * static_cast<double>(units.size);
      if (options.lm) {
        const double any = std::pow(kClasses, -static_cast<double>(units.size + 1));
        const double known = std::exp(options.lm->log_prob(units));
        score += options.lm_weight *
                 std::log((1 - options.lm_unknown) * known + options.lm_unknown * any);
      }
      CHECK(std::abs(score - reading.score) < 1e-9);
      if (options.words) CHECK(options.words->holds(units));
    }
  }
}

}  // namespace

TEST(beam, next_symbols_add_up_to_1_in_every_state) {
  for (int64_t order = 1; order <= LanguageModel::kHighestOrder; ++order) {
    const auto model = random_model(order);
    std::mt19937 random(1);
    LanguageModel::State state = model->start();
    for (int64_t i = 0; i < 500; ++i) {
      double sum = 0;
      for (uint32_t c = 0; c < kClasses; ++c) sum += std::exp(model->step(state, c).log_prob);
      CHECK(std::abs(sum - 1) < 1e-5);
      state = model->step(state, 1 + random() % 5).next;
    }
  }
}

TEST(beam, readings_are_what_they_say) {
  Batch batch(12, 9, kClasses, 3);
  batch.lengths = {12, 0, 1, 7, 12, 3, 11, 12, 5};
  const auto model = random_model(4);
  Lexicon lexicon(kClasses, 0);
  lexicon.add(random_words(60, 2));
  lexicon.add(random_words(4, 5));
  lexicon.remove(random_words(9, 2));
  const WordText words(lexicon.index(), {5}, kClasses);
  for (int64_t beam : {1, 3, 40}) {
    for (double cutoff : {0.0, 0.001, 1.0}) {
      for (bool with_lm : {false, true}) {
        for (bool with_words : {false, true}) {
          BeamOptions options;
          options.beam = beam;
          options.n_best = 5;
          options.cutoff = cutoff;
          options.lm = with_lm ? model.get() : nullptr;
          options.lm_weight = 0.7;
          options.lm_unknown = 0.2;
          options.symbol_bonus = 0.3;
          options.words = with_words ? &words : nullptr;
          check_readings(batch, options);
        }
      }
    }
  }
}
