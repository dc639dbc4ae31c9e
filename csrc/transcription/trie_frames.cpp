#include "transcription/trie_frames.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace crnn {

CRNN_TRIE_EXP() { CRNN_DISPATCH(trie_exp, x, columns, padded, maxima, sums); }
CRNN_TRIE_SCALE() { CRNN_DISPATCH(trie_scale, x, columns, padded, sums); }
CRNN_TRIE_ADVANCE() {
  CRNN_DISPATCH(trie_advance, source, column, blank_column, first, frames, padded, all);
}
CRNN_TRIE_BLANK() { CRNN_DISPATCH(trie_blank, all, blank_column, padded, blank); }
CRNN_TRIE_WALK() {
  CRNN_DISPATCH(trie_walk, states, columns, repeated, blank_column, first, frames, totals);
}
CRNN_TRIE_PRODUCTS() { CRNN_DISPATCH(trie_products, products, count, padded, sums); }
CRNN_TRIE_ENDING() { CRNN_DISPATCH(trie_ending, column, blanks, frames, ending); }

TrieFrames::TrieFrames(const FrameView& frames, const std::vector<uint32_t>& classes)
    : frames_(frames.frames()),
      padded_((frames_ + kFramePad - 1) / kFramePad * kFramePad),
      has_ending_(classes.size()) {
  const auto columns = static_cast<int64_t>(classes.size());
  constexpr double kZero = -std::numeric_limits<double>::infinity();
  emissions_.assign(static_cast<size_t>(columns * padded_ + kFramePad), kZero);
  for (int64_t t = 0; t < frames_; ++t) {
    for (int64_t c = 0; c < columns; ++c) {
      const double x = frames(t, classes[static_cast<size_t>(c)]);
      if (x > -kLogLimit) emissions_[static_cast<size_t>(c * padded_ + t)] = x;
    }
  }
  std::vector<double> maxima(static_cast<size_t>(padded_)), sums(maxima);
  trie_exp(emissions_.data(), columns, padded_, maxima.data(), sums.data());
  for (int64_t t = 0; t < frames_; ++t) {
    const auto i = static_cast<size_t>(t);
    if (!(sums[i] > 0)) {
      log_scale_ = kZero;
      return;
    }
    log_scale_ += maxima[i] + std::log(sums[i]);
  }
  for (int64_t t = frames_; t < padded_; ++t) sums[static_cast<size_t>(t)] = 1;
  trie_scale(emissions_.data(), columns, padded_, sums.data());
  blanks_.assign(static_cast<size_t>(padded_), 1);
  for (int64_t t = frames_ - 1; t > 0; --t) {
    const auto i = static_cast<size_t>(t);
    blanks_[i - 1] = blanks_[i] * emissions_[i];
  }
  root_.assign(static_cast<size_t>(padded_), 0);
  for (int64_t t = 0; t < frames_; ++t) {
    root_[static_cast<size_t>(t)] = root_total_;
    root_total_ *= emissions_[static_cast<size_t>(t)];
  }
}

const double* TrieFrames::ending(uint32_t column) {
  if (!endings_) endings_.reset(new double[emissions_.size()]);
  double* out = endings_.get() + column * padded_;
  if (!has_ending_[column]) {
    has_ending_[column] = true;
    trie_ending(this->column(column), blanks_.data(), frames_, out);
    std::fill(out + frames_, out + padded_, 0.0);
  }
  return out;
}

}  // namespace crnn
