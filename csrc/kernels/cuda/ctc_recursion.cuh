// CTC forward-backward recursion of one sample by one block (kernels/cpu/ctc_recursion.cpp has the
// equations). Two groups of warps walk towards each other: `forward` from the first frame, with
// alpha, and `backward` from the last. Read backwards, the label obeys the same recursion: with
// u_t = beta_t y_t,
//   inflow(b_j) = b_j + l_{j-1},  inflow(l_j) = l_j + b_j + skip_j l_{j-1}   of the frame before,
//   state = inflow * y,
// gives alpha as the state going forward, beta as the inflow going backward. So both groups run the
// same code. Up to the middle each stores its rows; beyond it each multiplies its own value by the
// other's row: the posterior. The longest chain of dependent steps is T, not 2T.
//
// A lane holds K neighbouring pairs (b_j, l_j), j counted in the direction of its group; it needs
// one value of the lane before it per step: a shuffle, and between warps a slot in shared memory.
#pragma once

#include "kernels/cuda/ctc_numbers.cuh"
#include "kernels/cuda/launch.cuh"

namespace crnn {

// One sample as the recursion sees it. Emissions of frame t: row t * stride, the blank first, then
// the symbols; each relative to the frame's largest.
template <class Real>
struct Lattice {
  int frames, L;
  int stride;               // of rows, in slots: at least L + 1
  Scaled<Real>* emissions;  // [frames, stride]
  Scaled<Real>* rows_b;  // [keep ? frames : 1, stride]: alpha of the first half, beta of the rest
  Scaled<Real>* rows_l;
  Scaled<Real>* boundary;  // [2 directions, 2 parities, 16 warps]
  Scaled<Real>* joint;     // [stride]: alpha * beta of the pairs of the middle frame
  Scaled<Real>* total;     // Z
  Real* posteriors;        // [frames, 2L+1] or null
};

template <class Real, int K>
struct Walker {
  bool backward, active;  // active: this warp belongs to a group
  int warp, lane, first;  // warp within its group; first pair
  int taken = 0;          // steps so far
  Scaled<Real> b[K], l[K], in_b[K], in_l[K], y[K], y_blank;
  int skip[K];

  // Index of pair first + k in the label's own order; valid if 0 <= it <= L (blank), < L (symbol).
  __device__ int blank_at(const Lattice<Real>& s, int k) const {
    return backward ? s.L - first - k : first + k;
  }
  __device__ int symbol_at(const Lattice<Real>& s, int k) const {
    return backward ? s.L - 1 - first - k : first + k;
  }
  __device__ int frame(const Lattice<Real>& s) const {
    return backward ? s.frames - 1 - taken : taken;
  }

  template <class Label>
  __device__ void start(const Lattice<Real>& s, const Label& label) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const int j = first + k;
      b[k] = l[k] = zero_scaled<Real>();
      if (j == 0) b[k].e = 0;
      const int i = symbol_at(s, k), before = backward ? i + 1 : i - 1;
      const bool inside = j > 0 && j < s.L;
      skip[k] = inside && label(i) != label(before) ? 0 : kImpossible;
    }
    load_emissions(s);
  }

  // Of the frame that the next step enters.
  __device__ void load_emissions(const Lattice<Real>& s) {
    if (taken >= s.frames) return;
    const Scaled<Real>* row = s.emissions + static_cast<int64_t>(frame(s)) * s.stride;
    y_blank = row[0];
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const Scaled<Real> none{Real(1), kImpossible};
      y[k] = first + k < s.L ? row[1 + symbol_at(s, k)] : none;
    }
  }

  template <bool kMulti>
  __device__ void step(const Lattice<Real>& s) {
    Scaled<Real> left = {__shfl_up_sync(kAllLanes, l[K - 1].m, 1),
                         __shfl_up_sync(kAllLanes, l[K - 1].e, 1)};
    if (lane == 0) {
      left = zero_scaled<Real>();
      if (kMulti && warp > 0 && taken > 0) left = *slot(s, taken, warp - 1);
    }
#pragma unroll
    for (int k = K - 1; k >= 0; --k) {
      Scaled<Real> before = k > 0 ? l[k - 1] : left;
      in_b[k] = add(b[k], before);
      before.e += skip[k];
      in_l[k] = add(l[k], b[k], before);
      b[k] = times(in_b[k], y_blank);
      l[k] = times(in_l[k], y[k]);
    }
    ++taken;
    if (kMulti && lane == 31) *slot(s, taken, warp) = l[K - 1];
    load_emissions(s);
  }

  __device__ Scaled<Real>* slot(const Lattice<Real>& s, int parity, int of_warp) const {
    return s.boundary + ((backward ? 2 : 0) + (parity & 1)) * 16 + of_warp;
  }

  // What the other group needs of this step: alpha, or beta.
  __device__ void store(const Lattice<Real>& s, int row) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const int i = blank_at(s, k), symbol = symbol_at(s, k);
      const int64_t at = static_cast<int64_t>(row) * s.stride;
      if (first + k <= s.L) s.rows_b[at + i] = backward ? in_b[k] : b[k];
      if (first + k < s.L) s.rows_l[at + symbol] = backward ? in_l[k] : l[k];
    }
  }

  // alpha * beta of pair k with the other group's row.
  __device__ Scaled<Real> joint_b(const Lattice<Real>& s, int k, int64_t at) const {
    return product(backward ? in_b[k] : b[k], s.rows_b[at + blank_at(s, k)]);
  }
  __device__ Scaled<Real> joint_l(const Lattice<Real>& s, int k, int64_t at) const {
    return product(backward ? in_l[k] : l[k], s.rows_l[at + symbol_at(s, k)]);
  }
  static __device__ Scaled<Real> product(Scaled<Real> a, Scaled<Real> c) {
    // The limits keep the sum of two exponents of zero from overflowing.
    return {a.m * c.m, max(a.e, kImpossible) + max(c.e, kImpossible)};
  }

  // Posteriors of this step's frame relative to 2^(exponent of Z).
  __device__ void store_posteriors(const Lattice<Real>& s, int t, int exponent) const {
    const int64_t at = static_cast<int64_t>(t) * s.stride;
    Real* out = s.posteriors + static_cast<int64_t>(t) * (2 * s.L + 1);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (first + k <= s.L) {
        const Scaled<Real> p = joint_b(s, k, at);
        out[blank_at(s, k)] = p.m * power_of_two<Real>(p.e - exponent);
      }
      if (first + k < s.L) {
        const Scaled<Real> p = joint_l(s, k, at);
        out[s.L + 1 + symbol_at(s, k)] = p.m * power_of_two<Real>(p.e - exponent);
      }
    }
  }
};

