// Vectors of the widest kind the compiled level has, on the compilers' own vector extension.
//
// Rules for a file compiled at several levels (CRNN_SIMD_SOURCES in CMakeLists.txt):
//  1. Everything in it lives in `namespace crnn::CRNN_SIMD_NAMESPACE` or is static.
//  2. It instantiates no std:: template and calls no inline function of another header: the
//     linker keeps one copy of those, which could be the one with instructions an older
//     processor lacks.
// Arithmetic, comparison and `mask ? a : b` on these types are the compiler's operators.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef CRNN_SIMD_NAMESPACE
#error "simd.h is for sources compiled per SIMD level; see CMakeLists.txt"
#endif

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;  // 32-bit lanes of one vector

typedef float VecF __attribute__((vector_size(kVectorBytes)));
typedef int32_t VecI __attribute__((vector_size(kVectorBytes)));

static inline VecF load(const float* p) {
  VecF v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
static inline VecI load(const int32_t* p) {
  VecI v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
static inline void store(float* p, VecF v) { std::memcpy(p, &v, sizeof v); }
static inline void store(int32_t* p, VecI v) { std::memcpy(p, &v, sizeof v); }
static inline VecF splat(float x) { return x - VecF{}; }
static inline VecI splat(int32_t x) { return x - VecI{}; }
static inline VecI bits(VecF v) { return (VecI)v; }
static inline VecF from_bits(VecI v) { return (VecF)v; }
static inline VecF to_float(VecI v) { return __builtin_convertvector(v, VecF); }
static inline VecI to_int(VecF v) { return __builtin_convertvector(v, VecI); }  // towards zero

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
