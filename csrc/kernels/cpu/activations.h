// exp, sigmoid and tanh on vectors, for files compiled per SIMD level (common/simd.h).
#pragma once

#include "common/simd.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {

// e^x for |x| <= 88, relative error below 2e-7: x = n ln2 + r with ln2 in two parts (Cody & Waite
// 1980), then e^r on |r| <= ln2/2 by its Taylor polynomial of degree 7 (remainder 2^-28). NaN stays
// NaN; beyond +-88 the caller clamps.
static inline VecF exp_bounded(VecF x) {
  const VecF magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const VecF n = (x * splat(1.44269504088896341f) + magic) - magic;
  VecF r = x - n * splat(0.693359375f);
  r = r + n * splat(2.12194440e-4f);
  VecF p = splat(1.0f / 5040);
  p = p * r + splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  return p * from_bits((to_int(n) + 127) << 23);
}

// Comparisons with NaN are false, so NaN passes through both clamps.
static inline VecF clamp(VecF x, float limit) {
  x = x > splat(limit) ? splat(limit) : x;
  return x < splat(-limit) ? splat(-limit) : x;
}

// 1 / (1 + e^-x), relative error below 3e-7 for |x| <= 87; beyond, the value at 87.
static inline VecF sigmoid(VecF x) {
  return splat(1.0f) / (splat(1.0f) + exp_bounded(clamp(-x, 87.0f)));
}

// tanh(x), relative error below 4e-7: 1 - 2 / (e^2x + 1), and where that cancels (|x| < 0.625) the
// odd polynomial of degree 11 of the Cephes library's tanhf (Moshier 1989).
static inline VecF tanh(VecF x) {
  const VecF z = x * x;
  VecF p = splat(-5.70498872745e-3f);
  p = p * z + splat(2.06390887954e-2f);
  p = p * z - splat(5.37397155531e-2f);
  p = p * z + splat(1.33314422036e-1f);
  p = p * z - splat(3.33332819422e-1f);
  const VecF near_zero = x + x * z * p;
  const VecF away = splat(1.0f) - splat(2.0f) / (exp_bounded(clamp(x + x, 40.0f)) + splat(1.0f));
  return z < splat(0.390625f) ? near_zero : away;
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
