// Random frames for the decoders.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "text/word_list.h"
#include "transcription/frames.h"

namespace crnn {

// log-probabilities [T, N, C], and lengths that are all T until changed.
struct Batch {
  Batch(int64_t T_, int64_t N_, int64_t C_, unsigned seed)
      : T(T_), N(N_), C(C_), lengths(static_cast<size_t>(N_), T_) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, 2);
    values.resize(static_cast<size_t>(T * N * C));
    for (double& v : values) v = normal(random);
    for (int64_t row = 0; row < T * N; ++row) {
      double sum = 0;
      for (int64_t c = 0; c < C; ++c) sum += std::exp(values[static_cast<size_t>(row * C + c)]);
      for (int64_t c = 0; c < C; ++c) values[static_cast<size_t>(row * C + c)] -= std::log(sum);
    }
  }
  double& at(int64_t t, int64_t n, int64_t c) {
    return values[static_cast<size_t>((t * N + n) * C + c)];
  }
  FrameBatch view() const { return {nullptr, values.data(), T, N, C, N * C, C, 1, lengths.data()}; }

  int64_t T, N, C;
  std::vector<double> values;
  std::vector<int64_t> lengths;
};

inline WordList list(const std::vector<std::vector<uint32_t>>& words) {
  size_t units = 0;
  for (const auto& word : words) units += word.size();
  WordList result;
  result.units.reserve(units);  // or GCC 12 at -O3 warns of an overflow that there is not
  for (const auto& word : words) result.append({word.data(), static_cast<int64_t>(word.size())});
  return result;
}

}  // namespace crnn
