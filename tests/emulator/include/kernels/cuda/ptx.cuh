// The functions of csrc/kernels/cuda/ptx.cuh for the emulator, after the PTX manual.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "emulator.h"

namespace crnn {

// ---- numbers of 16 bits ------------------------------------------------------------------------

struct Fp16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

inline float to_float(Bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
inline float to_float(Fp16 x) {
  const int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  float y = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                          : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  if (exponent == 31) y = fraction == 0 ? INFINITY : NAN;
  return x.bits >> 15 != 0 ? -y : y;
}

inline Bf16 to_bf16(float x) {
  const uint32_t u = __float_as_uint(x);
  if (std::isnan(x)) return {0x7fff};
  return {static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
inline Fp16 to_fp16(float x) {
  const uint32_t u = __float_as_uint(x) & 0x7fffffff, sign = __float_as_uint(x) >> 16 & 0x8000;
  uint32_t y;
  if (std::isnan(x)) return {0x7fff};
  if (u >= 0x477ff000) {  // from 65520 on
    y = 0x7c00;
  } else if (u < 0x38800000) {  // below 2^-14: multiples of 2^-24
    y = static_cast<uint32_t>(std::nearbyint(std::ldexp(std::fabs(x), 24)));
  } else {
    y = (u + 0xfff + (u >> 13 & 1) - 0x38000000) >> 13;
  }
  return {static_cast<uint16_t>(sign | y)};
}

inline uint32_t pack_fp16(float low, float high) {
  return to_fp16(low).bits | static_cast<uint32_t>(to_fp16(high).bits) << 16;
}
inline uint32_t pack_bf16(float low, float high) {
  return to_bf16(low).bits | static_cast<uint32_t>(to_bf16(high).bits) << 16;
}
inline uint32_t to_tf32(float x) {
  const uint32_t u = __float_as_uint(x);
  return std::isfinite(x) ? (u + 0x1000) & ~0x1fffU : u & ~0x1fffU;
}
inline float tanh_approx(float x) { return std::tanh(x); }

// ---- tensor cores -------------------------------------------------------------------------------

struct FactorA {
  uint32_t word[4];
};
void mma_fp16(float (&d)[4], const FactorA& a, uint32_t b0, uint32_t b1,
              Place place = Place::here());
void mma_bf16(float (&d)[4], const FactorA& a, uint32_t b0, uint32_t b1,
              Place place = Place::here());
void mma_tf32(float (&d)[4], const FactorA& a, uint32_t b0, uint32_t b1,
              Place place = Place::here());

// ---- clusters -----------------------------------------------------------------------------------

struct ClusterAddress {
  uint32_t value;  // rank + 1 in the upper byte, then the offset in that block's shared memory
};
inline ClusterAddress operator+(ClusterAddress address, uint32_t bytes) {
  return {address.value + bytes};
}

inline uint32_t cluster_rank() { return emulator::cluster_rank(); }
ClusterAddress map_to_rank(const void* shared, uint32_t rank);
inline void cluster_arrive(Place place = Place::here()) { emulator::cluster_arrive(place); }
inline void cluster_wait(Place place = Place::here()) { emulator::cluster_wait(place); }

// ---- mbarriers ----------------------------------------------------------------------------------

using Mbarrier = uint64_t;

void mbarrier_init(Mbarrier* barrier, uint32_t arrivals);
inline void mbarrier_init_fence() {}
void mbarrier_arrive_expect(Mbarrier* barrier, uint32_t bytes);
void mbarrier_wait(Mbarrier* barrier, uint32_t parity, Place place = Place::here());
void store_async(ClusterAddress to, uint32_t word, ClusterAddress barrier);
void store_async(ClusterAddress to, float x, float y, float z, float w, ClusterAddress barrier);

}  // namespace crnn
