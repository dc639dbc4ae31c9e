// The prefix beam search behind beam_decode.
//
// Frame by frame a beam of prefixes is kept, each with the mass of its paths that end in a blank
// and of those that end in its last label. Paths of the same prefix are added up wherever they
// come from: repeats merge unless a blank stands between. With a language model or a bonus, masses
// hold the factor exp(weight log P(label | prefix) + bonus) of each label; a path meets it once,
// in the frame in which it extends the prefix. Masses are scaled by their sum in each frame, so
// that no sample is too long.
#pragma once

#include <cstdint>
#include <vector>

#include "transcription/beam.h"
#include "transcription/frames.h"

namespace crnn {

// Works on one sample after the other; its memory is used again.
class BeamSearch {
 public:
  BeamSearch(int64_t classes, int64_t blank, const BeamOptions& options);

  // The labels with the most mass at the end, best first: all that could be among the n_best most
  // probable. path: the most probable class of each frame.
  std::vector<std::vector<uint32_t>> run(const FrameView& frames, const std::vector<int64_t>& path);

 private:
  // A prefix that was in a beam, linked to the one it extends.
  struct Node {
    uint32_t parent, label, first_child, next_sibling;
    uint32_t place;  // in the beam, if it is there
  };
  struct Prefix {
    double blank_mass = 0, label_mass = 0;
    double factor = 1;          // of its last label
    uint32_t node = 0;          // its own; of a new prefix that of the one it extends
    uint32_t label = 0;         // its last; of no meaning in node 0
    LanguageModel::State lm{};  // after it
    double lm_log_prob = 0;     // of it, by the language model,
    double text_log_prob = 0;   // and by TextProbability
    int64_t length = 0;
    WordText::State words{};                     // likewise
    uint32_t first_child = 0, next_sibling = 0;  // places in the beam, of those that extend it
    double mass() const { return blank_mass + label_mass; }
  };
  struct Emission {
    uint32_t label;
    double value;
  };
  struct Rank {
    double mass;
    uint32_t place;  // in the beam or, behind it, among the new prefixes
  };

  void start();
  void read_frame(const FrameView& frames, int64_t t, int64_t best);
  void list_emissions(const FrameView& frames, int64_t t, double least);
  double probability(const FrameView& frames, int64_t t, int64_t label);
  bool follow();
  void link_children();
  void step(const FrameView& frames, int64_t t);
  void extend(uint32_t place, const Prefix& old, uint32_t label, double value,
              WordText::State words);
  Prefix extended(const Prefix& old, uint32_t label) const;
  void keep_the_best();
  uint32_t node_of(uint32_t parent, uint32_t label);
  std::vector<std::vector<uint32_t>> finish();

  const int64_t classes_, blank_;
  const BeamOptions& options_;
  const double log_cutoff_, bonus_factor_;
  const TextProbability text_probability_;
  std::vector<Node> nodes_;  // node 0: the empty prefix
  std::vector<Prefix> beam_, before_, new_;
  std::vector<Rank> ranks_;
  double largest_ = 0, least_ = 0;   // log-probabilities of the frame: of all, of those that count
  bool only_best_ = false;           // no other class counts in the frame
  int64_t best_ = 0;                 // the most probable class of the frame
  std::vector<Emission> emissions_;  // labels that extend prefixes, the most probable first
  std::vector<double> value_;        // [C]: probability over the largest, in frame value_frame_
  std::vector<int64_t> value_frame_;
};

}  // namespace crnn
