// CTC over a trie: what one sample's frames say about prefixes and words, in double precision.
//
// A node v ends in label k. With y the emissions of a sample, scaled so that those of each frame
// add up to 1 over the lexicon's classes and the blank, let
//   label_t(v), blank_t(v) = the mass of all paths over the frames before t that collapse to v's
//                            labels and end in k, or in a blank;
//   all_t(v) = label_t(v) + blank_t(v).
// A path enters the child c of v, of label k', in frame t with the mass
//   entry_t(c) = y_t(k') * (all_t(v), or blank_t(v) where k' = k),
// so that sum_t entry_t(c) is the probability of every label that starts with c: the bound of the
// search, and exact where all symbols may follow. The probability of c itself is
//   p(c) = sum_t entry_t(c) * rest_t(k'),
//   rest_t(k') = y_{t+1}(k') rest_{t+1}(k') + y_{t+1}(blank) * (prod of y(blank) after t + 1),
// the mass of staying in k' and then in blanks: of every class one column for all words. Both are
// dot products of T numbers; only a node that is expanded needs the recursion over the frames.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "transcription/frames.h"
#include "transcription/trie_simd.h"

namespace crnn {

// The columns y(k) and y(k) * rest(k) of one sample, [columns][padded]; column 0 is the blank.
class TrieFrames {
 public:
  // `classes`: the class of each column, the blank's first. Values of -kLogLimit and less are
  // probability zero.
  TrieFrames(const FrameView& frames, const std::vector<uint32_t>& classes);

  int64_t frames() const { return frames_; }
  int64_t padded() const { return padded_; }
  // log of what the scaled probabilities were divided by; -inf if a frame allows none of the
  // classes, and then nothing else here has a meaning.
  double log_scale() const { return log_scale_; }

  const double* emissions() const { return emissions_.data(); }
  const double* column(uint32_t column) const { return emissions_.data() + column * padded_; }
  // y_t(k) * rest_t(k); computed when first asked for.
  const double* ending(uint32_t column);
  // all_t = blank_t of the root, whose last label is none: the product of the blanks before t.
  const double* root() const { return root_.data(); }
  double root_total() const { return root_total_; }  // of all frames: p(the empty word)

 private:
  int64_t frames_, padded_;
  double log_scale_ = 0, root_total_ = 1;
  std::vector<double> emissions_, root_;
  std::vector<double> blanks_;  // the product of y(blank) after each frame
  std::unique_ptr<double[]> endings_;
  std::vector<bool> has_ending_;  // of each column
};

}  // namespace crnn
