// Lexicon-free transcription (section 2.3.1 of the CRNN paper): l* = B(argmax_pi p(pi | y)).
#pragma once

#include <cstdint>
#include <vector>

#include "transcription/frames.h"

namespace crnn {

// A run of frames [begin, end).
struct Span {
  int64_t begin, end;
};

// The map B: one label per run of equal classes in path [T], blanks dropped. Appends to `labels`
// and, unless null, the run's frames to `spans`.
void collapse(const int64_t* path, int64_t T, int64_t blank, std::vector<int64_t>& labels,
              std::vector<Span>* spans);

struct GreedyReading {
  std::vector<int64_t> labels;
  std::vector<Span> spans;    // one per label
  double log_prob = 0;        // of the best path: the sum of its frames
  std::vector<int64_t> path;  // the most probable class of each frame
};

// Reads every sample. blank in [0, C). Throws std::invalid_argument, in the name of `op`, for the
// first sample with a frame that holds NaN or a value of kLogLimit or more.
std::vector<GreedyReading> greedy_decode(const char* op, const FrameBatch& batch, int64_t blank,
                                         int num_threads);

}  // namespace crnn
