// Prefix beam search: the labels of a sample with the highest p(l | y), summed over paths (Graves
// and Jaitly 2014; Hannun et al. 2014), alone or weighed by a language model; of any labels or of
// texts made of a lexicon's words. The search itself: beam_search.h.
#pragma once

#include <cstdint>
#include <vector>

#include "text/language_model.h"
#include "transcription/frames.h"
#include "transcription/word_text.h"

namespace crnn {

// score(l) = log p(l | y) + lm_weight log P_lm(l) + symbol_bonus |l|
struct BeamOptions {
  int64_t beam = 16;   // prefixes kept after a frame, >= 1
  int64_t n_best = 1;  // labels wanted, >= 1
  // Classes below this part of a frame's largest count as impossible in it, unless `words` are
  // given; prefixes with less mass than its square over the largest are dropped.
  double cutoff = 0.001;
  const LanguageModel* lm = nullptr;  // of as many classes and the same blank
  double lm_weight = 0;               // >= 0
  double symbol_bonus = 0;
  const WordText* words = nullptr;  // only these texts
};

struct BeamReading {
  std::vector<int64_t> labels;
  double log_prob;  // of the labels, p(l | y): exact, by LabelScorer
  double score;
};

// At most n_best different labels of every sample, by falling score: of those with the most mass at
// the end and of the greedy reading (if it is such a text), which therefore never scores better
// than the first. Only where all have probability zero, or none is such a text, the greedy reading
// comes with a score of -inf. Throws like greedy_decode.
std::vector<std::vector<BeamReading>> beam_decode(const char* op, const FrameBatch& batch,
                                                  int64_t blank, const BeamOptions& options,
                                                  int num_threads);

}  // namespace crnn
