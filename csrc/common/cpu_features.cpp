#include "common/cpu_features.h"

#include <cstdlib>
#include <cstring>

#include "common/error.h"

namespace crnn {
namespace {

SimdLevel detect() {
#ifdef CRNN_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512) return SimdLevel::avx512;
  if (avx2) return SimdLevel::avx2;
#endif
  return SimdLevel::baseline;
}

SimdLevel choose() {
  const SimdLevel best = detect();
  const char* wanted = std::getenv("CRNN_SIMD");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (SimdLevel level : {SimdLevel::baseline, SimdLevel::avx2, SimdLevel::avx512}) {
    if (std::strcmp(wanted, simd_level_name(level)) != 0) continue;
    if (level > best) fail("crnn_ext", "CRNN_SIMD", "be a level this machine has", wanted);
    return level;
  }
  fail("crnn_ext", "CRNN_SIMD", "be baseline, avx2 or avx512", wanted);
}

}  // namespace

SimdLevel simd_level() {
  static const SimdLevel level = choose();
  return level;
}

const char* simd_level_name(SimdLevel level) {
  switch (level) {
    case SimdLevel::avx512:
      return "avx512";
    case SimdLevel::avx2:
      return "avx2";
    case SimdLevel::baseline:
      break;
  }
  return "baseline";
}

}  // namespace crnn
