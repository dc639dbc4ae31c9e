// The emulator's twin of <cuda_fp16.h>: storage and conversions, rounded to nearest even.
#pragma once

#include <cuda_runtime.h>

struct __half {
  uint16_t bits;
};

inline float __half2float(__half h) {
  const uint32_t sign = (h.bits & 0x8000U) << 16, exponent = h.bits >> 10 & 31;
  const uint32_t fraction = h.bits & 0x3ffU;
  if (exponent == 0) {  // zero or denormal
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 0xffU : exponent + 112;
  return emulated_bits<float>(sign | wide << 23 | fraction << 13);
}

inline __half __float2half(float x) {
  const uint32_t bits = emulated_bits<uint32_t>(x);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
  const float size = std::fabs(x);
  if (size != size) return {static_cast<uint16_t>(sign | 0x7fffU)};
  if (size >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00U)};
  if (size < 0x1p-14f) {  // in units of the least denormal; the current mode rounds to even
    return {static_cast<uint16_t>(sign | static_cast<uint16_t>(std::rint(size * 0x1p24f)))};
  }
  const uint32_t rest = bits & 0x7fffffffU;
  const uint32_t rounded = rest + 0xfffU + (rest >> 13 & 1);
  return {static_cast<uint16_t>(sign | ((rounded >> 13) - (112U << 10)))};
}
