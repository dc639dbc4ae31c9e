#include "text/outline.h"

#include <algorithm>

#include "common/cpu_features.h"

namespace crnn {

CRNN_DECLARE_SIMD(int64_t select_near(const Outline* outlines, int64_t count, Outline word,
                                      int64_t delta, uint32_t* selected))

Outline outline_of(Units word) {
  uint64_t once = 0, twice = 0;
  for (int64_t i = 0; i < word.size; ++i) {
    const uint64_t unit = uint64_t{1} << (word.data[i] % 32);
    twice |= once & unit;
    once |= unit;
  }
  const auto length = static_cast<uint64_t>(std::min<int64_t>(word.size, 255));
  return once | (twice & 0xFFFFFF) << 32 | length << 56;
}

int64_t select_near(const Outline* outlines, int64_t count, Outline word, int64_t delta,
                    uint32_t* selected) {
  CRNN_DISPATCH(select_near, outlines, count, word, delta, selected);
}

}  // namespace crnn
