// The emulator's twin of <cuda_bf16.h>: storage and conversions, rounded to nearest even.
#pragma once

#include <cuda_runtime.h>

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 h) {
  return emulated_bits<float>(static_cast<uint32_t>(h.bits) << 16);
}

inline __nv_bfloat16 __float2bfloat16(float x) {
  const uint32_t bits = emulated_bits<uint32_t>(x);
  if (x != x) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fffU + (bits >> 16 & 1)) >> 16)};
}
