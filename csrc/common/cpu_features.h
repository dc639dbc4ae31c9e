// Which SIMD level the hot CPU files run at, chosen once when the library is loaded.
#pragma once

namespace crnn {

// Ordered: a machine that has a level has every lower one.
enum class SimdLevel { baseline = 0, avx2 = 1, avx512 = 2 };

// The level in use: the best that this machine and this build have, or what the environment
// variable CRNN_SIMD (baseline, avx2, avx512) asks for. Throws std::invalid_argument if that
// variable names an unknown level or one this machine lacks.
SimdLevel simd_level();

const char* simd_level_name(SimdLevel level);

}  // namespace crnn

// Calls FUNCTION of the namespace compiled for the level in use. Each level is the same source
// file compiled with other flags into another namespace (see simd.h and CMakeLists.txt).
#ifdef CRNN_X86
#define CRNN_DISPATCH(FUNCTION, ...)               \
  do {                                             \
    switch (::crnn::simd_level()) {                \
      case ::crnn::SimdLevel::avx512:              \
        return simd_avx512::FUNCTION(__VA_ARGS__); \
      case ::crnn::SimdLevel::avx2:                \
        return simd_avx2::FUNCTION(__VA_ARGS__);   \
      case ::crnn::SimdLevel::baseline:            \
        break;                                     \
    }                                              \
    return simd_baseline::FUNCTION(__VA_ARGS__);   \
  } while (0)
// Declares one function in the namespace of each level.
#define CRNN_DECLARE_SIMD(...) \
  namespace simd_baseline {    \
  __VA_ARGS__;                 \
  }                            \
  namespace simd_avx2 {        \
  __VA_ARGS__;                 \
  }                            \
  namespace simd_avx512 {      \
  __VA_ARGS__;                 \
  }
#else
#define CRNN_DISPATCH(FUNCTION, ...) return simd_baseline::FUNCTION(__VA_ARGS__)
#define CRNN_DECLARE_SIMD(...) \
  namespace simd_baseline {    \
  __VA_ARGS__;                 \
  }
#endif
