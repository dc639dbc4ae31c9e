// The emulator's twin of <cuda_runtime.h>: what the kernels and their launchers use of it.
#pragma once

#include <math.h>  // with libstdc++, overloads for float in the global namespace, as in CUDA

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "emulator.h"

// ---- the language ------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// threadIdx and its kind: objects whose members ask the scheduler.
template <emulator::Index3 (*get)(), unsigned emulator::Index3::* part>
struct EmulatedPart {
  operator unsigned() const { return get().*part; }
};
template <emulator::Index3 (*get)()>
struct EmulatedIndex {
  EmulatedPart<get, &emulator::Index3::x> x;
  EmulatedPart<get, &emulator::Index3::y> y;
  EmulatedPart<get, &emulator::Index3::z> z;
};
inline constexpr EmulatedIndex<emulator::thread_index> threadIdx{};
inline constexpr EmulatedIndex<emulator::block_index> blockIdx{};
inline constexpr EmulatedIndex<emulator::block_size> blockDim{};
inline constexpr EmulatedIndex<emulator::grid_size> gridDim{};
constexpr int warpSize = 32;

#define CRNN_EMULATED_VECTOR(type, name)                                                   \
  struct __attribute__((aligned(2 * sizeof(type)))) name##2 { type x, y; };                \
  struct name##3 { type x, y, z; };                                                        \
  struct __attribute__((aligned(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)))) name##4 { \
    type x, y, z, w;                                                                       \
  };                                                                                       \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }                         \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }              \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CRNN_EMULATED_VECTOR(float, float)
CRNN_EMULATED_VECTOR(double, double)
CRNN_EMULATED_VECTOR(int, int)
#undef CRNN_EMULATED_VECTOR
struct __attribute__((aligned(8))) uint2 {
  unsigned x, y;
};
struct __attribute__((aligned(16))) uint4 {
  unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- bits and arithmetic -----------------------------------------------------------------------

template <class To, class From>
inline To emulated_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline void __stcs(T* p, T value) {
  *p = value;
}

// CUDA's overloads for integers and mixed floats.
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }

// ---- threads of a block and of a warp ----------------------------------------------------------

using emulator::Place;

inline void __syncthreads(Place place = Place::here()) { emulator::block_barrier(place); }
inline int __syncthreads_or(int predicate, Place place = Place::here()) {
  return emulator::block_barrier_or(predicate != 0, place);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __syncwarp(unsigned mask = 0xffffffffU, Place place = Place::here()) {
  emulator::warp_operation(mask, "__syncwarp", nullptr, nullptr, true, place);
}

template <class T>
struct EmulatedShuffle {
  T value;
  int source;
  T result;
};
template <class T>
T emulated_shuffle(unsigned mask, const char* name, T value, int source, Place place) {
  EmulatedShuffle<T> own{value, source, value};
  const auto combine = [](void* const* lanes) {
    for (int k = 0; k < 32; ++k) {
      if (lanes[k] == nullptr) continue;
      auto* to = static_cast<EmulatedShuffle<T>*>(lanes[k]);
      const auto* from = static_cast<const EmulatedShuffle<T>*>(lanes[to->source]);
      if (from == nullptr) emulator::report("a shuffle reads a lane outside its mask");
      to->result = from->value;
    }
  };
  emulator::warp_operation(mask, name, &own, combine, false, place);
  return own.result;
}
inline int emulated_lane() { return static_cast<int>(emulator::lane_index()); }
template <class T>
T __shfl_sync(unsigned mask, T v, int source, int width = 32, Place place = Place::here()) {
  const int lane = emulated_lane();
  const int from = (lane & ~(width - 1)) | (source & (width - 1));
  return emulated_shuffle(mask, "__shfl_sync", v, from, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, Place place = Place::here()) {
  const int lane = emulated_lane(), from = lane - static_cast<int>(delta);
  return emulated_shuffle(mask, "__shfl_up_sync", v, from < (lane & ~(width - 1)) ? lane : from,
                          place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32,
                   Place place = Place::here()) {
  const int lane = emulated_lane(), from = lane + static_cast<int>(delta);
  return emulated_shuffle(mask, "__shfl_down_sync", v, from > (lane | (width - 1)) ? lane : from,
                          place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, Place place = Place::here()) {
  const int lane = emulated_lane(), from = lane ^ bits;
  return emulated_shuffle(mask, "__shfl_xor_sync", v, from > (lane | (width - 1)) ? lane : from,
                          place);
}

struct EmulatedVote {
  bool value;
  unsigned ballot;
};
inline unsigned __ballot_sync(unsigned mask, int predicate, Place place = Place::here()) {
  EmulatedVote own{predicate != 0, 0};
  const auto combine = [](void* const* lanes) {
    unsigned ballot = 0;
    for (int k = 0; k < 32; ++k) {
      if (lanes[k] != nullptr && static_cast<EmulatedVote*>(lanes[k])->value) ballot |= 1U << k;
    }
    for (int k = 0; k < 32; ++k) {
      if (lanes[k] != nullptr) static_cast<EmulatedVote*>(lanes[k])->ballot = ballot;
    }
  };
  emulator::warp_operation(mask, "__ballot_sync", &own, combine, false, place);
  return own.ballot;
}
inline int __any_sync(unsigned mask, int predicate, Place place = Place::here()) {
  return __ballot_sync(mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, Place place = Place::here()) {
  return __ballot_sync(mask, predicate == 0, place) == 0;
}

template <class T>
T atomicAdd(T* p, T value) {
  emulator::atomic_access(p, sizeof(T));
  T old, sum;
  std::memcpy(&old, p, sizeof old);
  sum = old + value;
  std::memcpy(p, &sum, sizeof sum);
  return old;
}

// ---- the runtime --------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct CUstream_st;
using cudaStream_t = CUstream_st*;
union cudaLaunchAttributeValue {
  struct {
    unsigned x, y, z;
  } clusterDim;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

// Errors are kept as CUDA keeps them, until cudaGetLastError.
cudaError_t emulated_error(cudaError_t error);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t emulated_allow_shared(const void* kernel, size_t bytes);
// What a launch with these numbers would return.
cudaError_t emulated_check(const cudaLaunchConfig_t& config, const void* kernel);
emulator::LaunchConfig emulated_config(const cudaLaunchConfig_t& config);

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value) {
  return emulated_allow_shared(reinterpret_cast<const void*>(kernel), static_cast<size_t>(value));
}

struct cudaFuncAttributes {
  int ptxVersion = 0;
};
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  attributes->ptxVersion = emulator::device().major >= 9 ? 90 : 80;  // what the build holds
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const cudaError_t error = emulated_check(*config, reinterpret_cast<const void*>(kernel));
  if (error != cudaSuccess) return emulated_error(error);
  // By value and side by side, as a device holds them.
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> parameters;
  };
  const Call call{kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)};
  const auto body = [](const void* p) {
    const auto* at = static_cast<const Call*>(p);
    std::apply(at->kernel, at->parameters);
  };
  emulator::run(emulated_config(*config), body, &call, sizeof call);
  return cudaSuccess;
}
