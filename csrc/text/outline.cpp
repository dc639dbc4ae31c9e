#include "text/outline.h"

#include "common/cpu_features.h"

namespace crnn {

CRNN_DECLARE_SIMD(int64_t select_near(const Outline* outlines, int64_t count, const Outline& word,
                                      int64_t delta, uint32_t* selected))

Outline outline_of(Units word) {
  Outline outline{0, 0, static_cast<uint64_t>(word.size)};
  for (int64_t i = 0; i < word.size; ++i) {
    const uint64_t unit = uint64_t{1} << (word.data[i] % 64);
    outline.twice |= outline.once & unit;
    outline.once |= unit;
  }
  return outline;
}

int64_t select_near(const Outline* outlines, int64_t count, const Outline& word, int64_t delta,
                    uint32_t* selected) {
  CRNN_DISPATCH(select_near, outlines, count, word, delta, selected);
}

}  // namespace crnn
