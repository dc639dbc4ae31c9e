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

// score(l) = log p(l | y) + lm_weight log P(l) + symbol_bonus |l|, with
// P(l) = (1 - lm_unknown) P_lm(l) + lm_unknown C^-(|l| + 1).
struct BeamOptions {
  int64_t beam = 16;   // prefixes kept after a frame, >= 1
  int64_t n_best = 1;  // labels wanted, >= 1
  // Classes below this part of a frame's largest count as impossible in it, unless `words` are
  // given; prefixes with less mass than its square over the largest are dropped.
  double cutoff = 0.001;
  const LanguageModel* lm = nullptr;  // of as many classes and the same blank
  double lm_weight = 0;               // >= 0
  double lm_unknown = 0;              // in [0, 1]
  double symbol_bonus = 0;
  const WordText* words = nullptr;  // only these texts
};

// log P of BeamOptions: a text is one that the language model knows or, with probability
// `unknown`, any: each symbol and the end as likely as the others. So what it never saw, as codes
// are, costs log(unknown) once and not something for every symbol.
class TextProbability {
 public:
  explicit TextProbability(const BeamOptions& options);
  // Of a text, or of all that begin with a prefix: from log P_lm, and how many classes were drawn,
  // the end of a text being one.
  double operator()(double lm_log_prob, int64_t drawn) const;

 private:
  double log_known_, log_unknown_, log_classes_;
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
