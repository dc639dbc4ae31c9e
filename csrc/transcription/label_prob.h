// p(l | y), equation 1 of the CRNN paper: the sum of p(pi | y) over all paths pi with B(pi) = l,
// by the forward algorithm (Graves et al. 2006).
#pragma once

#include <cstdint>
#include <vector>

#include "text/word_list.h"
#include "transcription/frames.h"
#include "transcription/wide.h"

namespace crnn {

// Scores any number of labels against one sample. No path underflows.
class LabelScorer {
 public:
  LabelScorer(const FrameView& frames, int64_t blank);

  // log p(label | y); -inf where no path has a probability above zero. The units are classes in
  // [0, C), none of them blank. Cost: about frames * label.size state updates.
  double log_prob(Units label);

 private:
  // The forward algorithm in Number, `at(column, t)` being the probability of a class in frame t.
  template <class Number, class At>
  Number forward(Units label, const Wide* blank, std::vector<Number>& alpha, At&& at);

  Emissions probabilities_;
  int64_t frames_, blank_;
  std::vector<const Wide*> emissions_;  // [L]
  std::vector<Wide> alpha_;             // [U]
  std::vector<double> plain_alpha_;     // [U]
};

// out [N, K]: log p(labels[k] | sample n). The frames must have passed greedy_decode's check.
void label_log_probs(const FrameBatch& batch, const WordList& labels, int64_t blank,
                     int num_threads, double* out);

}  // namespace crnn
