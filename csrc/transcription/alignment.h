// Where the symbols of a given label lie in the frames, and what could stand in their place.
//
// A label l of L symbols is read by paths through the states u = 0 .. 2L of the blank-extended
// label l' = (blank, l_0, blank, l_1, .., blank): a path begins in state 0 or 1, ends in one of the
// last two, and moves on by 0, 1 or, to a symbol that differs from the one before, 2 (Graves et
// al. 2006).
#pragma once

#include <cstdint>
#include <vector>

#include "text/word_list.h"
#include "transcription/frames.h"
#include "transcription/greedy.h"

namespace crnn {

struct LabelAlignment {
  double log_prob;          // log p(l | y), equation 1: of all paths; -inf where there is none
  double path_log_prob;     // of the most probable path (Viterbi); -inf likewise
  std::vector<Span> spans;  // of each symbol, on that path; empty where there is none
};

// Aligns labels[n] with sample n, for all N samples. Of equally probable paths the one that moves
// on soonest is taken. `occupancy` gets for each sample, one after another,
// gamma [U, frames]: p(the path is in state u at t | l, y), 0 where l has no path.
// The frames must have passed greedy_decode's check; classes are in [0, C) and none of them blank.
// Cost: frames * U state updates, three times, and as many Wides of memory twice.
std::vector<LabelAlignment> align(const FrameBatch& batch, const WordList& labels, int64_t blank,
                                  int num_threads, double* occupancy);

// out [sum of L, C], sample after sample: out[i, c] is log p(l with symbol i replaced by c | y),
// and out[i, blank] that of l without symbol i; -inf where there is no path. Otherwise as `align`.
// Cost: frames * L * C updates of a Wide.
void replacement_log_probs(const FrameBatch& batch, const WordList& labels, int64_t blank,
                           int num_threads, double* out);

}  // namespace crnn