// Z = sum of m * 2^e over values[0..count): by one warp, in an order that depends on count alone.
template <class Real>
__device__ Scaled<Real> sum_scaled(const Scaled<Real>* values, int count, int lane) {
  int e = kZero;
  for (int i = lane; i < count; i += 32) e = max(e, values[i].e);
  e = warp_max(e);
  Real m = 0;
  for (int i = lane; i < count; i += 32) m += values[i].m * power_of_two<Real>(values[i].e - e);
  return normalised(warp_sum(m), e);
}

// The whole recursion, by all threads of the block; needs frames >= 1. Warps beyond the two groups
// only meet the barriers. Writes *s.total and, unless null and Z is zero, the posteriors.
template <class Real, int K, bool kMulti, class Label>
__device__ void run_recursion(const Lattice<Real>& s, const Label& label) {
  const int warps = kMulti ? (s.L + 32 * K) / (32 * K) : 1;  // of each group
  const int warp = threadIdx.x / 32;
  Walker<Real, K> w;
  w.active = warp < 2 * warps;
  w.backward = warp % 2 == 1;
  w.warp = warp / 2;
  w.lane = threadIdx.x % 32;
  w.first = (w.warp * 32 + w.lane) * K;
  if (w.active) w.start(s, label);

  // First half: alpha up to frame middle - 1, beta down to frame middle.
  const int middle = s.frames / 2;
  const bool keep = s.posteriors != nullptr;
  for (int i = 0; i < s.frames - middle; ++i) {
    if (w.active && (w.backward || i < middle)) {
      const int t = w.frame(s);
      w.template step<kMulti>(s);
      if (keep || t == middle) w.store(s, keep ? t : 0);
    }
    if (kMulti) __syncthreads();
  }
  __syncthreads();

  // Z, from alpha and beta of the middle frame.
  if (w.active && !w.backward) {
    w.template step<kMulti>(s);
    const int64_t at = keep ? static_cast<int64_t>(middle) * s.stride : 0;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (w.first + k > s.L) continue;
      Scaled<Real> pair = w.joint_b(s, k, at);
      if (w.first + k < s.L) pair = add(pair, w.joint_l(s, k, at));
      s.joint[w.first + k] = pair;
    }
  }
  __syncthreads();
  if (warp == 0) {
    const Scaled<Real> z = sum_scaled(s.joint, s.L + 1, w.lane);
    if (w.lane == 0) *s.total = z;
  }
  __syncthreads();
  const int exponent = s.total->e;
  if (!keep || exponent < kLeast) return;

  // Second half.
  if (w.active && !w.backward) w.store_posteriors(s, middle, exponent);
  for (int i = 0; i < s.frames - middle - 1 || i < middle; ++i) {
    const int left = w.backward ? middle : s.frames - middle - 1;
    if (w.active && i < left) {
      const int t = w.frame(s);
      w.template step<kMulti>(s);
      w.store_posteriors(s, t, exponent);
    }
    if (kMulti) __syncthreads();
  }
}

}  // namespace crnn
