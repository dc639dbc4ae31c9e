// CTC loss (Graves et al., 2006): contract of the forward and backward kernels.
//
// loss_n = -ln p(label_n | x_n), the sum over all paths that collapse to the label (equation 1 of
// the CRNN paper). The gradient is the one with respect to logits, softmax - posterior, for both
// kinds of input; torch.nn.functional.ctc_loss has the same convention.
//
// Everything is computed as mantissa * 2^exponent with one integer exponent per state
// (kernels/cpu/ctc_numbers.h). Two limits follow: within one frame, a symbol of the label more than
// 2^21 (2.1e6) below the label's best symbol or the blank counts as impossible, and a label whose
// probability is below 2^-(2^28) relative to the product of those best symbols has loss +inf.
#pragma once

#include <cstdint>

namespace crnn {

enum class CtcReduction { none = 0, sum = 1, mean = 2 };

struct CtcDims {
  int64_t T, N, C;
  int64_t targets;   // number of elements of the targets tensor
  int64_t blank;     // in [0, C)
  bool from_logits;  // x holds logits; otherwise log-probabilities
};

// One batch. Label n is targets[offsets[n] .. offsets[n] + target_lengths[n]).
template <class Real>
struct CtcBatch {
  CtcDims dims;
  const Real* x;  // [T, N, C], strides x_t, x_n, 1 (elements)
  int64_t x_t, x_n;
  const int64_t* targets;         // [dims.targets]; every used element in [0, C)
  const int64_t* offsets;         // [N]
  const int64_t* input_lengths;   // [N], each in [0, T]
  const int64_t* target_lengths;  // [N], each >= 0

  // Columns that the labels before n, with a blank each, take in `posteriors`.
  // Always inlined: SIMD files include this, and no copy of theirs may serve an older processor.
  [[gnu::always_inline]] inline int64_t columns_before(int64_t n) const { return offsets[n] + n; }
};

// What the backward kernel needs from the forward one. Every element is written: 0 where there is
// no frame or no symbol.
template <class Real>
struct CtcSaved {
  Real* row_shift;   // [T, N]; 0, or the maximum of x over c. Written only from logits
  Real* row_sum;     // [T, N]; sum over c of exp(x - row_shift). Written only from logits
  Real* posteriors;  // [T * (targets + N)]; sample n has [T, target_lengths[n] + 1] from element
                     // T * columns_before(n): blanks together first, then each symbol of the label.
                     // Undefined where the loss is not finite
};

// Throws std::invalid_argument unless lengths and labels are in range, then writes offsets[N].
// targets_2d_width: S of targets [N, S], or -1 for the 1-D concatenated form. What is null (because
// it lies on a GPU) is not checked; without target_lengths, neither are the targets.
void ctc_check(const CtcDims& dims, int64_t targets_2d_width, const int64_t* targets,
               const int64_t* input_lengths, const int64_t* target_lengths, int64_t* offsets);

// losses: [N]. saved.posteriors may be null: then only the loss is computed.
template <class Real>
void ctc_forward(const CtcBatch<Real>& batch, Real* losses, const CtcSaved<Real>& saved,
                 int num_threads);

// reduced: [N] for none, else [1]. Sums in double, in order of n. zero_infinity turns +inf into 0;
// mean divides each loss by max(target_length, 1) and averages over N.
template <class Real>
void ctc_reduce(const CtcBatch<Real>& batch, const Real* losses, CtcReduction reduction,
                bool zero_infinity, Real* reduced);

// dx: [T, N, C], strides dx_t, dx_n, 1; every element is written, 0 in frames beyond the input
// length. grad: gradient of the reduced loss, stride grad_n over samples (0: one value for all).
// A sample with a loss that is not finite gets NaN, or 0 if it is +inf and zero_infinity.
template <class Real>
void ctc_backward(const CtcBatch<Real>& batch, const Real* losses, const CtcSaved<Real>& saved,
                  const Real* grad, int64_t grad_n, CtcReduction reduction, bool zero_infinity,
                  Real* dx, int64_t dx_t, int64_t dx_n, int num_threads);

}  // namespace crnn
