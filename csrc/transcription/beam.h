// Prefix beam search: the most probable labels of a sample, p(l | y) summed over paths (Graves and
// Jaitly 2014; Hannun et al. 2014), without lexicon.
//
// Frame by frame a beam of prefixes is kept, each with the mass of its paths that end in a blank
// and of those that end in its last label. Paths of the same prefix are added up wherever they
// come from: repeats merge unless a blank stands between. Masses are scaled by their sum in each
// frame, so that no sample is too long.
#pragma once

#include <cstdint>
#include <vector>

#include "transcription/frames.h"

namespace crnn {

struct BeamOptions {
  int64_t beam = 16;   // prefixes kept after a frame, >= 1
  int64_t n_best = 1;  // labels wanted, >= 1
  // Labels below this part of a frame's largest do not extend prefixes; prefixes with less mass
  // than its square over the largest are dropped.
  double cutoff = 0.001;
};

struct BeamReading {
  std::vector<int64_t> labels;
  double log_prob;  // of the labels: exact, by LabelScorer
};

// At most n_best different labels of every sample, by falling probability: of those with the most
// mass at the end and of the greedy reading, which therefore is never better than the first. Only
// where all have probability zero, the greedy reading comes with -inf. Throws like greedy_decode.
std::vector<std::vector<BeamReading>> beam_decode(const char* op, const FrameBatch& batch,
                                                  int64_t blank, const BeamOptions& options,
                                                  int num_threads);

}  // namespace crnn
