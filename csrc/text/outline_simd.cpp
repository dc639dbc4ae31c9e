// The filter of outline.h, per SIMD level for the sake of the popcount instruction. About 2 ns an
// outline; no branch depends on the data.
#include <cstdint>

#include "text/outline.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {

int64_t select_near(const Outline* outlines, int64_t count, const Outline& word, int64_t delta,
                    uint32_t* selected) {
  const uint64_t once = word.once, twice = word.twice;
  const auto length = static_cast<int64_t>(word.length);
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Outline& other = outlines[i];
    const int64_t lacking =
        __builtin_popcountll(once & ~other.once) + __builtin_popcountll(twice & ~other.twice);
    const int64_t foreign =
        __builtin_popcountll(other.once & ~once) + __builtin_popcountll(other.twice & ~twice);
    const int64_t longer = static_cast<int64_t>(other.length) - length;
    selected[found] = static_cast<uint32_t>(i);
    found += (lacking <= delta) & (foreign <= delta) & (longer <= delta) & (-longer <= delta);
  }
  return found;
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
