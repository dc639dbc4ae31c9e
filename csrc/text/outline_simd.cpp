// The filter of outline.h, per SIMD level for the sake of the popcount instruction. About a
// nanosecond an outline; no branch depends on the data.
#include <cstdint>

#include "text/outline.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {

int64_t select_near(const Outline* outlines, int64_t count, Outline word, int64_t delta,
                    uint32_t* selected) {
  constexpr uint64_t pairs = (uint64_t{1} << 56) - 1;
  const auto length = static_cast<int64_t>(word >> 56);
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Outline other = outlines[i];
    const int64_t lacking = __builtin_popcountll(word & ~other & pairs);
    const int64_t foreign = __builtin_popcountll(other & ~word & pairs);
    const int64_t longer = static_cast<int64_t>(other >> 56) - length;
    selected[found] = static_cast<uint32_t>(i);
    found += (lacking <= delta) & (foreign <= delta) & (longer <= delta) & (-longer <= delta);
  }
  return found;
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
