// p(l | y), equation 1 of the CRNN paper: the sum of p(pi | y) over all paths pi with B(pi) = l,
// by the forward algorithm (Graves et al. 2006).
#pragma once

#include <cstdint>
#include <vector>

#include "text/word_list.h"
#include "transcription/frames.h"

namespace crnn {

// Scores any number of labels against one sample. No path underflows: each state is a double with
// an exponent of its own.
class LabelScorer {
 public:
  LabelScorer(const FrameView& frames, int64_t blank);

  // log p(label | y); -inf where no path has a probability above zero. The units are classes in
  // [0, C), none of them blank. Cost: about frames * label.size state updates.
  double log_prob(Units label);

 private:
  // mantissa * 2^(512 exponent), mantissa 0 or in [2^-256, 2^256): the exponent changes so rarely
  // that sums and products cost little more than those of doubles.
  struct Wide {
    double mantissa = 0;
    int64_t exponent = 0;
  };
  static Wide from_log(double x);
  static double to_log(Wide x);
  static Wide add(Wide a, Wide b);
  static Wide multiply(Wide a, Wide b);

  // The probabilities of a class over the frames, computed when a label first asks for them.
  const Wide* column(uint32_t label);

  FrameView frames_;
  uint32_t blank_;
  std::vector<std::vector<Wide>> columns_;  // [C][frames], empty until asked for
  std::vector<const Wide*> emissions_;      // [L]
  std::vector<Wide> alpha_;                 // [U]
};

// out [N, K]: log p(labels[k] | sample n). The frames must have passed greedy_decode's check.
void label_log_probs(const FrameBatch& batch, const WordList& labels, int64_t blank,
                     int num_threads, double* out);

}  // namespace crnn
